/** Operators that rearrange elements. The batch may move aside for a while, but rows stay apart. */
import { elements, formatShape, type Shape, type ValueId } from "../../../graph/graph.js";
import { checkSize, evaluateExpand, evaluateReshape, evaluateTranspose } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { type Constant, constant, type Dimension, fullShape, type Operand, type Row } from "../operand.js";
import { spread } from "./broadcast.js";

/** Lengths of all axes, the batch among them. */
export function dimensionsOf(node: OnnxNode, x: Constant | Row): readonly Dimension[] {
  return x.kind === "constant" ? x.dims : fullShape(node.builder.shapeOf(x.id), x.batch);
}

/** Lengths of axes from an input; the batch may be one of them. */
function lengthsOf(node: OnnxNode, index: number): readonly Dimension[] {
  const operand = node.input(index);
  if (operand.kind === "row") return node.unsupported("takes a shape computed from the input's elements");
  const lengths = Array.from(operand.data as ArrayLike<Dimension>);
  if (lengths.every((n) => n === "batch" || Number.isSafeInteger(n))) return lengths;
  return node.fail(`has the target shape [${lengths.join(", ")}]`);
}

const reshape: Operator = (node) => {
  const x = node.input(0);
  const target = lengthsOf(node, 1);
  if (x.kind === "constant") return evaluateReshape(node, x, node.wholes(1, "lengths of axes")!);
  return reshapedRow(node, x, target);
};

/** The row with a full target shape; 0 copies an axis, one −1 is worked out. */
function reshapedRow(node: OnnxNode, x: Row, target: readonly Dimension[]): Row {
  const shape = node.builder.shapeOf(x.id);
  const copies = node.int("allowzero", 0) === 0;
  const full = fullShape(shape, x.batch);
  const lengths = target.map((length, axis) => {
    if (length !== 0 || !copies) return length;
    return full[axis] ?? node.fail(`copies axis ${axis} of a tensor of ${full.length} axes`);
  });
  const described = `[${lengths.join(", ")}]`;
  if (lengths.length === 0) return node.mixesRows("reshapes a batch to a single number");
  const batches = lengths.flatMap((length, axis) => (length === "batch" ? [axis] : []));
  if (batches.length > 1) return node.mixesRows(`moves the batch axis, to ${described}`);
  const numbers = lengths.filter((length) => length !== "batch");
  if (!numbers.every((n) => Number.isSafeInteger(n) && (n >= 1 || n === -1))) {
    return node.fail(`has the target shape ${described}`);
  }
  // What lies in front of the batch has to stay in front of it.
  const front = elements(shape.slice(0, x.batch));
  const candidates =
    batches.length === 1
      ? batches
      : lengths.flatMap((n, axis) => (n === -1 || n === node.batchSize ? [axis] : []));
  for (const batch of candidates) {
    const own = completed(lengths.filter((_, axis) => axis !== batch) as number[], elements(shape));
    if (own !== undefined && elements(own.slice(0, batch)) === front) {
      return node.result(node.reshape(x.id, own), batch);
    }
  }
  if (batches.length === 0 && !candidates.includes(x.batch)) {
    return node.mixesRows(`makes ${described} of a batch of ${formatShape(shape)}`);
  }
  const fits = completed(lengths.filter((_, axis) => axis !== candidates[0]) as number[], elements(shape));
  if (fits !== undefined) return node.mixesRows(`moves the batch axis, to ${described}`);
  return lengths[x.batch] === -1
    ? node.mixesRows(`makes ${described} of a batch of ${formatShape(shape)}`)
    : node.fail(`cannot make ${described} of a batch of ${formatShape(shape)}`);
}

/** The shape with its −1 worked out, where that gives `size` elements. */
function completed(lengths: readonly number[], size: number): Shape | undefined {
  const known = elements(lengths.filter((n) => n !== -1));
  const result = lengths.map((n) => (n === -1 ? size / known : n));
  const open = lengths.filter((n) => n === -1).length;
  return open <= 1 && elements(result) === size && result.every(Number.isInteger) ? result : undefined;
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
  const rank = dimensionsOf(node, x).length;
  const permutation = node.ints("perm") ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  if (
    permutation.length !== rank ||
    new Set(permutation).size !== rank ||
    permutation.some((p) => p < 0 || p >= rank)
  ) {
    return node.fail(`has perm [${permutation.join(", ")}] on ${rank} axes`);
  }
  if (x.kind === "constant") return evaluateTranspose(node, x, permutation);
  return transposedRow(node, x, permutation);
};

