/**
 * Derivatives of a graph as graphs: products of its Jacobian J with a vector from either side. Both take the point
 * and the vector as one row, so that they run wherever a graph runs: one row in, one row out.
 */
import { graphBuilder } from "./builder.js";
import { pullBack } from "./differentiateBackward.js";
import { pushForward } from "./differentiateForward.js";
import {
  copyInto,
  type DerivativeParts,
  derivativeParts,
  elementary,
  isPiecewiseConstant,
  movesWithInput,
} from "./differentiateParts.js";
import { elements, type Graph, type ValueId } from "./graph.js";
import { optimize } from "./optimize.js";
import { prune } from "./rewrite.js";

/**
 * (z, v) ↦ J(z)·v for a graph z ↦ f(z) of n inputs and m outputs, all flattened row-major: a row of 2n elements, first
 * z, then v, gives m. Where f has a kink the derivative is PyTorch's choice (see graph.ts). Throws InputError where
 * the graph makes no sense.
 */
export function jacobianVectorGraph(graph: Graph): Graph {
  const source = elementary(prune(graph));
  const builder = graphBuilder(`${graph.name}: Jacobian times vector`);
  const parts = derivativeParts(builder);
  const [n, m] = sizes(graph);
  const input = builder.input("point and tangent", [2 * n]);
  const shape = graph.values[graph.input].shape;
  const copy = copyInto(builder, source, half(parts, "point", input, 0, shape));
  const { ids } = copy;
  const tangents: (ValueId | undefined)[] = [];
  tangents[source.input] = half(parts, "tangent", input, n, shape);
  // Node by node beside f itself: what f computed on the way is needed for one step only.
  for (const node of source.nodes) {
    copy.node(node);
    const moving = node.inputs.map((id) => tangents[id]);
    if (isPiecewiseConstant(node) || moving.every((tangent) => tangent === undefined)) continue;
    const values = { inputs: node.inputs.map((id) => ids[id]), output: ids[node.output] };
    tangents[node.output] = pushForward(parts, node, values, moving);
  }
  const tangent = tangents[source.output] ?? nothing(parts, input, m);
  return optimize(builder.finish(input, ended(parts, tangent, m)));
}

/**
 * (z, u) ↦ J(z)ᵀ·u for a graph of n inputs and m outputs: a row of n + m elements, first z, then u, gives n. The
 * transpose of `jacobianVectorGraph`'s map, kinks included. Throws InputError where the graph makes no sense.
 */
export function vectorJacobianGraph(graph: Graph): Graph {
  const source = elementary(prune(graph));
  const builder = graphBuilder(`${graph.name}: vector times Jacobian`);
  const parts = derivativeParts(builder);
  const [n, m] = sizes(graph);
  const input = builder.input("point and cotangent", [n + m]);
  const copy = copyInto(builder, source, half(parts, "point", input, 0, graph.values[graph.input].shape));
  const { ids } = copy;
  for (const node of source.nodes) copy.node(node);
  const moves = movesWithInput(source);
  const cotangents: (ValueId | undefined)[] = [];
  cotangents[source.output] = half(parts, "cotangent", input, n, graph.values[graph.output].shape);
  for (const node of source.nodes.toReversed()) {
    const u = cotangents[node.output];
    if (u === undefined || !moves[node.output]) continue;
    const values = { inputs: node.inputs.map((id) => ids[id]), output: ids[node.output] };
    const wanted = node.inputs.map((id) => moves[id]);
    pullBack(parts, node, values, u, wanted).forEach((cotangent, i) => {
      if (cotangent === undefined) return;
      const id = node.inputs[i];
      const before = cotangents[id];
      cotangents[id] =
        before === undefined ? cotangent : parts.binary("add", `${node.name}.sum`, before, cotangent);
    });
  }
  const cotangent = moves[source.output] ? cotangents[source.input] : undefined;
  return optimize(builder.finish(input, ended(parts, cotangent ?? nothing(parts, input, n), n)));
}

function sizes(graph: Graph): readonly [number, number] {
  return [elements(graph.values[graph.input].shape), elements(graph.values[graph.output].shape)];
}

/** The part of the row from `start` on that fills `shape`. */
function half(
  parts: DerivativeParts,
  name: string,
  input: ValueId,
  start: number,
  shape: readonly number[],
): ValueId {
  return parts.reshaped(name, parts.sliced(name, input, 0, start, elements(shape)), shape);
}

/** `length` zeros that depend on the row, as a graph's output must. */
function nothing(parts: DerivativeParts, input: ValueId, length: number): ValueId {
  const first = parts.sliced("nothing", input, 0, 0, 1);
  const zeros = parts.filled("nothing", [length, 1], 0);
  return parts.node({ op: "linear", name: "nothing", inputs: [first, zeros] });
}

/** As a vector of `length` elements. */
function ended(parts: DerivativeParts, x: ValueId, length: number): ValueId {
  return parts.reshaped("product", x, [length]);
}
