/**
 * The float64 interpreter: every op in obvious code, one row at a time. It is slow on purpose and right on
 * purpose; native code is compared with it, and constants are folded with it.
 */
import { InputError } from "../errors.js";
import { activationDerivative, activationFunction } from "./activation.js";
import {
  type ActivateGradNode,
  type BinaryNode,
  type ConcatNode,
  elements,
  type Graph,
  type GreaterNode,
  type GroupNormGradNode,
  type GroupNormNode,
  type Node,
  type PadNode,
  type ReduceMeanNode,
  type TransposeNode,
} from "./graph.js";
import { conv, convTranspose, maxPoolAdjoint, maxPoolGrad, pool, resizeNearest } from "./referenceImage.js";
import {
  attention,
  gather,
  layerNorm,
  layerNormGrad,
  momentsOf,
  normGrad,
  scatterAdd,
  softmax,
  softmaxGrad,
  topKMask,
} from "./referenceSequence.js";
import { broadcastOffsets, forEachIndex, type Step, stridesOf, type Tensor } from "./referenceTensor.js";

/**
 * Runs the graph on `count` rows in double precision. `rows` is [count, elements of the input], the result
 * [count, elements of the output], both row-major. Constants are float32 numbers widened. Throws InputError where
 * `rows` does not hold `count` rows.
 */
export function interpret(graph: Graph, rows: Float64Array | Float32Array, count: number): Float64Array {
  return interpreter(graph)(rows, count);
}

/** `interpret` with the graph prepared once, for callers that apply it many times. */
export function interpreter(
  graph: Graph,
): (rows: Float64Array | Float32Array, count: number) => Float64Array {
  const tensors: Tensor[] = graph.values.map(({ shape, constant }) => ({
    shape,
    data: constant === undefined ? new Float64Array(elements(shape)) : Float64Array.from(constant),
  }));
  const steps = graph.nodes.map((node) => stepOf(node, tensors));
  const input = tensors[graph.input]!.data;
  const output = tensors[graph.output]!.data;
  return (rows, count) => {
    if (rows.length !== count * input.length) {
      throw new InputError(`${graph.name}: ${rows.length} elements are not ${count} rows of ${input.length}`);
    }
    const result = new Float64Array(count * output.length);
    for (let row = 0; row < count; row++) {
      input.set(rows.subarray(row * input.length, (row + 1) * input.length));
      for (const step of steps) step();
      result.set(output, row * output.length);
    }
    return result;
  };
}

/** The op itself, then the residual, then the activation. */
function stepOf(node: Node, tensors: readonly Tensor[]): Step {
  const output = tensors[node.output]!;
  const operation = operationOf(
    node,
    node.inputs.map((id) => tensors[id]!),
    output,
  );
  const residual = node.residual === undefined ? undefined : tensors[node.residual]!.data;
  const activation = node.activation === undefined ? undefined : activationFunction(node.activation);
  const y = output.data;
  return () => {
    operation();
    if (residual !== undefined) for (let i = 0; i < y.length; i++) y[i] = y[i]! + residual[i]!;
    if (activation !== undefined) for (let i = 0; i < y.length; i++) y[i] = activation(y[i]!);
  };
}

function operationOf(node: Node, inputs: readonly Tensor[], output: Tensor): Step {
  const [a, b, c] = inputs as [Tensor, Tensor, Tensor];
  switch (node.op) {
    case "conv":
      return () => conv(node, a, b, inputs[2], output);
    case "convTranspose":
      return () => convTranspose(node, a, b, inputs[2], output);
    case "linear":
      return () => linear(a, b, inputs[2], output);
    case "matmul":
      return matmul(a, b, output);
    case "add":
    case "sub":
    case "mul":
    case "div":
    case "greater":
      return binary(node, a, b, output);
    case "activate":
    case "reshape":
      return () => output.data.set(a.data);
    case "groupNorm":
      return () => groupNorm(node, a, b, c, output);
    case "layerNorm":
      return () => layerNorm(node, a, b, c, output);
    case "softmax":
      return () => softmax(a, output);
    case "attention":
      return attention(node, inputs, output);
    case "gather":
      return () => gather(node, a, output);
    case "scatterAdd":
      return () => scatterAdd(node, a, output);
    case "topKMask":
      return () => topKMask(node, a, output);
    case "resizeNearest":
      return () => resizeNearest(node, a, output);
    case "maxPool":
    case "averagePool":
      return () => pool(node, a, output);
    case "reduceMean":
      return reduceMean(node, a, output);
    case "pad":
      return pad(node, a, output);
    case "transpose":
      return transpose(node, a, output);
    case "concat":
      return () => concat(node, inputs, output);
    case "activateGrad":
      return activateGrad(node, a, b, output);
    case "groupNormGrad":
      return () => groupNormGrad(node, a, b, output);
    case "layerNormGrad":
      return () => layerNormGrad(node, a, b, output);
    case "softmaxGrad":
      return () => softmaxGrad(a, b, output);
    case "maxPoolGrad":
      return () => maxPoolGrad(node, a, b, output);
    case "maxPoolAdjoint":
      return () => maxPoolAdjoint(node, a, b, output);
  }
}

/** y = x·Wᵀ + b over the last dimension. */
function linear(x: Tensor, weight: Tensor, bias: Tensor | undefined, y: Tensor) {
  const [outs, ins] = weight.shape as [number, number];
  const [xs, ys, ws] = [x.data, y.data, weight.data];
  for (let vector = 0; vector < xs.length / ins; vector++) {
    for (let o = 0; o < outs; o++) {
      let sum = bias === undefined ? 0 : bias.data[o]!;
      for (let i = 0; i < ins; i++) sum += ws[o * ins + i]! * xs[vector * ins + i]!;
      ys[vector * outs + o] = sum;
    }
  }
}

