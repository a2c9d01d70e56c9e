/** A model that is live objects of the caller's tfjs. */
import { createHash } from "node:crypto";
import { checkNames } from "../../check.js";
import type { Preprocessor } from "../../data/preprocess.js";
import { InputError } from "../../errors.js";
import type { Shape } from "../../graph/graph.js";
import type { Autoencoder } from "../autoencoder.js";
import { isObject, type JsonObject } from "../json.js";
import { kindOf, type TfjsModel } from "./file.js";
import { autoencoderOfParts } from "./folder.js";
import { partsOf } from "./parts.js";
import type { Tf, TfArtifacts, TfModel } from "./tf.js";
import { cutWeights, parseWeightSpec } from "./weights.js";

/** What `@tensorflow/tfjs` exports. No more is asked of its type: the package is optional, and so are its types. */
export interface LiveTf {
  tidy(...parameters: never[]): unknown;
  tensor(...parameters: never[]): unknown;
}

/** A tf.LayersModel, tf.Sequential or tf.GraphModel. */
export interface LiveModel {
  readonly inputs: readonly object[];
  save(...parameters: never[]): Promise<unknown>;
}

export interface FromTfjsOptions {
  /** The tfjs that made the models: `import * as tf from "@tensorflow/tfjs"`, or one of the tfjs-node packages. */
  readonly tf: LiveTf;
  /** E; with it `decoder` is needed. */
  readonly encoder?: LiveModel;
  /** D */
  readonly decoder?: LiveModel;
  /** In place of the two: a square map, latent to latent. */
  readonly map?: LiveModel;
  /** Shape of one latent as the decoder takes it, without the batch, where the model leaves axes open. */
  readonly latentShape?: Shape;
  /** Shape of one input as the encoder takes it, where the model leaves axes open. */
  readonly inputShape?: Shape;
  /** The encoder's output that is the latent, by name. Default: one whose name says that it is a mean, else the first. */
  readonly encoderOutput?: string;
  /**
   * Whether inputs of three axes are images [height, width, channels], as tfjs' layers take them; the Autoencoder has
   * them as [C, H, W]. Default true.
   */
  readonly channelsLast?: boolean;
  /** What messages and folders call the model. Default "tfjs". */
  readonly name?: string;
  /** How files become inputs. Default: 0–255 to [0, 1]. */
  readonly preprocessor?: Preprocessor | null;
}

const KNOWN: Record<keyof FromTfjsOptions, true> = {
  tf: true,
  encoder: true,
  decoder: true,
  map: true,
  latentShape: true,
  inputShape: true,
  encoderOutput: true,
  channelsLast: true,
  name: true,
  preprocessor: true,
};

/**
 * An Autoencoder of live models. Layers models that can be converted run on the native engine, with the weights they
 * have now; engine "tfjs" runs the objects themselves, on their backend and in this thread. They stay the caller's:
 * disposing of the Autoencoder leaves them alone. Throws InputError for options that do not fit and models that do
 * not meet.
 */
export async function fromTfjs(options: FromTfjsOptions): Promise<Autoencoder> {
  if (!isObject(options)) {
    throw new InputError("fromTfjs: options are missing, expected { encoder, decoder, tf }");
  }
  checkNames(options, Object.keys(KNOWN), "option");
  const { tf, encoder, decoder, map, name = "tfjs", preprocessor = null } = options;
  if (typeof tf?.tidy !== "function" || typeof tf.tensor !== "function") {
    throw new InputError("fromTfjs: tf is not tfjs, expected what @tensorflow/tfjs exports");
  }
  const pair = encoder !== undefined && decoder !== undefined && map === undefined;
  const square = map !== undefined && encoder === undefined && decoder === undefined;
  if (!pair && !square) {
    const given = Object.entries({ encoder, decoder, map }).filter(([, model]) => model !== undefined);
    const found = given.map(([key]) => key).join(" and ") || "none of them";
    throw new InputError(`fromTfjs: expected encoder and decoder, or map, found ${found}`);
  }
  const live = {
    tf: tf as unknown as Tf,
    encoder: encoder === undefined ? null : modelOf(encoder, `${name}: encoder`),
    decoder: modelOf(decoder ?? map!, square ? name : `${name}: decoder`),
  };
  const models = {
    encoder: live.encoder === null ? null : await snapshot(live.encoder, `${name}: encoder`),
    decoder: await snapshot(live.decoder, square ? name : `${name}: decoder`),
  };
  const hash = createHash("sha256");
  for (const model of [models.encoder, models.decoder]) {
    if (model === null) continue;
    hash.update(JSON.stringify(model.topology));
    hash.update(new Uint8Array(model.weightData));
  }
  const { latentShape, inputShape, encoderOutput, channelsLast } = options;
  const parts = partsOf(models, { name, latentShape, inputShape, encoderOutput, channelsLast });
  return autoencoderOfParts(parts, live, {
    name,
    path: name,
    format: square ? "square-map" : "tfjs",
    hash: hash.digest("hex"),
    files: [],
    preprocessor,
  });
}

function modelOf(model: LiveModel, path: string): TfModel {
  const has = (method: string) => typeof Reflect.get(Object(model), method) === "function";
  if (!has("save") || !(has("predictOnBatch") || has("execute"))) {
    throw new InputError(`${path} is no tfjs model, expected a tf.LayersModel or a tf.GraphModel`);
  }
  return model as unknown as TfModel;
}

/** The model as its file would be. */
async function snapshot(model: TfModel, path: string): Promise<TfjsModel> {
  let saved: TfArtifacts = {};
  await model.save({
    async save(artifacts) {
      saved = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" } };
    },
  });
  const { modelTopology, weightSpecs = [], weightData = new ArrayBuffer(0), ...rest } = saved;
  if (!isObject(modelTopology)) throw new InputError(`${path} cannot be saved: it has no topology`);
  const json: JsonObject = rest;
  const data = weightData instanceof ArrayBuffer ? weightData : await new Blob([...weightData]).arrayBuffer();
  const specs = weightSpecs.map((spec) => parseWeightSpec(spec, path));
  const weights = cutWeights(specs, new Uint8Array(data), path);
  return {
    path,
    kind: kindOf(json, modelTopology, path),
    json,
    topology: modelTopology,
    weights: new Map(weights.map((weight) => [weight.name, weight])),
    weightData: data,
    files: [],
  };
}
