"""The extraction of attractors in PyTorch, on the weights of a graph file: what extraction.cpp is held against.

plain     As one writes it: the whole batch goes through f until every point has converged, or 3,000 steps are done.
careful   Points that are done leave: a batch of fixed size, in which every `CHECK` steps the finished are written away
          and replaced from the queue; a smaller batch for the tail. One step (f, residual, norm, masks) is compiled by
          torch.compile, `CHECK` of them are captured in a CUDA graph; what cannot be compiled or captured is run as it
          is, and the row says so. Rows leave when they converge, are no longer finite, or diverge, by the library's
          rules; it does not look for cycles.

    python3 bench/cuda/extraction_peers.py --check FILE.bin COUNT PREFIX

runs both on the CPU with the file's first COUNT points and leaves PREFIX.plain, PREFIX.careful (endpoints, float32)
and PREFIX.status (int32, of careful): for tests.
"""

import sys
import time

import torch
from graph_file import read_graph_file
from torch_graph import TorchGraph

CONVERGED, MAX_ITERATIONS, CYCLE, DIVERGED, NON_FINITE = range(5)
TOLERANCE, MOST_STEPS, DIVERGENCE_RATIO = 1e-6, 3000, 1e4
CHECK = 4


class Stopwatch:
    """Seconds between two events of the device; of the CPU where there is none."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"
        if self.cuda:
            self.start, self.end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self.start.record()
        else:
            self.start = time.perf_counter()

    def seconds(self):
        if not self.cuda:
            return time.perf_counter() - self.start
        self.end.record()
        self.end.synchronize()
        return self.start.elapsed_time(self.end) / 1e3


def plain(f, initial, window=None):
    """
    Endpoints and a record. With `window` no more steps than that are run and timed: every step costs the same, and the
    record says how many there were.
    """
    converged = torch.zeros(len(initial), dtype=torch.bool, device=initial.device)
    steps, most = 0, window or MOST_STEPS
    watch = Stopwatch(initial.device)
    z = initial
    with torch.no_grad():
        while steps < most and not bool(converged.all()):
            following = f(z)
            converged |= ((following - z) ** 2).sum(1) < TOLERANCE
            z = following
            steps += 1
    return z, {"seconds": watch.seconds(), "steps": steps}


def step_of(f):
    """One step of a batch whose rows may be done already; those stay where they are."""

    def step(z, done, status, steps, limit):
        following = f(z)
        residual = ((following - z) ** 2).sum(1)
        norm = (following**2).sum(1)
        steps = torch.where(done, steps, steps + 1)
        code = torch.full_like(status, -1)
        code = torch.where(steps >= MOST_STEPS, MAX_ITERATIONS, code)
        code = torch.where(norm > limit, DIVERGED, code)
        code = torch.where(residual < TOLERANCE, CONVERGED, code)
        code = torch.where(torch.isfinite(norm), code, NON_FINITE)
        z = torch.where(done[:, None], z, following)
        status = torch.where(done, status, code)
        return z, done | (code >= 0), status, steps, limit

    return step


class Batch:
    """`size` slots and the program that advances all of them by CHECK steps."""

    def __init__(self, f, size, k, device, notes):
        self.size = size
        self.state = [
            torch.zeros(size, k, device=device),
            torch.ones(size, dtype=torch.bool, device=device),
            torch.full((size,), -1, dtype=torch.int32, device=device),
            torch.zeros(size, dtype=torch.int32, device=device),
            torch.zeros(size, device=device),
        ]
        self.step = step_of(f)
        self.graph = None
        if device.type != "cuda":
            return
        if not hasattr(torch, "compile"):
            notes.add(f"PyTorch {torch.__version__} has no torch.compile")
        else:
            compiled = torch.compile(self.step, fullgraph=True, dynamic=False)
            try:
                compiled(*self.state)
                self.step = compiled
            except Exception as error:  # whatever a compiler throws: the row says what
                notes.add(f"not compiled: {type(error).__name__}: {first_line(error)}")
        try:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    self.steps()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.steps()
            self.graph = graph
        except RuntimeError as error:
            notes.add(f"not captured: {first_line(error)}")

    def steps(self):
        state = self.state
        for _ in range(CHECK):
            state = self.step(*state)
        for own, new in zip(self.state[:4], state[:4]):
            own.copy_(new)

    def advance(self):
        if self.graph is None:
            self.steps()
        else:
            self.graph.replay()


def first_line(error):
    return (str(error).strip() or "no message").splitlines()[0][:200]


class Careful:
    """Its batches, made (compiled, captured) before anything is timed."""

    def __init__(self, f, k, device, largest, tail):
        self.notes, self.device = set(), device
        with torch.no_grad():
            self.batches = [Batch(f, size, k, device, self.notes) for size in sorted({largest, tail}, reverse=True)]

    def run(self, initial):
        """Endpoints, statuses, steps of every row, and a record."""
        n = len(initial)
        endpoints = torch.empty_like(initial)
        status = torch.full((n,), -1, dtype=torch.int32, device=self.device)
        steps = torch.zeros(n, dtype=torch.int32, device=self.device)
        limits = (DIVERGENCE_RATIO * initial.norm(dim=1).clamp(min=1)) ** 2
        watch = Stopwatch(self.device)
        computed, following = 0, 0
        # Rows on their way, with their state, where a batch is given up for a smaller one.
        rows = torch.empty(0, dtype=torch.long, device=self.device)
        state = [own[:0] for own in self.batches[0].state]
        with torch.no_grad():
            for number, batch in enumerate(self.batches):
                last = number + 1 == len(self.batches)
                enough = 0 if last else self.batches[number + 1].size
                while len(rows) + n - following > enough:
                    taken = min(n - following, batch.size - len(rows))
                    more = torch.arange(following, following + taken, device=self.device)
                    following += taken
                    rows = torch.cat([rows, more])
                    fresh = [
                        initial[more],
                        torch.zeros(taken, dtype=torch.bool, device=self.device),
                        torch.full((taken,), -1, dtype=torch.int32, device=self.device),
                        torch.zeros(taken, dtype=torch.int32, device=self.device),
                        limits[more],
                    ]
                    live = min(len(rows), batch.size)
                    for own, kept, new in zip(batch.state, state, fresh):
                        own[:live] = torch.cat([kept, new])
                    batch.state[1][live:] = True
                    batch.advance()
                    computed += CHECK * batch.size
                    done = batch.state[1][:live]
                    leaving = rows[done]
                    endpoints[leaving] = batch.state[0][:live][done]
                    status[leaving] = batch.state[2][:live][done]
                    steps[leaving] = batch.state[3][:live][done]
                    rows = rows[~done]
                    state = [own[:live][~done] for own in batch.state]
        seconds = watch.seconds()
        evaluations = int(steps.sum())
        return endpoints, status, steps, {"seconds": seconds, "evaluations": evaluations, "computed": computed}


def check(path, count, prefix):
    file = read_graph_file(path)
    f = TorchGraph(file)
    initial = torch.from_numpy(file.points[:count].copy())
    plain(f, initial)[0].numpy().tofile(f"{prefix}.plain")
    # Fewer slots than points, so that slots are refilled, and a tail.
    careful = Careful(f, initial.shape[1], initial.device, max(1, count // 2), max(1, count // 5))
    endpoints, status, *_ = careful.run(initial)
    endpoints.numpy().tofile(f"{prefix}.careful")
    status.numpy().tofile(f"{prefix}.status")


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] != "--check":
        sys.exit("extraction_peers: expected --check FILE.bin COUNT PREFIX")
    check(sys.argv[2], int(sys.argv[3]), sys.argv[4])
