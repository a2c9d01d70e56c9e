"""A graph file's map as a PyTorch module: the same weights, PyTorch's own operators, one call each."""

import torch
from torch.nn import functional


def pair(numbers):
    return tuple(int(v) for v in numbers)


def padded(x, pads):
    """Padding that is not the same on both ends, [top, left, bottom, right], put on beforehand."""
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom))


class TorchGraph(torch.nn.Module):
    """[rows, k] -> [rows, k]. ValueError names an operator that is not there."""

    def __init__(self, file):
        super().__init__()
        self.nodes, self.values = file.nodes, file.values
        self.input, self.output = file.input, file.output
        for i, value in enumerate(file.values):
            if value.constant is not None:
                self.register_buffer(f"constant{i}", torch.from_numpy(value.constant.copy()))
        missing = sorted({node.op for node in file.nodes} - set(OPERATORS))
        if missing:
            raise ValueError(f"{file.name}: no peer for {', '.join(missing)}")

    def value(self, computed, i):
        if self.values[i].constant is None:
            return computed[i]
        return getattr(self, f"constant{i}")

    def forward(self, x):
        rows = x.shape[0]
        computed = {self.input: x.reshape(rows, *self.values[self.input].shape)}
        for node in self.nodes:
            inputs = [self.value(computed, i) for i in node.inputs]
            y = OPERATORS[node.op](node, inputs, rows, self.values[node.output].shape)
            if node.residual >= 0:
                y = y + self.value(computed, node.residual)
            computed[node.output] = activated(node, y)
        return computed[self.output].reshape(rows, -1)


def activated(node, y):
    if node.activation == "none":
        return y
    if node.activation not in FUNCTIONS:
        raise ValueError(f"{node.name}: no peer for {node.activation}")
    return FUNCTIONS[node.activation](y)


FUNCTIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "gelu": functional.gelu,
}


def conv(node, inputs, rows, shape):
    attributes, (x, *weights) = node.attributes, inputs
    top, left, bottom, right = pair(attributes["pads"])
    padding = (top, left)
    if (top, left) != (bottom, right):
        x, padding = padded(x, (top, left, bottom, right)), (0, 0)
    return functional.conv2d(
        x,
        *weights,
        stride=pair(attributes["strides"]),
        padding=padding,
        dilation=pair(attributes["dilations"]),
        groups=int(attributes["groups"][0]),
    )


def conv_transpose(node, inputs, rows, shape):
    attributes, (x, weight, *bias) = node.attributes, inputs
    top, left, bottom, right = pair(attributes["pads"])
    more = pair(attributes["outputPadding"])
    # PyTorch crops both ends alike: what is cropped less at the end is output padding.
    return functional.conv_transpose2d(
        x,
        weight,
        *bias,
        stride=pair(attributes["strides"]),
        padding=(top, left),
        output_padding=(more[0] + top - bottom, more[1] + left - right),
        dilation=pair(attributes["dilations"]),
        groups=int(attributes["groups"][0]),
    )


def broadcast(operator):
    def apply(node, inputs, rows, shape):
        # Row shapes are aligned at their ends; a constant has no dimension of rows.
        return operator(inputs[0], inputs[1])

    return apply


def resize_nearest(node, inputs, rows, shape):
    return functional.interpolate(inputs[0], scale_factor=pair(node.attributes["scales"]), mode="nearest")


OPERATORS = {
    "conv": conv,
    "convTranspose": conv_transpose,
    "linear": lambda node, inputs, rows, shape: functional.linear(*inputs),
    "add": broadcast(torch.add),
    "sub": broadcast(torch.sub),
    "mul": broadcast(torch.mul),
    "div": broadcast(torch.div),
    "groupNorm": lambda node, inputs, rows, shape: functional.group_norm(
        inputs[0], int(node.attributes["groups"][0]), inputs[1], inputs[2], node.attributes["epsilon"][0]
    ),
    "resizeNearest": resize_nearest,
    "activate": lambda node, inputs, rows, shape: inputs[0],
    "reshape": lambda node, inputs, rows, shape: inputs[0].reshape(rows, *shape),
}
