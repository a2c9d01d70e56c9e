import type { Shape } from "../../../graph/graph.js";
import type { OnnxNode, Operator } from "../node.js";

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
};
