/** Questions that the recognition of patterns asks about a draft. */
import type { ActivateNode, Activation, Node, ValueId } from "./graph.js";
import { type Draft, producerOf } from "./rewrite.js";
import { sameShape } from "./shapes.js";

/** The one number that a constant holds, whatever its shape. */
export function numberOf(draft: Draft, id: ValueId): number | undefined {
  const constant = draft.values[id]!.constant;
  return constant?.length === 1 ? constant[0] : undefined;
}

/** Whether every element of a constant is the number. */
export function isAll(draft: Draft, id: ValueId, value: number): boolean {
  return draft.values[id]!.constant?.every((element) => element === value) ?? false;
}

export function haveSameShape(draft: Draft, a: ValueId, b: ValueId): boolean {
  return sameShape(draft.values[a]!.shape, draft.values[b]!.shape);
}

/** The value as an element-wise function of another one. */
export function functionOf(draft: Draft, id: ValueId, kind: Activation["kind"]): ActivateNode | undefined {
  const producer = producerOf(draft, id);
  return producer?.op === "activate" && producer.activation.kind === kind ? producer : undefined;
}

/** A node that multiplies by one number and nothing else: what it multiplies, and by what. */
export function scalingOf(draft: Draft, node: Node | undefined): { x: ValueId; factor: number } | undefined {
  if (node === undefined || (node.op !== "mul" && node.op !== "div") || node.activation !== undefined) {
    return undefined;
  }
  const [a, b] = node.inputs as [ValueId, ValueId];
  const [p, q] = [numberOf(draft, a), numberOf(draft, b)];
  if (q !== undefined && haveSameShape(draft, a, node.output)) {
    return { x: a, factor: node.op === "mul" ? q : 1 / q };
  }
  const turned = node.op === "mul" && p !== undefined && haveSameShape(draft, b, node.output);
  return turned ? { x: b, factor: p } : undefined;
}

/** A sum of a value and a constant: both sides. */
export function shiftOf(draft: Draft, id: ValueId): { x: ValueId; constant: ValueId } | undefined {
  const node = producerOf(draft, id);
  if (node?.op !== "add" || node.activation !== undefined) return undefined;
  const side = node.inputs.findIndex((input) => draft.values[input]!.constant !== undefined);
  return side < 0 ? undefined : { x: node.inputs[1 - side]!, constant: node.inputs[side]! };
}

/** Equal up to the rounding of constants to float32. */
export function isAbout(x: number, y: number): boolean {
  return Math.abs(x - y) <= 1e-6 * Math.abs(y);
}
