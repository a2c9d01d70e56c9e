/** Autoencoders whose weights are a safetensors file and whose layers follow from config.json. */
import type { Tensor } from "../data/safetensors.js";
import { InputError } from "../errors.js";
import { type GraphBuilder, graphBuilder } from "../graph/builder.js";
import {
  type Activation,
  type ActivationKind,
  elements,
  formatShape,
  type Graph,
  type Shape,
  type ValueId,
} from "../graph/graph.js";
import { sameShape } from "../graph/shapes.js";
import { type JsonObject, type JsonReader, jsonReader } from "./json.js";

export interface SafetensorsModel {
  readonly encoder: Graph;
  readonly decoder: Graph;
  /** Sentences a user should read. */
  readonly notes: readonly string[];
}

export interface SafetensorsModelSource {
  /** What config.json holds, and its path for messages. */
  readonly config: JsonObject;
  readonly configPath: string;
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly tensorsPath: string;
}

/** PyTorch's modules of these names, with their default parameters. */
const activations: Readonly<Record<string, Activation | null>> = {
  none: null,
  relu: activation("relu"),
  leaky_relu: activation("leakyRelu", 0.01),
  elu: activation("elu", 1),
  selu: activation("selu", 1.6732631921768188, 1.0507010221481323),
  sigmoid: activation("sigmoid"),
  tanh: activation("tanh"),
  softplus: activation("softplus"),
  gelu: activation("gelu"),
  silu: activation("silu"),
};

function activation(kind: ActivationKind, alpha = 0, beta = 0): Activation {
  return { kind, alpha, beta };
}

/**
 * The graphs of an architecture that config.json names:
 *
 * - `conv-autoencoder`: convolutions (3×3, stride 2, padding 1) that double the channels from `width`, each followed
 *   by `hidden_activation`, then a linear layer to `latent_dim`; the decoder is its mirror with transposed
 *   convolutions and ends in `output_activation`. The number of convolutions follows from the tensors.
 * - `mlp`: linear layers with `hidden_activation` between them, over the flattened input.
 *
 * Tensors are named and laid out as PyTorch's Sequential does (`encoder.0.weight` is [out, in, …], a transposed
 * convolution's [in, out, …]). Throws InputError naming the tensor that is missing, left over or of a wrong shape.
 */
export function safetensorsModel(source: SafetensorsModelSource): SafetensorsModel {
  const config = jsonReader(source.config, source.configPath);
  const architecture = config.text("architecture");
  const weights = weightReader(source);
  let graphs: { encoder: Graph; decoder: Graph };
  if (architecture === "conv-autoencoder") graphs = convAutoencoder(config, weights, source);
  else if (architecture === "mlp") graphs = mlp(config, weights, source);
  else return config.fail("architecture", '"conv-autoencoder" or "mlp"');
  weights.finish();
  return { ...graphs, notes: weights.notes };
}

interface WeightReader {
  readonly notes: string[];
  has(name: string): boolean;
  shapeOf(name: string): Shape;
  /** The tensor as float32. */
  take(name: string, shape: Shape): Float32Array;
  /** Throws where a tensor has not been taken. */
  finish(): void;
}

function weightReader({ tensors, tensorsPath }: SafetensorsModelSource): WeightReader {
  const left = new Set(tensors.keys());
  const notes: string[] = [];
  const find = (name: string): Tensor => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new InputError(`${tensorsPath}: has no tensor "${name}"`);
    return tensor;
  };
  return {
    notes,
    has: (name) => tensors.has(name),
    shapeOf: (name) => find(name).shape,
    take(name, shape) {
      const { dtype, shape: found, data } = find(name);
      left.delete(name);
      if (!sameShape(found, shape)) {
        throw new InputError(
          `${tensorsPath}: tensor "${name}" has shape [${found.join(", ")}], expected [${shape.join(", ")}]`,
        );
      }
      if (!(data instanceof Float32Array || data instanceof Float64Array)) {
        throw new InputError(`${tensorsPath}: tensor "${name}" is ${dtype}, expected floating point`);
      }
      const weights = data instanceof Float32Array ? data : Float32Array.from(data);
      const bad = weights.reduce((sum, value) => sum + (Number.isFinite(value) ? 0 : 1), 0);
      if (bad > 0) notes.push(`tensor "${name}" holds ${bad} elements that are NaN or infinite`);
      return weights;
    },
    finish() {
      if (left.size > 0) {
        const names = [...left].map((name) => `"${name}"`).join(", ");
        throw new InputError(`${tensorsPath}: holds tensors that the architecture does not use: ${names}`);
      }
    },
  };
}

