/** Operators that move, cut or join elements. Whatever they do, the batch stays the first axis. */
import { elements, formatShape, type Shape, type ValueId } from "../../../graph/graph.js";
import { sameShape } from "../../../graph/shapes.js";
import {
  evaluateConcat,
  evaluateGather,
  evaluateReshape,
  evaluateSlice,
  evaluateTranspose,
} from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { type Constant, constant, type Dimension, numbersOf, type Operand } from "../operand.js";

const reshape: Operator = (node) => {
  const x = node.input(0);
  const target = node.input(1);
  if (target.kind === "row") return node.unsupported("takes a shape computed from the input's elements");
  if (x.kind === "constant") return evaluateReshape(node, x, node.wholes(1, "lengths of axes")!);
  const shape = node.builder.shapeOf(x.id);
  return node.result(node.reshape(x.id, rowShape(node, shape, target.data as readonly Dimension[])));
};

/** The row's shape under a full target shape; 0 copies an axis, one −1 is worked out. */
function rowShape(node: OnnxNode, shape: Shape, target: readonly Dimension[]): Shape {
  const copies = node.int("allowzero", 0) === 0;
  const full: readonly Dimension[] = ["batch", ...shape];
  const lengths = Array.from(target, (length, axis) => {
    if (length !== 0 || !copies) return length;
    return full[axis] ?? node.fail(`copies axis ${axis} of a tensor of ${full.length} axes`);
  });
  const described = `[${lengths.join(", ")}]`;
  const [first, ...rest] = lengths;
  if (first === undefined) return node.mixesRows("reshapes a batch to a single number");
  if (rest.includes("batch")) return node.mixesRows(`moves the batch axis, to ${described}`);
  const numbers = rest as number[];
  if (!numbers.every((n) => Number.isSafeInteger(n) && (n >= 1 || n === -1))) {
    return node.fail(`has the target shape ${described}`);
  }
  const keepsBatch =
    first === "batch" || (first === -1 ? elements(numbers) === elements(shape) : first === node.batchSize);
  if (!keepsBatch) {
    return node.mixesRows(`makes ${described} of a batch of ${formatShape(shape)}`);
  }
  const known = elements(numbers.filter((n) => n !== -1));
  const result = numbers.map((n) => (n === -1 ? elements(shape) / known : n));
  if (numbers.filter((n) => n === -1).length > 1 || elements(result) !== elements(shape)) {
    return node.fail(`cannot make ${described} of a batch of ${formatShape(shape)}`);
  }
  return result.every(Number.isInteger)
    ? result
    : node.fail(`cannot make ${described} of a batch of ${formatShape(shape)}`);
}

const flatten: Operator = (node) => {
  const { id, shape } = node.row(0);
  const given = node.int("axis", 1);
  const axis = given < 0 ? given + shape.length + 1 : given;
  if (axis < 0 || axis > shape.length + 1) return node.fail(`has axis ${given} on ${shape.length + 1} axes`);
  if (axis === 0 || elements(shape.slice(0, axis - 1)) !== 1) {
    return node.mixesRows(`flattens a batch of ${formatShape(shape)} at axis ${given}`);
  }
  return node.result(node.reshape(id, [elements(shape)]));
};

const transpose: Operator = (node) => {
  const x = node.input(0);
  const rank = x.kind === "constant" ? x.dims.length : node.builder.shapeOf(x.id).length + 1;
  const permutation = node.ints("perm") ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  if (
    permutation.length !== rank ||
    new Set(permutation).size !== rank ||
    permutation.some((p) => p < 0 || p >= rank)
  ) {
    return node.fail(`has perm [${permutation.join(", ")}] on ${rank} axes`);
  }
  if (x.kind === "constant") return evaluateTranspose(node, x, permutation);
  if (permutation[0] !== 0) return node.mixesRows(`moves the batch axis (perm [${permutation.join(", ")}])`);
  const own = permutation.slice(1).map((axis) => axis - 1);
  return node.result(
    node.builder.node({ op: "transpose", name: node.name, inputs: [x.id], permutation: own }),
  );
};

const concat: Operator = (node) => {
  const parts = Array.from({ length: node.arity }, (_, i) => node.input(i));
  const axis = node.int("axis", 0);
  if (parts.every((part) => part.kind === "constant")) {
    const rank = parts[0]?.dims.length ?? 0;
    const positive = axis < 0 ? axis + rank : axis;
    if (positive < 0 || positive >= rank) return node.fail(`has axis ${axis} on ${rank} axes`);
    return evaluateConcat(node, parts, positive);
  }
  const rank = Math.max(
    ...parts.map((part) => (part.kind === "row" ? node.builder.shapeOf(part.id).length : 0)),
  );
  const own = node.rowAxis(axis, rank);
  const inputs = parts.map((part) => partOf(node, part, rank));
  if (inputs.length === 1) return parts[0]!;
  return node.result(node.builder.node({ op: "concat", name: node.name, inputs, axis: own }));
};

