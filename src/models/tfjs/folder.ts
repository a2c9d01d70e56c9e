/** A folder with encoder/model.json and decoder/model.json, or one model.json that is a square map. */
import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileError } from "../../data/bytes.js";
import { autoencoderOf, foreignOf, squareMapOf } from "../assemble.js";
import type { Autoencoder } from "../autoencoder.js";
import { declaredShapes } from "../declaredShapes.js";
import { engineChoice } from "../engineNames.js";
import type { FolderFormat, LoadOptions } from "../format.js";
import { hashOf } from "../hash.js";
import { readPreprocessor } from "../preprocessor.js";
import { readTfjsModel, type TfjsModel } from "./file.js";
import { partsOf, type TfjsParts } from "./parts.js";
import type { LiveModels } from "./tf.js";

export const tfjsFolder: FolderFormat = {
  files: "encoder/model.json and decoder/model.json",
  async isIn(folder, names) {
    if (!names.has("encoder") || !names.has("decoder")) return false;
    return (
      (await isFile(join(folder, "encoder", "model.json"))) && isFile(join(folder, "decoder", "model.json"))
    );
  },
  async load(folder, options) {
    const encoder = await readTfjsModel(join(folder, "encoder", "model.json"));
    const decoder = await readTfjsModel(join(folder, "decoder", "model.json"));
    return assemble({ encoder, decoder }, folder, options);
  },
};

/** A model.json whose output is shaped as its input. Throws as loadAutoencoder. */
export async function loadTfjsMap(path: string, options: LoadOptions): Promise<Autoencoder> {
  const decoder = await readTfjsModel(path);
  return assemble({ encoder: null, decoder }, path, options);
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw fileError(error, path);
  }
}

async function assemble(
  models: { encoder: TfjsModel | null; decoder: TfjsModel },
  path: string,
  options: LoadOptions,
): Promise<Autoencoder> {
  const isMap = models.encoder === null;
  const { config, ...shapes } = await declaredShapes(isMap ? dirname(path) : path, options);
  const format = config.text("image_data_format") ?? "channels_last";
  if (format !== "channels_last" && format !== "channels_first") {
    config.fail("image_data_format", '"channels_last" or "channels_first"');
  }
  const parts = partsOf(models, {
    name: path,
    ...shapes,
    encoderOutput: options.encoderOutput ?? config.text("encoder_output"),
    channelsLast: format === "channels_last",
  });
  if (parts.unsupported !== null && engineChoice(options.engine ?? "auto") === "native")
    throw parts.unsupported;
  const files = [...(models.encoder?.files ?? []), ...models.decoder.files];
  return autoencoderOfParts(parts, null, {
    name: isMap ? nameOfMap(path) : basename(resolve(path)),
    path,
    format: isMap ? "square-map" : "tfjs",
    hash: await hashOf(files),
    files,
    preprocessor: isMap ? null : await readPreprocessor(path),
  });
}

/** tfjs calls every file model.json: the folder tells them apart. */
function nameOfMap(path: string): string {
  const own = basename(path, ".json");
  return own === "model" ? basename(dirname(resolve(path))) : own;
}

type Origin = Pick<Autoencoder, "name" | "path" | "format" | "hash" | "files" | "preprocessor">;

/** The Autoencoder of what was read, with graphs where it could be converted. Throws InputError where halves do not meet. */
export function autoencoderOfParts(parts: TfjsParts, live: LiveModels | null, about: Origin): Autoencoder {
  const { graphs, unsupported, latentShape, inputShape, notes } = parts;
  const origin = { ...about, notes, source: { kind: "tfjs", tfjs: parts.source, live } } as const;
  if (graphs === null) return foreignOf({ latentShape, inputShape }, unsupported!, origin);
  const { encoder, decoder } = graphs;
  return encoder === null ? squareMapOf(decoder, origin) : autoencoderOf({ encoder, decoder }, origin);
}