function convAutoencoder(
  config: JsonReader,
  weights: WeightReader,
  { configPath, tensorsPath }: SafetensorsModelSource,
): { encoder: Graph; decoder: Graph } {
  const latent = config.whole("latent_dim") ?? config.fail("latent_dim", "a whole number of at least 1");
  const size = config.whole("image_size") ?? config.fail("image_size", "a whole number of at least 1");
  const hidden = activationNamed(config, "hidden_activation", "relu");
  const last = activationNamed(config, "output_activation", "none");

  let layers = 0;
  while (
    weights.has(`encoder.${2 * layers}.weight`) &&
    weights.shapeOf(`encoder.${2 * layers}.weight`).length === 4
  ) {
    layers++;
  }
  if (layers === 0) throw new InputError(`${tensorsPath}: has no convolution "encoder.0.weight"`);
  const [firstOut, firstIn] = weights.shapeOf("encoder.0.weight") as [number, number];
  const channels = config.whole("channels") ?? firstIn;
  const width = config.whole("width") ?? firstOut;
  const smallest = size / 2 ** layers;
  if (!Number.isInteger(smallest)) {
    config.fail("image_size", `a multiple of ${2 ** layers}, since ${layers} convolutions halve it`);
  }
  /** Channels after i convolutions. */
  const widths = [channels, ...Array.from({ length: layers }, (_, i) => width * 2 ** i)];
  const top = widths[layers]!;
  const flat = top * smallest * smallest;
  checkDeclaredShape(config, "input_shape", [channels, size, size]);
  checkDeclaredShape(config, "latent_shape", [latent]);

  const encoder = graphBuilder(`${configPath}: encoder`);
  const image = encoder.input("image", [channels, size, size]);
  const conv = { strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 } as const;
  let x = image;
  for (let i = 0; i < layers; i++) {
    const name = `encoder.${2 * i}`;
    const inputs = [
      x,
      ...parameters(encoder, weights, name, [widths[i + 1]!, widths[i]!, 3, 3], widths[i + 1]!),
    ];
    x = encoder.node({ op: "conv", name, inputs, ...conv });
    x = activate(encoder, x, `encoder.${2 * i + 1}`, hidden);
  }
  x = encoder.node({ op: "reshape", name: `encoder.${2 * layers}`, inputs: [x] }, [flat]);
  x = linear(encoder, weights, x, `encoder.${2 * layers + 1}`, flat, latent);

  const decoder = graphBuilder(`${configPath}: decoder`);
  const z = decoder.input("latent", [latent]);
  let y = activate(decoder, linear(decoder, weights, z, "decoder.0", latent, flat), "decoder.1", hidden);
  y = decoder.node({ op: "reshape", name: "decoder.2", inputs: [y] }, [top, smallest, smallest]);
  for (let i = 0; i < layers; i++) {
    const name = `decoder.${2 * i + 3}`;
    const [from, to] = [widths[layers - i]!, widths[layers - i - 1]!];
    const inputs = [y, ...parameters(decoder, weights, name, [from, to, 3, 3], to)];
    y = decoder.node({ op: "convTranspose", name, inputs, ...conv, outputPadding: [1, 1] });
    y = activate(decoder, y, `decoder.${2 * i + 4}`, i < layers - 1 ? hidden : last);
  }
  return { encoder: encoder.finish(image, x), decoder: decoder.finish(z, y) };
}

