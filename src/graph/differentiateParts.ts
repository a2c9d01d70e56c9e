/** What the two directions of differentiation share: a graph without epilogues, copied, and the small pieces that derivatives are made of. */
import type { GraphBuilder, NewNode } from "./builder.js";
import {
  type Activation,
  elements,
  type Graph,
  type Node,
  type Shape,
  type Value,
  type ValueId,
} from "./graph.js";
import { sameShape } from "./shapes.js";

/**
 * The same function of nodes that each have one derivative: every residual and activation is a node of its own, and
 * attention is the products that it is made of.
 */
export function elementary(graph: Graph): Graph {
  return withoutAttention(withoutEpilogues(graph));
}

/** softmax(scale · q·kᵀ + bias)·v, step by step. */
function withoutAttention(graph: Graph): Graph {
  if (graph.nodes.every(({ op }) => op !== "attention")) return graph;
  const values: Value[] = [...graph.values];
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    if (node.op !== "attention") {
      nodes.push(node);
      continue;
    }
    const { name } = node;
    const [q, k, v, bias] = node.inputs as [ValueId, ValueId, ValueId, ValueId | undefined];
    const value = (what: string, shape: Shape): ValueId =>
      values.push({ name: `${name}.${what}`, shape }) - 1;
    const keys = values[k].shape;
    const axes = keys.map((_, axis) => axis);
    const permutation = [...axes.slice(0, -2), axes.length - 1, axes.length - 2];
    const transposed = value(
      "keys",
      permutation.map((axis) => keys[axis]),
    );
    nodes.push({ op: "transpose", name, inputs: [k], output: transposed, permutation });
    const shape = [...values[q].shape.slice(0, -1), keys.at(-2) as number];
    const products = value("products", shape);
    nodes.push({ op: "matmul", name, inputs: [q, transposed], output: products });
    const scale =
      values.push({ name: `${name}.scale`, shape: [], constant: Float32Array.of(node.scale) }) - 1;
    let scores = value("scores", shape);
    nodes.push({ op: "mul", name, inputs: [products, scale], output: scores });
    if (bias !== undefined) {
      const biased = value("biased", shape);
      nodes.push({ op: "add", name, inputs: [scores, bias], output: biased });
      scores = biased;
    }
    const weights = value("weights", shape);
    nodes.push({ op: "softmax", name, inputs: [scores], output: weights });
    nodes.push({ op: "matmul", name, inputs: [weights, v], output: node.output });
  }
  return { ...graph, values, nodes };
}

/** The same function with every residual and activation as a node of its own. */
export function withoutEpilogues(graph: Graph): Graph {
  const values: Value[] = [...graph.values];
  const nodes: Node[] = [];
  const beside = (node: Node, what: string): ValueId =>
    values.push({ name: `${node.name}.${what}`, shape: graph.values[node.output].shape }) - 1;
  for (const node of graph.nodes) {
    if (node.op === "activate") {
      nodes.push(node);
      continue;
    }
    const { residual, activation, ...bare } = node;
    const activated = activation === undefined ? node.output : beside(node, "before activation");
    const product = residual === undefined ? activated : beside(node, "product");
    nodes.push({ ...bare, output: product } as Node);
    if (residual !== undefined) {
      nodes.push({ op: "add", name: node.name, inputs: [product, residual], output: activated });
    }
    if (activation !== undefined) {
      nodes.push({ op: "activate", name: node.name, inputs: [activated], output: node.output, activation });
    }
  }
  return { ...graph, values, nodes };
}

/** A graph on its way into another: what each of its values is called there, and how a node gets there. */
export interface Copy {
  /** New id of every old value that is there already. */
  readonly ids: ValueId[];
  /** Copies a node whose inputs are there. */
  node(node: Node): void;
}

/** Starts a copy of `graph` whose input is `input`; its constants are there at once. */
export function copyInto(builder: GraphBuilder, graph: Graph, input: ValueId): Copy {
  const ids: ValueId[] = [];
  graph.values.forEach(({ name, shape, constant }, id) => {
    if (constant !== undefined) ids[id] = builder.constant(name, shape, constant);
  });
  ids[graph.input] = input;
  return {
    ids,
    node({ output, ...node }) {
      const inputs = node.inputs.map((id) => ids[id]);
      ids[output] = builder.node({ ...node, inputs } as NewNode, graph.values[output].shape);
    },
  };
}

