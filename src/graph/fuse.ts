/** Fusion: what costs a pass over memory of its own goes into the node before it, and what does nothing goes. */

import {
  absorbCropAfter,
  absorbPadBefore,
  absorbTransposeAfter,
  absorbTransposeBefore,
  transposeAsReshape,
} from "./absorb.js";
import { takesActivation, takesResidual } from "./check.js";
import type { Graph, Node, ValueId } from "./graph.js";
import {
  addConstant,
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
 * Drops what does nothing, joins neighbouring reshapes and transposes, takes them and zeros around images into the layers beside them, recognises SiLU and group normalisation in
 * the forms exporters write, and makes activations and residual additions epilogues of the node before them. A node
 * takes an epilogue only where nothing else reads its result.
 */
export function fuse(graph: Graph): Graph {
  return rewrite(graph, [
    dropNothing,
    joinReshapes,
    joinTransposes,
    transposeAsReshape,
    absorbTransposeAfter,
    absorbTransposeBefore,
    absorbPadBefore,
    absorbCropAfter,
    recogniseSilu,
    recogniseGroupNorm,
    fuseResidual,
    fuseActivation,
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

function removeIfUnused(draft: Draft, node: Node) {
  if (draft.uses[node.output] === 0) removeNode(draft, node);
}

/** x · sigmoid(x) */
function recogniseSilu(draft: Draft, node: Node): boolean {
  if (node.op !== "mul" || node.activation !== undefined) return false;
  for (const side of [0, 1]) {
    const x = node.inputs[side]!;
    const gate = soleProducerOf(draft, node.inputs[1 - side]!);
    if (gate?.op !== "activate" || gate.activation.kind !== "sigmoid" || gate.inputs[0] !== x) continue;
    removeNode(draft, gate);
    const activation = { kind: "silu", alpha: 0, beta: 0 } as const;
    replaceNode(draft, node, {
      op: "activate",
      name: node.name,
      inputs: [x],
      output: node.output,
      activation,
    });
    return true;
  }
  return false;
}

/**
 * reshape to [groups, …], normalise every row of it, reshape back: group normalisation. The scale and shift that
 * follow are folded in by `fold`.
 */
function recogniseGroupNorm(draft: Draft, node: Node): boolean {
  if (node.op !== "reshape") return false;
  const norm = soleProducerOf(draft, node.inputs[0]!);
  if (norm?.op !== "groupNorm" || norm.activation !== undefined) return false;
  const [grouped, scaleId, biasId] = norm.inputs as [ValueId, ValueId, ValueId];
  const { shape: groupedShape } = draft.values[grouped]!;
  if (norm.groups !== groupedShape[0]) return false;
  const split = soleProducerOf(draft, grouped);
  if (split?.op !== "reshape") return false;
  const x = split.inputs[0]!;
  const { shape } = draft.values[x]!;
  if (!sameShape(shape, draft.values[node.output]!.shape)) return false;
  const channels = shape[0];
  if (channels === undefined || channels % norm.groups !== 0) return false;
  const spread = (id: ValueId) => {
    const { name, constant } = draft.values[id]!;
    const perGroup = channels / norm.groups;
    const data = Float32Array.from({ length: channels }, (_, c) => constant![Math.floor(c / perGroup)]!);
    return addConstant(draft, name, [channels], data);
  };
  const inputs = [x, spread(scaleId), spread(biasId)];
  removeNode(draft, split);
  removeNode(draft, norm);
  replaceNode(draft, node, { ...norm, inputs, output: node.output });
  return true;
}

/** a + b where one of them comes out of a node that can add the other itself. */
function fuseResidual(draft: Draft, node: Node): boolean {
  if (node.op !== "add") return false;
  // The later producer takes the sum, so that the other side is finished when it runs.
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