function mlp(
  config: JsonReader,
  weights: WeightReader,
  { configPath }: SafetensorsModelSource,
): { encoder: Graph; decoder: Graph } {
  const hidden = activationNamed(config, "hidden_activation", "relu");
  const last = activationNamed(config, "output_activation", "none");
  const encoderSizes = layerSizes("encoder", weights);
  const decoderSizes = layerSizes("decoder", weights);
  const ins = encoderSizes[0]!;
  const latent = encoderSizes.at(-1)!;
  const inputShape = config.shape("input_shape") ?? [ins];
  if (elements(inputShape) !== ins) config.fail("input_shape", `${ins} elements, as encoder.0.weight takes`);
  const latentShape = config.shape("latent_shape") ?? [latent];
  if (elements(latentShape) !== latent)
    config.fail("latent_shape", `${latent} elements, as the encoder gives`);
  if (config.whole("latent_dim") !== undefined && config.whole("latent_dim") !== latent) {
    config.fail("latent_dim", `${latent}, as the encoder gives`);
  }
  const build = (part: "encoder" | "decoder", sizes: readonly number[], from: Shape, to: Shape) => {
    const builder = graphBuilder(`${configPath}: ${part}`);
    const input = builder.input(part === "encoder" ? "input" : "latent", from);
    let x = reshape(builder, input, `${part}.flatten`, [elements(from)]);
    for (let i = 0; i + 1 < sizes.length; i++) {
      x = linear(builder, weights, x, `${part}.${2 * i}`, sizes[i]!, sizes[i + 1]!);
      const between = i + 2 < sizes.length;
      x = activate(builder, x, `${part}.${2 * i + 1}`, between ? hidden : part === "decoder" ? last : null);
    }
    return builder.finish(input, reshape(builder, x, `${part}.shape`, to));
  };
  return {
    encoder: build("encoder", encoderSizes, inputShape, latentShape),
    decoder: build("decoder", decoderSizes, latentShape, inputShape),
  };
}

/** Widths from the first layer's input to the last layer's output; layers stand at even places of the Sequential. */
function layerSizes(part: string, weights: WeightReader): number[] {
  const sizes: number[] = [];
  for (let i = 0; i === 0 || weights.has(`${part}.${2 * i}.weight`); i++) {
    const shape = weights.shapeOf(`${part}.${2 * i}.weight`);
    if (shape.length !== 2) {
      throw new InputError(
        `tensor "${part}.${2 * i}.weight" has shape ${formatShape(shape)}, expected [out, in]`,
      );
    }
    if (i === 0) sizes.push(shape[1]!);
    sizes.push(shape[0]!);
  }
  return sizes;
}

function linear(
  builder: GraphBuilder,
  weights: WeightReader,
  x: ValueId,
  name: string,
  ins: number,
  outs: number,
): ValueId {
  const inputs = [x, ...parameters(builder, weights, name, [outs, ins], outs)];
  return builder.node({ op: "linear", name, inputs });
}

function parameters(builder: GraphBuilder, weights: WeightReader, name: string, shape: Shape, outs: number) {
  return [
    builder.constant(`${name}.weight`, shape, weights.take(`${name}.weight`, shape)),
    builder.constant(`${name}.bias`, [outs], weights.take(`${name}.bias`, [outs])),
  ];
}

function activate(builder: GraphBuilder, x: ValueId, name: string, f: Activation | null): ValueId {
  return f === null ? x : builder.node({ op: "activate", name, inputs: [x], activation: f });
}

function reshape(builder: GraphBuilder, x: ValueId, name: string, shape: Shape): ValueId {
  if (sameShape(builder.shapeOf(x), shape)) return x;
  return builder.node({ op: "reshape", name, inputs: [x] }, shape);
}

function activationNamed(config: JsonReader, key: string, fallback: string): Activation | null {
  const name = config.text(key) ?? fallback;
  if (!Object.hasOwn(activations, name))
    return config.fail(key, `one of ${Object.keys(activations).join(", ")}`);
  return activations[name]!;
}

function checkDeclaredShape(config: JsonReader, key: string, shape: Shape) {
  const declared = config.shape(key);
  if (declared !== undefined && !sameShape(declared, shape)) {
    config.fail(key, `[${shape.join(", ")}], as the architecture has it`);
  }
}
