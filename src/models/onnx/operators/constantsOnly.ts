/** Operators that are only known on constants, where exporters use them to make masks and positions. */
import { elements } from "../../../graph/graph.js";
import { checkSize, filled, stridesOf } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { type Constant, constant, type Dimension } from "../operand.js";

/** An input that is numbers known at import, the same for every row. */
function known(node: OnnxNode, index: number): Constant {
  const operand = node.input(index);
  return operand.kind === "constant" ? operand : node.unsupported("takes what is computed from the input");
}

function numberAt(node: OnnxNode, c: Constant, i: number): number {
  const item: Dimension | undefined = c.data[i];
  if (item === "batch") return node.mixesRows("computes with the batch size");
  return item ?? node.fail("has an empty input");
}

const range: Operator = (node) => {
  const parts = [0, 1, 2].map((index) => known(node, index));
  const [start, limit, delta] = parts.map((part) => numberAt(node, part, 0)) as [number, number, number];
  const length = Math.max(0, Math.ceil((limit - start) / delta));
  if (!Number.isFinite(length)) return node.fail(`counts from ${start} to ${limit} by ${delta}`);
  checkSize(node, [length]);
  return filled(node, parts[0]!.type, [length], (i) => start + i * delta);
};

const cumSum: Operator = (node) => {
  const x = known(node, 0);
  const given = numberAt(node, known(node, 1), 0);
  const axis = given < 0 ? given + x.dims.length : given;
  if (!Number.isInteger(axis) || axis < 0 || axis >= x.dims.length) return node.fail(`has axis ${given}`);
  const exclusive = node.int("exclusive", 0) !== 0;
  const reverse = node.int("reverse", 0) !== 0;
  const size = x.dims[axis]!;
  const stride = stridesOf(x.dims)[axis]!;
  const sums = Array.from({ length: elements(x.dims) }, () => 0);
  for (let i = 0; i < sums.length; i++) {
    if (Math.floor(i / stride) % size !== 0) continue;
    let sum = 0;
    for (let j = 0; j < size; j++) {
      const at = i + (reverse ? size - 1 - j : j) * stride;
      const value = numberAt(node, x, at);
      sums[at] = exclusive ? sum : sum + value;
      sum += value;
    }
  }
  return filled(node, x.type, x.dims, (i) => sums[i]!);
};

/** Indices of the elements that are not zero, one column each. */
const nonZero: Operator = (node) => {
  const x = known(node, 0);
  const strides = stridesOf(x.dims);
  const found = Array.from({ length: x.data.length }, (_, i) => i).filter((i) => numberAt(node, x, i) !== 0);
  const data = strides.flatMap((stride, axis) => found.map((i) => Math.floor(i / stride) % x.dims[axis]!));
  return constant(node.name, "int", [x.dims.length, found.length], data);
};

/** What lies above or below a diagonal is set to zero. */
const trilu: Operator = (node) => {
  const x = known(node, 0);
  const k = node.optional(1) === undefined ? 0 : numberAt(node, known(node, 1), 0);
  const upper = node.int("upper", 1) !== 0;
  const [rows, columns] = x.dims.slice(-2);
  if (rows === undefined || columns === undefined) return node.fail("takes a matrix");
  return filled(node, x.type, x.dims, (i) => {
    const place = (i % columns) - (Math.floor(i / columns) % rows);
    return (upper ? place >= k : place <= k) ? x.data[i]! : 0;
  });
};

const isNaNOperator: Operator = (node) => {
  const x = known(node, 0);
  return filled(node, "bool", x.dims, (i) => (Number.isNaN(x.data[i]) ? 1 : 0));
};

export const constantOperators: Readonly<Record<string, Operator>> = {
  Range: range,
  CumSum: cumSum,
  NonZero: nonZero,
  Trilu: trilu,
  IsNaN: isNaNOperator,
};
