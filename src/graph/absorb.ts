/**
 * What only moves elements goes into the layer beside it: transposes between images and vectors into the weights of the
 * linear layer on the vector's side, zeros around images into the padding of convolutions.
 */
import {
  type ConvNode,
  type ConvTransposeNode,
  elements,
  type LinearNode,
  type Node,
  type Shape,
  type TransposeNode,
  type ValueId,
} from "./graph.js";
import { addConstant, type Draft, removeNode, replaceNode, soleProducerOf } from "./rewrite.js";

/**
 * linear → (activations) → reshape → transpose: the rows of the weight are put in the order that the transpose would
 * put its elements in. Models of TensorFlow's have one wherever a vector becomes an image.
 */
export function absorbTransposeAfter(draft: Draft, node: Node): boolean {
  if (node.op !== "transpose") return false;
  const split = soleProducerOf(draft, node.inputs[0]!);
  if (split?.op !== "reshape") return false;
  const linear = linearBefore(draft, split.inputs[0]!);
  if (linear === undefined) return false;
  const order = elementOrder(draft.values[split.output]!.shape, node);
  reorder(draft, linear, { rows: order });
  removeNode(draft, split);
  replaceNode(draft, node, { ...split, output: node.output });
  return true;
}

/** transpose → reshape → (activations) → linear: the same for the columns of the weight, where an image becomes a vector. */
export function absorbTransposeBefore(draft: Draft, node: Node): boolean {
  if (node.op !== "linear") return false;
  const path = activationsBefore(draft, node.inputs[0]!);
  const join = soleProducerOf(draft, path);
  if (join?.op !== "reshape" || draft.values[join.output]!.shape.length !== 1) return false;
  const turn = soleProducerOf(draft, join.inputs[0]!);
  if (turn?.op !== "transpose") return false;
  const order = elementOrder(draft.values[turn.inputs[0]!]!.shape, turn);
  // Element i of the vector was element order[i] before it was turned.
  const back = new Int32Array(order.length);
  order.forEach((from, to) => {
    back[from] = to;
  });
  reorder(draft, node, { columns: back });
  removeNode(draft, turn);
  replaceNode(draft, join, { ...join, inputs: turn.inputs });
  return true;
}

/** Zeros around an image → convolution: they become its padding. */
export function absorbPadBefore(draft: Draft, node: Node): boolean {
  if (node.op !== "conv") return false;
  const pad = soleProducerOf(draft, node.inputs[0]!);
  const more = pad && imagePads(pad);
  if (more === undefined || more.some((n) => n < 0)) return false;
  const pads = node.pads.map((n, side) => n + more[side]!) as [number, number, number, number];
  if (!withinKernel(draft, node, pads)) return false;
  removeNode(draft, pad!);
  replaceNode(draft, node, { ...node, inputs: [pad!.inputs[0]!, ...node.inputs.slice(1)], pads });
  return true;
}

/** Transposed convolution → rows and columns cut off: they become its padding, which is cut off as well. */
export function absorbCropAfter(draft: Draft, node: Node): boolean {
  const less = imagePads(node);
  if (less === undefined || less.some((n) => n > 0)) return false;
  const conv = soleProducerOf(draft, node.inputs[0]!);
  if (conv?.op !== "convTranspose" || conv.residual !== undefined) return false;
  const pads = conv.pads.map((n, side) => n - less[side]!) as [number, number, number, number];
  if (!withinKernel(draft, conv, pads)) return false;
  removeNode(draft, conv);
  replaceNode(draft, node, { ...conv, pads, output: node.output });
  return true;
}

/** [top, left, bottom, right] of a pad that adds zeros to [C, H, W], or crops it, in height and width. */
function imagePads(node: Node): readonly number[] | undefined {
  if (node.op !== "pad" || node.mode !== "constant" || node.value !== 0) return undefined;
  const { before, after } = node;
  if (before.length !== 3 || before[0] !== 0 || after[0] !== 0) return undefined;
  return [before[1]!, before[2]!, after[1]!, after[2]!];
}

/** No side is padded by the kernel's extent or more: every window sees some of the image. */
function withinKernel(
  draft: Draft,
  { inputs, dilations }: ConvNode | ConvTransposeNode,
  pads: readonly number[],
) {
  const [, , height, width] = draft.values[inputs[1]!]!.shape as [number, number, number, number];
  const extent = [(height - 1) * dilations[0] + 1, (width - 1) * dilations[1] + 1];
  return pads.every((n, side) => n < extent[side % 2]!);
}

/** The value before the activations that lead to `id`, each read by the next one only. */
function activationsBefore(draft: Draft, id: ValueId): ValueId {
  let current = id;
  for (;;) {
    const node = soleProducerOf(draft, current);
    if (node?.op !== "activate") return current;
    current = node.inputs[0]!;
  }
}

/** The linear layer whose vector reaches `id` through activations alone. */
function linearBefore(draft: Draft, id: ValueId): LinearNode | undefined {
  const from = activationsBefore(draft, id);
  const node = soleProducerOf(draft, from);
  if (node?.op !== "linear" || node.residual !== undefined) return undefined;
  return draft.values[node.output]!.shape.length === 1 ? node : undefined;
}

/** For each element of the transposed tensor, row-major, which element of the tensor before it is. */
function elementOrder(shape: Shape, { permutation }: TransposeNode): Int32Array {
  const strides = shape.map((_, axis) => elements(shape.slice(axis + 1)));
  const order = new Int32Array(elements(shape));
  const index = permutation.map(() => 0);
  for (let to = 0; to < order.length; to++) {
    order[to] = permutation.reduce((sum, axis, i) => sum + index[i]! * strides[axis]!, 0);
    for (let i = index.length - 1; i >= 0; i--) {
      index[i]!++;
      if (index[i]! < shape[permutation[i]!]!) break;
      index[i] = 0;
    }
  }
  return order;
}

/** Puts rows (and the bias) or columns of a linear layer's weight in another order: place i takes what was at order[i]. */
function reorder(draft: Draft, linear: LinearNode, order: { rows?: Int32Array; columns?: Int32Array }) {
  const [x, weightId, biasId] = linear.inputs as [ValueId, ValueId, ValueId | undefined];
  const weight = draft.values[weightId]!;
  const [outs, ins] = weight.shape as [number, number];
  const data = new Float32Array(outs * ins);
  for (let o = 0; o < outs; o++) {
    const row = (order.rows?.[o] ?? o) * ins;
    for (let i = 0; i < ins; i++) data[o * ins + i] = weight.constant![row + (order.columns?.[i] ?? i)]!;
  }
  const inputs = [x, addConstant(draft, weight.name, weight.shape, data)];
  if (biasId !== undefined) {
    const { name, shape, constant } = draft.values[biasId]!;
    const { rows } = order;
    const bias = rows === undefined ? constant! : Float32Array.from(rows, (from) => constant![from]!);
    inputs.push(addConstant(draft, name, shape, bias));
  }
  replaceNode(draft, linear, { ...linear, inputs });
}
