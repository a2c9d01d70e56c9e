"""What this card does at most, and what PyTorch and JAX make of the same work on it: one line of JSON a row.

    python3 bench/cuda/peers.py [--quick] [--small] [--only limits|kernels|convolutions|extraction]
                                [--graphs FOLDER] [--points FOLDER]

--quick takes tenths of the large cases, --small shapes for trying the program itself out, also without a device.

Limits: a copy on the device (bytes read plus bytes written), matrix products of 8,192 in TF32, bf16, float32 and
float64.
Peers: what one writes in PyTorch with TF32 matrix products, inputs resident, in blocks where the whole does not fit;
random data. Seconds are those between two events, the median of three after one run to warm up.
Convolutions: PyTorch's own (channels-last, cuDNN's choice after a search), and the whole f of a graph file, eager and
under torch.compile, in TF32 and with weights and activations in bf16.
Extraction: extraction_peers.py and jax_extraction.py, on the points that cuda_bench --points has left; where the whole
would take minutes, ten steps are timed and the row says from how many the rest is extrapolated.
"""

import argparse
import json
import pathlib
import statistics
import sys

import numpy as np
import torch
from extraction_peers import CONVERGED, MOST_STEPS, TOLERANCE, Careful, Stopwatch, first_line, plain
from graph_file import read_graph_file
from torch_graph import TorchGraph

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--small", action="store_true")
parser.add_argument("--only", choices=["limits", "kernels", "convolutions", "extraction"])
parser.add_argument("--graphs", type=pathlib.Path, default=pathlib.Path(".gpu/graphs"))
parser.add_argument("--points", type=pathlib.Path, default=pathlib.Path(".gpu/points"))
given = parser.parse_args()
SMALL, QUICK = given.small, given.quick or given.small
PART = 10 if QUICK else 1
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cudnn.benchmark = True


def use_tf32(yes):
    torch.backends.cuda.matmul.allow_tf32 = yes
    torch.backends.cudnn.allow_tf32 = yes


def seconds(work, repeats=3):
    work()
    times = []
    for _ in range(repeats):
        watch = Stopwatch(device)
        work()
        times.append(watch.seconds())
    return statistics.median(times)


def say(**row):
    print(json.dumps(row), flush=True)


