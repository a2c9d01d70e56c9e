/** The interpreter's operations on sequences and features: normalisation, softmax, attention, and picking. */
import type {
  AttentionNode,
  GatherNode,
  LayerNormGradNode,
  LayerNormNode,
  ScatterAddNode,
  TopKMaskNode,
} from "./graph.js";
import { elements } from "./graph.js";
import { broadcastOffsets, type Step, type Tensor } from "./referenceTensor.js";

/** Mean and √(variance + ε), variance biased. */
export function momentsOf(x: Float64Array, epsilon: number): { mean: number; deviation: number } {
  let mean = 0;
  for (const value of x) mean += value / x.length;
  let variance = 0;
  for (const value of x) variance += (value - mean) ** 2 / x.length;
  return { mean, deviation: Math.sqrt(variance + epsilon) };
}

/** (x − mean) / √(variance + ε) · scale + bias over the last `dimensions` dimensions. */
export function layerNorm(node: LayerNormNode, x: Tensor, scale: Tensor, bias: Tensor, y: Tensor) {
  const size = scale.data.length;
  for (let start = 0; start < x.data.length; start += size) {
    const part = x.data.subarray(start, start + size);
    const { mean, deviation } = momentsOf(part, node.epsilon);
    for (let i = 0; i < size; i++) {
      y.data[start + i] = ((part[i]! - mean) / deviation) * scale.data[i]! + bias.data[i]!;
    }
  }
}

export function layerNormGrad(node: LayerNormGradNode, x: Tensor, t: Tensor, y: Tensor) {
  const size = elements(x.shape.slice(-node.dimensions));
  for (let start = 0; start < x.data.length; start += size) normGrad(node.epsilon, x, t, y, start, size);
}

/** (t − mean(t) − x̂·mean(x̂·t)) / √(variance + ε), x̂ the normalised x, over `size` elements from `start` on. */
export function normGrad(epsilon: number, x: Tensor, t: Tensor, y: Tensor, start: number, size: number) {
  const xs = x.data.subarray(start, start + size);
  const ts = t.data.subarray(start, start + size);
  const { mean, deviation } = momentsOf(xs, epsilon);
  let meanT = 0;
  let along = 0;
  for (let i = 0; i < size; i++) {
    meanT += ts[i]! / size;
    along += (((xs[i]! - mean) / deviation) * ts[i]!) / size;
  }
  for (let i = 0; i < size; i++) {
    y.data[start + i] = (ts[i]! - meanT - ((xs[i]! - mean) / deviation) * along) / deviation;
  }
}

export function softmax(x: Tensor, y: Tensor) {
  const size = x.shape.at(-1)!;
  y.data.set(x.data);
  for (let start = 0; start < y.data.length; start += size) normalise(y.data.subarray(start, start + size));
}

/** e^(x − max x) / Σ e^(x − max x), in place. */
function normalise(x: Float64Array) {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of x) most = Math.max(most, value);
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    x[i] = Math.exp(x[i]! - most);
    sum += x[i]!;
  }
  for (let i = 0; i < x.length; i++) x[i] = x[i]! / sum;
}

/** s·(t − Σ s·t) over the last dimension. */
export function softmaxGrad(s: Tensor, t: Tensor, y: Tensor) {
  const size = s.shape.at(-1)!;
  for (let start = 0; start < s.data.length; start += size) {
    let along = 0;
    for (let i = start; i < start + size; i++) along += s.data[i]! * t.data[i]!;
    for (let i = start; i < start + size; i++) y.data[i] = s.data[i]! * (t.data[i]! - along);
  }
}

/** softmax(scale · q·kᵀ + bias)·v */
export function attention(node: AttentionNode, inputs: readonly Tensor[], y: Tensor): Step {
  const [q, k, v, bias] = inputs as [Tensor, Tensor, Tensor, Tensor | undefined];
  const leading = q.shape.slice(0, -2);
  const [targets, depth] = q.shape.slice(-2) as [number, number];
  const [sources, width] = v.shape.slice(-2) as [number, number];
  const biasOffsets = bias && broadcastOffsets(bias.shape, [...leading, targets, sources]);
  const scores = new Float64Array(sources);
  return () => {
    for (let row = 0; row < elements(leading) * targets; row++) {
      const matrix = Math.floor(row / targets);
      for (let s = 0; s < sources; s++) {
        let sum = 0;
        for (let i = 0; i < depth; i++) {
          sum += q.data[row * depth + i]! * k.data[(matrix * sources + s) * depth + i]!;
        }
        const term = biasOffsets === undefined ? 0 : bias!.data[biasOffsets[row * sources + s]!]!;
        scores[s] = node.scale * sum + term;
      }
      normalise(scores);
      for (let j = 0; j < width; j++) {
        let sum = 0;
        for (let s = 0; s < sources; s++) sum += scores[s]! * v.data[(matrix * sources + s) * width + j]!;
        y.data[row * width + j] = sum;
      }
    }
  };
}

/** y[…, i, …] = x[…, indices[i], …] */
export function gather(node: GatherNode, x: Tensor, y: Tensor) {
  forEachPick(node, x, (from, to) => {
    y.data[to] = x.data[from]!;
  });
}

/** y[…, indices[i], …] = Σ u[…, i, …] */
export function scatterAdd(node: ScatterAddNode, u: Tensor, y: Tensor) {
  y.data.fill(0);
  forEachPick(node, y, (to, from) => {
    y.data[to] = y.data[to]! + u.data[from]!;
  });
}

/** Calls `visit` with the offset in `whole` and the offset among the picked elements. */
function forEachPick(
  { axis, indices }: { axis: number; indices: readonly number[] },
  whole: Tensor,
  visit: (inWhole: number, inPicked: number) => void,
) {
  const size = whole.shape[axis]!;
  const outer = elements(whole.shape.slice(0, axis));
  const inner = elements(whole.shape.slice(axis + 1));
  for (let block = 0; block < outer; block++) {
    indices.forEach((index, i) => {
      for (let j = 0; j < inner; j++) {
        visit((block * size + index) * inner + j, (block * indices.length + i) * inner + j);
      }
    });
  }
}

/** 1 for the k largest of the last dimension, the first ones among equals; NaN is more than any number. */
export function topKMask(node: TopKMaskNode, x: Tensor, y: Tensor) {
  const size = x.shape.at(-1)!;
  const rank = (value: number) => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value);
  y.data.fill(0);
  for (let start = 0; start < x.data.length; start += size) {
    const order = Array.from({ length: size }, (_, i) => start + i).sort((p, q) => {
      const [a, b] = [x.data[p]!, x.data[q]!];
      if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? -1 : 1;
      return rank(b) === rank(a) ? p - q : rank(b) - rank(a);
    });
    for (const i of order.slice(0, node.k)) y.data[i] = 1;
  }
}