function matmul(a: Tensor, b: Tensor, y: Tensor): Step {
  const leading = y.shape.slice(0, -2);
  const [m, p] = y.shape.slice(-2) as [number, number];
  const n = a.shape.at(-1)!;
  const offsetsA = broadcastOffsets(a.shape.slice(0, -2), leading);
  const offsetsB = broadcastOffsets(b.shape.slice(0, -2), leading);
  return () => {
    for (let matrix = 0; matrix < offsetsA.length; matrix++) {
      const startA = offsetsA[matrix]! * m * n;
      const startB = offsetsB[matrix]! * n * p;
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < p; j++) {
          let sum = 0;
          for (let q = 0; q < n; q++) sum += a.data[startA + i * n + q]! * b.data[startB + q * p + j]!;
          y.data[(matrix * m + i) * p + j] = sum;
        }
      }
    }
  };
}

function binary(node: BinaryNode | GreaterNode, a: Tensor, b: Tensor, y: Tensor): Step {
  const operation = {
    add: (p: number, q: number) => p + q,
    sub: (p: number, q: number) => p - q,
    mul: (p: number, q: number) => p * q,
    div: (p: number, q: number) => p / q,
    greater: (p: number, q: number) => (p > q ? 1 : 0),
  }[node.op];
  const offsetsA = broadcastOffsets(a.shape, y.shape);
  const offsetsB = broadcastOffsets(b.shape, y.shape);
  return () => {
    for (let i = 0; i < y.data.length; i++) {
      y.data[i] = operation(a.data[offsetsA[i]!]!, b.data[offsetsB[i]!]!);
    }
  };
}

/** (x − mean) / √(variance + ε) · scale + bias, mean and biased variance over a group of channels. */
function groupNorm(node: GroupNormNode, x: Tensor, scale: Tensor, bias: Tensor, y: Tensor) {
  const channels = x.shape[0]!;
  const size = x.data.length / node.groups;
  const perChannel = x.data.length / channels;
  for (let group = 0; group < node.groups; group++) {
    const start = group * size;
    const { mean, deviation } = momentsOf(x.data.subarray(start, start + size), node.epsilon);
    for (let i = start; i < start + size; i++) {
      const channel = Math.floor(i / perChannel);
      y.data[i] = ((x.data[i]! - mean) / deviation) * scale.data[channel]! + bias.data[channel]!;
    }
  }
}

function activateGrad({ derivativeOf }: ActivateGradNode, x: Tensor, t: Tensor, y: Tensor): Step {
  const derivative = activationDerivative(derivativeOf);
  return () => {
    for (let i = 0; i < y.data.length; i++) y.data[i] = derivative(x.data[i]!) * t.data[i]!;
  };
}

function groupNormGrad(node: GroupNormGradNode, x: Tensor, t: Tensor, y: Tensor) {
  const size = x.data.length / node.groups;
  for (let start = 0; start < x.data.length; start += size) normGrad(node.epsilon, x, t, y, start, size);
}

function reduceMean(node: ReduceMeanNode, x: Tensor, y: Tensor): Step {
  const kept = x.shape.map((n, axis) => (node.axes.includes(axis) ? 1 : n));
  const target = broadcastOffsets(kept, x.shape);
  const size = x.data.length / y.data.length;
  return () => {
    y.data.fill(0);
    for (let i = 0; i < x.data.length; i++) y.data[target[i]!] = y.data[target[i]!]! + x.data[i]! / size;
  };
}

function pad(node: PadNode, x: Tensor, y: Tensor): Step {
  const inStrides = stridesOf(x.shape);
  // Offset in x of every element of y; −1 where the padding value stands.
  const source = new Int32Array(y.data.length);
  forEachIndex(y.shape, (index, i) => {
    let offset = 0;
    for (let axis = 0; axis < index.length; axis++) {
      const position = padSource(index[axis]! - node.before[axis]!, x.shape[axis]!, node.mode);
      if (position < 0) {
        offset = -1;
        break;
      }
      offset += position * inStrides[axis]!;
    }
    source[i] = offset;
  });
  return () => {
    for (let i = 0; i < y.data.length; i++) y.data[i] = source[i]! < 0 ? node.value : x.data[source[i]!]!;
  };
}

/** Where in [0, size) a position beyond the ends comes from; −1 for the constant. */
function padSource(position: number, size: number, mode: PadNode["mode"]): number {
  if (position >= 0 && position < size) return position;
  if (mode === "constant") return -1;
  if (mode === "edge") return position < 0 ? 0 : size - 1;
  return position < 0 ? -position : 2 * (size - 1) - position;
}

function transpose(node: TransposeNode, x: Tensor, y: Tensor): Step {
  const inStrides = stridesOf(x.shape);
  const source = new Int32Array(y.data.length);
  forEachIndex(y.shape, (index, i) => {
    let offset = 0;
    for (let axis = 0; axis < index.length; axis++)
      offset += index[axis]! * inStrides[node.permutation[axis]!]!;
    source[i] = offset;
  });
  return () => {
    for (let i = 0; i < y.data.length; i++) y.data[i] = x.data[source[i]!]!;
  };
}

function concat(node: ConcatNode, inputs: readonly Tensor[], y: Tensor) {
  const outer = elements(y.shape.slice(0, node.axis));
  let position = 0;
  for (let block = 0; block < outer; block++) {
    for (const { data } of inputs) {
      const length = data.length / outer;
      y.data.set(data.subarray(block * length, (block + 1) * length), position);
      position += length;
    }
  }
}
