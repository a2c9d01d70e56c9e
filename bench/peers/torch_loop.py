"""The extraction of attractors as a PyTorch user would write it: what `npm run bench -- attractors` compares with.

    python3 torch_loop.py --model DIR --initial FILE --mode plain|careful|careful-divergence|tuned [...]

DIR holds config.json and model.safetensors of a conv-autoencoder; FILE holds the initial points, float32,
row-major. One JSON object on standard output. With --results PREFIX also PREFIX.endpoints (float32),
PREFIX.iterations (int32) and PREFIX.status (uint8), row-major, one row a point.

The iteration is the library's: z[t+1] = E(D(z[t])) in float32; a point has converged at the first t with
||z[t+1] - z[t]||^2 < tolerance, and its endpoint is the last iterate.

plain               The whole batch goes through f until every point has converged, or the cap is reached.
careful             Rows that have converged, or are no longer finite, leave the batch. inference_mode. Batch
                    size and number of threads are the best of a sweep on this machine.
careful-divergence  careful, and rows with ||z|| > ratio * max(1, ||z0||) leave too.
tuned               careful-divergence, and the sweep also tries channels-last weights and, instead of threads
                    inside the operators, one batch on each of several Python threads: more than most people
                    would write, and about all there is to get.

Only numpy and torch are needed (written for torch 1.13). What torch multiplies matrices with matters: with
Debian's reference BLAS, transposed convolutions run eight times slower than with OpenBLAS (libopenblas0).
The output names the library that is loaded.
"""

import argparse
import ctypes
import json
import math
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

CONVERGED, MAX_ITERATIONS, CYCLE, DIVERGED, NON_FINITE = range(5)
STATUS_NAMES = ["converged", "maxIterations", "cycle", "diverged", "nonFinite"]


