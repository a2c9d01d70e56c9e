"""KNN scores by faiss: what `npm run bench -- knn` compares with.

    python3 knn_faiss.py --reference FILE --queries FILE --columns K --neighbours N --threads T --results FILE

The files hold rows of K float32. For every line on standard input an exhaustive L2 index of the reference is asked for
the N nearest of every query; the answer is a JSON object with the seconds that took. The results file gets the mean
distances, float64.
"""

import argparse
import json
import sys
import time

import faiss
import numpy as np


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--columns", type=int, required=True)
    parser.add_argument("--neighbours", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--results", required=True)
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)

    def rows(path):
        return np.fromfile(path, dtype="<f4").reshape(-1, options.columns)

    reference, queries = rows(options.reference), rows(options.queries)
    for _ in sys.stdin:
        start = time.perf_counter()
        index = faiss.IndexFlatL2(options.columns)
        index.add(reference)
        squared = index.search(queries, options.neighbours)[0]
        seconds = time.perf_counter() - start
        # Rounding can leave a square below zero.
        distances = np.sqrt(np.maximum(squared, 0), dtype=np.float64)
        distances.mean(axis=1).astype("<f8").tofile(options.results)
        print(json.dumps({"seconds": seconds, "version": faiss.__version__}), flush=True)


main()
