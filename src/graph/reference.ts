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
  type ConvNode,
  type ConvTransposeNode,
  elements,
  type Graph,
  type GreaterNode,
  type GroupNormGradNode,
  type GroupNormNode,
  type MaxPoolGradNode,
  type Node,
  type PadNode,
  type PoolNode,
  type ReduceMeanNode,
  type ResizeNearestNode,
  type Shape,
  type TransposeNode,
} from "./graph.js";
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

/** y[o, i, j] = bias[o] + Σ x[c, i·stride + ky·dilation − pad, …] · weight[o, c, ky, kx], c within o's group. */
function conv(node: ConvNode, x: Tensor, weight: Tensor, bias: Tensor | undefined, y: Tensor) {
  const [, height, width] = x.shape as [number, number, number];
  const [outChannels, perGroup, kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  const [, outHeight, outWidth] = y.shape as [number, number, number];
  const [strideY, strideX] = node.strides;
  const [xs, ys] = [x.data, y.data];
  for (let o = 0; o < outChannels; o++) {
    const group = Math.floor(o / (outChannels / node.groups));
    const outStart = o * outHeight * outWidth;
    y.data.fill(bias === undefined ? 0 : bias.data[o]!, outStart, outStart + outHeight * outWidth);
    for (let c = 0; c < perGroup; c++) {
      const inStart = (group * perGroup + c) * height * width;
      for (let ky = 0; ky < kernelHeight; ky++) {
        for (let kx = 0; kx < kernelWidth; kx++) {
          const w = weight.data[((o * perGroup + c) * kernelHeight + ky) * kernelWidth + kx]!;
          const offsetY = ky * node.dilations[0] - node.pads[0];
          const offsetX = kx * node.dilations[1] - node.pads[1];
          const [top, bottom] = inside(offsetY, strideY, height, outHeight);
          const [left, right] = inside(offsetX, strideX, width, outWidth);
          for (let i = top; i < bottom; i++) {
            const outRow = outStart + i * outWidth;
            const inRow = inStart + (i * strideY + offsetY) * width + offsetX;
            for (let j = left; j < right; j++) ys[outRow + j]! += w * xs[inRow + j * strideX]!;
          }
        }
      }
    }
  }
}

/** The positions in [0, count) at which position · stride + offset lies in [0, size): from the first to past the last. */
function inside(offset: number, stride: number, size: number, count: number): readonly [number, number] {
  const first = Math.max(0, Math.ceil(-offset / stride));
  const last = Math.min(count - 1, Math.floor((size - 1 - offset) / stride));
  return [first, last + 1];
}

/** The transpose of `conv`: every input element is spread over the outputs that its kernel reaches. */
function convTranspose(
  node: ConvTransposeNode,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  y: Tensor,
) {
  const [channels, height, width] = x.shape as [number, number, number];
  const [, perGroup, kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  const [outChannels, outHeight, outWidth] = y.shape as [number, number, number];
  const [strideY, strideX] = node.strides;
  const [xs, ys] = [x.data, y.data];
  for (let o = 0; o < outChannels; o++) {
    const start = o * outHeight * outWidth;
    y.data.fill(bias === undefined ? 0 : bias.data[o]!, start, start + outHeight * outWidth);
  }
  for (let c = 0; c < channels; c++) {
    const group = Math.floor(c / (channels / node.groups));
    const inStart = c * height * width;
    for (let o = 0; o < perGroup; o++) {
      const outStart = (group * perGroup + o) * outHeight * outWidth;
      for (let ky = 0; ky < kernelHeight; ky++) {
        for (let kx = 0; kx < kernelWidth; kx++) {
          const w = weight.data[((c * perGroup + o) * kernelHeight + ky) * kernelWidth + kx]!;
          const offsetY = ky * node.dilations[0] - node.pads[0];
          const offsetX = kx * node.dilations[1] - node.pads[1];
          const [top, bottom] = inside(offsetY, strideY, outHeight, height);
          const [left, right] = inside(offsetX, strideX, outWidth, width);
          for (let i = top; i < bottom; i++) {
            const inRow = inStart + i * width;
            const outRow = outStart + (i * strideY + offsetY) * outWidth + offsetX;
            for (let j = left; j < right; j++) ys[outRow + j * strideX]! += w * xs[inRow + j]!;
          }
        }
      }
    }
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

function resizeNearest(node: ResizeNearestNode, x: Tensor, y: Tensor) {
  const [, height, width] = x.shape as [number, number, number];
  const [channels, outHeight, outWidth] = y.shape as [number, number, number];
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        const row = Math.floor(i / node.scales[0]);
        const column = Math.floor(j / node.scales[1]);
        y.data[(c * outHeight + i) * outWidth + j] = x.data[(c * height + row) * width + column]!;
      }
    }
  }
}

/** Maximum or mean of the window's elements that lie inside the input. A NaN in the window gives NaN. */
function pool(node: PoolNode, x: Tensor, y: Tensor) {
  const [, height, width] = x.shape as [number, number, number];
  const [channels, outHeight, outWidth] = y.shape as [number, number, number];
  const [top, left, bottom, right] = node.pads;
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        let best = Number.NEGATIVE_INFINITY;
        let sum = 0;
        let inside = 0;
        let insidePadded = 0;
        for (let ky = 0; ky < node.kernel[0]; ky++) {
          for (let kx = 0; kx < node.kernel[1]; kx++) {
            const row = i * node.strides[0] + ky * node.dilations[0] - top;
            const column = j * node.strides[1] + kx * node.dilations[1] - left;
            if (row < height + bottom && column < width + right) insidePadded++;
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            const value = x.data[(c * height + row) * width + column]!;
            best = Math.max(best, value);
            sum += value;
            inside++;
          }
        }
        const divisor = node.countIncludePad ? insidePadded : inside;
        y.data[(c * outHeight + i) * outWidth + j] = node.op === "maxPool" ? best : sum / divisor;
      }
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

function maxPoolGrad(node: MaxPoolGradNode, x: Tensor, t: Tensor, y: Tensor) {
  forEachMaximum(node, x, y.shape, (window, maximum) => {
    y.data[window] = t.data[maximum]!;
  });
}

function maxPoolAdjoint(node: MaxPoolGradNode, x: Tensor, u: Tensor, y: Tensor) {
  y.data.fill(0);
  forEachMaximum(node, x, u.shape, (window, maximum) => {
    y.data[maximum] = y.data[maximum]! + u.data[window]!;
  });
}

/** Calls `visit` for every window with the offset of the first of its largest elements. */
function forEachMaximum(
  node: MaxPoolGradNode,
  x: Tensor,
  pooled: Shape,
  visit: (window: number, maximum: number) => void,
) {
  const [, height, width] = x.shape as [number, number, number];
  const [channels, outHeight, outWidth] = pooled as [number, number, number];
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        let maximum = -1;
        for (let ky = 0; ky < node.kernel[0]; ky++) {
          for (let kx = 0; kx < node.kernel[1]; kx++) {
            const row = i * node.strides[0] + ky * node.dilations[0] - node.pads[0];
            const column = j * node.strides[1] + kx * node.dilations[1] - node.pads[1];
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            const offset = (c * height + row) * width + column;
            if (maximum < 0 || isLarger(x.data[offset]!, x.data[maximum]!)) maximum = offset;
          }
        }
        visit((c * outHeight + i) * outWidth + j, maximum);
      }
    }
  }
}

/** NaN is larger than every number. */
function isLarger(value: number, other: number): boolean {
  return value > other || (Number.isNaN(value) && !Number.isNaN(other));
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