def limits():
    source = torch.randn(1 << (10 if SMALL else 29), device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * 4
    say(limit="bytesPerSecond", value=moved / seconds(lambda: target.copy_(source)))
    del source, target
    for name, dtype, tf32 in (
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, True),
        ("float32", torch.float32, False),
        ("float64", torch.float64, False),
    ):
        use_tf32(tf32)
        size = 64 if SMALL else 8192
        a, b = (torch.randn(size, size, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
        say(limit=f"{name}FlopsPerSecond", value=2 * size**3 / seconds(lambda: a @ b))
    use_tf32(True)


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


def convolution(side, rows):
    """conv-3x3 of convolutions.cpp."""
    shape = f"{rows} x {side} x {side}, 64 channels"
    for precision, dtype in (("tf32", torch.float32), ("bf16", torch.bfloat16), ("float32", torch.float32)):
        use_tf32(precision != "float32")
        x = torch.randn(rows, 64, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(64, 64, 3, padding=1, device=device, dtype=dtype).to(memory_format=torch.channels_last)

        def work(x=x, layer=layer):
            with torch.no_grad():
                layer(x)

        say(peer="conv-3x3", shape=shape, precision=precision, by="torch: Conv2d, channels last", seconds=seconds(work))
    use_tf32(True)


def whole_map(name, rows, compiled):
    path = given.graphs / f"{name}.bin"
    if not path.exists():
        say(peer=f"f-{name}", by="torch", failed=f"skipped: there is no {path}")
        return
    file = read_graph_file(path)
    k = int(np.prod(file.values[file.input].shape))
    use_tf32(True)
    for precision, dtype in (("tf32", torch.float32), ("bf16", torch.bfloat16)):
        f = TorchGraph(file).to(device=device, dtype=dtype)
        for key, buffer in list(f.named_buffers()):
            if buffer.dim() == 4:
                setattr(f, key, buffer.contiguous(memory_format=torch.channels_last))
        x = torch.randn(rows, k, device=device, dtype=dtype)
        about = {"peer": f"f-{name}", "shape": f"{rows} x {k}", "precision": precision}

        def timed(f=f, x=x):
            with torch.no_grad():
                f(x)

        say(**about, kind="eager", by="torch: eager, channels-last weights", seconds=seconds(timed))
        if not compiled:
            continue
        try:
            program = torch.compile(f, fullgraph=True, dynamic=False)
            with torch.no_grad():
                say(**about, kind="compiled", by="torch.compile, channels last", seconds=seconds(lambda: program(x)))
        except Exception as error:  # whatever a compiler throws: the row says what
            say(**about, kind="compiled", by="torch.compile", failed=f"{type(error).__name__}: {first_line(error)}")


def initial_points(name, file, count):
    """Those of cuda_bench, or others like them."""
    path = given.points / f"{name}.initial"
    k = int(np.prod(file.values[file.input].shape))
    if path.exists():
        return torch.from_numpy(np.fromfile(path, dtype="<f4").reshape(-1, k)).to(device)
    noise = torch.randn(count, k, device=device)
    if name.endswith("-noise"):
        return noise
    encoded = torch.from_numpy(file.points.copy()).to(device)
    spread = 0.1 * float(np.sqrt(np.mean(file.points.astype(np.float64) ** 2)))
    return encoded[torch.arange(count, device=device) % len(encoded)] + spread * noise


def agreement(name, endpoints, converged):
    """Of the points that converged here and in cuda_bench, the share that ended within 1e-3 of their length."""
    paths = [given.points / f"{name}.{what}" for what in ("endpoints", "status")]
    if not all(path.exists() for path in paths):
        return {}
    theirs = np.fromfile(paths[0], dtype="<f4").reshape(endpoints.shape)
    both = converged & (np.fromfile(paths[1], dtype=np.uint8) == CONVERGED)
    if not both.any():
        return {"comparable": 0}
    distance = np.linalg.norm(endpoints[both] - theirs[both], axis=1)
    close = distance <= 1e-3 * np.linalg.norm(theirs[both], axis=1)
    return {"comparable": int(both.sum()), "sameEndpoints": float(close.mean())}


def extraction(model):
    names = [f"extract-{model}-{kind}" for kind in ("noise", "data")]
    path = given.graphs / f"{model}.bin"
    if not path.exists():
        for name in names:
            say(peer=name, by="torch", failed=f"skipped: there is no {path}")
        return
    file = read_graph_file(path)
    points = {name: initial_points(name, file, 16 if SMALL else 100_000) for name in names}
    needed = {}
    f = TorchGraph(file).to(device)
    # Programs take longer to make than to run: the quick benches do with one precision.
    for precision in ("tf32",) if QUICK and not SMALL else ("tf32", "float32"):
        use_tf32(precision == "tf32")
        n, k = points[names[0]].shape
        careful = Careful(f, k, device, min(16384, n // 2), min(1024, n // 8))
        careful.run(points[names[0]][: n // 8])
        for name, initial in points.items():
            endpoints, status, steps, record = careful.run(initial)
            counts = {str(code): int((status == code).sum()) for code in range(5)}
            say(
                peer=name,
                kind="compiled",
                precision=precision,
                by="torch.compile, the finished leave every 4 steps",
                notes=sorted(careful.notes),
                statuses=counts,
                **record,
                **agreement(name, endpoints.cpu().numpy(), (status == CONVERGED).cpu().numpy()),
            )
            # The plain loop ends when all have converged, which some never do.
            needed[name] = int(steps.max()) if counts[str(CONVERGED)] == n else MOST_STEPS
            plain(f, initial, 2)
            say(
                peer=name,
                kind="plain",
                precision=precision,
                by="torch: the whole batch until all have converged",
                **extrapolated(plain(f, initial, 10)[1], needed[name]),
            )
    use_tf32(True)
    for name, initial in points.items():
        jax_peer(name, file, initial, needed[name])


def extrapolated(record, needed):
    """What `needed` steps take where fewer were run: every one of them costs the same."""
    if record["steps"] >= needed:
        return record
    seconds = record["seconds"] / record["steps"] * needed
    return {"seconds": seconds, "steps": needed, "extrapolatedFrom": record["steps"]}


def jax_peer(name, file, initial, needed):
    about = {"peer": name, "kind": "jax", "by": "jax: lax.while_loop over the whole batch"}
    try:
        import jax_extraction

        _, _, record = jax_extraction.extract(file, initial.cpu().numpy(), TOLERANCE, min(10, needed))
    except ImportError as error:
        say(**about, failed=f"skipped: {first_line(error)}")
        return
    except Exception as error:  # whatever another library throws: the row says what
        say(**about, failed=f"{type(error).__name__}: {first_line(error)}")
        return
    say(**about, **extrapolated(record, needed), jax=record["jax"])


def attempt(name, work, *arguments):
    """A peer that has no room, or that this PyTorch cannot run, is a row that says so."""
    try:
        work(*arguments)
    except (RuntimeError, ValueError) as error:
        say(peer=name, by="torch", failed=first_line(error))
    if device.type == "cuda":
        torch.cuda.empty_cache()


def describe():
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device.type != "cuda":
        say(card="no device", **versions)
        return
    card = torch.cuda.get_device_properties(0)
    say(card=card.name, memory=card.total_memory, multiprocessors=card.multi_processor_count, **versions)


def main():
    describe()
    wanted = [given.only] if given.only else ["limits", "kernels", "convolutions", "extraction"]
    use_tf32(True)
    if "limits" in wanted:
        limits()
    if "kernels" in wanted:
        if SMALL:
            cases = ((nearest, 200, 24), (knn, 200, 200, 24, 20), (dedup, 200, 24, 10), (omp, 20, 24, 24, 5))
        else:
            cases = (
                (nearest, 100_000 // PART, 4096),
                (knn, 100_000 // PART, 10_000 // PART, 4096, 2000 // PART),
                (dedup, 1_000_000 // PART, 128, 1000),
                (omp, 500, 4096, 4096, 205 // (4 if QUICK else 1)),
            )
        for work, *sizes in cases:
            attempt(work.__name__, work, *sizes)
    if "convolutions" in wanted:
        for side, rows in ((6, 2),) if SMALL else ((64, 256), (256, 16)):
            attempt("conv-3x3", convolution, side, rows)
        # A program of seventy convolutions takes a minute to compile.
        attempt("f-taef2-8", whole_map, "taef2-8", 1 if SMALL else 256, True)
        if not SMALL:
            attempt("f-taef2-32", whole_map, "taef2-32", 16, not QUICK)
    if "extraction" in wanted:
        for model in ("mnist-conv-k16", "mnist-conv-k128"):
            attempt(f"extract-{model}", extraction, model)


if __name__ == "__main__":
    if device.type != "cuda" and not SMALL:
        sys.exit("peers: PyTorch finds no CUDA device")
    main()
