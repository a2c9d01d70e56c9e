"""Matching pursuit by scikit-learn: what `npm run bench -- omp` compares with.

    python3 omp_sklearn.py --dictionary FILE --signals FILE --dimension D --sparsity K --results PREFIX [--repeats R]

The files hold rows of D float32. One JSON object on standard output; PREFIX.support gets int32
[signals, sparsity], the chosen atoms of each signal, ascending, -1 where there are fewer.

orthogonal_mp_gram is scikit-learn's fastest way for many signals: the Gram matrix of the unit-length atoms and
their products with the signals are computed once (their time is reported by itself), then every signal is
pursued in float64. The fastest of R runs counts, with as many threads in the matrix library as it takes by itself
and with one, which is often faster: the matrices of a step are small. Only numpy and scikit-learn (which brings
threadpoolctl) are needed.
"""

import argparse
import json
import time

import numpy as np
import sklearn
from sklearn.linear_model import orthogonal_mp_gram
from threadpoolctl import threadpool_limits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dictionary", required=True)
    parser.add_argument("--signals", required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--sparsity", type=int, required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()

    def rows(path):
        return np.fromfile(path, dtype="<f4").reshape(-1, options.dimension).astype(np.float64)

    atoms, signals = rows(options.dictionary), rows(options.signals)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    start = time.perf_counter()
    gram = atoms @ atoms.T
    products = atoms @ signals.T
    gram_seconds = time.perf_counter() - start
    seconds = []
    for limits in [1, None] * options.repeats:
        with threadpool_limits(limits=limits):
            start = time.perf_counter()
            found = orthogonal_mp_gram(gram, products, n_nonzero_coefs=options.sparsity)
            seconds.append(time.perf_counter() - start)
    coefficients = found.reshape(len(atoms), -1).T

    support = np.full((len(signals), options.sparsity), -1, dtype="<i4")
    for row, values in zip(support, coefficients):
        chosen = np.flatnonzero(values)
        row[: len(chosen)] = chosen
    support.tofile(options.results + ".support")
    residual = signals - coefficients @ atoms
    print(
        json.dumps(
            {
                "seconds": min(seconds),
                "runs": seconds,
                "gramSeconds": gram_seconds,
                "meanSquaredError": float(np.mean(residual**2)),
                "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
            }
        )
    )


if __name__ == "__main__":
    main()