def read_safetensors(path):
    """Name -> tensor. The format: a 64-bit header length, a JSON header, then the bytes of the tensors."""
    with open(path, "rb") as file:
        (header_length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_length))
        body = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            sys.exit(f"{path}: tensor {name} is {entry['dtype']}, expected F32")
        begin, end = entry["data_offsets"]
        array = np.frombuffer(body[begin:end], dtype="<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors


def build_map(folder):
    """The latent map f = E after D, with the weights of `folder`, and the latent dimension."""
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    if config.get("architecture") != "conv-autoencoder":
        sys.exit(f"{folder}/config.json: architecture is {config.get('architecture')}, expected conv-autoencoder")
    if config["hidden_activation"] != "relu" or config["output_activation"] != "none":
        sys.exit(f"{folder}/config.json: expected relu inside and no activation at the output")
    k, width, channels = config["latent_dim"], config["width"], config["channels"]
    side = config["image_size"] // 16
    widths = [channels, width, 2 * width, 4 * width, 8 * width]

    def relu():
        return torch.nn.ReLU(inplace=True)

    encoder = []
    for inside, outside in zip(widths, widths[1:]):
        encoder += [torch.nn.Conv2d(inside, outside, 3, stride=2, padding=1), relu()]
    features = widths[-1] * side * side
    encoder += [torch.nn.Flatten(), torch.nn.Linear(features, k)]
    decoder = [torch.nn.Linear(k, features), relu(), torch.nn.Unflatten(1, (widths[-1], side, side))]
    for inside, outside in zip(widths[::-1], widths[-2::-1]):
        decoder += [torch.nn.ConvTranspose2d(inside, outside, 3, stride=2, padding=1, output_padding=1), relu()]
    decoder.pop()  # nothing after the last layer
    autoencoder = torch.nn.ModuleDict(
        {"encoder": torch.nn.Sequential(*encoder), "decoder": torch.nn.Sequential(*decoder)}
    )
    autoencoder.load_state_dict(read_safetensors(f"{folder}/model.safetensors"))
    autoencoder.eval()
    for parameter in autoencoder.parameters():
        parameter.requires_grad_(False)
    return torch.nn.Sequential(autoencoder["decoder"], autoencoder["encoder"]), k


def loaded_blas():
    """The file of the BLAS library this process has loaded; None where it cannot be told."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as file:
            paths = {line.split()[-1] for line in file if "blas" in line.rsplit("/", 1)[-1]}
    except OSError:
        return None
    return next((path for path in sorted(paths) if "openblas" in path.rsplit("/", 1)[-1]), min(paths, default=None))


def set_threads(threads):
    """Threads of the operators, and of OpenBLAS where torch is linked with it: it has a count of its own."""
    torch.set_num_threads(threads)
    blas = loaded_blas()
    if blas is not None and "openblas" in blas:
        ctypes.CDLL(blas).openblas_set_num_threads(threads)


class Applier:
    """f over any number of rows, in batches, on `workers` Python threads of `threads` operator threads each."""

    def __init__(self, f, batch, workers, threads):
        self.f, self.batch, self.workers, self.threads = f, batch, workers, threads
        set_threads(threads)
        self.pool = None
        if workers > 1:
            self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,))

    def __call__(self, z):
        # Few rows are still shared out evenly between the workers.
        batch = min(self.batch, math.ceil(len(z) / self.workers))
        if batch >= len(z):
            return self.f(z)
        parts = z.split(batch)
        if self.pool is None:
            return torch.cat([self.f(part) for part in parts])
        return torch.cat(list(self.pool.map(self.apply_in_worker, parts)))

    def apply_in_worker(self, part):
        with torch.inference_mode():  # a setting of the thread, not of the process
            return self.f(part)

    def close(self):
        if self.pool is not None:
            self.pool.shutdown()

    def describe(self):
        return {"batch": self.batch, "workers": self.workers, "threadsPerWorker": self.threads}


def run_plain(f, initial, tolerance, max_iterations, window):
    """
    The whole batch, until all have converged or the cap. With `window` > 0 only that many iterations are run
    and timed: every iteration costs the same here, so that the rest can be extrapolated, and the result says so.
    """
    n = len(initial)
    iterations = torch.full((n,), window or max_iterations, dtype=torch.int32)
    converged = torch.zeros(n, dtype=torch.bool)
    steps = 0
    start = time.perf_counter()
    z = initial
    with torch.no_grad():
        while steps < (window or max_iterations) and not converged.all():
            following = f(z)
            residual = ((following - z) ** 2).sum(dim=1)
            z = following
            steps += 1
            newly = (residual < tolerance) & ~converged
            iterations[newly] = steps
            converged |= newly
    seconds = time.perf_counter() - start
    status = torch.where(converged, CONVERGED, MAX_ITERATIONS)
    status[~torch.isfinite(z).all(dim=1)] = NON_FINITE
    return {"seconds": seconds, "steps": steps, "evaluations": steps * n}, z, iterations, status


def run_careful(apply, initial, tolerance, max_iterations, divergence_ratio):
    """Rows leave as they finish. divergence_ratio None: only converged and non-finite rows do."""
    n = len(initial)
    endpoints = initial.clone()
    iterations = torch.full((n,), max_iterations, dtype=torch.int32)
    status = torch.full((n,), MAX_ITERATIONS, dtype=torch.int64)
    evaluations = 0
    steps = 0
    start = time.perf_counter()
    with torch.inference_mode():
        z = initial
        rows = torch.arange(n)
        limit = None
        if divergence_ratio is not None:
            limit = (divergence_ratio * initial.norm(dim=1).clamp(min=1)) ** 2
        while len(rows) > 0 and steps < max_iterations:
            following = apply(z)
            evaluations += len(rows)
            steps += 1
            residual = ((following - z) ** 2).sum(dim=1)
            z = following
            finite = torch.isfinite(residual)
            finished = (residual < tolerance) | ~finite
            diverged = None
            if limit is not None:
                diverged = (z**2).sum(dim=1) > limit
                finished |= diverged
            if finished.any():
                leaving = rows[finished]
                endpoints[leaving] = z[finished]
                iterations[leaving] = steps
                code = torch.full((len(leaving),), CONVERGED, dtype=torch.int64)
                if diverged is not None:
                    code[diverged[finished] & (residual[finished] >= tolerance)] = DIVERGED
                code[~finite[finished]] = NON_FINITE
                status[leaving] = code
                staying = ~finished
                z, rows = z[staying], rows[staying]
                if limit is not None:
                    limit = limit[staying]
        endpoints[rows] = z
    return (
        {"seconds": time.perf_counter() - start, "steps": steps, "evaluations": evaluations},
        endpoints,
        iterations,
        status,
    )


def sweep(maps, initial, threadings, seconds_each):
    """
    Rows a second of every batch size, threading (workers, threads of each) and map, best first: `seconds_each`
    of each, on the initial points.
    """
    n = len(initial)
    batches = sorted({min(size, n) for size in (16, 32, 64, 128, 256, 512, 1024, n)})
    measured = []
    with torch.inference_mode():
        for layout, f in maps.items():
            for workers, threads in threadings:
                for batch in batches:
                    apply = Applier(f, batch, workers, threads)
                    sample = initial[: max(batch * workers, 256)]
                    apply(sample)  # the first call builds oneDNN's primitives
                    done, start = 0, time.perf_counter()
                    while time.perf_counter() - start < seconds_each:
                        apply(sample)
                        done += len(sample)
                    rate = done / (time.perf_counter() - start)
                    measured.append({"layout": layout, **apply.describe(), "rowsPerSecond": rate})
                    apply.close()
    return sorted(measured, key=lambda entry: -entry["rowsPerSecond"])


def fastest_thread_count(f, initial, candidates):
    """The candidate with which one application to the whole batch takes least, best of three."""

    def seconds(threads):
        set_threads(threads)
        times = []
        for _ in range(4):  # the first call builds oneDNN's primitives
            start = time.perf_counter()
            f(initial)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    with torch.no_grad():
        return min(candidates, key=seconds)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Attractors of f = E(D(z)) in PyTorch.")
    parser.add_argument("--model", required=True, help="folder with config.json and model.safetensors")
    parser.add_argument("--initial", required=True, help="initial points: float32, row-major, no header")
    parser.add_argument("--mode", required=True, choices=["plain", "careful", "careful-divergence", "tuned"])
    parser.add_argument("--tolerance", type=float, default=1e-6, help="on the squared step (default 1e-6)")
    parser.add_argument("--max-iterations", type=int, default=3000)
    parser.add_argument("--divergence-ratio", type=float, default=1e4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--window", type=int, default=0, help="plain: time this many iterations, 0 for all")
    parser.add_argument("--sweep-seconds", type=float, default=0.5, help="careful: time given to each setting")
    parser.add_argument("--finalists", type=int, default=2, help="careful: settings that run whole; the fastest counts")
    parser.add_argument("--results", help="prefix of the files to write endpoints, iterations and status to")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    f, k = build_map(arguments.model)
    values = np.fromfile(arguments.initial, dtype="<f4")
    if len(values) == 0 or len(values) % k != 0:
        sys.exit(f"{arguments.initial}: {len(values)} numbers are not rows of {k}")
    initial = torch.from_numpy(values.reshape(-1, k))
    rule = (arguments.tolerance, arguments.max_iterations)

    thread_counts = sorted({1, arguments.threads})
    settings = []
    if arguments.mode == "plain":
        threads = fastest_thread_count(f, initial, thread_counts)
        set_threads(threads)
        record, *results = run_plain(f, initial, *rule, arguments.window)
        chosen = {"layout": "contiguous", "batch": len(initial), "workers": 1, "threadsPerWorker": threads}
    else:
        maps = {"contiguous": f}
        threadings = [(1, threads) for threads in thread_counts]
        if arguments.mode == "tuned":
            maps["channels-last"] = build_map(arguments.model)[0].to(memory_format=torch.channels_last)
            threadings.append((arguments.threads, 1))
        ratio = None if arguments.mode == "careful" else arguments.divergence_ratio
        settings = sweep(maps, initial, threadings, arguments.sweep_seconds)
        record = None
        for setting in settings[: max(1, arguments.finalists)]:
            apply = Applier(
                maps[setting["layout"]], setting["batch"], setting["workers"], setting["threadsPerWorker"]
            )
            candidate, *candidate_results = run_careful(apply, initial, *rule, ratio)
            apply.close()
            if record is None or candidate["seconds"] < record["seconds"]:
                record, results, chosen = candidate, candidate_results, setting

    endpoints, iterations, status = (tensor.numpy() for tensor in results)
    if arguments.results:
        endpoints.astype("<f4").tofile(f"{arguments.results}.endpoints")
        iterations.astype("<i4").tofile(f"{arguments.results}.iterations")
        status.astype(np.uint8).tofile(f"{arguments.results}.status")
    counts = np.bincount(status, minlength=len(STATUS_NAMES))
    print(
        json.dumps(
            {
                "mode": arguments.mode,
                "points": len(initial),
                **record,
                # False: every iteration was run. True: only `steps` of them were; see run_plain.
                "partial": arguments.mode == "plain" and arguments.window > 0,
                "statuses": dict(zip(STATUS_NAMES, counts.tolist())),
                "setting": chosen,
                "sweep": settings,
                "torch": torch.__version__,
                "blas": loaded_blas(),
            }
        )
    )


if __name__ == "__main__":
    main()
