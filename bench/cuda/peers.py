"""What this card does at most, and what PyTorch makes of the same work on it: one line of JSON a row.

    python3 bench/cuda/peers.py [--quick]

Limits: a copy on the device (bytes read plus bytes written), matrix products of 8,192 in TF32, float32 and float64.
Peers: what one writes in PyTorch with TF32 matrix products, inputs resident, in blocks where the whole does not fit.
Seconds are those between two events, the median of three after one run to warm up. Random data throughout.
"""

import json
import statistics
import sys

import torch

QUICK = "--quick" in sys.argv[1:]
PART = 10 if QUICK else 1
device = torch.device("cuda")
torch.backends.cuda.matmul.allow_tf32 = True


def seconds(work, repeats=3):
    work()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def say(**row):
    print(json.dumps(row), flush=True)


def limits():
    source = torch.randn(1 << 29, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * 4
    say(limit="bytesPerSecond", value=moved / seconds(lambda: target.copy_(source)))
    del source, target
    for name, dtype, tf32 in (
        ("tf32", torch.float32, True),
        ("float32", torch.float32, False),
        ("float64", torch.float64, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(8192, 8192, device=device, dtype=dtype) for _ in range(2))
        say(limit=f"{name}FlopsPerSecond", value=2 * 8192**3 / seconds(lambda: a @ b))
    torch.backends.cuda.matmul.allow_tf32 = True


def nearest(n, k, block=8192):
    a, b = torch.randn(n, k, device=device), torch.randn(n, k, device=device)

    def cosine():
        x, y = torch.nn.functional.normalize(a), torch.nn.functional.normalize(b)
        of_b = torch.full((n,), -2.0, device=device)
        where_b = torch.zeros(n, dtype=torch.long, device=device)
        found = []
        for first in range(0, n, block):
            products = x[first : first + block] @ y.T
            found.append(products.max(1))
            value, index = products.max(0)
            better = value > of_b
            where_b = torch.where(better, index + first, where_b)
            of_b = torch.maximum(of_b, value)
        return found, of_b, where_b

    def euclidean():
        of_b = torch.full((n,), float("inf"), device=device)
        found = []
        for first in range(0, n, block):
            distances = torch.cdist(a[first : first + block], b)
            found.append(distances.min(1))
            of_b = torch.minimum(of_b, distances.min(0).values)
        return found, of_b

    say(peer="nearest-cosine", by="torch: matmul, max, in blocks", seconds=seconds(cosine))
    say(peer="nearest-euclidean", by="torch.cdist, min, in blocks", seconds=seconds(euclidean))


def knn(n, q, k, neighbours, block=2048):
    reference, queries = torch.randn(n, k, device=device), torch.randn(q, k, device=device)

    def score():
        return [
            torch.cdist(queries[first : first + block], reference)
            .topk(neighbours, largest=False, sorted=False)
            .values.mean(1)
            for first in range(0, q, block)
        ]

    say(peer="knn", by="torch.cdist, topk", seconds=seconds(score))


def dedup(n, k, kept):
    centres = torch.randn(kept, k, device=device)
    points = centres[torch.arange(n, device=device) * 7919 % kept] + 0.02 * torch.randn(n, k, device=device)

    def greedy():
        unit = torch.nn.functional.normalize(points)
        labels = torch.full((n,), -1, dtype=torch.long, device=device)
        count = 0
        left = torch.arange(n, device=device)
        # The first row that is left represents all that are like it: one product a representative.
        while left.numel() > 0:
            like = unit[left] @ unit[left[0]] > 0.99
            labels[left[like]] = count
            left = left[~like]
            count += 1
        return labels, count

    say(peer="dedup", by="torch: one product a representative", seconds=seconds(greedy, 1))


def omp(signals, atoms, k, sparsity):
    dictionary = torch.nn.functional.normalize(torch.randn(atoms, k, device=device))
    given = torch.randn(signals, k, device=device)

    def pursue():
        gram = dictionary @ dictionary.T
        initial = given @ dictionary.T
        rows = torch.arange(signals, device=device)
        correlations = initial.clone()
        chosen = torch.zeros(signals, sparsity, dtype=torch.long, device=device)
        factor = torch.zeros(signals, sparsity, sparsity, device=device)
        taken = torch.zeros(signals, atoms, dtype=torch.bool, device=device)
        for step in range(sparsity):
            best = correlations.abs().masked_fill(taken, -1).argmax(1)
            taken[rows, best] = True
            chosen[:, step] = best
            if step > 0:
                products = gram[chosen[:, :step], best[:, None]][..., None]
                w = torch.linalg.solve_triangular(factor[:, :step, :step], products, upper=False)[..., 0]
                factor[:, step, :step] = w
                factor[:, step, step] = (1 - (w * w).sum(1)).clamp_min(1e-12).sqrt()
            else:
                factor[:, 0, 0] = 1
            own = initial.gather(1, chosen[:, : step + 1])[..., None]
            solution = torch.cholesky_solve(own, factor[:, : step + 1, : step + 1])
            correlations = initial - (solution.transpose(1, 2) @ gram[chosen[:, : step + 1]])[:, 0]
        return chosen

    say(peer="omp", by="torch: batched OMP on the Gram matrix", seconds=seconds(pursue, 1))


def attempt(name, work, *arguments):
    """A peer that has no room, or that this PyTorch cannot run, is a row that says so."""
    try:
        work(*arguments)
    except RuntimeError as error:
        say(peer=name, by="torch", failed=str(error).splitlines()[0])
    torch.cuda.empty_cache()


def main():
    properties = torch.cuda.get_device_properties(0)
    say(
        card=properties.name,
        memory=properties.total_memory,
        multiprocessors=properties.multi_processor_count,
        torch=torch.__version__,
        cuda=torch.version.cuda,
    )
    limits()
    attempt("nearest", nearest, 100_000 // PART, 4096)
    attempt("knn", knn, 100_000 // PART, 10_000 // PART, 4096, 2000 // PART)
    attempt("dedup", dedup, 1_000_000 // PART, 128, 1000)
    attempt("omp", omp, 500, 4096, 4096, 205 // (4 if QUICK else 1))


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("peers: PyTorch finds no CUDA device")
    main()
