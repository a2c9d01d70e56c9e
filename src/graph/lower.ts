/** From the graph to what the addon takes: the same nodes with their attributes as numbers and lists of numbers. */
import type { NativeGraph, NativeNode } from "../native.js";
import type { Graph, Node } from "./graph.js";

const padModes = { constant: 0, reflect: 1, edge: 2 } as const;

/**
 * The graph as plain data for the addon. Attributes keep the names they have in graph.ts; booleans become 0 or 1
 * and a pad's mode becomes 0 (constant), 1 (reflect) or 2 (edge); the function that activateGrad derives travels as
 * the node's activation. Constants are shared, not copied.
 */
export function lower(graph: Graph): NativeGraph {
  return {
    values: graph.values.map(({ shape, constant }) =>
      constant === undefined ? { shape: [...shape] } : { shape: [...shape], constant },
    ),
    nodes: graph.nodes.map(lowerNode),
    input: graph.input,
    output: graph.output,
  };
}

function lowerNode(node: Node): NativeNode {
  const { op, name, inputs, output, activation, residual } = node;
  const lowered: NativeNode = { op, name, inputs: [...inputs], output, attributes: attributes(node) };
  if (activation !== undefined) lowered.activation = { ...activation };
  if (node.op === "activateGrad") lowered.activation = { ...node.derivativeOf };
  if (residual !== undefined) lowered.residual = residual;
  return lowered;
}

function attributes(node: Node): NativeNode["attributes"] {
  switch (node.op) {
    case "conv":
      return { ...window(node), groups: node.groups };
    case "convTranspose":
      return { ...window(node), outputPadding: [...node.outputPadding], groups: node.groups };
    case "groupNorm":
    case "groupNormGrad":
      return { groups: node.groups, epsilon: node.epsilon };
    case "layerNorm":
    case "layerNormGrad":
      return { dimensions: node.dimensions, epsilon: node.epsilon };
    case "attention":
      return { scale: node.scale };
    case "gather":
      return { axis: node.axis, indices: [...node.indices] };
    case "scatterAdd":
      return { axis: node.axis, indices: [...node.indices], size: node.size };
    case "topKMask":
      return { k: node.k };
    case "resizeNearest":
      return { scales: [...node.scales] };
    case "maxPool":
    case "averagePool":
      return { ...window(node), kernel: [...node.kernel], countIncludePad: node.countIncludePad ? 1 : 0 };
    case "maxPoolGrad":
    case "maxPoolAdjoint":
      return { ...window(node), kernel: [...node.kernel] };
    case "reduceMean":
      return { axes: [...node.axes] };
    case "pad":
      return {
        before: [...node.before],
        after: [...node.after],
        mode: padModes[node.mode],
        value: node.value,
      };
    case "transpose":
      return { permutation: [...node.permutation] };
    case "concat":
      return { axis: node.axis };
    case "linear":
    case "matmul":
    case "add":
    case "sub":
    case "mul":
    case "div":
    case "greater":
    case "activate":
    case "activateGrad":
    case "softmax":
    case "softmaxGrad":
    case "reshape":
      return {};
  }
}

function window(node: { strides: readonly number[]; pads: readonly number[]; dilations: readonly number[] }) {
  return { strides: [...node.strides], pads: [...node.pads], dilations: [...node.dilations] };
}
