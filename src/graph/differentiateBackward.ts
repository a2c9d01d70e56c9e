/** Backward differentiation: what each node does to a cotangent, the transpose of `pushForward`. */
import {
  type Linearised,
  perChannel,
  refuseSecondDerivative,
  refuseUnprepared,
} from "./differentiateForward.js";
import { type DerivativeParts, derivativePlace, transposedMatrix } from "./differentiateParts.js";
import {
  type ConvNode,
  type ConvTransposeNode,
  elements,
  type Node,
  type PadNode,
  type PoolNode,
  type Shape,
  type ValueId,
} from "./graph.js";

/**
 * The cotangents of the node's inputs for the cotangent `u` of its result; undefined where `wanted` says that nobody
 * asks for one.
 */
export function pullBack(
  parts: DerivativeParts,
  node: Node,
  { inputs, output }: Linearised,
  u: ValueId,
  wanted: readonly boolean[],
): (ValueId | undefined)[] {
  const name = `${node.name}.cotangent`;
  const { binary, scaled, sumTo, shapeOf, reshaped } = parts;
  const [a, b] = inputs;
  const from = shapeOf(a);
  const first = (x: ValueId): (ValueId | undefined)[] => [x];
  /** Cotangents of two operands, summed over what was broadcast. */
  const both = (left: () => ValueId, right: () => ValueId) => [
    wanted[0] ? sumTo(name, left(), shapeOf(a)) : undefined,
    wanted[1] ? sumTo(name, right(), shapeOf(b)) : undefined,
  ];
  switch (node.op) {
    case "conv":
      return first(convAdjoint(parts, name, node, b, u, from));
    case "convTranspose":
      return first(convTransposeAdjoint(parts, name, node, b, u, from));
    case "linear": {
      const [outs, ins] = shapeOf(b);
      const weight = transposedMatrix(constant(parts, b), outs, ins);
      return first(
        parts.node({ op: "linear", name, inputs: [u, parts.constant(name, [ins, outs], weight)] }),
      );
    }
    case "matmul":
      return both(
        () => parts.node({ op: "matmul", name, inputs: [u, parts.matrixTransposed(name, b)] }),
        () => parts.node({ op: "matmul", name, inputs: [parts.matrixTransposed(name, a), u] }),
      );
    case "add":
      return both(
        () => u,
        () => u,
      );
    case "sub":
      return both(
        () => u,
        () => scaled(name, u, -1),
      );
    case "mul":
      return both(
        () => binary("mul", name, u, b),
        () => binary("mul", name, u, a),
      );
    case "div":
      // y = a/b: ∂y/∂a = 1/b, ∂y/∂b = −y/b
      return both(
        () => binary("div", name, u, b),
        () => scaled(name, binary("div", name, binary("mul", name, u, output), b), -1),
      );
    case "activate": {
      const at = derivativePlace(node.activation, a, output);
      return first(parts.node({ op: "activateGrad", name, inputs: [at, u], derivativeOf: node.activation }));
    }
    case "groupNorm": {
      const { groups, epsilon } = node;
      const weighted = binary("mul", name, u, perChannel(parts, name, b, from.length));
      return first(parts.node({ op: "groupNormGrad", name, inputs: [a, weighted], groups, epsilon }));
    }
    case "layerNorm": {
      const { dimensions, epsilon } = node;
      const weighted = binary("mul", name, u, b);
      return first(parts.node({ op: "layerNormGrad", name, inputs: [a, weighted], dimensions, epsilon }));
    }
    case "softmax":
      return first(parts.node({ op: "softmaxGrad", name, inputs: [output, u] }));
    case "gather": {
      const { axis, indices } = node;
      return first(parts.node({ op: "scatterAdd", name, inputs: [u], axis, indices, size: from[axis] }));
    }
    case "scatterAdd": {
      const { axis, indices } = node;
      return first(parts.node({ op: "gather", name, inputs: [u], axis, indices }));
    }
    case "resizeNearest": {
      // Every element was repeated over a block: the mean over it, times its size, is the sum.
      const blocks = parts.node({
        op: "averagePool",
        name,
        inputs: [u],
        kernel: node.scales,
        strides: node.scales,
        pads: [0, 0, 0, 0],
        dilations: [1, 1],
        countIncludePad: false,
      });
      return first(scaled(name, blocks, node.scales[0] * node.scales[1]));
    }
    case "maxPool": {
      const { kernel, strides, pads, dilations } = node;
      return first(
        parts.node({ op: "maxPoolAdjoint", name, inputs: [a, u], kernel, strides, pads, dilations }),
      );
    }
    case "averagePool":
      return first(averagePoolAdjoint(parts, name, node, u, from));
    case "reduceMean": {
      const kept = from.map((n, axis) => (node.axes.includes(axis) ? 1 : n));
      const share = parts.filled(name, from, elements(kept) / elements(from));
      return first(binary("mul", name, reshaped(name, u, kept), share));
    }
    case "pad":
      return first(padAdjoint(parts, name, node, u, from));
    case "reshape":
      return first(reshaped(name, u, from));
    case "transpose": {
      const inverse = node.permutation.map((_, axis) => node.permutation.indexOf(axis));
      return first(parts.permuted(name, u, inverse));
    }
    case "concat": {
      let start = 0;
      return inputs.map((id, i) => {
        const length = shapeOf(id)[node.axis];
        const begin = start;
        start += length;
        return wanted[i] ? parts.sliced(name, u, node.axis, begin, length) : undefined;
      });
    }
    case "activateGrad":
    case "groupNormGrad":
    case "layerNormGrad":
    case "softmaxGrad":
    case "maxPoolGrad":
    case "maxPoolAdjoint":
      return refuseSecondDerivative(node);
    case "attention":
    case "greater":
    case "topKMask":
      return refuseUnprepared(node);
  }
}

