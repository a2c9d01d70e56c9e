"""Trajectory scores in matrix form: what `npm run bench -- trajectory` compares with.

    python3 trajectory_matrix.py --paths FILE --attractors FILE --points P --columns K --threads T --results FILE

The files hold rows of K float32, P of them a path. For every line on standard input the scores of all paths are
computed once with NumPy and once with PyTorch, a block of points at a time that fits the cache: |z|^2 + |a|^2 - 2za by
one matrix product, minimum over the attractors, square root, mean over the path. The answer is a JSON object with the
seconds of each. The results file gets NumPy's scores, float64.
"""

import argparse
import json
import sys
import time

import numpy as np
import torch

BLOCK = 2048


def with_numpy(points, attractors):
    lengths = np.einsum("ij,ij->i", attractors, attractors)
    nearest = np.empty(len(points), dtype=np.float32)
    for begin in range(0, len(points), BLOCK):
        z = points[begin : begin + BLOCK]
        squared = z @ attractors.T
        squared *= -2
        squared += lengths
        nearest[begin : begin + BLOCK] = squared.min(axis=1) + np.einsum("ij,ij->i", z, z)
    return np.sqrt(np.maximum(nearest, 0))


@torch.inference_mode()
def with_torch(points, attractors):
    lengths = (attractors * attractors).sum(1)
    nearest = torch.empty(len(points))
    for begin in range(0, len(points), BLOCK):
        z = points[begin : begin + BLOCK]
        squared = torch.addmm(lengths, z, attractors.T, alpha=-2)
        nearest[begin : begin + BLOCK] = squared.amin(1) + (z * z).sum(1)
    return nearest.clamp_(min=0).sqrt_()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--paths", required=True)
    parser.add_argument("--attractors", required=True)
    parser.add_argument("--points", type=int, required=True)
    parser.add_argument("--columns", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--results", required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def rows(path):
        return np.fromfile(path, dtype="<f4").reshape(-1, options.columns)

    points, attractors = rows(options.paths), rows(options.attractors)
    tensors = torch.from_numpy(points), torch.from_numpy(attractors)
    for _ in sys.stdin:
        start = time.perf_counter()
        distances = with_numpy(points, attractors).reshape(-1, options.points)
        scores = distances.mean(axis=1, dtype=np.float64)
        numpy_seconds = time.perf_counter() - start
        start = time.perf_counter()
        with_torch(*tensors).reshape(-1, options.points).double().mean(1)
        torch_seconds = time.perf_counter() - start
        scores.astype("<f8").tofile(options.results)
        print(json.dumps({"seconds": {"numpy": numpy_seconds, "torch": torch_seconds}}), flush=True)


main()
