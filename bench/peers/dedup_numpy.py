"""Greedy deduplication with NumPy: what `npm run bench -- dedup` compares with.

    python3 dedup_numpy.py --points FILE --columns K --results FILE

The file holds rows of K float32. For every line on standard input the rows are deduplicated twice, in order: a row joins
the kept row of the highest cosine where that is above 0.99, else it is kept. `plain` is that sentence as a loop: every
row meets the kept ones in one product of a matrix and a vector. In `blocks` a block of rows meets all rows kept before
it in one matrix product, of the block size that was fastest here; only the rows that joined none of those are gone
through one by one. The answer is a JSON object with the seconds; the results file gets the kept rows, int32.
"""

import argparse
import json
import sys
import time

import numpy as np

THRESHOLD = np.float32(0.99)


def plain(points):
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    kept = np.empty_like(unit)
    rows = []
    labels = np.empty(len(unit), dtype=np.int32)
    for i, row in enumerate(unit):
        count = len(rows)
        if count:
            cosines = kept[:count] @ row
            nearest = cosines.argmax()
            if cosines[nearest] > THRESHOLD:
                labels[i] = nearest
                continue
        kept[count] = row
        labels[i] = count
        rows.append(i)
    return np.array(rows, dtype="<i4"), labels


def in_blocks(points, block):
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    kept = np.empty_like(unit)
    rows, count = [], 0
    labels = np.empty(len(unit), dtype=np.int32)
    for begin in range(0, len(unit), block):
        part = unit[begin : begin + block]
        if count:
            cosines = part @ kept[:count].T
            best = cosines.argmax(axis=1)
            found = cosines[np.arange(len(part)), best]
        else:
            best, found = np.zeros(len(part), dtype=np.int64), np.full(len(part), -2, dtype=np.float32)
        before = count
        for i in np.flatnonzero(found <= THRESHOLD):
            if count > before:
                cosines = kept[before:count] @ part[i]
                nearest = cosines.argmax()
                if cosines[nearest] > THRESHOLD:
                    best[i] = before + nearest
                    continue
            kept[count] = part[i]
            best[i] = count
            rows.append(begin + i)
            count += 1
        labels[begin : begin + block] = best
    return np.array(rows, dtype="<i4"), labels


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", required=True)
    parser.add_argument("--columns", type=int, required=True)
    parser.add_argument("--results", required=True)
    options = parser.parse_args()
    points = np.fromfile(options.points, dtype="<f4").reshape(-1, options.columns)
    block = None
    for _ in sys.stdin:
        seconds = {}
        for size in [block] if block else [256, 1024, 4096]:
            start = time.perf_counter()
            rows, _labels = in_blocks(points, size)
            seconds[size] = time.perf_counter() - start
        block = min(seconds, key=seconds.get)
        rows.tofile(options.results)
        start = time.perf_counter()
        again, _labels = plain(points)
        answer = {"plain": time.perf_counter() - start, "blocks": seconds[block]}
        if not np.array_equal(rows, again):
            raise SystemExit("the two loops keep different rows")
        print(json.dumps({"seconds": answer, "block": block, "numpy": np.__version__}), flush=True)


main()
