/** Softmax, and attention as one operator (opset 23). */
import { elements, type Shape, type ValueId } from "../../../graph/graph.js";
import { checkSize, evaluateBinary } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { type Constant, constant } from "../operand.js";
import { rowOf } from "./broadcast.js";
import { permuted } from "./layout.js";

/** Over one axis; before opset 13 over all axes from the given one on. */
const softmax: Operator = (node) => {
  const { id, shape, batch } = node.placed(0);
  const own = node.rowAxis(node.int("axis", node.opset < 13 ? 1 : -1), shape.length, batch);
  const over = (x: ValueId) => node.builder.node({ op: "softmax", name: node.name, inputs: [x] });
  if (node.opset < 13) {
    if (own < batch) return node.mixesRows("works along the batch axis");
    const flat = node.reshape(id, [...shape.slice(0, own), elements(shape.slice(own))]);
    return node.result(node.reshape(over(flat), shape), batch);
  }
  // The axis changes places with the last one, and back.
  const last = shape.length - 1;
  const swap = shape.map((_, axis) => (axis === own ? last : axis === last ? own : axis));
  return node.result(permuted(node, over(permuted(node, id, swap)), swap), batch);
};

/** [T, heads·d] → [heads, T, d], or [heads, T, d] as it is. */
function heads(node: OnnxNode, index: number, attribute: string): ValueId {
  const { id, shape } = node.row(index);
  if (shape.length === 3) return id;
  const count = node.int(attribute, 0);
  const [length, width] = shape as [number, number];
  if (shape.length !== 2 || count < 1 || width % count !== 0) {
    return node.fail(`has ${attribute} ${count} on rows of [${shape.join(", ")}]`);
  }
  return permuted(node, node.reshape(id, [length, count, width / count]), [1, 0, 2]);
}

const attention: Operator = (node) => {
  if (node.outputs.slice(1).some((name) => name !== "")) {
    return node.unsupported("with more than one result is outside the native operator set");
  }
  if (node.arity > 4 && [4, 5, 6].some((index) => node.optional(index) !== undefined)) {
    return node.unsupported("with a past is outside the native operator set");
  }
  if (node.float("softcap", 0) !== 0)
    return node.unsupported("with softcap is outside the native operator set");
  const flat = node.row(0).shape.length === 2;
  const q = heads(node, 0, "q_num_heads");
  const shape = node.builder.shapeOf(q) as readonly [number, number, number];
  const [count, targets, depth] = shape;
  // Fewer keys than queries: each serves a group of neighbouring queries.
  const [k, v] = [1, 2].map((index) => {
    const id = heads(node, index, "kv_num_heads");
    const own = node.builder.shapeOf(id)[0]!;
    if (own === count) return id;
    if (count % own !== 0) return node.fail(`has ${count} heads of queries and ${own} of keys`);
    const indices = Array.from({ length: count }, (_, i) => Math.floor((i * own) / count));
    return node.builder.node({ op: "gather", name: node.name, inputs: [id], axis: 0, indices });
  }) as [ValueId, ValueId];
  const sources = node.builder.shapeOf(k)[1]!;
  const bias = biasOf(node, [count, targets, sources]);
  const result = node.builder.node({
    op: "attention",
    name: node.name,
    inputs: bias === undefined ? [q, k, v] : [q, k, v, bias],
    scale: node.float("scale", 1 / Math.sqrt(depth)),
  });
  if (!flat) return node.result(result);
  const width = node.builder.shapeOf(result)[2]! * count;
  return node.result(node.reshape(permuted(node, result, [1, 0, 2]), [targets, width]));
};

/** The mask, which is added where it is numbers and hides where it is false, and what causality hides. */
function biasOf(node: OnnxNode, shape: Shape): ValueId | undefined {
  const mask = node.optional(3);
  const parts: Constant[] = [];
  if (mask?.kind === "row") return node.unsupported("has a mask that is computed from the input");
  if (mask !== undefined) {
    const { data, shape: own } = rowOf(node, mask, { rank: shape.length + 1, batch: 0 });
    const numbers = mask.type === "bool" ? data.map((x) => (x !== 0 ? 0 : -Infinity)) : data;
    parts.push(constant("mask", "float", own, numbers));
  }
  if (node.int("is_causal", 0) !== 0) {
    const [, targets, sources] = shape as [number, number, number];
    checkSize(node, [targets, sources]);
    const later = (i: number) => (i % sources > Math.floor(i / sources) ? -Infinity : 0);
    const data = Float32Array.from({ length: targets * sources }, (_, i) => later(i));
    parts.push(constant("causal", "float", [targets, sources], data));
  }
  const [first, second] = parts;
  if (first === undefined) return undefined;
  const bias = second === undefined ? first : evaluateBinary(node, first, second, "Add");
  return node.constant("mask", bias.dims, bias.data as Float32Array);
}

export const attentionOperators: Readonly<Record<string, Operator>> = {
  Softmax: softmax,
  Attention: attention,
};
