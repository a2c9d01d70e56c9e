/** One layer call as the converters see it: inputs, configuration, weights, and the ways to say that it cannot be converted. */
import { InputError, UnsupportedOperatorError } from "../../errors.js";
import type { GraphBuilder } from "../../graph/builder.js";
import { type Activation, formatShape, type Pair, type Shape, type ValueId } from "../../graph/graph.js";
import { isUsableShape, sameShape } from "../../graph/shapes.js";
import { type JsonObject, type JsonReader, jsonReader } from "../json.js";
import type { LayerCall } from "./topology.js";
import { asItIs, type LayerValue, likeValue } from "./value.js";
import { floatsOf, type StoredWeight } from "./weights.js";

/** Finds weights as tfjs does: by the layer's name and their own, with one name of a cell between the two left out. */
export type WeightFinder = (name: string) => StoredWeight | undefined;

export interface ConversionContext {
  /** What messages call the model. */
  readonly path: string;
  readonly builder: GraphBuilder;
  readonly findWeight: WeightFinder;
  readonly notes: string[];
}

/** Makes the layer's result. */
export type LayerConverter = (layer: Layer) => LayerValue;

export interface Layer {
  readonly className: string;
  readonly name: string;
  readonly builder: GraphBuilder;
  readonly settings: JsonObject;
  /** Reads the settings. */
  readonly config: JsonReader;
  readonly inputs: readonly LayerValue[];
  /** The only input. */
  input(): LayerValue;
  /** The only input, which has to be an image [H, W, C]. */
  imageInput(): LayerValue;
  /** "kernel", …: of the shape that the layer's configuration implies. */
  weight(name: string, shape: Shape): Float32Array;
  constant(name: string, shape: Shape, data: Float32Array): ValueId;
  /** The value, with the activation that the configuration names under `key` applied. */
  activated(value: LayerValue, key?: string): LayerValue;
  apply(value: LayerValue, activation: Activation): LayerValue;
  /** [height, width]: two numbers, or one for both. */
  pair(key: string, fallback: Pair | null): Pair;
  /** Refuses images laid out [C, H, W]. */
  channelsLast(): void;
  /** A setting that has to have this value, or be missing. */
  expect(key: string, ...values: readonly unknown[]): void;
  /** The model contradicts itself. */
  fail(message: string): never;
  /** The model is right but outside what the native graph can express. */
  unsupported(message: string): never;
}

export function layerOf(call: LayerCall, inputs: readonly LayerValue[], context: ConversionContext): Layer {
  const { className, name, config } = call;
  const { path, builder, findWeight, notes } = context;
  const where = `${path}: layer "${name}" (${className})`;
  const read = jsonReader(config, where);
  const fail = (message: string): never => {
    throw new InputError(`${where} ${message}`);
  };
  const unsupported = (message: string): never => {
    throw new UnsupportedOperatorError(`${where} ${message}`, className, name);
  };
  const layer: Layer = {
    className,
    name,
    builder,
    settings: config,
    config: read,
    inputs,
    input() {
      const [only] = inputs;
      if (only === undefined || inputs.length > 1)
        return fail(`is called on ${inputs.length} tensors, expected one`);
      return only;
    },
    imageInput() {
      const value = layer.input();
      if (value.shape.length !== 3) {
        fail(`takes images of [height, width, channels], found ${formatShape(value.shape)}`);
      }
      return value;
    },
    weight(own, shape) {
      const stored = findWeight(`${name}/${own}`);
      if (stored === undefined) return unsupported(`has no weight "${name}/${own}"`);
      if (!sameShape(stored.shape, shape)) {
        return fail(
          `has a weight "${own}" of shape [${stored.shape.join(", ")}], expected [${shape.join(", ")}]`,
        );
      }
      const data = floatsOf(stored) ?? unsupported(`has a weight "${own}" of type ${stored.dtype}`);
      const bad = data.reduce((sum, value) => sum + (Number.isFinite(value) ? 0 : 1), 0);
      if (bad > 0) notes.push(`weight "${stored.name}" holds ${bad} elements that are NaN or infinite`);
      return data;
    },
    constant: (own, shape, data) => builder.constant(`${name}/${own}`, shape, data),
    activated(value, key = "activation") {
      const activation = activationOf(config[key], unsupported);
      return activation === null ? value : layer.apply(value, activation);
    },
    apply(value, activation) {
      const id = builder.node({ op: "activate", name, inputs: [asItIs(value)], activation });
      return likeValue(builder, value, id);
    },
    pair(key, fallback) {
      const value = config[key];
      if (value === undefined || value === null)
        return fallback ?? read.fail(key, "one or two whole numbers");
      const list = Array.isArray(value) ? value : [value, value];
      if (list.length !== 2 || !isUsableShape(list))
        return read.fail(key, "one or two whole numbers of at least 1");
      return [list[0], list[1]];
    },
    channelsLast() {
      const format = config.data_format;
      if (format === "channels_first" || format === "channelsFirst") {
        unsupported("takes images of [channels, height, width], expected channels last");
      }
    },
    expect(key, ...values) {
      const value = config[key];
      if (
        value === undefined ||
        value === null ||
        values.some((v) => JSON.stringify(v) === JSON.stringify(value))
      )
        return;
      unsupported(`has ${JSON.stringify(value)} as ${key}, which is outside the native operator set`);
    },
    fail,
    unsupported,
  };
  return layer;
}

const activations: Readonly<Record<string, Activation | null>> = {
  linear: null,
  relu: { kind: "relu", alpha: 0, beta: 0 },
  relu6: { kind: "clip", alpha: 0, beta: 6 },
  elu: { kind: "elu", alpha: 1, beta: 0 },
  selu: { kind: "selu", alpha: 1.6732632423543772, beta: 1.0507009873554805 },
  sigmoid: { kind: "sigmoid", alpha: 0, beta: 0 },
  softplus: { kind: "softplus", alpha: 0, beta: 0 },
  tanh: { kind: "tanh", alpha: 0, beta: 0 },
  swish: { kind: "silu", alpha: 0, beta: 0 },
  silu: { kind: "silu", alpha: 0, beta: 0 },
  gelu: { kind: "gelu", alpha: 0, beta: 0 },
  gelu_new: { kind: "geluTanh", alpha: 0, beta: 0 },
};

/** A name, or an object with the name as its class. */
function activationOf(value: unknown, unsupported: (message: string) => never): Activation | null {
  if (value === undefined || value === null) return null;
  const named = typeof value === "object" ? (value as { class_name?: unknown }).class_name : value;
  const settings = typeof value === "object" ? (value as { config?: unknown }).config : undefined;
  const plain = settings === undefined || settings === null || JSON.stringify(settings) === "{}";
  if (typeof named !== "string" || !Object.hasOwn(activations, named) || !plain) {
    return unsupported(`applies ${JSON.stringify(value)}, which is outside the native operator set`);
  }
  return activations[named]!;
}