function constant(parts: DerivativeParts, id: ValueId): Float32Array {
  const data = parts.constantOf(id);
  if (data === undefined) throw new Error("a weight is not a constant");
  return data;
}

/** What a window of `kernel` taps spans. */
function reach(kernel: number, dilation: number): number {
  return (kernel - 1) * dilation + 1;
}

/**
 * Padding and output padding of the transposed convolution that gives `size` elements back for `positions` windows:
 * what the windows did not reach at the end is output padding, what they reached beyond it is cut off.
 */
function endOf(options: {
  size: number;
  positions: number;
  kernel: number;
  stride: number;
  dilation: number;
  before: number;
}): { pad: number; extra: number } {
  const { size, positions, kernel, stride, dilation, before } = options;
  const beyond = (positions - 1) * stride + reach(kernel, dilation) - before - size;
  return { pad: Math.max(0, beyond), extra: Math.max(0, -beyond) };
}

/** x [C,H,W] ← u [O,H′,W′]: the transposed convolution with the same weight, which is [O, C/groups, …] for both. */
function convAdjoint(
  parts: DerivativeParts,
  name: string,
  node: Pick<ConvNode, "strides" | "pads" | "dilations" | "groups">,
  weight: ValueId,
  u: ValueId,
  [, height, width]: Shape,
): ValueId {
  const { strides, pads, dilations, groups } = node;
  const [, , ...kernel] = parts.shapeOf(weight);
  const [, ...positions] = parts.shapeOf(u);
  const [bottom, right] = [height, width].map((size, d) =>
    endOf({
      size,
      positions: positions[d],
      kernel: kernel[d],
      stride: strides[d],
      dilation: dilations[d],
      before: pads[d],
    }),
  );
  return parts.node({
    op: "convTranspose",
    name,
    inputs: [u, weight],
    strides,
    pads: [pads[0], pads[1], bottom.pad, right.pad],
    dilations,
    outputPadding: [bottom.extra, right.extra],
    groups,
  });
}

