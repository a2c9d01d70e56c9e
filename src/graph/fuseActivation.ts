/** Activations in the forms exporters write, recognised as the functions they are. */
import type { Activation, ActivationKind, Node, ValueId } from "./graph.js";
import { functionOf, haveSameShape, isAbout, numberOf, scalingOf, shiftOf } from "./match.js";
import {
  type Draft,
  producerOf,
  removeNode,
  replaceNode,
  replacePattern,
  soleProducerOf,
} from "./rewrite.js";

function activation(kind: ActivationKind): Activation {
  return { kind, alpha: 0, beta: 0 };
}

/** x · sigmoid(x) */
export function recogniseSilu(draft: Draft, node: Node): boolean {
  if (node.op !== "mul" || node.activation !== undefined) return false;
  for (const side of [0, 1]) {
    const x = node.inputs[side]!;
    const gate = soleProducerOf(draft, node.inputs[1 - side]!);
    if (gate?.op !== "activate" || gate.activation.kind !== "sigmoid" || gate.inputs[0] !== x) continue;
    removeNode(draft, gate);
    replaceNode(draft, node, {
      op: "activate",
      name: node.name,
      inputs: [x],
      output: node.output,
      activation: activation("silu"),
    });
    return true;
  }
  return false;
}

/**
 * ½·x·(1 + erf(x/√2)), and with tanh(√(2/π)·(x + 0.044715·x³)) in the place of the error function: the factors in any
 * order and grouping. The constants of the file are float32; the function takes its own.
 */
export function recogniseGelu(draft: Draft, node: Node): boolean {
  if ((node.op !== "mul" && node.op !== "div") || node.activation !== undefined) return false;
  const product = factorsOf(draft, node);
  if (product === undefined || !isAbout(product.factor, 0.5) || product.leaves.length !== 2) return false;
  for (const side of [0, 1]) {
    const x = product.leaves[1 - side]!;
    const kind = gateOf(draft, product.leaves[side]!, x);
    if (kind === undefined || !haveSameShape(draft, x, node.output)) continue;
    const { name, output } = node;
    replacePattern(draft, node, { op: "activate", name, inputs: [x], output, activation: activation(kind) });
    return true;
  }
  return false;
}

/** What 1 + g is the gate of, with g a function of x. */
function gateOf(draft: Draft, id: ValueId, x: ValueId): "gelu" | "geluTanh" | undefined {
  const shift = shiftOf(draft, id);
  if (shift === undefined || numberOf(draft, shift.constant) !== 1) return undefined;
  const erf = functionOf(draft, shift.x, "erf");
  if (erf !== undefined) {
    return matches(polynomialOf(draft, erf.inputs[0]!, x), [0, Math.SQRT1_2]) ? "gelu" : undefined;
  }
  const tanh = functionOf(draft, shift.x, "tanh");
  const slope = Math.sqrt(2 / Math.PI);
  const inner = tanh && polynomialOf(draft, tanh.inputs[0]!, x);
  return matches(inner, [0, slope, 0, 0.044715 * slope]) ? "geluTanh" : undefined;
}

function matches(found: readonly number[] | undefined, expected: readonly number[]): boolean {
  return found?.length === expected.length && expected.every((c, i) => isAbout(found[i]!, c));
}

/** A product as one number and the values that it multiplies: through products that nothing else reads. */
function factorsOf(draft: Draft, root: Node): { factor: number; leaves: ValueId[] } | undefined {
  const leaves: ValueId[] = [];
  let factor = 1;
  const open: Node[] = [root];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    const scaling = scalingOf(draft, node);
    if (scaling !== undefined) factor *= scaling.factor;
    else if (node.op !== "mul") return undefined;
    for (const id of scaling === undefined ? node.inputs : [scaling.x]) {
      const producer = soleProducerOf(draft, id);
      const product = producer?.op === "mul" || scalingOf(draft, producer) !== undefined;
      if (product && producer!.activation === undefined) open.push(producer!);
      else leaves.push(id);
    }
    if (leaves.length > 2 || open.length > 8) return undefined;
  }
  return { factor, leaves };
}

/** The coefficients of the value as a polynomial in x of at most the third degree, from the constant on. */
function polynomialOf(draft: Draft, id: ValueId, x: ValueId, depth = 8): readonly number[] | undefined {
  if (id === x) return [0, 1];
  const number = numberOf(draft, id);
  if (number !== undefined) return [number];
  const node = producerOf(draft, id);
  if (node === undefined || depth === 0) return undefined;
  if (node.op !== "activate" && node.activation !== undefined) return undefined;
  const parts = node.inputs.map((input) => polynomialOf(draft, input, x, depth - 1));
  const [p, q] = parts;
  if (p === undefined) return undefined;
  if (node.op === "activate") {
    const { kind, alpha } = node.activation;
    if (kind !== "pow" || (alpha !== 2 && alpha !== 3)) return undefined;
    const squared = times(p, p);
    return alpha === 2 ? squared : squared && times(squared, p);
  }
  if (q === undefined) return undefined;
  switch (node.op) {
    case "add":
      return Array.from({ length: Math.max(p.length, q.length) }, (_, i) => (p[i] ?? 0) + (q[i] ?? 0));
    case "mul":
      return times(p, q);
    case "div":
      return q.length === 1 ? p.map((c) => c / q[0]!) : undefined;
    default:
      return undefined;
  }
}

function times(p: readonly number[], q: readonly number[]): readonly number[] | undefined {
  if (p.length + q.length > 5) return undefined;
  const result = new Array<number>(p.length + q.length - 1).fill(0);
  p.forEach((a, i) => {
    q.forEach((b, j) => {
      result[i + j] = result[i + j]! + a * b;
    });
  });
  return result;
}
