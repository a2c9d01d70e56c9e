/**
 * Parts cut out of a tensor that was computed as a whole, as queries, keys and values are: the cut moves to where the
 * whole is computed, and each part is computed by itself.
 */
import {
  type ConvNode,
  elements,
  type LinearNode,
  type Node,
  type PadNode,
  type Shape,
  type ValueId,
} from "./graph.js";
import { addConstant, addNode, type Draft, producerOf, readBy, replacePattern } from "./rewrite.js";

/** The one axis along which the node cuts a part out. */
function cropOf(draft: Draft, node: Node | null | undefined) {
  if (node?.op !== "pad" || node.mode !== "constant") return undefined;
  const { before, after } = node;
  const axes = before.flatMap((amount, axis) => (amount !== 0 || after[axis] !== 0 ? [axis] : []));
  const [axis] = axes;
  if (axis === undefined || axes.length > 1 || before[axis]! > 0 || after[axis]! > 0) return undefined;
  return { axis, start: -before[axis]!, length: draft.values[node.output]!.shape[axis]! };
}

function cropping(
  shape: Shape,
  axis: number,
  start: number,
  length: number,
): Pick<PadNode, "before" | "after"> {
  const along = (amount: number) => shape.map((_, i) => (i === axis && amount !== 0 ? -amount : 0));
  return { before: along(start), after: along(shape[axis]! - start - length) };
}

/** A cut after a transpose or a reshape is one before it, wherever the axis is one of the input's or a part of one. */
export function moveCrop(draft: Draft, node: Node): boolean {
  const crop = cropOf(draft, node);
  const producer = crop && producerOf(draft, node.inputs[0]!);
  if (crop === undefined || (producer?.op !== "transpose" && producer?.op !== "reshape")) return false;
  const x = producer.inputs[0]!;
  const from = draft.values[x]!.shape;
  const to = draft.values[producer.output]!.shape;
  const { name, output } = node;
  let axis: number;
  let unit = 1;
  if (producer.op === "transpose") axis = producer.permutation[crop.axis]!;
  else {
    const front = elements(to.slice(0, crop.axis));
    axis = from.findIndex((n, i) => n > 1 && elements(from.slice(0, i)) === front);
    if (axis < 0 || from[axis]! % to[crop.axis]! !== 0) return false;
    unit = from[axis]! / to[crop.axis]!;
  }
  const length = crop.length * unit;
  const shape = from.map((n, i) => (i === axis ? length : n));
  const amounts = cropping(from, axis, crop.start * unit, length);
  const part = addNode(
    draft,
    { op: "pad", name, inputs: [x], ...amounts, mode: "constant", value: 0 },
    shape,
  );
  replacePattern(draft, node, { ...producer, name, inputs: [part], output });
  return true;
}

/**
 * A linear layer or a convolution of which nothing but parts of its outputs is read becomes a layer for each part; where
 * the rest is never read, it is never computed.
 */
export function splitProjection(draft: Draft, node: Node): boolean {
  const crop = cropOf(draft, node);
  const whole = crop && producerOf(draft, node.inputs[0]!);
  if (whole?.op !== "linear" && (whole?.op !== "conv" || whole.groups !== 1)) return false;
  if (whole.activation !== undefined || whole.residual !== undefined) return false;
  const readers = readersOf(draft, whole.output);
  const parts = readers.map((reader) => cropOf(draft, reader));
  const { shape } = draft.values[whole.output]!;
  const outsAxis = whole.op === "linear" ? shape.length - 1 : 0;
  const outs = shape[outsAxis]!;
  const total = parts.reduce((sum, part) => sum + (part?.axis === outsAxis ? part.length : outs + 1), 0);
  if (readers.length !== draft.uses[whole.output] || total > outs) return false;
  readers.forEach((reader, i) => {
    const { start, length } = parts[i]!;
    replacePattern(draft, reader, { ...partOf(draft, whole, start, length), output: reader.output });
  });
  return true;
}

function partOf(
  draft: Draft,
  whole: LinearNode | ConvNode,
  start: number,
  length: number,
): LinearNode | ConvNode {
  const [x, weightId, biasId] = whole.inputs as [ValueId, ValueId, ValueId | undefined];
  const weight = draft.values[weightId]!;
  const each = weight.shape.slice(1);
  const cut = (data: Float32Array, unit: number) => data.slice(start * unit, (start + length) * unit);
  const part = cut(weight.constant!, elements(each));
  const inputs = [x, addConstant(draft, weight.name, [length, ...each], part)];
  if (biasId !== undefined) {
    const bias = draft.values[biasId]!;
    inputs.push(addConstant(draft, bias.name, [length], cut(bias.constant!, 1)));
  }
  return { ...whole, inputs };
}

function readersOf(draft: Draft, id: ValueId): Node[] {
  return draft.nodes.filter((node) => node !== null && readBy(node).includes(id)) as Node[];
}
