/** Operators that cut, pick or join elements. The batch is left alone. */
import { elements, formatShape, type ValueId } from "../../../graph/graph.js";
import { checkSize, evaluateConcat, evaluateGather, evaluateSlice, indexIn } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import type { Constant, Dimension, Operand, Row } from "../operand.js";
import { type Frame, rowOf } from "./broadcast.js";
import { dimensionsOf } from "./layout.js";

const concat: Operator = (node) => {
  const parts = Array.from({ length: node.arity }, (_, i) => node.input(i));
  const axis = node.int("axis", 0);
  if (parts.every((part) => part.kind === "constant")) {
    const rank = parts[0]?.dims.length ?? 0;
    const positive = axis < 0 ? axis + rank : axis;
    if (positive < 0 || positive >= rank) return node.fail(`has axis ${axis} on ${rank} axes`);
    return evaluateConcat(node, parts, positive);
  }
  const first = parts.find((part) => part.kind === "row") as Row;
  const frame: Frame = { rank: dimensionsOf(node, first).length, batch: first.batch };
  const own = node.rowAxis(axis, frame.rank - 1, frame.batch);
  const inputs = parts.map((part) => partOf(node, part, frame));
  if (inputs.length === 1) return parts[0]!;
  return node.result(node.builder.node({ op: "concat", name: node.name, inputs, axis: own }), frame.batch);
};

/** A constant can be joined to rows only where the model has a fixed batch, which the constant is written out for. */
function partOf(node: OnnxNode, part: Constant | Row, frame: Frame): ValueId {
  if (dimensionsOf(node, part).length !== frame.rank) {
    return node.fail("joins tensors with different numbers of axes");
  }
  if (part.kind === "row") {
    return part.batch === frame.batch
      ? part.id
      : node.mixesRows("joins tensors along the batch of one of them");
  }
  if (node.batchSize === undefined || part.dims[frame.batch] !== node.batchSize) {
    return node.mixesRows(`joins a constant of shape [${part.dims.join(", ")}] to its rows`);
  }
  const { shape, data } = rowOf(node, part, frame);
  return node.builder.constant(part.name, shape, data);
}

interface Range {
  readonly start: number;
  readonly step: number;
  readonly length: number;
}

/** Starts, ends and axes are attributes before opset 10 and inputs, with steps, from then on. */
const slice: Operator = (node) => {
  const x = node.input(0);
  const old = node.opset < 10;
  const list = (attribute: string, index: number) =>
    old ? node.ints(attribute) : node.wholes(index, attribute);
  const starts = list("starts", 1) ?? node.fail("has no starts");
  const ends = list("ends", 2) ?? node.fail("has no ends");
  const axes = list("axes", 3) ?? starts.map((_, axis) => axis);
  const steps = (old ? undefined : node.wholes(4, "steps")) ?? starts.map(() => 1);
  if ([ends, axes, steps].some(({ length }) => length !== starts.length)) {
    return node.fail("has starts, ends, axes and steps of different lengths");
  }
  if (x.kind === "constant") {
    const ranges: Range[] = x.dims.map((length) => ({ start: 0, step: 1, length }));
    axes.forEach((axis, i) => {
      const own = axis < 0 ? axis + ranges.length : axis;
      if (own < 0 || own >= ranges.length) node.fail(`has axis ${axis} on ${ranges.length} axes`);
      ranges[own] = rangeOf(node, x.dims[own]!, starts[i]!, ends[i]!, steps[i]!);
    });
    return evaluateSlice(node, x, ranges);
  }
  const shape = node.builder.shapeOf(x.id);
  const ranges: Range[] = shape.map((length) => ({ start: 0, step: 1, length }));
  axes.forEach((axis, i) => {
    const wholeBatch = starts[i] === 0 && steps[i] === 1 && ends[i]! >= 2 ** 31 - 1;
    if ((axis === x.batch || axis === x.batch - shape.length - 1) && wholeBatch) return;
    const own = node.rowAxis(axis, shape.length, x.batch);
    ranges[own] = rangeOf(node, shape[own]!, starts[i]!, ends[i]!, steps[i]!);
  });
  return node.result(crop(node, x.id, ranges), x.batch);
};

function rangeOf(node: OnnxNode, size: number, start: number, end: number, step: number): Range {
  if (step === 0) return node.fail("has a step of 0");
  const place = (position: number) => (position < 0 ? position + size : position);
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1];
  const from = Math.min(Math.max(place(start), step > 0 ? 0 : 0), step > 0 ? size : size - 1);
  const to = Math.min(Math.max(place(end), low), high);
  return { start: from, step, length: Math.max(0, Math.ceil((to - from) / step)) };
}

