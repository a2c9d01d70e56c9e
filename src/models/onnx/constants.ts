/**
 * Arithmetic on constants at import: exporters compute shapes in the graph (take the input's shape, pick an axis,
 * halve it, put a list together, reshape to it). The batch axis has no number; it is carried through as "batch"
 * and may only be passed on, never computed with.
 */
import { elements, type Shape } from "../../graph/graph.js";
import { broadcastShapes } from "../../graph/shapes.js";
import type { OnnxNode } from "./node.js";
import { type Constant, constant, type Dimension, isInteger } from "./operand.js";

/** Results larger than this, and larger than what they come from, are no shape arithmetic and no weights. */
const maximumElements = 2 ** 24;

/** Refuses to make much out of little. */
export function checkSize(node: OnnxNode, dims: Shape, from = 0) {
  const size = elements(dims);
  if (!(size <= Math.max(maximumElements, from)) || !dims.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    node.fail(`makes a constant of shape [${dims.join(", ")}]`);
  }
}

/** What a two-sided function does with numbers, and with the batch where that has an answer. */
interface TwoSided {
  readonly numbers: (p: number, q: number) => number;
  readonly batch?: (p: Dimension, q: Dimension) => Dimension | undefined;
  /** The result is a truth value. */
  readonly bool?: boolean;
}

/** The batch holds at least one row; of its size nothing else is known. */
const isBelowBatch = (n: Dimension) => n !== "batch" && n < 1;

const twoSided: Readonly<Record<string, TwoSided>> = {
  Add: { numbers: (p, q) => p + q, batch: (p, q) => (q === 0 ? p : p === 0 ? q : undefined) },
  Sub: { numbers: (p, q) => p - q, batch: (p, q) => (p === q ? 0 : q === 0 ? p : undefined) },
  Mul: { numbers: (p, q) => p * q, batch: (p, q) => (q === 1 ? p : p === 1 ? q : undefined) },
  Div: { numbers: (p, q) => p / q, batch: (p, q) => (p === q ? 1 : q === 1 ? p : undefined) },
  Pow: { numbers: (p, q) => p ** q, batch: (p, q) => (q === 1 ? p : undefined) },
  Mod: { numbers: (p, q) => p - q * Math.floor(p / q) },
  Max: {
    numbers: (p, q) => Math.max(p, q),
    batch: (p, q) => (p === q || q === 1 || isBelowBatch(q) ? p : p === 1 || isBelowBatch(p) ? q : undefined),
  },
  Min: {
    numbers: (p, q) => Math.min(p, q),
    batch: (p, q) => (p === q || isBelowBatch(p) ? p : isBelowBatch(q) ? q : undefined),
  },
  Equal: {
    numbers: (p, q) => (p === q ? 1 : 0),
    batch: (p, q) => (p === q ? 1 : isBelowBatch(p) || isBelowBatch(q) ? 0 : undefined),
    bool: true,
  },
  Greater: {
    numbers: (p, q) => (p > q ? 1 : 0),
    batch: (p, q) => (p === q || isBelowBatch(p) ? 0 : isBelowBatch(q) ? 1 : undefined),
    bool: true,
  },
  GreaterOrEqual: {
    numbers: (p, q) => (p >= q ? 1 : 0),
    batch: (p, q) => (p === q || q === 1 || isBelowBatch(q) ? 1 : isBelowBatch(p) ? 0 : undefined),
    bool: true,
  },
  Less: {
    numbers: (p, q) => (p < q ? 1 : 0),
    batch: (p, q) => (p === q || isBelowBatch(q) ? 0 : isBelowBatch(p) ? 1 : undefined),
    bool: true,
  },
  LessOrEqual: {
    numbers: (p, q) => (p <= q ? 1 : 0),
    batch: (p, q) => (p === q || p === 1 || isBelowBatch(p) ? 1 : isBelowBatch(q) ? 0 : undefined),
    bool: true,
  },
  And: { numbers: (p, q) => (p !== 0 && q !== 0 ? 1 : 0), bool: true },
  Or: { numbers: (p, q) => (p !== 0 || q !== 0 ? 1 : 0), bool: true },
  Xor: { numbers: (p, q) => ((p !== 0) !== (q !== 0) ? 1 : 0), bool: true },
};

