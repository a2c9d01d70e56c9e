"""A graph and points from a file that graphFile.mjs wrote; the format is described there. Needs numpy."""

import struct
from dataclasses import dataclass

import numpy as np


@dataclass
class Value:
    shape: tuple
    constant: np.ndarray | None


@dataclass
class Node:
    op: str
    name: str
    inputs: list
    output: int
    # Name -> list of numbers.
    attributes: dict
    activation: str
    alpha: float
    beta: float
    # A value added before the activation, or -1.
    residual: int


@dataclass
class GraphFile:
    name: str
    values: list
    nodes: list
    input: int
    output: int
    # [rows, k] float32
    points: np.ndarray


def read_graph_file(path):
    with open(path, "rb") as file:
        data = file.read()
    at = 0

    def numbers(count, code):
        nonlocal at
        size = struct.calcsize(code) * count
        if count < 0 or at + size > len(data):
            raise ValueError(f"{path}: is cut off at byte {at}")
        found = np.frombuffer(data, f"<{code}", count, at)
        at += size
        return found

    def one(code):
        return numbers(1, code)[0].item()

    def text():
        return numbers(one("i"), "B").tobytes().decode()

    def value():
        shape = tuple(numbers(one("i"), "q").tolist())
        if one("i") == 0:
            return Value(shape, None)
        return Value(shape, numbers(int(np.prod(shape)), "f").reshape(shape))

    def node():
        op, name, inputs, output = text(), text(), numbers(one("i"), "i").tolist(), one("i")
        attributes = {}
        for _ in range(one("i")):
            key = text()
            attributes[key] = numbers(one("i"), "d").tolist()
        return Node(op, name, inputs, output, attributes, text(), one("f"), one("f"), one("i"))

    if numbers(min(8, len(data)), "B").tobytes() != b"LDGRAPH2":
        raise ValueError(f"{path}: does not begin with LDGRAPH2, expected a file of export-graphs.mjs")
    name = text()
    values = [value() for _ in range(one("i"))]
    nodes = [node() for _ in range(one("i"))]
    graph_input, graph_output, rows = one("i"), one("i"), one("i")
    k = int(np.prod(values[graph_input].shape))
    points = numbers(rows * k, "f").reshape(rows, k)
    if at != len(data):
        raise ValueError(f"{path}: has {len(data) - at} bytes too many")
    return GraphFile(name, values, nodes, graph_input, graph_output, points)
