/** Finds out what lies at a path and makes an Autoencoder of it. */
import { existsSync, type Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { InputError } from "../errors.js";
import { isUsableShape } from "../graph/shapes.js";
import type { Autoencoder } from "./autoencoder.js";
import { engineChoice } from "./engineNames.js";
import type { FolderFormat, LoadOptions } from "./format.js";
import { fromCommandLine, PROCESS_PREFIX } from "./fromProcess.js";
import { loadSquareMap, onnxPair } from "./onnxModel.js";
import { safetensorsFolder } from "./safetensorsFolder.js";
import { loadTfjsMap, tfjsFolder } from "./tfjs/folder.js";
import { splitTokens, tokenOptions } from "./tokenSpec.js";
import { withTokens } from "./tokens.js";

export type { LoadOptions } from "./format.js";

/** What a folder may hold, in the order in which it is looked for. */
const FORMATS: Partial<Record<NonNullable<LoadOptions["format"]>, FolderFormat>> = {
  onnx: onnxPair,
  safetensors: safetensorsFolder,
  tfjs: tfjsFolder,
};

/**
 * Loads a model: a folder with encoder.onnx and decoder.onnx, with config.json and model.safetensors, or with
 * encoder/model.json and decoder/model.json of tfjs; one .onnx or model.json file that is a square map; or
 * `process:COMMAND`, a child process (docs/engines.md). Behind a path `#class`, `#pooled` or `#tokens,mask=RATIO@SEED`
 * say what the options `latent` and `mask` say. The handle owns what engines build for it; dispose of it.
 *
 * Throws InputError naming the file where something is missing, damaged, or does not fit, UnsupportedOperatorError
 * where the native graph has no such operator and `engine` allows no other, and EngineError where a process fails.
 */
export async function loadAutoencoder(path: string, options: LoadOptions = {}): Promise<Autoencoder> {
  checkOptions(options);
  const asked = tokenOptions(options);
  const named = path.startsWith(PROCESS_PREFIX) || existsSync(path) ? null : splitTokens(path);
  if (named !== null && asked !== null) {
    throw new InputError(
      `${path}: names its latent, and so do the options latent and mask: expected one of them`,
    );
  }
  const model = await loadFrom(named?.path ?? path, options);
  const tokens = named?.tokens ?? asked;
  if (tokens === null) return model;
  try {
    return withTokens(model, tokens);
  } finally {
    await model[Symbol.asyncDispose]();
  }
}

async function loadFrom(path: string, options: LoadOptions): Promise<Autoencoder> {
  if (path.startsWith(PROCESS_PREFIX)) return fromCommandLine(path.slice(PROCESS_PREFIX.length));
  let status: Stats;
  try {
    status = await stat(path);
  } catch (error) {
    throw new InputError(`${path}: there is no such model, expected a folder or an .onnx file`, {
      cause: error,
    });
  }
  if (!status.isDirectory()) {
    return path.endsWith(".json") ? loadTfjsMap(path, options) : loadSquareMap(path, options);
  }
  const names = new Set(await readdir(path));
  const formats = Object.entries(FORMATS)
    .filter(([name]) => options.format === undefined || name === options.format)
    .map(([, format]) => format);
  for (const format of formats) {
    if (await format.isIn(path, names)) return format.load(path, options);
  }
  const expected = formats.map(({ files }) => files).join(", or ");
  throw new InputError(`${path}: holds ${listed([...names])}, expected ${expected}`);
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "nothing";
  const shown = names.toSorted().slice(0, 8).join(", ");
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

function checkOptions(options: LoadOptions) {
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (key === "latentShape" || key === "inputShape") {
      if (!Array.isArray(value) || value.length === 0 || !isUsableShape(value)) {
        throw new InputError(`${key} is ${JSON.stringify(value)}, expected whole numbers of at least 1`);
      }
    } else if (key === "format") {
      const known = Object.keys(FORMATS).map((name) => JSON.stringify(name));
      if (!known.includes(JSON.stringify(value))) {
        throw new InputError(`format is ${JSON.stringify(value)}, expected ${known.join(" or ")}`);
      }
    } else if (key === "encoderOutput") {
      if (typeof value !== "string") {
        throw new InputError(`encoderOutput is ${JSON.stringify(value)}, expected the name of an output`);
      }
    } else if (key === "engine") {
      engineChoice(String(value));
    } else if (key !== "latent" && key !== "mask") {
      const known = "latentShape, inputShape, format, encoderOutput, engine, latent or mask";
      throw new InputError(`unknown option "${key}", expected ${known}`);
    }
  }
}