/** a ∘ b, ∘ the node's operator or the one that is named, with NumPy's broadcasting; whole numbers divide towards zero. */
export function evaluateBinary(node: OnnxNode, a: Constant, b: Constant, op = node.op): Constant {
  const { numbers, batch, bool } = twoSided[op] ?? node.unsupported("on constants");
  const dims = broadcastShapes(a.dims, b.dims);
  if (dims === undefined) {
    return node.fail(`cannot combine constants of shape [${a.dims.join(", ")}] and [${b.dims.join(", ")}]`);
  }
  checkSize(node, dims, a.data.length + b.data.length);
  const wholeNumbers = isInteger(a) && isInteger(b);
  const combine = (p: Dimension, q: Dimension): Dimension => {
    if (p === "batch" || q === "batch")
      return batch?.(p, q) ?? node.mixesRows("computes with the batch size");
    if (op !== "Div" || !wholeNumbers) return numbers(p, q);
    return q === 0 ? node.fail("divides a whole number by zero") : Math.trunc(p / q);
  };
  const offsetsA = offsets(a.dims, dims);
  const offsetsB = offsets(b.dims, dims);
  const type = bool ? "bool" : wholeNumbers ? "int" : "float";
  return filled(node, type, dims, (i) => combine(a.data[offsetsA[i]!]!, b.data[offsetsB[i]!]!));
}

/** Element-wise; the batch passes unchanged where `keepsBatch`. */
export function evaluateUnary(
  node: OnnxNode,
  a: Constant,
  f: (x: number) => number,
  options: { type?: Constant["type"]; keepsBatch?: boolean } = {},
): Constant {
  return filled(node, options.type ?? a.type, a.dims, (i) => {
    const item = a.data[i]!;
    if (item !== "batch") return f(item);
    return options.keepsBatch ? item : node.mixesRows("computes with the batch size");
  });
}

/** a where the condition holds, else b. */
export function evaluateWhere(node: OnnxNode, condition: Constant, a: Constant, b: Constant): Constant {
  const values = broadcastShapes(a.dims, b.dims);
  const dims = values && broadcastShapes(condition.dims, values);
  if (dims === undefined) return node.fail("has a condition and values whose shapes do not broadcast");
  checkSize(node, dims, a.data.length + b.data.length);
  const [from, whether] = [[a, b].map((c) => offsets(c.dims, dims)), offsets(condition.dims, dims)];
  const type = isInteger(a) && isInteger(b) ? a.type : "float";
  return filled(node, type, dims, (i) => {
    const holds = condition.data[whether[i]!]!;
    if (holds === "batch") return node.mixesRows("decides by the batch size");
    return holds !== 0 ? a.data[from[0]![i]!]! : b.data[from[1]![i]!]!;
  });
}

/** The constant repeated to `dims`, which its shape broadcasts to. */
export function evaluateExpand(node: OnnxNode, a: Constant, dims: Shape): Constant {
  checkSize(node, dims, a.data.length);
  const from = offsets(a.dims, dims);
  return filled(node, a.type, dims, (i) => a.data[from[i]!]!);
}

/** `combine` over `axes`, from `start`; the axes stay, with length 1, where `keep`. */
export function evaluateReduce(
  node: OnnxNode,
  a: Constant,
  options: {
    axes: readonly number[];
    keep: boolean;
    start: number;
    combine: (sum: number, x: number) => number;
  },
): Constant {
  const { axes, keep, start, combine } = options;
  const kept = a.dims.map((n, axis) => (axes.includes(axis) ? 1 : n));
  const into = offsets(kept, a.dims);
  const result = new Array<number>(elements(kept)).fill(start);
  for (let i = 0; i < a.data.length; i++) {
    const item = a.data[i]!;
    if (item === "batch") return node.mixesRows("computes with the batch size");
    result[into[i]!] = combine(result[into[i]!]!, item);
  }
  return filled(
    node,
    a.type,
    keep ? kept : kept.filter((_, axis) => !axes.includes(axis)),
    (i) => result[i]!,
  );
}

export function evaluateReshape(node: OnnxNode, a: Constant, target: readonly number[]): Constant {
  const copied = target.map((n, axis) =>
    n === 0 && node.int("allowzero", 0) === 0 ? (a.dims[axis] ?? -2) : n,
  );
  const known = copied.reduce((product, n) => (n === -1 ? product : product * n), 1);
  const dims = copied.map((n) => (n === -1 ? a.data.length / known : n));
  if (elements(dims) !== a.data.length || dims.some((n) => !Number.isInteger(n) || n < 0)) {
    return node.fail(`cannot make [${target.join(", ")}] of a constant of shape [${a.dims.join(", ")}]`);
  }
  return constant(node.name, a.type, dims, a.data);
}

export function evaluateTranspose(node: OnnxNode, a: Constant, permutation: readonly number[]): Constant {
  const strides = stridesOf(a.dims);
  const dims = permutation.map((axis) => a.dims[axis]!);
  return gatherOffsets(
    node,
    a,
    dims,
    permutation.map((axis) => strides[axis]!),
    0,
  );
}

