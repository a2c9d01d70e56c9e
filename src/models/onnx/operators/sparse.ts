/**
 * The k largest elements, scattered back to where they came from: together they keep those and set the rest to zero.
 * Alone neither can be expressed, since the graph never sorts.
 */
import type { ValueId } from "../../../graph/graph.js";
import type { OnnxNode, Operator } from "../node.js";
import type { Operand, Picked } from "../operand.js";
import { activated } from "./elementwise.js";
import { dimensionsOf, permuted } from "./layout.js";

/** k is an attribute before opset 10. */
const topK: Operator = (node) => {
  const { id, shape, batch } = node.placed(0);
  const [k] = node.opset < 10 ? [node.int("k", 0)] : (node.wholes(1, "k") ?? []);
  const axis = node.rowAxis(node.int("axis", -1), shape.length, batch);
  if (node.int("largest", 1) === 0)
    return node.unsupported("of the smallest is outside the native operator set");
  if (k === undefined || k < 1 || k > shape[axis]!) {
    return node.fail(`takes the ${k} largest of ${shape[axis]} elements`);
  }
  const source = node.result(id, batch);
  return (["values", "indices"] as const).map((what): Picked => {
    return { kind: "picked", what, source, axis, k, activations: [] };
  });
};

/** 1 where an element is among the k largest along the axis. */
function maskOf(node: OnnxNode, { source, axis, k }: Picked): ValueId {
  const last = node.builder.shapeOf(source.id).length - 1;
  const swap = Array.from({ length: last + 1 }, (_, i) => (i === axis ? last : i === last ? axis : i));
  const moved = permuted(node, source.id, swap);
  const mask = node.builder.node({ op: "topKMask", name: node.name, inputs: [moved], k });
  return permuted(node, mask, swap);
}

function times(node: OnnxNode, x: ValueId, mask: ValueId, batch: number): Operand {
  return node.result(node.builder.node({ op: "mul", name: node.name, inputs: [x, mask] }), batch);
}

/** zeros with the k largest, or what was made of them, put back in their places. */
const scatterElements: Operator = (node) => {
  const [data, places, updates] = [node.input(0), node.any(1), node.any(2)];
  if (places.kind !== "picked" || places.what !== "indices") {
    return node.unsupported("at places other than those of the largest elements");
  }
  const axis = node.rowAxis(
    node.int("axis", 0),
    node.builder.shapeOf(places.source.id).length,
    places.source.batch,
  );
  const zeros = data.kind === "row" ? node.builder.constantOf(data.id) : data.data;
  const rank = node.builder.shapeOf(places.source.id).length + 1;
  if (
    axis !== places.axis ||
    node.string("reduction", "none") !== "none" ||
    dimensionsOf(node, data).length !== rank ||
    !(zeros && Array.from(zeros as ArrayLike<number>).every((value) => value === 0))
  ) {
    return node.unsupported("into anything but zeros of the shape that the largest elements came from");
  }
  const mask = maskOf(node, places);
  if (updates.kind === "picked") {
    const from = updates.source.id === places.source.id && updates.k === places.k && updates.axis === axis;
    if (!from || updates.what !== "values") return node.unsupported("of elements that were picked elsewhere");
    const x = updates.activations.reduce((value, f) => activated(node, value, f), places.source.id);
    return times(node, x, mask, places.source.batch);
  }
  const ones = updates.kind === "row" ? node.builder.constantOf(updates.id) : updates.data;
  if (!ones || !Array.from(ones as ArrayLike<number>).every((value) => value === 1)) {
    return node.unsupported("of anything but the largest elements or ones");
  }
  return node.result(mask, places.source.batch);
};

export const sparseOperators: Readonly<Record<string, Operator>> = {
  TopK: topK,
  ScatterElements: scatterElements,
};
