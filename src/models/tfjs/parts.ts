/** Encoder and decoder, read: how tfjs runs them, and their graphs where they can be converted. */
import { InputError, UnsupportedOperatorError } from "../../errors.js";
import { elements, formatShape, type Graph, type Shape } from "../../graph/graph.js";
import { sameShape } from "../../graph/shapes.js";
import { type Conversion, convertLayers, imageFirst, type Order } from "./convert.js";
import { endsOf, type ModelEnds } from "./ends.js";
import type { TfjsModel } from "./file.js";
import type { TfjsSource, TfjsStage } from "./source.js";

export interface PartsOptions {
  /** What messages call the whole. */
  readonly name: string;
  /** Shapes of a latent and of an input as tfjs has them, for axes that the files leave open. */
  readonly latentShape?: Shape;
  readonly inputShape?: Shape;
  /** The encoder's output that is the latent. Default: one whose name says that it is a mean, else the first. */
  readonly encoderOutput?: string;
  /** Inputs of three axes are images [height, width, channels], which an Autoencoder has as [C, H, W]. Default true. */
  readonly channelsLast?: boolean;
}

export interface TfjsParts {
  readonly source: TfjsSource;
  /** As the decoder takes it. */
  readonly latentShape: Shape;
  /** As an Autoencoder has it: images as [C, H, W]. Null for a square map. */
  readonly inputShape: Shape | null;
  /** `encoder` is null for a square map; null in all where the native graph cannot express the model. */
  readonly graphs: { readonly encoder: Graph | null; readonly decoder: Graph } | null;
  /** Why there are no graphs. */
  readonly unsupported: UnsupportedOperatorError | null;
  readonly notes: readonly string[];
}

/** A square map is a decoder without an encoder. Throws InputError where a part is damaged or the two do not meet. */
export function partsOf(
  models: { encoder: TfjsModel | null; decoder: TfjsModel },
  options: PartsOptions,
): TfjsParts {
  const { name, channelsLast = true } = options;
  const decoder = endsOf(models.decoder, { inputShape: options.latentShape });
  const encoder =
    models.encoder === null
      ? null
      : endsOf(models.encoder, { inputShape: options.inputShape, output: options.encoderOutput });
  const inputOrder: Order = channelsLast && encoder?.inputShape.length === 3 ? "image" : "plain";
  const source: TfjsSource = {
    name,
    encoder: encoder === null ? null : stageOf(models.encoder!, encoder),
    decoder: stageOf(models.decoder, decoder),
    inputOrder,
  };
  const common = {
    source,
    latentShape: decoder.inputShape,
    inputShape:
      encoder === null ? null : inputOrder === "image" ? imageFirst(encoder.inputShape) : encoder.inputShape,
  };
  checkOrder(source, options);
  const read = [...(encoder?.notes ?? []), ...decoder.notes];
  try {
    const target = encoder?.inputShape ?? decoder.inputShape;
    const decoded = convert(models.decoder, decoder, { output: target, outputOrder: inputOrder });
    const encoded =
      encoder === null
        ? null
        : convert(models.encoder!, encoder, { inputOrder, output: decoder.inputShape, outputOrder: "plain" });
    return {
      ...common,
      graphs: { encoder: encoded?.graph ?? null, decoder: decoded.graph },
      unsupported: null,
      notes: [...read, ...(encoded?.notes ?? []), ...decoded.notes],
    };
  } catch (error) {
    if (!(error instanceof UnsupportedOperatorError)) throw error;
    return { ...common, graphs: null, unsupported: error, notes: read };
  }
}

function stageOf({ path }: TfjsModel, ends: ModelEnds): TfjsStage {
  const { inputShape, batchRows, outputIndex, outputName } = ends;
  return { path, inputShape, batchRows, outputIndex, outputName };
}

function convert(
  { path, weights }: TfjsModel,
  { layers, inputShape }: ModelEnds,
  options: { inputOrder?: Order; output: Shape; outputOrder: Order },
): Conversion {
  if (layers === null) {
    throw new UnsupportedOperatorError(
      `${path}: is a Graph model, which only tfjs runs; only Layers models are converted to the native graph`,
      "GraphModel",
      path,
    );
  }
  const { topology, input, output } = layers;
  const { inputOrder = "plain", outputOrder } = options;
  return convertLayers(topology, {
    path,
    weights,
    input,
    output,
    inputShape,
    inputOrder,
    outputShape: options.output,
    outputOrder,
  });
}

/** A latent larger than an input has to be meant: more likely the two parts have each other's place. */
function checkOrder({ name, encoder, decoder }: TfjsSource, { latentShape }: PartsOptions): void {
  if (encoder === null || elements(decoder.inputShape) <= elements(encoder.inputShape)) return;
  if (latentShape !== undefined && sameShape(latentShape, decoder.inputShape)) return;
  throw new InputError(
    `${name}: the encoder takes ${formatShape(encoder.inputShape)} and the decoder ${formatShape(decoder.inputShape)}: the ` +
      `two look swapped (where a latent larger than the input is meant, say so by "latent_shape" in config.json)`,
  );
}
