/**
 * Arithmetic on constants at import: exporters compute shapes in the graph (take the input's shape, pick an axis,
 * halve it, put a list together, reshape to it). The batch axis has no number; it is carried through as "batch"
 * and may only be passed on, never computed with.
 */
import { elements, type Shape } from "../../graph/graph.js";
import { broadcastShapes } from "../../graph/shapes.js";
import type { OnnxNode } from "./node.js";
import { type Constant, constant, type Dimension, isInteger } from "./operand.js";

/** Results larger than this are no shape arithmetic. */
const maximumElements = 2 ** 24;

type Arithmetic = "Add" | "Sub" | "Mul" | "Div";

/** a ∘ b with NumPy's broadcasting; whole numbers divide towards zero. */
export function evaluateBinary(node: OnnxNode, a: Constant, b: Constant): Constant {
  const dims = broadcastShapes(a.dims, b.dims);
  if (dims === undefined || elements(dims) > maximumElements) {
    return node.fail(`cannot combine constants of shape [${a.dims.join(", ")}] and [${b.dims.join(", ")}]`);
  }
  const wholeNumbers = isInteger(a) && isInteger(b);
  const data: Dimension[] = new Array(elements(dims));
  const offsetsA = offsets(a.dims, dims);
  const offsetsB = offsets(b.dims, dims);
  for (let i = 0; i < data.length; i++) {
    data[i] = combine(node, a.data[offsetsA[i]!]!, b.data[offsetsB[i]!]!, wholeNumbers);
  }
  return pack(node, wholeNumbers ? "int" : "float", dims, data);
}

function combine(node: OnnxNode, p: Dimension, q: Dimension, wholeNumbers: boolean): Dimension {
  const op = node.op as Arithmetic;
  if (p === "batch" || q === "batch") {
    if (op === "Div" && p === q) return 1;
    if (op === "Sub" && p === q) return 0;
    const neutral = op === "Mul" || op === "Div" ? 1 : 0;
    if (q === neutral) return p;
    if (p === neutral && (op === "Mul" || op === "Add")) return q;
    return node.mixesRows("computes with the batch size");
  }
  switch (op) {
    case "Add":
      return p + q;
    case "Sub":
      return p - q;
    case "Mul":
      return p * q;
    case "Div":
      if (!wholeNumbers) return p / q;
      return q === 0 ? node.fail("divides a whole number by zero") : Math.trunc(p / q);
  }
}

/** Element-wise; the batch passes unchanged where `keepsBatch`. */
export function evaluateUnary(
  node: OnnxNode,
  a: Constant,
  f: (x: number) => number,
  options: { type?: Constant["type"]; keepsBatch?: boolean } = {},
): Constant {
  const data = Array.from(a.data, (item): Dimension => {
    if (item !== "batch") return f(item);
    return options.keepsBatch ? item : node.mixesRows("computes with the batch size");
  });
  return pack(node, options.type ?? a.type, a.dims, data);
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
  const outer = elements(a.dims.slice(0, axis));
  const inner = elements(a.dims.slice(axis + 1));
  const data: Dimension[] = [];
  if (outer * indices.data.length * inner > maximumElements) return node.fail("gathers too many elements");
  for (let o = 0; o < outer; o++) {
    for (const item of indices.data) {
      const index =
        item === "batch" ? node.mixesRows("gathers at the batch size") : item < 0 ? item + size : item;
      if (!Number.isInteger(index) || index < 0 || index >= size) {
        return node.fail(`gathers element ${item} of an axis of ${size}`);
      }
      for (let i = 0; i < inner; i++) data.push(a.data[(o * size + index) * inner + i]!);
    }
  }
  return pack(node, a.type, [...a.dims.slice(0, axis), ...indices.dims, ...a.dims.slice(axis + 1)], data);
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
  return pack(node, type, dims, data);
}

function gatherOffsets(
  node: OnnxNode,
  a: Constant,
  dims: Shape,
  strides: readonly number[],
  first: number,
): Constant {
  const source = offsetsByStrides(dims, strides, first);
  const data = Array.from(source, (offset) => a.data[offset]!);
  return pack(node, a.type, dims, data);
}

function pack(node: OnnxNode, type: Constant["type"], dims: Shape, data: readonly Dimension[]): Constant {
  const asFloats = type === "float" && data.every((item) => item !== "batch");
  return constant(node.name, type, dims, asFloats ? Float32Array.from(data as number[]) : data);
}

function stridesOf(dims: Shape): number[] {
  return dims.map((_, axis) => elements(dims.slice(axis + 1)));
}

function offsets(from: Shape, to: Shape): Int32Array {
  const own = stridesOf(from);
  const strides = to.map((_, axis) => {
    const at = axis - (to.length - from.length);
    return at < 0 || from[at] === 1 ? 0 : own[at]!;
  });
  return offsetsByStrides(to, strides, 0);
}

function offsetsByStrides(dims: Shape, strides: readonly number[], first: number): Int32Array {
  const result = new Int32Array(elements(dims));
  const own = stridesOf(dims);
  for (let i = 0; i < result.length; i++) {
    let offset = first;
    for (let axis = 0; axis < dims.length; axis++) {
      offset += (Math.floor(i / own[axis]!) % dims[axis]!) * strides[axis]!;
    }
    result[i] = offset;
  }
  return result;
}
