/** softmax(scale · q·kᵀ + bias)·v in the forms exporters write, as one operator. */
import type { Node, ValueId } from "./graph.js";
import { numberOf, scalingOf, shiftOf } from "./match.js";
import { addConstant, addNode, type Draft, producerOf, replacePattern, soleProducerOf } from "./rewrite.js";
import { sameShape } from "./shapes.js";

/** A factor before a reshape or a transpose goes behind it, so that it stands at the product that uses it. */
export function moveScale(draft: Draft, node: Node): boolean {
  if (node.op !== "transpose" && node.op !== "reshape") return false;
  const producer = soleProducerOf(draft, node.inputs[0]!);
  const scaling = scalingOf(draft, producer);
  if (producer === undefined || scaling === undefined) return false;
  const number = numberOf(draft, producer.inputs.find((id) => id !== scaling.x)!)!;
  const factor = addConstant(draft, `${producer.name}.factor`, [], Float32Array.of(number));
  const { output, ...rest } = node;
  const moved = addNode(draft, { ...rest, inputs: [scaling.x] }, draft.values[output]!.shape);
  const inputs = producer.inputs.map((id) => (id === scaling.x ? moved : factor));
  replacePattern(draft, node, { ...producer, inputs, output } as Node);
  return true;
}

/** The value without the factors it was multiplied by, and their product. */
function withoutFactors(draft: Draft, id: ValueId): { x: ValueId; factor: number } {
  let x = id;
  let factor = 1;
  for (let next = scalingOf(draft, producerOf(draft, x)); next !== undefined; ) {
    x = next.x;
    factor *= next.factor;
    next = scalingOf(draft, producerOf(draft, x));
  }
  return { x, factor };
}

/**
 * The product of a softmax with the values, its scores a product of queries and keys; factors may stand before that
 * product on either side or behind it, a constant may be added after them.
 */
export function recogniseAttention(draft: Draft, node: Node): boolean {
  if (node.op !== "matmul" || node.activation !== undefined) return false;
  const [weights, v] = node.inputs as [ValueId, ValueId];
  const softmax = soleProducerOf(draft, weights);
  if (softmax?.op !== "softmax") return false;
  const logits = softmax.inputs[0]!;
  const shift = shiftOf(draft, logits);
  const { x: products, factor } = withoutFactors(draft, shift?.x ?? logits);
  const product = producerOf(draft, products);
  if (product?.op !== "matmul" || product.activation !== undefined) return false;
  const { shape } = draft.values[products]!;
  if (!sameShape(draft.values[logits]!.shape, shape)) return false;
  const q = withoutFactors(draft, product.inputs[0]!);
  const keys = withoutFactors(draft, product.inputs[1]!);
  const leading = shape.slice(0, -2);
  const meets = [q.x, keys.x, v].every((id) => sameShape(draft.values[id]!.shape.slice(0, -2), leading));
  const scale = factor * q.factor * keys.factor;
  if (!meets || !Number.isFinite(scale)) return false;
  const axes = shape.map((_, axis) => axis);
  const last = axes.length - 1;
  const permutation = [...axes.slice(0, -2), last, last - 1];
  const keysShape = permutation.map((axis) => draft.values[keys.x]!.shape[axis]!);
  const { name, output } = node;
  const k = addNode(draft, { op: "transpose", name, inputs: [keys.x], permutation }, keysShape);
  const inputs = [q.x, k, v, ...(shift === undefined ? [] : [shift.constant])];
  replacePattern(draft, node, { op: "attention", name, inputs, output, scale });
  return true;
}