/** Full axes in a new order; where the batch alone moves nothing of a row does. */
export function transposedRow(node: OnnxNode, x: Row, permutation: readonly number[]): Row {
  const own = permutation
    .filter((axis) => axis !== x.batch)
    .map((axis) => (axis < x.batch ? axis : axis - 1));
  return node.result(permuted(node, x.id, own), permutation.indexOf(x.batch));
}

/** The axes of a row in a new order. */
export function permuted(node: OnnxNode, id: ValueId, permutation: readonly number[]): ValueId {
  if (permutation.every((axis, i) => axis === i)) return id;
  return node.builder.node({ op: "transpose", name: node.name, inputs: [id], permutation });
}

/** Axes are an attribute before opset 13 and an input from then on. */
function axesOf(node: OnnxNode): readonly number[] | undefined {
  return node.opset < 13 ? node.ints("axes") : node.wholes(1, "axes");
}

const unsqueeze: Operator = (node) => {
  const x = node.input(0);
  const axes = axesOf(node) ?? node.fail("has no axes");
  const dims = dimensionsOf(node, x);
  const rank = dims.length + axes.length;
  const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  if (added.size !== axes.length || [...added].some((axis) => axis < 0 || axis >= rank)) {
    return node.fail(`has axes [${axes.join(", ")}] for a result of ${rank} axes`);
  }
  const left = [...dims];
  const result = Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : left.shift()!));
  return withAxes(node, x, result);
};

const squeeze: Operator = (node) => {
  const x = node.input(0);
  const dims = dimensionsOf(node, x);
  const axes = axesOf(node)?.map((axis) => (axis < 0 ? axis + dims.length : axis));
  if (axes?.some((axis) => axis < 0 || axis >= dims.length || (dims[axis] !== 1 && dims[axis] !== "batch"))) {
    return node.fail(`drops axes [${axes.join(", ")}] of [${dims.join(", ")}]`);
  }
  const dropped = (n: Dimension, axis: number) => (axes === undefined ? n === 1 : axes.includes(axis));
  return withAxes(
    node,
    x,
    dims.filter((n, axis) => !dropped(n, axis)),
  );
};

/** The same elements with axes of length 1 put in or left out. */
function withAxes(node: OnnxNode, x: Constant | Row, dims: readonly Dimension[]): Operand {
  if (x.kind === "constant") return constant(x.name, x.type, dims as number[], x.data);
  const batch = dims.indexOf("batch");
  if (batch < 0) return node.mixesRows("drops the batch axis");
  const shape = dims.filter((n) => n !== "batch") as number[];
  const result = node.result(node.reshape(x.id, shape), batch);
  return x.same === undefined
    ? result
    : { ...result, same: constant(x.same.name, x.same.type, shape, x.same.data) };
}

/** Broadcasting to a shape; with the batch among its lengths the result belongs to every row. */
const expand: Operator = (node) => {
  const x = node.input(0);
  const target = lengthsOf(node, 1);
  return expanded(node, x, target);
};

export function expanded(node: OnnxNode, x: Constant | Row, target: readonly Dimension[]): Operand {
  const dims = dimensionsOf(node, x);
  const rank = Math.max(dims.length, target.length);
  const lengthAt = (list: readonly Dimension[], axis: number): Dimension => {
    const length = list[axis - rank + list.length] ?? 1;
    return length !== "batch" && length < 1 ? node.fail(`expands to [${target.join(", ")}]`) : length;
  };
  const fits = (own: Dimension, wanted: Dimension, axis: number): Dimension => {
    if (own === wanted || wanted === 1) return own;
    if (own === 1 || (own === "batch" && wanted === node.batchSize)) return own === 1 ? wanted : own;
    return own === "batch" || wanted === "batch"
      ? node.mixesRows(`gives axis ${axis} the length of the batch`)
      : node.fail(`cannot expand [${dims.join(", ")}] to [${target.join(", ")}]`);
  };
  const lengths = Array.from({ length: rank }, (_, axis) =>
    fits(lengthAt(dims, axis), lengthAt(target, axis), axis),
  );
  const batch = lengths.indexOf("batch");
  const shape = lengths.filter((n) => n !== "batch");
  if (lengths.length - shape.length > 1) return node.mixesRows(`expands to [${target.join(", ")}]`);
  if (x.kind === "row") {
    const leading = new Array<number>(shape.length - node.builder.shapeOf(x.id).length).fill(1);
    const reshaped = node.reshape(x.id, [...leading, ...node.builder.shapeOf(x.id)]);
    checkSize(node, shape);
    if (x.same !== undefined) return node.repeated(evaluateExpand(node, x.same, shape), batch);
    return node.result(spread(node, reshaped, shape), batch);
  }
  if (batch < 0) return evaluateExpand(node, x, shape);
  // The constant has one element along the batch, or lacks the axis.
  const at = batch - rank + dims.length;
  const own = at < 0 ? x.dims : x.dims.filter((_, axis) => axis !== at);
  return node.repeated(evaluateExpand(node, constant(x.name, x.type, own, x.data), shape), batch);
}

