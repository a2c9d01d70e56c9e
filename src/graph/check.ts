/** Whether a graph makes sense: ids, order, shapes, attributes. Everything below a checked graph may rely on it. */
import { InputError } from "../errors.js";
import { elements, formatShape, type Graph, type Node, type OpName } from "./graph.js";
import { isUsableShape, resultShape, sameShape } from "./shapes.js";

const activatable: ReadonlySet<OpName> = new Set<OpName>([
  "conv",
  "convTranspose",
  "linear",
  "matmul",
  "add",
  "sub",
  "mul",
  "div",
  "groupNorm",
  "layerNorm",
]);

/** Whether the op takes an activation as an epilogue. */
export function takesActivation(node: Node): boolean {
  return activatable.has(node.op);
}

/** Whether the op takes a residual as an epilogue. */
export function takesResidual(node: Node): boolean {
  return node.op === "conv" || node.op === "convTranspose" || node.op === "linear";
}

/**
 * Throws InputError, one sentence naming the graph and the node, where the graph is not one that can be run:
 * an id out of range or used before it is computed, a value computed twice, a shape that is not the node's result,
 * a constant of the wrong length, an epilogue where none is allowed, an output that no node computes.
 */
export function checkGraph(graph: Graph): void {
  const fail = (message: string): never => {
    throw new InputError(`graph "${graph.name}": ${message}`);
  };
  const ready = new Set<number>();
  graph.values.forEach((value, id) => {
    if (!isUsableShape(value.shape)) {
      fail(
        `value "${value.name}" has shape ${formatShape(value.shape)}, expected whole numbers of at least 1 ` +
          `and fewer than 2^31 elements`,
      );
    }
    if (value.constant === undefined) return;
    if (value.constant.length !== elements(value.shape)) {
      fail(
        `constant "${value.name}" of shape ${formatShape(value.shape)} holds ${value.constant.length} elements`,
      );
    }
    ready.add(id);
  });

  const nameOf = (id: number) => graph.values[id]?.name ?? String(id);
  const exists = (id: number) => Number.isInteger(id) && id >= 0 && id < graph.values.length;
  if (!exists(graph.input) || graph.values[graph.input]!.constant !== undefined) {
    fail("its input is not a value that a row brings");
  }
  ready.add(graph.input);

  for (const node of graph.nodes) {
    const used = node.residual === undefined ? node.inputs : [...node.inputs, node.residual];
    for (const id of used) {
      if (!exists(id)) fail(`node "${node.name}" (${node.op}) reads value ${id}, which does not exist`);
      if (!ready.has(id)) {
        fail(`node "${node.name}" (${node.op}) reads "${nameOf(id)}" before it is computed`);
      }
    }
    if (!exists(node.output))
      fail(`node "${node.name}" (${node.op}) writes value ${node.output}, which does not exist`);
    if (ready.has(node.output))
      fail(`node "${node.name}" (${node.op}) writes "${nameOf(node.output)}" a second time`);
    const { shape } = graph.values[node.output]!;
    const result = resultShape(
      node,
      node.inputs.map((id) => graph.values[id]!.shape),
      shape,
    );
    if (!sameShape(result, shape)) {
      fail(
        `node "${node.name}" (${node.op}) gives ${formatShape(result)}, its value says ${formatShape(shape)}`,
      );
    }
    if (node.activation !== undefined && node.op !== "activate" && !takesActivation(node)) {
      fail(`node "${node.name}" (${node.op}) cannot carry an activation`);
    }
    if (node.residual !== undefined) {
      if (!takesResidual(node)) fail(`node "${node.name}" (${node.op}) cannot carry a residual`);
      const residual = graph.values[node.residual]!;
      if (!sameShape(residual.shape, shape)) {
        fail(
          `node "${node.name}" (${node.op}) adds a residual of ${formatShape(residual.shape)} to ${formatShape(shape)}`,
        );
      }
    }
    checkConstants(node, graph, fail);
    ready.add(node.output);
  }
  if (!graph.nodes.some((node) => node.output === graph.output)) fail("no node computes its output");
}

/** Which inputs are weights: from this one on. */
const firstWeight: Readonly<Partial<Record<OpName, number>>> = {
  conv: 1,
  convTranspose: 1,
  linear: 1,
  groupNorm: 1,
  layerNorm: 1,
  attention: 3,
};

/** Weights that the plans pack ahead of time have to be there ahead of time. */
function checkConstants(node: Node, graph: Graph, fail: (message: string) => never) {
  const first = firstWeight[node.op];
  if (first === undefined) return;
  for (const id of node.inputs.slice(first)) {
    const value = graph.values[id]!;
    if (value.constant === undefined) {
      fail(`node "${node.name}" (${node.op}) takes "${value.name}" as a weight, which is not a constant`);
    }
  }
}
