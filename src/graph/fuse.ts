/** Fusion: what costs a pass over memory of its own goes into the node before it, and what does nothing goes. */

import { absorbCropAfter, absorbPadBefore, absorbTransposeAfter, absorbTransposeBefore } from "./absorb.js";
import { takesActivation, takesResidual } from "./check.js";
import { recogniseGelu, recogniseSilu } from "./fuseActivation.js";
import { moveScale, recogniseAttention } from "./fuseAttention.js";
import { moveCrop, splitProjection } from "./fuseCrop.js";
import { recogniseGroupNorm, recogniseLayerNorm } from "./fuseNorm.js";
import type { Graph, Node, ValueId } from "./graph.js";
import {
  addNode,
  type Draft,
  producerOf,
  redirect,
  removeNode,
  replaceNode,
  rewrite,
  soleProducerOf,
} from "./rewrite.js";
import { sameShape } from "./shapes.js";

/**
 * Drops what does nothing, joins neighbouring reshapes and transposes, takes them and zeros around images into the
 * layers beside them, recognises SiLU, GELU, normalisation and attention in the forms exporters write, and makes
 * activations and residual additions epilogues of the node before them. A node takes an epilogue only where nothing
 * else reads its result.
 */
export function fuse(graph: Graph): Graph {
  return rewrite(recognise(graph), [dropNothing, joinReshapes, joinTransposes, fuseResidual, fuseActivation]);
}

/** The part of `fuse` that looks for patterns of several nodes; epilogues would hide them. */
export function recognise(graph: Graph): Graph {
  return rewrite(graph, [
    dropNothing,
    joinReshapes,
    joinTransposes,
    dropUnitAxes,
    absorbTransposeAfter,
    absorbTransposeBefore,
    absorbPadBefore,
    absorbCropAfter,
    recogniseSilu,
    recogniseGelu,
    recogniseLayerNorm,
    recogniseGroupNorm,
    moveScale,
    recogniseAttention,
    moveCrop,
    splitProjection,
  ]);
}

/** The last node stays even where it does nothing: a graph's output always comes out of a node. */
function dropNothing(draft: Draft, node: Node): boolean {
  if (node.activation !== undefined) return false;
  const x = doesNothing(draft, node);
  if (x === undefined) return false;
  if (node.output === draft.output && producerOf(draft, x) === undefined) return false;
  removeNode(draft, node);
  redirect(draft, node.output, x);
  return true;
}

/** The input that the node hands on unchanged, if it does so. */
function doesNothing(draft: Draft, node: Node): ValueId | undefined {
  const [a, b] = node.inputs as [ValueId, ValueId];
  const isAll = (id: ValueId, value: number) =>
    draft.values[id]!.constant?.every((element) => element === value) ?? false;
  const sameAs = (id: ValueId) => sameShape(draft.values[id]!.shape, draft.values[node.output]!.shape);
  switch (node.op) {
    case "reshape":
      return sameAs(a) ? a : undefined;
    case "transpose":
      return node.permutation.every((axis, i) => axis === i) ? a : undefined;
    case "pad":
      return [...node.before, ...node.after].every((amount) => amount === 0) ? a : undefined;
    case "resizeNearest":
      return node.scales.every((scale) => scale === 1) ? a : undefined;
    case "maxPool":
    case "averagePool":
      return [...node.kernel, ...node.strides].every((n) => n === 1) && sameAs(a) ? a : undefined;
    case "reduceMean":
      return sameAs(a) ? a : undefined;
    case "add":
      if (isAll(b, 0) && sameAs(a)) return a;
      return isAll(a, 0) && sameAs(b) ? b : undefined;
    case "mul":
      if (isAll(b, 1) && sameAs(a)) return a;
      return isAll(a, 1) && sameAs(b) ? b : undefined;
    case "sub":
      return isAll(b, 0) && sameAs(a) ? a : undefined;
    case "div":
      return isAll(b, 1) && sameAs(a) ? a : undefined;
    default:
      return undefined;
  }
}

/** A reshape of a reshape is one reshape. */
function joinReshapes(draft: Draft, node: Node): boolean {
  if (node.op !== "reshape") return false;
  const before = producerOf(draft, node.inputs[0]!);
  if (before?.op !== "reshape") return false;
  replaceNode(draft, node, { ...node, inputs: before.inputs });
  removeIfUnused(draft, before);
  return true;
}

/** Output axis i is axis p[i] of what is axis q[p[i]] of the first input. */
function joinTransposes(draft: Draft, node: Node): boolean {
  if (node.op !== "transpose") return false;
  const before = producerOf(draft, node.inputs[0]!);
  if (before?.op !== "transpose") return false;
  const permutation = node.permutation.map((axis) => before.permutation[axis]!);
  replaceNode(draft, node, { ...node, inputs: before.inputs, permutation });
  removeIfUnused(draft, before);
  return true;
}

/** Axes of length 1 move nothing: the transpose is one of the other axes. */
function dropUnitAxes(draft: Draft, node: Node): boolean {
  if (node.op !== "transpose") return false;
  const x = node.inputs[0]!;
  const { shape } = draft.values[x]!;
  const real = shape.flatMap((n, axis) => (n > 1 ? [axis] : []));
  if (real.length === shape.length) return false;
  const { name, output } = node;
  const squeezed = real.map((axis) => shape[axis]!);
  const before = addNode(draft, { op: "reshape", name, inputs: [x] }, squeezed);
  const permutation = node.permutation.filter((axis) => shape[axis]! > 1).map((axis) => real.indexOf(axis));
  const moved = permutation.map((axis) => squeezed[axis]!);
  const inputs = [addNode(draft, { op: "transpose", name, inputs: [before], permutation }, moved)];
  replaceNode(draft, node, { op: "reshape", name, inputs, output });
  return true;
}

function removeIfUnused(draft: Draft, node: Node) {
  if (draft.uses[node.output] === 0) removeNode(draft, node);
}

/** a + b where one of them comes out of a node that can add the other itself. */
function fuseResidual(draft: Draft, node: Node): boolean {
  if (node.op !== "add") return false;
  // The later producer takes the sum: the other side is often finished when it runs.
  const sides = [0, 1].sort((p, q) => draft.producers[node.inputs[q]!]! - draft.producers[node.inputs[p]!]!);
  for (const side of sides) {
    const residual = node.inputs[1 - side]!;
    const producer = soleProducerOf(draft, node.inputs[side]!);
    if (producer === undefined || !takesResidual(producer)) continue;
    if (producer.residual !== undefined || producer.activation !== undefined) continue;
    const { shape } = draft.values[node.output]!;
    if (draft.values[residual]!.constant !== undefined) continue;
    if (!sameShape(draft.values[producer.output]!.shape, shape)) continue;
    if (!sameShape(draft.values[residual]!.shape, shape)) continue;
    removeNode(draft, producer);
    const epilogue = node.activation === undefined ? {} : { activation: node.activation };
    replaceNode(draft, node, { ...producer, output: node.output, residual, ...epilogue } as Node);
    return true;
  }
  return false;
}

/** The activation becomes the last thing that the node before it does. */
function fuseActivation(draft: Draft, node: Node): boolean {
  if (node.op !== "activate") return false;
  const producer = soleProducerOf(draft, node.inputs[0]!);
  if (producer === undefined || !takesActivation(producer) || producer.activation !== undefined) return false;
  removeNode(draft, producer);
  replaceNode(draft, node, { ...producer, output: node.output, activation: node.activation } as Node);
  return true;
}
