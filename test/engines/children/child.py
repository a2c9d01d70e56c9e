"""A child of the tests, in the standard library alone: an affine map in the protocol of docs/engines.md.

Its first argument is JSON: {"matrix": [...], "offset": [...], "hello": {...}, "fault": "..."}; the variable HELLO adds to
its hello.
"""

import json
import os
import struct
import sys
import time

HELLO, APPLY, ENCODE, DECODE, ERROR = 0, 1, 2, 3, 255
options = json.loads(sys.argv[1])
fault = options.get("fault", "")
matrix, offset = options["matrix"], options["offset"]
k = len(offset)
source, sink = sys.stdin.buffer, sys.stdout.buffer


def send(kind, rows, payload):
    sink.write(b"LDYN" + struct.pack("<III", kind, rows, len(payload)) + payload)
    sink.flush()


def affine(rows):
    out = []
    for first in range(0, len(rows), k):
        z = rows[first : first + k]
        out += [offset[r] + sum(matrix[r * k + c] * z[c] for c in range(k)) for r in range(k)]
    return out


def single(value):
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


if fault == "silent":
    time.sleep(60)
if fault == "prints before hello":
    print("Loading the model", flush=True)
if fault == "ends at once":
    print("no such checkpoint: model.pt", file=sys.stderr)
    sys.exit(3)
if fault == "fails to load":
    send(ERROR, 0, b"no such checkpoint: model.pt")
    sys.exit(0)
hello = {"protocol": 1, "latent_shape": [k], "versions": {"python": "3"}, "batch_rows": 4}
hello = {**hello, **options.get("hello", {}), **json.loads(os.environ.get("HELLO", "{}"))}
send(HELLO, 0, json.dumps(hello).encode())

calls = 0
while True:
    header = source.read(16)
    if len(header) < 16:
        break
    magic, kind, rows, length = struct.unpack("<4sIII", header)
    values = [value for (value,) in struct.iter_unpack("<f", source.read(length))]
    calls += 1
    if fault == "raises" and calls == 2:
        send(ERROR, 0, "division by zero\nin layer 3".encode())
        continue
    if fault == "crashes" and calls == 2:
        print("Traceback:\n  segmentation of the fault", file=sys.stderr)
        sys.stderr.flush()
        sys.exit(7)
    if fault == "short" and calls == 2:
        send(kind, rows, bytes(4))
        continue
    if fault == "garbage" and calls == 2:
        print("epoch 1: loss 0.3", flush=True)
    if fault == "huge" and calls == 2:
        sink.write(b"LDYN" + struct.pack("<III", kind, rows, 2**32 - 1))
        sink.flush()
    if fault == "other type" and calls == 2:
        send(DECODE, rows, bytes(length))
        continue
    if fault == "stops answering" and calls >= 2:
        time.sleep(60)
    time.sleep(options.get("pause", 0))
    if kind == DECODE:
        send(kind, rows, struct.pack(f"<{2 * len(values)}f", *[value for value in values for _ in range(2)]))
    elif kind == ENCODE:
        pairs = [values[i] for i in range(0, len(values), 2)]
        send(kind, rows, struct.pack(f"<{len(pairs)}f", *pairs))
    else:
        send(kind, rows, b"".join(single(value) for value in affine(values)))
if fault == "ignores the end":
    time.sleep(60)