/** Every axis repeated as a whole. */
const tile: Operator = (node) => {
  const x = node.input(0);
  const repeats = lengthsOf(node, 1);
  const dims = dimensionsOf(node, x);
  if (repeats.length !== dims.length)
    return node.fail(`has ${repeats.length} repeats for ${dims.length} axes`);
  const spreads = repeats.every((n, axis) => n === 1 || dims[axis] === 1);
  if (spreads) return expanded(node, x, repeats);
  if (x.kind === "constant") return node.unsupported("of a constant is outside the native operator set");
  let { id } = x;
  for (const [axis, count] of repeats.entries()) {
    if (count === 1) continue;
    if (count === "batch") return node.mixesRows("repeats an axis as often as there are rows");
    const own = node.rowAxis(axis, dims.length - 1, x.batch);
    const size = node.builder.shapeOf(id)[own]!;
    if (count < 1) return node.fail(`repeats axis ${axis} ${count} times`);
    checkSize(node, [...node.builder.shapeOf(id), count]);
    const indices = Array.from({ length: size * count }, (_, i) => i % size);
    id = node.builder.node({ op: "gather", name: node.name, inputs: [id], axis: own, indices });
  }
  return node.result(id, x.batch);
};

/** [C·b·b, H, W] → [C, H·b, W·b]: which of the channels' parts comes first is the mode. */
const depthToSpace: Operator = (node) => {
  const { id, shape } = node.row(0);
  const block = node.int("blocksize", 0);
  const mode = node.string("mode", "DCR");
  const [channels, height, width] = shape as [number, number, number];
  if (shape.length !== 3 || block < 1 || channels % (block * block) !== 0) {
    return node.fail(`has blocksize ${block} on rows of ${formatShape(shape)}`);
  }
  const depth = channels / (block * block);
  const rows = mode === "CRD" ? [depth, block, block] : [block, block, depth];
  const split = node.reshape(id, [...rows, height, width]);
  const order = mode === "CRD" ? [0, 3, 1, 4, 2] : [2, 3, 0, 4, 1];
  return node.result(node.reshape(permuted(node, split, order), [depth, height * block, width * block]));
};

const spaceToDepth: Operator = (node) => {
  const { id, shape } = node.row(0);
  const block = node.int("blocksize", 0);
  const [channels, height, width] = shape as [number, number, number];
  if (shape.length !== 3 || block < 1 || height % block !== 0 || width % block !== 0) {
    return node.fail(`has blocksize ${block} on rows of ${formatShape(shape)}`);
  }
  const split = node.reshape(id, [channels, height / block, block, width / block, block]);
  const moved = permuted(node, split, [2, 4, 0, 1, 3]);
  return node.result(node.reshape(moved, [channels * block * block, height / block, width / block]));
};

/** The full shape as whole numbers, the batch as itself. */
const shapeOperator: Operator = (node) => {
  const dims = dimensionsOf(node, node.input(0));
  const rank = dims.length;
  const clamp = (at: number) => Math.min(rank, Math.max(0, at < 0 ? at + rank : at));
  const part = dims.slice(clamp(node.int("start", 0)), clamp(node.int("end", rank)));
  return constant(node.name, "int", [part.length], part);
};

const constantOfShape: Operator = (node) => {
  const lengths = lengthsOf(node, 0);
  const dims = lengths.filter((n) => n !== "batch");
  checkSize(node, dims);
  const value: Constant | undefined = node.tensor("value");
  const fill = value?.data[0] ?? 0;
  const type = value?.type ?? "float";
  const data = new Array<Dimension>(elements(dims)).fill(fill);
  const own = constant(node.name, type, dims, type === "float" ? Float32Array.from(data as number[]) : data);
  if (dims.length === lengths.length) return own;
  if (dims.length + 1 < lengths.length)
    return node.mixesRows(`makes a tensor of shape [${lengths.join(", ")}]`);
  return node.repeated(own, lengths.indexOf("batch"));
};

export const layoutOperators: Readonly<Record<string, Operator>> = {
  Reshape: reshape,
  Flatten: flatten,
  Transpose: transpose,
  Unsqueeze: unsqueeze,
  Squeeze: squeeze,
  Expand: expand,
  Tile: tile,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  Shape: shapeOperator,
  ConstantOfShape: constantOfShape,
};