/** x [C,H,W] ← u [O,H′,W′]: the convolution with the same weight. Output padding held nothing of x and is cut off. */
function convTransposeAdjoint(
  parts: DerivativeParts,
  name: string,
  { strides, pads, dilations, groups }: ConvTransposeNode,
  weight: ValueId,
  u: ValueId,
  [, height, width]: Shape,
): ValueId {
  const [, , ...kernel] = parts.shapeOf(weight);
  const [, ...size] = parts.shapeOf(u);
  // Beyond the last window that counts: negative where the windows reach past the end of u.
  const [bottom, right] = [height, width].map(
    (positions, d) => size[d] + pads[d] - (positions - 1) * strides[d] - reach(kernel[d], dilations[d]),
  );
  const cut =
    bottom > 0 || right > 0
      ? parts.node({
          op: "pad",
          name,
          inputs: [u],
          before: [0, 0, 0],
          after: [0, Math.min(0, -bottom), Math.min(0, -right)],
          mode: "constant",
          value: 0,
        })
      : u;
  return parts.node({
    op: "conv",
    name,
    inputs: [cut, weight],
    strides,
    pads: [pads[0], pads[1], Math.max(0, -bottom), Math.max(0, -right)],
    dilations,
    groups,
  });
}

/** Each window's share goes back to every element it averaged: a transposed convolution of ones, a channel at a time. */
function averagePoolAdjoint(
  parts: DerivativeParts,
  name: string,
  node: PoolNode,
  u: ValueId,
  from: Shape,
): ValueId {
  const [channels, height, width] = from;
  const [, outHeight, outWidth] = parts.shapeOf(u);
  const taps = (d: 0 | 1, size: number, position: number) => {
    const start = position * node.strides[d] - node.pads[d];
    let inside = 0;
    let padded = 0;
    for (let k = 0; k < node.kernel[d]; k++) {
      const at = start + k * node.dilations[d];
      if (at < size + node.pads[d + 2]) padded++;
      if (at >= 0 && at < size) inside++;
    }
    return node.countIncludePad ? padded : inside;
  };
  const shares = Float32Array.from(
    { length: outHeight * outWidth },
    (_, i) => 1 / (taps(0, height, Math.floor(i / outWidth)) * taps(1, width, i % outWidth)),
  );
  const weighted = parts.binary("mul", name, u, parts.constant(name, [1, outHeight, outWidth], shares));
  const ones = parts.filled(name, [channels, 1, node.kernel[0], node.kernel[1]], 1);
  return convAdjoint(parts, name, { ...node, groups: channels }, ones, weighted, from);
}

/** Constants fall away; reflected and repeated elements are added to where they came from, one axis at a time. */
function padAdjoint(parts: DerivativeParts, name: string, node: PadNode, u: ValueId, from: Shape): ValueId {
  const { before, after, mode } = node;
  if (mode === "constant") {
    const back = (amounts: readonly number[]) => amounts.map((amount) => 0 - amount);
    return parts.node({
      op: "pad",
      name,
      inputs: [u],
      before: back(before),
      after: back(after),
      mode,
      value: 0,
    });
  }
  let x = u;
  from.forEach((size, axis) => {
    if (before[axis] === 0 && after[axis] === 0) return;
    const padded = size + before[axis] + after[axis];
    const weight = new Float32Array(size * padded);
    for (let i = 0; i < padded; i++) weight[sourceOf(i - before[axis], size, mode) * padded + i] += 1;
    // A product with this matrix along the axis, which has to be the last one for it.
    const axes = from.map((_, i) => i);
    const last = axes.length - 1;
    const swap = axes.map((i) => (i === axis ? last : i === last ? axis : i));
    const along = parts.permuted(name, x, swap);
    const summed = parts.node({
      op: "linear",
      name,
      inputs: [along, parts.constant(name, [size, padded], weight)],
    });
    x = parts.permuted(name, summed, swap);
  });
  return x;
}

/** Where in [0, size) an element of the padded axis comes from. */
function sourceOf(position: number, size: number, mode: "reflect" | "edge"): number {
  if (position >= 0 && position < size) return position;
  if (mode === "edge") return position < 0 ? 0 : size - 1;
  return position < 0 ? -position : 2 * (size - 1) - position;
}
