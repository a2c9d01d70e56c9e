"""Nearest neighbours by faiss: what `npm run bench -- nearest` compares with.

    python3 nearest_faiss.py --a FILE --b FILE --columns K --threads T --results PREFIX

The files hold rows of K float32. For every line on standard input, an exhaustive L2 index of b is searched for the
rows of a and one of a for the rows of b; the answer is a JSON object with the seconds that took. PREFIX.a and
PREFIX.b get the neighbours found, int32.
"""

import argparse
import json
import sys
import time

import faiss
import numpy as np


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--a", required=True)
    parser.add_argument("--b", required=True)
    parser.add_argument("--columns", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--results", required=True)
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)

    def rows(path):
        return np.fromfile(path, dtype="<f4").reshape(-1, options.columns)

    def search(among, queries):
        index = faiss.IndexFlatL2(options.columns)
        index.add(among)
        return index.search(queries, 1)[1]

    a, b = rows(options.a), rows(options.b)
    for _ in sys.stdin:
        start = time.perf_counter()
        of_a, of_b = search(b, a), search(a, b)
        seconds = time.perf_counter() - start
        of_a.astype("<i4").tofile(options.results + ".a")
        of_b.astype("<i4").tofile(options.results + ".b")
        print(json.dumps({"seconds": seconds, "version": faiss.__version__}), flush=True)


main()
