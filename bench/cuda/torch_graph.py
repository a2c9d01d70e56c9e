"""A graph file's map as a PyTorch module: the same weights, PyTorch's own operators, one call each.

What an operator needs beside its inputs is settled when the module is made, so that a compiler has nothing but calls to
trace.
"""

import torch
from torch.nn import functional


class TorchGraph(torch.nn.Module):
    """[rows, k] -> [rows, k]. ValueError names what has no peer."""

    def __init__(self, file):
        super().__init__()
        self.input, self.output = file.input, file.output
        self.input_shape = file.values[file.input].shape
        # Of every constant the name of its buffer; None for what is computed.
        self.constants = []
        for i, value in enumerate(file.values):
            name = None if value.constant is None else f"constant{i}"
            if name:
                self.register_buffer(name, torch.from_numpy(value.constant.copy()))
            self.constants.append(name)
        # Operator, inputs, output, residual (or -1), activation.
        self.calls = []
        for node in file.nodes:
            if node.op not in OPERATORS or node.activation not in FUNCTIONS:
                raise ValueError(f"{file.name}: no peer for {node.op} with {node.activation}")
            operator = OPERATORS[node.op](node, tuple(file.values[node.output].shape))
            activation = FUNCTIONS[node.activation]
            self.calls.append((operator, tuple(node.inputs), node.output, node.residual, activation))

    def value(self, computed, i):
        name = self.constants[i]
        return computed[i] if name is None else getattr(self, name)

    def forward(self, x):
        computed = {self.input: x.reshape(x.shape[0], *self.input_shape)}
        for operator, inputs, output, residual, activation in self.calls:
            y = operator(*[self.value(computed, i) for i in inputs])
            if residual >= 0:
                y = y + self.value(computed, residual)
            computed[output] = activation(y)
        return computed[self.output].reshape(x.shape[0], -1)


def same(x):
    return x


FUNCTIONS = {
    "none": same,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "gelu": functional.gelu,
}


def whole(node, key):
    return tuple(int(v) for v in node.attributes[key])


def conv(node, shape):
    top, left, bottom, right = whole(node, "pads")
    strides, dilations, (groups,) = whole(node, "strides"), whole(node, "dilations"), whole(node, "groups")
    if (top, left) == (bottom, right):
        return lambda x, w, b=None: functional.conv2d(x, w, b, strides, (top, left), dilations, groups)
    # Padding that is not the same on both ends is put on beforehand.
    around = (left, right, top, bottom)
    return lambda x, w, b=None: functional.conv2d(functional.pad(x, around), w, b, strides, 0, dilations, groups)


def conv_transpose(node, shape):
    top, left, bottom, right = whole(node, "pads")
    strides, dilations, (groups,) = whole(node, "strides"), whole(node, "dilations"), whole(node, "groups")
    # PyTorch crops both ends alike: what is cropped less at the end is output padding.
    more = whole(node, "outputPadding")
    end = (more[0] + top - bottom, more[1] + left - right)
    return lambda x, w, b=None: functional.conv_transpose2d(x, w, b, strides, (top, left), end, groups, dilations)


def group_norm(node, shape):
    (groups,), (epsilon,) = whole(node, "groups"), node.attributes["epsilon"]
    return lambda x, scale, bias: functional.group_norm(x, groups, scale, bias, epsilon)


def resize_nearest(node, shape):
    scales = whole(node, "scales")
    return lambda x: functional.interpolate(x, scale_factor=scales, mode="nearest")


# From a node and the shape of its result in a row to a function of its inputs. Row shapes are aligned at their ends, so
# that a constant, which has no dimension of rows, broadcasts.
OPERATORS = {
    "conv": conv,
    "convTranspose": conv_transpose,
    "linear": lambda node, shape: functional.linear,
    "add": lambda node, shape: torch.add,
    "sub": lambda node, shape: torch.sub,
    "mul": lambda node, shape: torch.mul,
    "div": lambda node, shape: torch.div,
    "groupNorm": group_norm,
    "resizeNearest": resize_nearest,
    "activate": lambda node, shape: same,
    "reshape": lambda node, shape: lambda x: x.reshape(x.shape[0], *shape),
}