/** Cutting a part out is padding by negative amounts; with steps it is picking. */
function crop(node: OnnxNode, id: ValueId, ranges: readonly Range[]): ValueId {
  const shape = node.builder.shapeOf(id);
  if (ranges.some(({ length }) => length < 1))
    return node.fail(`leaves nothing of rows of ${formatShape(shape)}`);
  let result = id;
  ranges.forEach(({ start, step, length }, axis) => {
    if (step === 1) return;
    const indices = Array.from({ length }, (_, i) => start + i * step);
    result = node.builder.node({ op: "gather", name: node.name, inputs: [result], axis, indices });
  });
  const amount = (n: number) => (n === 0 ? 0 : -n);
  const before = ranges.map(({ start, step }) => (step === 1 ? amount(start) : 0));
  const after = ranges.map(({ start, step, length }, axis) =>
    step === 1 ? amount(shape[axis]! - start - length) : 0,
  );
  if ([...before, ...after].every((n) => n === 0) && result !== id) return result;
  return node.builder.node({
    op: "pad",
    name: node.name,
    inputs: [result],
    before,
    after,
    mode: "constant",
    value: 0,
  });
}

const split: Operator = (node) => {
  const x = node.input(0);
  const dims = dimensionsOf(node, x);
  const given = node.int("axis", 0);
  const at = given < 0 ? given + dims.length : given;
  const size = dims[at];
  if (size === undefined) return node.fail(`has axis ${given} on ${dims.length} axes`);
  if (size === "batch") return node.mixesRows("splits the batch");
  const count = node.outputs.length;
  const parts = node.opset < 13 ? node.ints("split") : node.wholes(1, "lengths of parts");
  const even = Math.ceil(size / count);
  const lengths = parts ?? Array.from({ length: count }, (_, i) => Math.min(even, size - i * even));
  if (
    lengths.length !== count ||
    lengths.some((length) => length < 0) ||
    lengths.reduce((sum, length) => sum + length, 0) !== size
  ) {
    return node.fail(`splits ${size} elements into [${lengths.join(", ")}]`);
  }
  let start = 0;
  return lengths.map((length): Operand => {
    const range: Range = { start, step: 1, length };
    start += length;
    const along = (axis: number, shape: readonly number[]) =>
      shape.map((n, i) => (i === axis ? range : { start: 0, step: 1, length: n }));
    if (x.kind === "constant") return evaluateSlice(node, x, along(at, x.dims));
    const own = node.rowAxis(at, dims.length - 1, x.batch);
    return node.result(crop(node, x.id, along(own, node.builder.shapeOf(x.id))), x.batch);
  });
};

const gather: Operator = (node) => {
  const x = node.input(0);
  const indices = constantIndices(node);
  const axis = node.int("axis", 0);
  if (x.kind === "constant") {
    const own = axis < 0 ? axis + x.dims.length : axis;
    if (own < 0 || own >= x.dims.length) return node.fail(`has axis ${axis} on ${x.dims.length} axes`);
    return evaluateGather(node, x, indices, own);
  }
  const shape = node.builder.shapeOf(x.id);
  const own = node.rowAxis(axis, shape.length, x.batch);
  const places = Array.from(indices.data as ArrayLike<Dimension>, (item) => indexIn(node, item, shape[own]!));
  const result = picked(node, x.id, own, places);
  // The axis becomes as many as the indices have; the batch keeps its place among the others.
  const full = axis < 0 ? axis + shape.length + 1 : axis;
  const batch = full < x.batch ? x.batch - 1 + indices.dims.length : x.batch;
  const rest = [...shape.slice(0, own), ...indices.dims, ...shape.slice(own + 1)];
  return node.result(node.reshape(result, rest), batch);
};

function constantIndices(node: OnnxNode): Constant {
  const indices = node.input(1);
  if (indices.kind === "row") return node.unsupported("takes indices computed from the input");
  return indices;
}

/** x at `places` of an axis; places in a row are a part cut out. */
function picked(node: OnnxNode, id: ValueId, axis: number, places: readonly number[]): ValueId {
  const shape = node.builder.shapeOf(id);
  const [start] = places;
  if (start === undefined) return node.fail("gathers nothing");
  checkSize(node, [elements(shape) / shape[axis]!, places.length], elements(shape));
  if (places.every((place, i) => place === start + i)) {
    const range = { start, step: 1, length: places.length };
    return crop(
      node,
      id,
      shape.map((length, i) => (i === axis ? range : { start: 0, step: 1, length })),
    );
  }
  return node.builder.node({ op: "gather", name: node.name, inputs: [id], axis, indices: places });
}