/**
 * Where to take an activation's derivative: of functions that keep the sign it is the same at the result, and then
 * nobody needs what was there before, so that the function stays an epilogue of the node before it.
 */
export function derivativePlace(activation: Activation, x: ValueId, y: ValueId): ValueId {
  const keepsSign = activation.kind === "relu" || (activation.kind === "leakyRelu" && activation.alpha >= 0);
  return keepsSign ? y : x;
}

/** Whether the node's result moves in jumps only: its derivative is zero wherever it has one. */
export function isPiecewiseConstant(node: Node): boolean {
  return node.op === "greater" || node.op === "topKMask";
}

/** Which values move with the graph's input. */
export function movesWithInput(graph: Graph): boolean[] {
  const moves = graph.values.map((_, id) => id === graph.input);
  for (const node of graph.nodes) {
    moves[node.output] = !isPiecewiseConstant(node) && node.inputs.some((id) => moves[id]);
  }
  return moves;
}

/** The pieces, written into `builder`. Names are for messages alone. */
export function derivativeParts(builder: GraphBuilder) {
  const { shapeOf } = builder;

  const filled = (name: string, shape: Shape, value: number): ValueId =>
    builder.constant(name, shape, new Float32Array(elements(shape)).fill(value));

  const binary = (op: "add" | "sub" | "mul" | "div", name: string, a: ValueId, b: ValueId): ValueId =>
    builder.node({ op, name, inputs: [a, b] });

  const scaled = (name: string, x: ValueId, factor: number): ValueId =>
    factor === 1 ? x : binary("mul", name, x, filled(name, [], factor));

  const reshaped = (name: string, x: ValueId, shape: Shape): ValueId =>
    sameShape(shapeOf(x), shape) ? x : builder.node({ op: "reshape", name, inputs: [x] }, shape);

  const permuted = (name: string, x: ValueId, permutation: readonly number[]): ValueId =>
    permutation.every((axis, i) => axis === i)
      ? x
      : builder.node({ op: "transpose", name, inputs: [x], permutation });

  /** Repeats x to `shape`, as NumPy broadcasts. */
  const broadcastTo = (name: string, x: ValueId, shape: Shape): ValueId =>
    sameShape(shapeOf(x), shape) ? x : binary("add", name, x, filled(name, shape, 0));

  /** The transpose of broadcasting from `shape`: sums over what was repeated. */
  const sumTo = (name: string, x: ValueId, shape: Shape): ValueId => {
    const from = shapeOf(x);
    const missing = from.length - shape.length;
    const axes = from.flatMap((n, axis) => (n > 1 && (shape[axis - missing] ?? 1) === 1 ? [axis] : []));
    if (axes.length === 0) return reshaped(name, x, shape);
    const kept = from.map((n, axis) => (axes.includes(axis) ? 1 : n));
    const mean = builder.node({ op: "reduceMean", name, inputs: [x], axes }, kept);
    return reshaped(name, scaled(name, mean, elements(from) / elements(kept)), shape);
  };

  /** `length` elements of `axis` from `start` on. */
  const sliced = (name: string, x: ValueId, axis: number, start: number, length: number): ValueId => {
    const shape = shapeOf(x);
    const along = (amount: number) => shape.map((_, i) => (i === axis ? amount : 0));
    const before = along(-start);
    const after = along(start + length - shape[axis]);
    return builder.node({ op: "pad", name, inputs: [x], before, after, mode: "constant", value: 0 });
  };

  /** Swaps the last two axes. */
  const matrixTransposed = (name: string, x: ValueId): ValueId => {
    const axes = shapeOf(x).map((_, axis) => axis);
    const last = axes.length - 1;
    return permuted(name, x, [...axes.slice(0, -2), last, last - 1]);
  };

  return {
    shapeOf,
    filled,
    binary,
    scaled,
    reshaped,
    permuted,
    broadcastTo,
    sumTo,
    sliced,
    matrixTransposed,
    node: builder.node,
    constant: builder.constant,
    constantOf: builder.constantOf,
  };
}

export type DerivativeParts = ReturnType<typeof derivativeParts>;

/** [outputs, inputs] → [inputs, outputs] of a constant matrix. */
export function transposedMatrix(data: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(
    { length: data.length },
    (_, i) => data[(i % rows) * columns + Math.floor(i / rows)],
  );
}
