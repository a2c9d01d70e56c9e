"""The extraction of attractors in JAX: lax.while_loop over the whole batch, on the weights of a graph file.

Points that are done stay where they are; the loop ends when all of them are, or after `most` steps. It is compiled once,
before it is timed. Operators: those of small convolutional autoencoders; ValueError names any other.
"""

import os
import time

# Before the import: memory that JAX does not need is PyTorch's.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np
from jax import lax, nn
from jax import numpy as jnp

FUNCTIONS = {"none": lambda x: x, "relu": nn.relu, "tanh": jnp.tanh, "sigmoid": nn.sigmoid}
LAYOUT = ("NCHW", "OIHW", "NCHW")


def numbers(node, key):
    return [int(v) for v in node.attributes[key]]


def conv(node, x, weight, *bias):
    top, left, bottom, right = numbers(node, "pads")
    y = lax.conv_general_dilated(
        x,
        weight,
        window_strides=numbers(node, "strides"),
        padding=((top, bottom), (left, right)),
        rhs_dilation=numbers(node, "dilations"),
        dimension_numbers=LAYOUT,
        feature_group_count=numbers(node, "groups")[0],
    )
    return y + bias[0][:, None, None] if bias else y


def conv_transpose(node, x, weight, *bias):
    if numbers(node, "groups")[0] != 1:
        raise ValueError(f"{node.name}: no peer for a transposed convolution in groups")
    # A convolution of x with zeros between its elements, the kernel turned around.
    turned = jnp.flip(jnp.swapaxes(weight, 0, 1), (2, 3))
    pads, more, dilations = numbers(node, "pads"), numbers(node, "outputPadding"), numbers(node, "dilations")
    padding = [
        ((size - 1) * dilation - before, (size - 1) * dilation - after + end)
        for size, dilation, before, after, end in zip(weight.shape[2:], dilations, pads[:2], pads[2:], more)
    ]
    y = lax.conv_general_dilated(
        x,
        turned,
        window_strides=(1, 1),
        padding=padding,
        lhs_dilation=numbers(node, "strides"),
        rhs_dilation=dilations,
        dimension_numbers=LAYOUT,
    )
    return y + bias[0][:, None, None] if bias else y


def linear(node, x, weight, *bias):
    y = x @ weight.T
    return y + bias[0] if bias else y


OPERATORS = {"conv": conv, "convTranspose": conv_transpose, "linear": linear, "activate": lambda node, x: x}


def map_of(file):
    """f: [rows, k] -> [rows, k]"""
    constants = {i: jnp.asarray(value.constant) for i, value in enumerate(file.values) if value.constant is not None}

    def f(x):
        rows = x.shape[0]
        computed = {**constants, file.input: x.reshape(rows, *file.values[file.input].shape)}
        for node in file.nodes:
            inputs = [computed[i] for i in node.inputs]
            if node.op == "reshape":
                y = inputs[0].reshape(rows, *file.values[node.output].shape)
            elif node.op in OPERATORS and node.activation in FUNCTIONS and node.residual < 0:
                y = FUNCTIONS[node.activation](OPERATORS[node.op](node, *inputs))
            else:
                raise ValueError(f"{node.name}: no peer for {node.op} with {node.activation}")
            computed[node.output] = y
        return computed[file.output].reshape(rows, -1)

    return f


def extract(file, initial, tolerance, most):
    """Endpoints, how many converged, and a record."""
    f = map_of(file)

    @jax.jit
    def loop(z):
        def unfinished(state):
            _, done, step = state
            return (step < most) & ~jnp.all(done)

        def advance(state):
            z, done, step = state
            following = f(z)
            residual = jnp.sum((following - z) ** 2, axis=1)
            z = jnp.where(done[:, None], z, following)
            return z, done | (residual < tolerance) | ~jnp.isfinite(residual), step + 1

        start = (z, jnp.zeros(z.shape[0], dtype=bool), 0)
        return lax.while_loop(unfinished, advance, start)

    z = jax.device_put(np.asarray(initial))
    compiled = loop.lower(z).compile()
    jax.block_until_ready(compiled(z))
    start = time.perf_counter()
    endpoints, done, steps = jax.block_until_ready(compiled(z))
    seconds = time.perf_counter() - start
    return np.asarray(endpoints), int(done.sum()), {"seconds": seconds, "steps": int(steps), "jax": jax.__version__}