/** Every `step`-th element of each axis from `start`. */
export function evaluateSlice(
  node: OnnxNode,
  a: Constant,
  ranges: readonly { start: number; step: number; length: number }[],
): Constant {
  const strides = stridesOf(a.dims);
  const first = ranges.reduce((sum, { start }, axis) => sum + start * strides[axis]!, 0);
  return gatherOffsets(
    node,
    a,
    ranges.map(({ length }) => length),
    ranges.map(({ step }, axis) => step * strides[axis]!),
    first,
  );
}

export function evaluateGather(node: OnnxNode, a: Constant, indices: Constant, axis: number): Constant {
  const size = a.dims[axis]!;
  const inner = elements(a.dims.slice(axis + 1));
  const dims = [...a.dims.slice(0, axis), ...indices.dims, ...a.dims.slice(axis + 1)];
  checkSize(node, dims, a.data.length);
  const places = Array.from(indices.data, (item: Dimension) => indexIn(node, item, size));
  const count = places.length;
  return filled(node, a.type, dims, (i) => {
    const o = Math.floor(i / (count * inner));
    return a.data[(o * size + places[Math.floor(i / inner) % count]!) * inner + (i % inner)]!;
  });
}

/** A place in an axis of `size` elements; negative ones count from the end. */
export function indexIn(node: OnnxNode, item: Dimension, size: number): number {
  if (item === "batch") return node.mixesRows("gathers at the batch size");
  const index = item < 0 ? item + size : item;
  if (Number.isInteger(index) && index >= 0 && index < size) return index;
  return node.fail(`gathers element ${item} of an axis of ${size}`);
}

export function evaluateConcat(node: OnnxNode, parts: readonly Constant[], axis: number): Constant {
  const [first] = parts as [Constant];
  const fits = (part: Constant) =>
    part.dims.length === first.dims.length && part.dims.every((n, i) => i === axis || n === first.dims[i]);
  if (!parts.every(fits)) {
    return node.fail(
      `cannot join constants of shapes ${parts.map((p) => `[${p.dims.join(", ")}]`).join(" and ")}`,
    );
  }
  const outer = elements(first.dims.slice(0, axis));
  const data: Dimension[] = [];
  for (let o = 0; o < outer; o++) {
    for (const part of parts) {
      const length = part.data.length / outer;
      for (let i = 0; i < length; i++) data.push(part.data[o * length + i]!);
    }
  }
  const dims = first.dims.map((n, i) => (i === axis ? parts.reduce((sum, p) => sum + p.dims[axis]!, 0) : n));
  const type = parts.every(isInteger) ? first.type : "float";
  return filled(node, type, dims, (i) => data[i]!);
}

function gatherOffsets(
  node: OnnxNode,
  a: Constant,
  dims: Shape,
  strides: readonly number[],
  first: number,
): Constant {
  const source = offsetsByStrides(dims, strides, first);
  return filled(node, a.type, dims, (i) => a.data[source[i]!]!);
}

/** A constant of `dims`, element by element; floats without a batch among them are kept as float32. */
export function filled(
  node: OnnxNode,
  type: Constant["type"],
  dims: Shape,
  at: (i: number) => Dimension,
): Constant {
  const size = elements(dims);
  if (type === "float") {
    const data = new Float32Array(size);
    let i = 0;
    for (; i < size; i++) {
      const item = at(i);
      if (item === "batch") break;
      data[i] = item;
    }
    if (i === size) return constant(node.name, type, dims, data);
  }
  return constant(
    node.name,
    type,
    dims,
    Array.from({ length: size }, (_, i) => at(i)),
  );
}

export function stridesOf(dims: Shape): number[] {
  const strides = new Array<number>(dims.length);
  let stride = 1;
  for (let axis = dims.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= dims[axis]!;
  }
  return strides;
}

/** For every element of `to`, the offset of the element of `from` that broadcasting puts there. */
export function offsets(from: Shape, to: Shape): Int32Array {
  const own = stridesOf(from);
  const strides = to.map((_, axis) => {
    const at = axis - (to.length - from.length);
    return at < 0 || from[at] === 1 ? 0 : own[at]!;
  });
  return offsetsByStrides(to, strides, 0);
}

function offsetsByStrides(dims: Shape, strides: readonly number[], first: number): Int32Array {
  const result = new Int32Array(elements(dims));
  const index = dims.map(() => 0);
  let offset = first;
  for (let i = 0; i < result.length; i++) {
    result[i] = offset;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      offset += strides[axis]!;
      index[axis] = index[axis]! + 1;
      if (index[axis]! < dims[axis]!) break;
      offset -= dims[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
  return result;
}
