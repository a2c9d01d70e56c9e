/** Operators that combine the elements along axes of a row. */
import type { Activation, ValueId } from "../../../graph/graph.js";
import { elements } from "../../../graph/graph.js";
import { sameShape } from "../../../graph/shapes.js";
import { evaluateReduce } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { activated, withNumber } from "./elementwise.js";
import { dimensionsOf, permuted } from "./layout.js";

interface Reduction {
  /** Combines numbers of a constant. */
  readonly start: number;
  readonly combine: (sum: number, x: number) => number;
  /** After all numbers of a constant have been combined: how many there were. */
  readonly finish?: (sum: number, count: number) => number;
  /** The row reduced over ascending axes, which stay with length 1. */
  readonly reduce: (node: OnnxNode, x: ValueId, axes: readonly number[]) => ValueId;
  /** The opset from which on axes are an input. */
  readonly axesInput?: number;
}

const one = (kind: Activation["kind"], alpha = 0): Activation => ({ kind, alpha, beta: 0 });

function mean(node: OnnxNode, x: ValueId, axes: readonly number[]): ValueId {
  const kept = node.builder.shapeOf(x).map((n, axis) => (axes.includes(axis) ? 1 : n));
  return node.builder.node({ op: "reduceMean", name: node.name, inputs: [x], axes }, kept);
}

function sum(node: OnnxNode, x: ValueId, axes: readonly number[]): ValueId {
  const count = elements(axes.map((axis) => node.builder.shapeOf(x)[axis]!));
  return withNumber(node, "mul", mean(node, x, axes), count);
}

/** The maximum of a window that holds everything, with the reduced axes moved to the end. */
function max(node: OnnxNode, x: ValueId, axes: readonly number[]): ValueId {
  const shape = node.builder.shapeOf(x);
  const others = shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const moved = permuted(node, x, [...others, ...axes]);
  const size = elements(axes.map((axis) => shape[axis]!));
  const image = node.reshape(moved, [elements(shape) / size, 1, size]);
  const pooled = node.builder.node({
    op: "maxPool",
    name: node.name,
    inputs: [image],
    kernel: [1, size],
    strides: [1, 1],
    pads: [0, 0, 0, 0],
    dilations: [1, 1],
    countIncludePad: false,
  });
  return node.reshape(
    pooled,
    shape.map((n, axis) => (axes.includes(axis) ? 1 : n)),
  );
}

const square = (node: OnnxNode, x: ValueId) => activated(node, x, one("pow", 2));

const reductions: Readonly<Record<string, Reduction>> = {
  ReduceMean: {
    start: 0,
    combine: (total, x) => total + x,
    finish: (total, count) => total / count,
    reduce: mean,
  },
  ReduceSum: { start: 0, combine: (total, x) => total + x, reduce: sum, axesInput: 13 },
  ReduceSumSquare: {
    start: 0,
    combine: (total, x) => total + x * x,
    reduce: (node, x, axes) => sum(node, square(node, x), axes),
  },
  ReduceL1: {
    start: 0,
    combine: (total, x) => total + Math.abs(x),
    reduce: (node, x, axes) => sum(node, activated(node, x, one("abs")), axes),
  },
  ReduceL2: {
    start: 0,
    combine: (total, x) => total + x * x,
    finish: Math.sqrt,
    reduce: (node, x, axes) => activated(node, sum(node, square(node, x), axes), one("sqrt")),
  },
  ReduceMax: { start: Number.NEGATIVE_INFINITY, combine: Math.max, reduce: max, axesInput: 18 },
  ReduceMin: {
    start: Number.POSITIVE_INFINITY,
    combine: Math.min,
    reduce: (node, x, axes) => withNumber(node, "mul", max(node, withNumber(node, "mul", x, -1), axes), -1),
  },
};

function reduction({ start, combine, finish, reduce, axesInput = 18 }: Reduction): Operator {
  return (node) => {
    const x = node.input(0);
    const dims = dimensionsOf(node, x);
    const given = node.opset < axesInput ? node.ints("axes") : node.wholes(1, "axes");
    const keep = node.int("keepdims", 1) !== 0;
    if (given === undefined || given.length === 0) {
      if (node.int("noop_with_empty_axes", 0) !== 0) return x;
      if (x.kind === "row") return node.mixesRows("works over all axes, the batch included");
    }
    if (x.kind === "constant") {
      const axes = (given?.length ? given : dims.map((_, axis) => axis)).map((axis) =>
        axis < 0 ? axis + dims.length : axis,
      );
      if (axes.some((axis) => axis < 0 || axis >= dims.length))
        return node.fail(`has axes [${axes.join(", ")}]`);
      const count = elements(axes.map((axis) => x.dims[axis]!));
      const result = evaluateReduce(node, x, { axes, keep, start, combine });
      if (finish === undefined) return result;
      const data = Float32Array.from(result.data as ArrayLike<number>, (total) => finish(total, count));
      return { ...result, data: result.type === "float" ? data : Array.from(data, Math.trunc) };
    }
    const shape = node.builder.shapeOf(x.id);
    const axes = [...new Set(given!.map((axis) => node.rowAxis(axis, shape.length, x.batch)))].sort(
      (p, q) => p - q,
    );
    const result = reduce(node, x.id, axes);
    const dropped = shape.filter((_, axis) => !axes.includes(axis));
    if (keep || sameShape(node.builder.shapeOf(result), dropped)) return node.result(result, x.batch);
    const before = axes.filter((axis) => axis < x.batch).length;
    return node.result(node.reshape(result, dropped), x.batch - before);
  };
}

/** x / ‖x‖₂ along an axis. */
const lpNormalization: Operator = (node) => {
  const { id, shape, batch } = node.placed(0);
  if (node.int("p", 2) !== 2)
    return node.unsupported("with p other than 2 is outside the native operator set");
  const axis = node.rowAxis(node.int("axis", -1), shape.length, batch);
  const norm = reductions.ReduceL2!.reduce(node, id, [axis]);
  return node.result(node.builder.node({ op: "div", name: node.name, inputs: [id, norm] }), batch);
};

export const reductionOperators: Readonly<Record<string, Operator>> = {
  ...Object.fromEntries(Object.entries(reductions).map(([name, how]) => [name, reduction(how)])),
  LpNormalization: lpNormalization,
};