/**
 * y[i, j, …] = x[indices[i, j, …], j, …] with indices that are the same for every row. Where they do not change along
 * the other axes that is picking along one axis, else picking among all elements.
 */
const gatherElements: Operator = (node) => {
  const x = node.placed(0);
  const indices = node.input(1);
  const own = node.rowAxis(node.int("axis", 0), x.shape.length, x.batch);
  const places = indicesOfRow(node, indices, x);
  const { shape } = x;
  const at = (axis: number) => elements(places.shape.slice(axis + 1));
  const fits =
    places.shape.length === shape.length && places.shape.every((n, i) => i === own || n === shape[i]);
  if (!fits) return node.unsupported(`picks ${formatShape(places.shape)} from ${formatShape(shape)}`);
  const list = places.data.map((item) => indexIn(node, item, shape[own]!));
  const along = Array.from({ length: places.shape[own]! }, (_, i) => list[i * at(own)]!);
  if (list.every((place, i) => place === along[Math.floor(i / at(own)) % along.length])) {
    return node.result(picked(node, x.id, own, along), x.batch);
  }
  const inner = elements(shape.slice(own + 1));
  const flat = list.map((place, i) => {
    const block = Math.floor(i / (along.length * inner));
    return (block * shape[own]! + place) * inner + (i % inner);
  });
  const all = node.reshape(x.id, [elements(shape)]);
  return node.result(node.reshape(picked(node, all, 0, flat), places.shape), x.batch);
};

/** Indices that are the same for every row, without the batch. */
function indicesOfRow(
  node: OnnxNode,
  indices: Constant | Row,
  x: { shape: readonly number[]; batch: number },
) {
  if (indices.kind === "row") {
    if (indices.same === undefined) return node.unsupported("takes indices computed from the input");
    const { dims, data } = indices.same;
    return { shape: dims, data: Array.from(data as ArrayLike<number>) };
  }
  const frame = { rank: x.shape.length + 1, batch: x.batch };
  if (indices.dims.length !== frame.rank) return node.fail("has indices of another number of axes");
  if (node.batchSize === undefined || indices.dims[x.batch] !== node.batchSize) {
    return node.mixesRows(`takes indices of shape [${indices.dims.join(", ")}]`);
  }
  const { shape, data } = rowOf(node, indices, frame);
  return { shape, data: Array.from(data) };
}

/** Amounts are an attribute before opset 11 and an input from then on. */
const pad: Operator = (node) => {
  const { id, shape, batch } = node.placed(0);
  const mode = node.string("mode", "constant");
  if (mode !== "constant" && mode !== "reflect" && mode !== "edge") {
    return node.unsupported(`with mode "${mode}" is outside the native operator set`);
  }
  const amounts = (node.opset < 11 ? node.ints("pads") : node.wholes(1, "pads")) ?? node.fail("has no pads");
  const full = shape.length + 1;
  const axes =
    (node.opset < 18 ? undefined : node.wholes(3, "axes")) ?? Array.from({ length: full }, (_, i) => i);
  if (amounts.length !== 2 * axes.length) {
    return node.fail(`has ${amounts.length} pads for ${axes.length} axes`);
  }
  const before = shape.map(() => 0);
  const after = shape.map(() => 0);
  axes.forEach((axis, i) => {
    const [start, end] = [amounts[i]!, amounts[i + axes.length]!];
    if (start === 0 && end === 0) return;
    const own = node.rowAxis(axis, shape.length, batch);
    before[own] = start;
    after[own] = end;
  });
  if (mode !== "constant" && [...before, ...after].some((amount) => amount < 0)) {
    return node.unsupported(`by negative amounts with mode "${mode}" is outside the native operator set`);
  }
  let value = node.opset < 11 ? node.float("value", 0) : 0;
  if (node.opset >= 11) value = node.weights(2, "value")?.data[0] ?? 0;
  return node.result(
    node.builder.node({ op: "pad", name: node.name, inputs: [id], before, after, mode, value }),
    batch,
  );
};

export const pieceOperators: Readonly<Record<string, Operator>> = {
  Concat: concat,
  Slice: slice,
  Split: split,
  Gather: gather,
  GatherElements: gatherElements,
  Pad: pad,
};
