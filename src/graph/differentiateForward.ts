/** Forward differentiation: what each node does to a tangent. */
import type { NewNode } from "./builder.js";
import { type DerivativeParts, derivativePlace } from "./differentiateParts.js";
import type { Node, ValueId } from "./graph.js";

/** A node's values in the graph that is being written. */
export interface Linearised {
  /** Its inputs. */
  readonly inputs: readonly ValueId[];
  /** Its result. */
  readonly output: ValueId;
}

/**
 * The tangent of the node's result: its derivative at `inputs`, applied to `tangents` (undefined where an input does
 * not move; at least one moves).
 */
export function pushForward(
  parts: DerivativeParts,
  node: Node,
  { inputs, output }: Linearised,
  tangents: readonly (ValueId | undefined)[],
): ValueId {
  const name = `${node.name}.tangent`;
  const { binary, broadcastTo, scaled, shapeOf, filled } = parts;
  const shape = shapeOf(output);
  const [a, b] = inputs;
  const [ta, tb] = tangents;
  const sum = (x: ValueId | undefined, y: ValueId | undefined): ValueId => {
    if (x === undefined) return broadcastTo(name, moving(y), shape);
    return y === undefined ? broadcastTo(name, x, shape) : binary("add", name, x, y);
  };
  switch (node.op) {
    case "conv":
    case "convTranspose":
    case "linear":
      // Linear but for the bias.
      return again(parts, node, name, [moving(ta), b], output);
    case "matmul": {
      const left = ta === undefined ? undefined : again(parts, node, name, [ta, b], output);
      const right = tb === undefined ? undefined : again(parts, node, name, [a, tb], output);
      return sum(left, right);
    }
    case "add":
      return sum(ta, tb);
    case "sub":
      if (ta !== undefined && tb !== undefined) return binary("sub", name, ta, tb);
      return ta === undefined ? sum(undefined, scaled(name, moving(tb), -1)) : sum(ta, undefined);
    case "mul":
      return sum(
        ta === undefined ? undefined : binary("mul", name, ta, b),
        tb === undefined ? undefined : binary("mul", name, a, tb),
      );
    case "div": {
      // y = a/b: y′ = (a′ − y·b′)/b
      if (tb === undefined) return binary("div", name, moving(ta), b);
      const quotient = binary("mul", name, output, tb);
      const numerator = ta === undefined ? scaled(name, quotient, -1) : binary("sub", name, ta, quotient);
      return binary("div", name, numerator, b);
    }
    case "activate":
      return parts.node({
        op: "activateGrad",
        name,
        inputs: [derivativePlace(node.activation, a, output), moving(ta)],
        derivativeOf: node.activation,
      });
    case "groupNorm": {
      const { groups, epsilon } = node;
      const tangent = parts.node({ op: "groupNormGrad", name, inputs: [a, moving(ta)], groups, epsilon });
      return binary("mul", name, tangent, perChannel(parts, name, b, shape.length));
    }
    case "layerNorm": {
      const { dimensions, epsilon } = node;
      const tangent = parts.node({
        op: "layerNormGrad",
        name,
        inputs: [a, moving(ta)],
        dimensions,
        epsilon,
      });
      return binary("mul", name, tangent, b);
    }
    case "softmax":
      return parts.node({ op: "softmaxGrad", name, inputs: [output, moving(ta)] });
    case "maxPool": {
      const { kernel, strides, pads, dilations } = node;
      return parts.node(
        { op: "maxPoolGrad", name, inputs: [a, moving(ta)], kernel, strides, pads, dilations },
        shape,
      );
    }
    case "pad":
      return parts.node({ ...withoutOutput(node), name, inputs: [moving(ta)], value: 0 } as NewNode, shape);
    case "concat": {
      const pieces = tangents.map((t, i) => t ?? filled(name, shapeOf(inputs[i]), 0));
      return again(parts, node, name, pieces, output);
    }
    case "averagePool":
    case "gather":
    case "scatterAdd":
    case "reduceMean":
    case "resizeNearest":
    case "reshape":
    case "transpose":
      return again(parts, node, name, [moving(ta)], output);
    case "activateGrad":
    case "groupNormGrad":
    case "layerNormGrad":
    case "softmaxGrad":
    case "maxPoolGrad":
    case "maxPoolAdjoint":
      return refuseSecondDerivative(node);
    case "attention":
    case "greater":
    case "topKMask":
      return refuseUnprepared(node);
  }
}

/** The same operation on other inputs. */
function again(
  parts: DerivativeParts,
  node: Node,
  name: string,
  inputs: readonly ValueId[],
  output: ValueId,
): ValueId {
  return parts.node({ ...withoutOutput(node), name, inputs } as NewNode, parts.shapeOf(output));
}

export function withoutOutput(node: Node): NewNode {
  const { output: _, ...rest } = node;
  return rest as NewNode;
}

/** One number a channel, shaped to meet [C, …] of `rank` axes. */
export function perChannel(parts: DerivativeParts, name: string, id: ValueId, rank: number): ValueId {
  const [channels] = parts.shapeOf(id);
  return parts.reshaped(name, id, [channels, ...new Array<number>(rank - 1).fill(1)]);
}

function moving(tangent: ValueId | undefined): ValueId {
  if (tangent === undefined) throw new Error("a node none of whose inputs moves has no tangent");
  return tangent;
}

/** Graphs that are differentiated hold no attention, and what has no slope is left out. */
export function refuseUnprepared(node: Node): never {
  throw new Error(`node "${node.name}" (${node.op}) has no derivative of its own`);
}

/** Derivatives of derivatives would need second derivatives of activations, which nothing here asks for. */
export function refuseSecondDerivative(node: Node): never {
  throw new Error(`node "${node.name}" (${node.op}) is a derivative already`);
}
