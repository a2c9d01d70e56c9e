"""Serves a PyTorch autoencoder to latent-dynamics, in the protocol of docs/engines.md:

    latdyn attractors "process:python3 serve_autoencoder.py models.py:build weights.pt 1,28,28"

build() in models.py makes a module with encode(x) and decode(z); 1,28,28 is the shape of one input.
"""
import hashlib
import json
import runpy
import struct
import sys

import numpy
import torch

HELLO, APPLY, ENCODE, DECODE, ERROR = 0, 1, 2, 3, 255
source, sink = sys.stdin.buffer, sys.stdout.buffer
sys.stdout = sys.stderr  # what a library prints must not come between the messages


def send(kind, rows, payload):
    sink.write(b"LDYN" + struct.pack("<III", kind, rows, len(payload)) + payload)
    sink.flush()


(file, build), weights = sys.argv[1].rsplit(":", 1), sys.argv[2]
input_shape = [int(n) for n in sys.argv[3].split(",")]
device = "cuda" if torch.cuda.is_available() else "cpu"
model = runpy.run_path(file)[build]()
model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
model.to(device).eval()
torch.set_grad_enabled(False)
steps = {ENCODE: model.encode, DECODE: model.decode, APPLY: lambda z: model.encode(model.decode(z))}
latent_shape = list(model.encode(torch.zeros(1, *input_shape, device=device)).shape[1:])
digest = hashlib.sha256(open(weights, "rb").read()).hexdigest()
hello = {"protocol": 1, "latent_shape": latent_shape, "input_shape": input_shape, "weights": digest}
hello |= {"name": build, "device": device, "versions": {"torch": torch.__version__}}
send(HELLO, 0, json.dumps(hello).encode())

while len(header := source.read(16)) == 16:
    _, kind, rows, length = struct.unpack("<4sIII", header)
    values = numpy.frombuffer(source.read(length), "<f4").copy()
    shape = input_shape if kind == ENCODE else latent_shape
    try:
        result = steps[kind](torch.from_numpy(values).reshape(rows, *shape).to(device))
        send(kind, rows, result.float().cpu().numpy().astype("<f4").tobytes())
    except Exception as error:
        send(ERROR, 0, repr(error).encode()[:60000])
