"""LAPACK through SciPy: what `npm run bench -- algebra` compares with.

    python3 algebra_scipy.py --problem singular|eigenvalues|basis --matrix FILE --rows N --columns K --results FILE

The file holds float32: one matrix [N, K], or N matrices [K, K] for `eigenvalues`. For every line on standard input the
problem is solved once in float64: singular values (gesdd) of the matrix, eigenvalues (geev) and the largest singular
value of each of the matrices, or Q of the QR decomposition (geqrf, orgqr). The answer is a JSON object with the
seconds; the results file gets the values, float64: singular values falling, moduli of eigenvalues falling, or the
diagonal of QᵀA.
"""

import argparse
import json
import sys
import time

import numpy as np
import scipy
from scipy import linalg


def singular(matrix):
    return linalg.svdvals(matrix)


def eigenvalues(matrices):
    moduli = []
    for one in matrices:
        moduli.append(np.sort(np.abs(linalg.eigvals(one)))[::-1])
        linalg.svdvals(one)
    return np.array(moduli)


def basis(matrix):
    q, _r = linalg.qr(matrix)
    return np.einsum("ij,ij->j", q, matrix)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--problem", choices=["singular", "eigenvalues", "basis"], required=True)
    parser.add_argument("--matrix", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--columns", type=int, required=True)
    parser.add_argument("--results", required=True)
    options = parser.parse_args()
    shape = [options.rows, options.columns]
    if options.problem == "eigenvalues":
        shape.append(options.columns)
    given = np.fromfile(options.matrix, dtype="<f4").reshape(shape).astype(np.float64)
    solve = {"singular": singular, "eigenvalues": eigenvalues, "basis": basis}[options.problem]
    for _ in sys.stdin:
        start = time.perf_counter()
        found = solve(given)
        seconds = time.perf_counter() - start
        found.astype("<f8").tofile(options.results)
        print(json.dumps({"seconds": seconds, "scipy": scipy.__version__}), flush=True)


main()
