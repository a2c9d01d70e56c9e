import { elements, type Shape, type ValueId } from "../../../graph/graph.js";
import { broadcastShapes, sameShape } from "../../../graph/shapes.js";
import { evaluateExpand } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { constant } from "../operand.js";
import { activated, withNumber } from "./elementwise.js";

/**
 * With its running statistics batch normalisation is a scale and a shift per channel; folding puts them into the
 * convolution or linear layer before it where there is one.
 */
const batchNormalization: Operator = (node) => {
  const { id, shape } = node.row(0);
  if (node.int("training_mode", 0) !== 0) return node.mixesRows("is in training mode");
  if (node.int("spatial", 1) === 0)
    return node.unsupported("with spatial = 0 is outside the native operator set");
  const channels = channelsOf(node, shape);
  const [scale, bias, mean, variance] = ["scale", "bias", "mean", "variance"].map((what, i) =>
    perChannel(node, i + 1, what, channels),
  ) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const epsilon = node.float("epsilon", 1e-5);
  const factor = scale.map((s, c) => s / Math.sqrt(variance[c]! + epsilon));
  const shift = bias.map((b, c) => b - (scale[c]! * mean[c]!) / Math.sqrt(variance[c]! + epsilon));
  const spread = [channels, ...shape.slice(1).map(() => 1)];
  const scaled = node.builder.node({
    op: "mul",
    name: `${node.name}.scale`,
    inputs: [id, node.constant("factor", spread, factor)],
  });
  const inputs = [scaled, node.constant("shift", spread, shift)];
  return node.result(node.builder.node({ op: "add", name: node.name, inputs }));
};

const instanceNormalization: Operator = (node) => {
  const { id, shape } = node.row(0);
  const channels = channelsOf(node, shape);
  const inputs = [
    id,
    node.constant("scale", [channels], perChannel(node, 1, "scale", channels)),
    node.constant("bias", [channels], perChannel(node, 2, "bias", channels)),
  ];
  const epsilon = node.float("epsilon", 1e-5);
  return node.result(
    node.builder.node({ op: "groupNorm", name: node.name, inputs, groups: channels, epsilon }),
  );
};

/** Scale and bias are one per group in opset 18 and one per channel from opset 21 on. */
const groupNormalization: Operator = (node) => {
  const { id, shape } = node.row(0);
  const channels = channelsOf(node, shape);
  const groups = node.int("num_groups", 0);
  if (groups < 1 || channels % groups !== 0) return node.fail(`has ${groups} groups on ${channels} channels`);
  const given = node.opset < 21 ? groups : channels;
  const spread = (index: number, what: string) => {
    const values = perChannel(node, index, what, given);
    const data = Float32Array.from(
      { length: channels },
      (_, c) => values[Math.floor((c * given) / channels)]!,
    );
    return node.constant(what, [channels], data);
  };
  const inputs = [id, spread(1, "scale"), spread(2, "bias")];
  const epsilon = node.float("epsilon", 1e-5);
  return node.result(node.builder.node({ op: "groupNorm", name: node.name, inputs, groups, epsilon }));
};

/** Over the axes from `axis` on; the scale may be missing, and so may the bias. */
const layerNormalization: Operator = (node) => {
  if (node.outputs.slice(1).some((name) => name !== "")) {
    return node.unsupported("with more than one result is outside the native operator set");
  }
  const { id, shape, batch } = node.placed(0);
  const first = node.rowAxis(node.int("axis", -1), shape.length, batch);
  if (first < batch) return node.mixesRows("normalises along the batch axis");
  const trailing = shape.slice(first);
  const inputs = [
    id,
    trailingWeights(node, 1, "scale", trailing, 1),
    trailingWeights(node, 2, "bias", trailing, 0),
  ];
  return node.result(
    node.builder.node({
      op: "layerNorm",
      name: node.name,
      inputs,
      dimensions: trailing.length,
      epsilon: node.float("epsilon", 1e-5),
    }),
    batch,
  );
};

/** x / √(mean x² + ε) · scale over the axes from `axis` on. */
const rmsNormalization: Operator = (node) => {
  const { id, shape, batch } = node.placed(0);
  const first = node.rowAxis(node.int("axis", -1), shape.length, batch);
  if (first < batch) return node.mixesRows("normalises along the batch axis");
  const trailing = shape.slice(first);
  const axes = trailing.map((_, i) => first + i);
  const kept = shape.map((n, axis) => (axis < first ? n : 1));
  const { builder, name } = node;
  const squares = activated(node, id, { kind: "pow", alpha: 2, beta: 0 });
  const mean = builder.node({ op: "reduceMean", name, inputs: [squares], axes }, kept);
  const shifted = withNumber(node, "add", mean, node.float("epsilon", 1e-5));
  const factor = activated(node, shifted, { kind: "pow", alpha: -0.5, beta: 0 });
  const normalised = builder.node({ op: "mul", name, inputs: [id, factor] });
  const scale = trailingWeights(node, 1, "scale", trailing, 1);
  return node.result(builder.node({ op: "mul", name, inputs: [normalised, scale] }), batch);
};

/** A constant of the trailing shape, spread to it where it is smaller; `fallback` everywhere where it is missing. */
function trailingWeights(
  node: OnnxNode,
  index: number,
  what: string,
  shape: Shape,
  fallback: number,
): ValueId {
  const given = node.optional(index);
  if (given === undefined)
    return node.constant(what, shape, new Float32Array(elements(shape)).fill(fallback));
  if (given.kind === "row") return node.unsupported(`has a ${what} that is computed from the input`);
  const target = broadcastShapes(given.dims, shape);
  // Axes of length 1 in front of the trailing ones say nothing.
  const own = given.dims.slice(Math.max(0, given.dims.length - shape.length));
  if (
    target === undefined ||
    elements(given.dims) !== elements(own) ||
    !sameShape(broadcastShapes(own, shape) ?? [], shape)
  ) {
    return node.fail(`has a ${what} of shape [${given.dims.join(", ")}], expected [${shape.join(", ")}]`);
  }
  const spread = evaluateExpand(node, constant(given.name, "float", own, given.data), shape);
  return node.constant(what, shape, Float32Array.from(spread.data as ArrayLike<number>));
}

function channelsOf(node: OnnxNode, shape: Shape): number {
  return shape[0] ?? node.fail("takes a batch of [channels, …], found a batch of numbers");
}

function perChannel(node: OnnxNode, index: number, what: string, channels: number): Float32Array {
  const { data, dims } = node.weights(index, what) ?? node.fail(`has no ${what}`);
  if (dims.length !== 1 || data.length !== channels) {
    return node.fail(`has a ${what} of shape [${dims.join(", ")}], expected [${channels}]`);
  }
  return data;
}

export const normalizationOperators: Readonly<Record<string, Operator>> = {
  BatchNormalization: batchNormalization,
  InstanceNormalization: instanceNormalization,
  GroupNormalization: groupNormalization,
  LayerNormalization: layerNormalization,
  RMSNormalization: rmsNormalization,
};
