/** Activations, and scales and shifts per channel. */
import type { Layer, LayerConverter } from "../layer.js";
import { asItIs, type LayerValue, likeValue } from "../value.js";

const activationLayer: LayerConverter = (layer) =>
  layer.settings.activation === "hard_sigmoid" || layer.settings.activation === "hardSigmoid"
    ? hardSigmoid(layer, layer.input())
    : layer.activated(layer.input());

/** clip(0.2·x + 0.5, 0, 1) */
function hardSigmoid(layer: Layer, value: LayerValue): LayerValue {
  return layer.apply(scaled(layer, value, 0.2, 0.5), { kind: "clip", alpha: 0, beta: 1 });
}

/** factor·x + term */
function scaled(layer: Layer, value: LayerValue, factor: number, term: number): LayerValue {
  const number = (what: string, n: number) => layer.constant(what, [1], Float32Array.of(n));
  const times = {
    op: "mul",
    name: `${layer.name}.scale`,
    inputs: [asItIs(value), number("factor", factor)],
  } as const;
  const product = layer.builder.node(times);
  const plus = { op: "add", name: layer.name, inputs: [product, number("term", term)] } as const;
  return likeValue(layer.builder, value, layer.builder.node(plus));
}

const relu: LayerConverter = (layer) => {
  layer.expect("threshold", 0);
  layer.expect("negative_slope", 0);
  const most = layer.config.number("max_value");
  return layer.apply(
    layer.input(),
    most === undefined ? { kind: "relu", alpha: 0, beta: 0 } : { kind: "clip", alpha: 0, beta: most },
  );
};

const leakyRelu: LayerConverter = (layer) => {
  const slope = layer.config.number("alpha") ?? layer.config.number("negative_slope") ?? 0.3;
  return layer.apply(layer.input(), { kind: "leakyRelu", alpha: slope, beta: 0 });
};

const elu: LayerConverter = (layer) =>
  layer.apply(layer.input(), { kind: "elu", alpha: layer.config.number("alpha") ?? 1, beta: 0 });

const rescaling: LayerConverter = (layer) =>
  scaled(layer, layer.input(), layer.config.number("scale") ?? 1, layer.config.number("offset") ?? 0);

/** With its running statistics a scale and a shift per channel; folding puts them into the layer before it. */
const batchNormalization: LayerConverter = (layer) => {
  const value = layer.input();
  const last = value.shape.length;
  layer.expect("axis", -1, last, [last], [-1]);
  const channels = value.shape.at(-1) ?? layer.fail("is called on a batch of numbers");
  const read = (name: string) => layer.weight(name, [channels]);
  const epsilon = layer.config.number("epsilon") ?? 1e-3;
  const gamma = layer.config.flag("scale") === false ? undefined : read("gamma");
  const beta = layer.config.flag("center") === false ? undefined : read("beta");
  const [mean, variance] = [read("moving_mean"), read("moving_variance")];
  const factor = variance.map((v, c) => (gamma?.[c] ?? 1) / Math.sqrt(v + epsilon));
  const shift = mean.map(
    (m, c) => (beta?.[c] ?? 0) - (m * (gamma?.[c] ?? 1)) / Math.sqrt(variance[c]! + epsilon),
  );
  const spread = value.order === "image" ? [channels, 1, 1] : [channels];
  const times = {
    op: "mul",
    name: `${layer.name}.scale`,
    inputs: [asItIs(value), layer.constant("factor", spread, factor)],
  } as const;
  const inputs = [layer.builder.node(times), layer.constant("shift", spread, shift)];
  return likeValue(layer.builder, value, layer.builder.node({ op: "add", name: layer.name, inputs }));
};

export const elementwiseLayers: Readonly<Record<string, LayerConverter>> = {
  Activation: activationLayer,
  ReLU: relu,
  LeakyReLU: leakyRelu,
  ELU: elu,
  Rescaling: rescaling,
  BatchNormalization: batchNormalization,
};