/** A constant can be joined to rows only where the model has a batch of exactly one row. */
function partOf(node: OnnxNode, part: Operand, rank: number): ValueId {
  if (part.kind === "row") {
    if (node.builder.shapeOf(part.id).length === rank) return part.id;
    return node.fail("joins tensors with different numbers of axes");
  }
  const data = numbersOf(part);
  const [batch, ...shape] = part.dims;
  if (data === undefined || batch !== 1 || node.batchSize !== 1 || shape.length !== rank) {
    return node.mixesRows(`joins a constant of shape [${part.dims.join(", ")}] to its rows`);
  }
  return node.builder.constant(part.name, shape, Float32Array.from(data));
}

/** Axes are an attribute before opset 13 and an input from then on. */
function axesOf(node: OnnxNode): readonly number[] | undefined {
  return node.opset < 13 ? node.ints("axes") : node.wholes(1, "axes");
}

const unsqueeze: Operator = (node) => {
  const x = node.input(0);
  const axes = axesOf(node) ?? node.fail("has no axes");
  const dims: readonly Dimension[] =
    x.kind === "constant" ? x.dims : ["batch", ...node.builder.shapeOf(x.id)];
  const rank = dims.length + axes.length;
  const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  if (added.size !== axes.length || [...added].some((axis) => axis < 0 || axis >= rank)) {
    return node.fail(`has axes [${axes.join(", ")}] for a result of ${rank} axes`);
  }
  const left = [...dims];
  const result = Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : left.shift()!));
  return reshaped(node, x, result);
};

const squeeze: Operator = (node) => {
  const x = node.input(0);
  const dims: readonly Dimension[] =
    x.kind === "constant" ? x.dims : ["batch", ...node.builder.shapeOf(x.id)];
  const axes = axesOf(node)?.map((axis) => (axis < 0 ? axis + dims.length : axis));
  if (axes?.some((axis) => axis < 0 || axis >= dims.length || (dims[axis] !== 1 && dims[axis] !== "batch"))) {
    return node.fail(`drops axes [${axes.join(", ")}] of [${dims.join(", ")}]`);
  }
  const dropped = (n: Dimension, axis: number) => (axes === undefined ? n === 1 : axes.includes(axis));
  return reshaped(
    node,
    x,
    dims.filter((n, axis) => !dropped(n, axis)),
  );
};

function reshaped(node: OnnxNode, x: Operand, dims: readonly Dimension[]): Operand {
  if (x.kind === "constant") return constant(x.name, x.type, dims as number[], x.data);
  const [batch, ...shape] = dims;
  if (batch !== "batch") return node.mixesRows("moves or drops the batch axis");
  return node.result(node.reshape(x.id, shape as number[]));
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
    if ((axis === 0 || axis === -shape.length - 1) && wholeBatch) return;
    const own = node.rowAxis(axis, shape.length);
    ranges[own] = rangeOf(node, shape[own]!, starts[i]!, ends[i]!, steps[i]!);
  });
  return node.result(crop(node, x.id, ranges));
};

function rangeOf(node: OnnxNode, size: number, start: number, end: number, step: number): Range {
  if (step === 0) return node.fail("has a step of 0");
  const place = (position: number) => (position < 0 ? position + size : position);
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1];
  const from = Math.min(Math.max(place(start), step > 0 ? 0 : 0), step > 0 ? size : size - 1);
  const to = Math.min(Math.max(place(end), low), high);
  return { start: from, step, length: Math.max(0, Math.ceil((to - from) / step)) };
}

/** Cutting a part out is padding by negative amounts. */
function crop(node: OnnxNode, id: ValueId, ranges: readonly Range[]): ValueId {
  const shape = node.builder.shapeOf(id);
  if (ranges.some(({ step }) => step !== 1))
    return node.unsupported("with steps is outside the native operator set");
  if (ranges.some(({ length }) => length < 1))
    return node.fail(`leaves nothing of rows of ${formatShape(shape)}`);
  const before = ranges.map(({ start }) => (start === 0 ? 0 : -start));
  const after = ranges.map(({ start, length }, axis) => {
    const cut = shape[axis]! - start - length;
    return cut === 0 ? 0 : -cut;
  });
  return node.builder.node({
    op: "pad",
    name: node.name,
    inputs: [id],
    before,
    after,
    mode: "constant",
    value: 0,
  });
}

const split: Operator = (node) => {
  const { id, shape } = node.row(0);
  const axis = node.rowAxis(node.int("axis", 0), shape.length);
  const size = shape[axis]!;
  const count = node.outputs.length;
  const given = node.opset < 13 ? node.ints("split") : node.wholes(1, "lengths of parts");
  const even = Math.ceil(size / count);
  const lengths = given ?? Array.from({ length: count }, (_, i) => Math.min(even, size - i * even));
  if (lengths.length !== count || elements([lengths.reduce((a, b) => a + b, 0)]) !== size) {
    return node.fail(`splits ${size} elements into [${lengths.join(", ")}]`);
  }
  let start = 0;
  return lengths.map((length) => {
    const ranges = shape.map((n, i) =>
      i === axis ? { start, step: 1, length } : { start: 0, step: 1, length: n },
    );
    start += length;
    return node.result(crop(node, id, ranges));
  });
};

const gather: Operator = (node) => {
  const x = node.input(0);
  const indices = node.input(1);
  if (indices.kind === "row") return node.unsupported("takes indices computed from the input");
  const axis = node.int("axis", 0);
  if (x.kind === "constant") {
    const own = axis < 0 ? axis + x.dims.length : axis;
    if (own < 0 || own >= x.dims.length) return node.fail(`has axis ${axis} on ${x.dims.length} axes`);
    return evaluateGather(node, x, indices, own);
  }
  const shape = node.builder.shapeOf(x.id);
  const own = node.rowAxis(axis, shape.length);
  if (indices.dims.length > 0)
    return node.unsupported("of several elements is outside the native operator set");
  const [index] = node.wholes(1, "indices") as [number];
  const start = index < 0 ? index + shape[own]! : index;
  if (start < 0 || start >= shape[own]!)
    return node.fail(`gathers element ${index} of an axis of ${shape[own]}`);
  const ranges = shape.map((n, i) =>
    i === own ? { start, step: 1, length: 1 } : { start: 0, step: 1, length: n },
  );
  return node.result(
    node.reshape(
      crop(node, x.id, ranges),
      shape.filter((_, i) => i !== own),
    ),
  );
};

/** Amounts are an attribute before opset 11 and an input from then on. */
const pad: Operator = (node) => {
  const { id, shape } = node.row(0);
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
    const own = node.rowAxis(axis, shape.length);
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
  );
};

/** Axes are an attribute before opset 18 and an input from then on. */
const reduceMean: Operator = (node) => {
  const { id, shape } = node.row(0);
  const axes = node.opset < 18 ? node.ints("axes") : node.wholes(1, "axes");
  if (axes === undefined || axes.length === 0) {
    if (node.int("noop_with_empty_axes", 0) !== 0) return node.input(0);
    return node.mixesRows("takes the mean over all axes, the batch included");
  }
  const own = [...new Set(axes.map((axis) => node.rowAxis(axis, shape.length)))].sort((p, q) => p - q);
  const kept = shape.map((n, axis) => (own.includes(axis) ? 1 : n));
  const dropped = shape.filter((_, axis) => !own.includes(axis));
  const result = node.builder.node({ op: "reduceMean", name: node.name, inputs: [id], axes: own }, kept);
  if (node.int("keepdims", 1) !== 0 || sameShape(kept, dropped)) return node.result(result);
  return node.result(node.reshape(result, dropped));
};

/** The full shape as whole numbers, the batch as itself. */
const shapeOperator: Operator = (node) => {
  const x = node.input(0);
  const dims: readonly Dimension[] =
    x.kind === "constant" ? x.dims : ["batch", ...node.builder.shapeOf(x.id)];
  const rank = dims.length;
  const clamp = (at: number) => Math.min(rank, Math.max(0, at < 0 ? at + rank : at));
  const part = dims.slice(clamp(node.int("start", 0)), clamp(node.int("end", rank)));
  return constant(node.name, "int", [part.length], part);
};

const constantOfShape: Operator = (node) => {
  const dims = node.wholes(0, "lengths of axes") ?? node.fail("has no shape");
  const size = elements(dims);
  if (dims.some((n) => n < 0) || size > 2 ** 24)
    return node.fail(`makes a constant of shape [${dims.join(", ")}]`);
  const value: Constant | undefined = node.tensor("value");
  const fill = value?.data[0] ?? 0;
  const type = value?.type ?? "float";
  const data = new Array<Dimension>(size).fill(fill);
  return constant(node.name, type, dims, type === "float" ? Float32Array.from(data as number[]) : data);
};

export const layoutOperators: Readonly<Record<string, Operator>> = {
  Reshape: reshape,
  Flatten: flatten,
  Transpose: transpose,
  Concat: concat,
  Unsqueeze: unsqueeze,
  Squeeze: squeeze,
  Slice: slice,
  Split: split,
  Gather: gather,
  Pad: pad,
  ReduceMean: reduceMean,
  Shape: shapeOperator,
  ConstantOfShape: constantOfShape,
};
