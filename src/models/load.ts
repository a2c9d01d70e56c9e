/** Finds out what lies at a path and makes an Autoencoder of it. */
import { createHash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { readSafetensors } from "../data/safetensors.js";
import { InputError } from "../errors.js";
import { inputShape, lookSwapped, outputShape } from "../graph/compose.js";
import { formatShape, type Graph, type Shape } from "../graph/graph.js";
import { isUsableShape, sameShape } from "../graph/shapes.js";
import { autoencoderOf, squareMapOf } from "./assemble.js";
import type { Autoencoder } from "./autoencoder.js";
import { jsonReader, readJsonObject } from "./json.js";
import { externalReader } from "./onnx/externalData.js";
import { importOnnx, type OnnxImport } from "./onnx/import.js";
import { readPreprocessor } from "./preprocessor.js";
import { safetensorsModel } from "./safetensorsModel.js";

export interface LoadOptions {
  /** Shape of one latent, for axes that an ONNX decoder leaves open. Default: config.json's latent_shape. */
  readonly latentShape?: readonly number[];
  /** Shape of one input, for axes that an ONNX encoder leaves open. Default: config.json's input_shape. */
  readonly inputShape?: readonly number[];
  /** Which files to use where a folder holds both kinds. Default: the ONNX pair. */
  readonly format?: "onnx" | "safetensors";
}

/**
 * Loads a model: a folder with encoder.onnx and decoder.onnx, or with config.json and model.safetensors, or one .onnx
 * file that is a square map. The handle owns what engines build for it; dispose of it.
 *
 * Throws InputError naming the file where something is missing, damaged, or does not fit, and
 * UnsupportedOperatorError where the native graph has no such operator.
 */
export async function loadAutoencoder(path: string, options: LoadOptions = {}): Promise<Autoencoder> {
  checkOptions(options);
  let status: Stats;
  try {
    status = await stat(path);
  } catch (error) {
    throw new InputError(`${path}: there is no such model, expected a folder or an .onnx file`, {
      cause: error,
    });
  }
  if (!status.isDirectory()) return loadSquareMap(path, options);
  const names = new Set(await readdir(path));
  const hasOnnx = names.has("encoder.onnx") && names.has("decoder.onnx");
  const hasSafetensors = names.has("config.json") && names.has("model.safetensors");
  if (hasOnnx && options.format !== "safetensors") return loadOnnxPair(path, options);
  if (hasSafetensors && options.format !== "onnx") return loadSafetensors(path);
  const forms = { onnx: "encoder.onnx and decoder.onnx", safetensors: "config.json and model.safetensors" };
  const expected =
    options.format === undefined ? `${forms.onnx}, or ${forms.safetensors}` : forms[options.format];
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
      if (value !== "onnx" && value !== "safetensors") {
        throw new InputError(`format is ${JSON.stringify(value)}, expected "onnx" or "safetensors"`);
      }
    } else {
      throw new InputError(`unknown option "${key}", expected latentShape, inputShape or format`);
    }
  }
}

/** The shapes that config.json of the folder gives, under those that the caller gives. */
async function shapesOf(folder: string, options: LoadOptions) {
  const path = join(folder, "config.json");
  const config = jsonReader((await readJsonObject(path)) ?? {}, path);
  return {
    latentShape: options.latentShape ?? config.shape("latent_shape"),
    inputShape: options.inputShape ?? config.shape("input_shape"),
  };
}

async function loadSquareMap(path: string, options: LoadOptions): Promise<Autoencoder> {
  if (!path.endsWith(".onnx")) throw new InputError(`${path}: is neither a folder nor an .onnx file`);
  const { latentShape } = await shapesOf(dirname(path), options);
  const { graph, notes, files } = await importFile(path, latentShape);
  return squareMapOf(graph, {
    name: basename(path, ".onnx"),
    path,
    format: "square-map",
    hash: await hashOf(files),
    files,
    preprocessor: null,
    notes,
  });
}

async function loadOnnxPair(path: string, options: LoadOptions): Promise<Autoencoder> {
  const shapes = await shapesOf(path, options);
  const pair = await importPair(path, shapes);
  const { encoder, decoder } = pair;
  const confirmed =
    shapes.latentShape !== undefined && sameShape(shapes.latentShape, inputShape(decoder.graph));
  if (lookSwapped(decoder.graph, encoder.graph) && !confirmed) throw swapped(path, pair);
  // Hashed in the order: the two models, then whatever weights they keep elsewhere.
  const files = [encoder.files[0]!, decoder.files[0]!, ...encoder.files.slice(1), ...decoder.files.slice(1)];
  const unique = [...new Set(files)];
  return autoencoderOf(
    { encoder: encoder.graph, decoder: decoder.graph },
    {
      name: basename(resolve(path)),
      path,
      format: "onnx",
      hash: await hashOf(unique),
      files: unique,
      preprocessor: await readPreprocessor(path),
      notes: [...encoder.notes, ...decoder.notes],
    },
  );
}

interface ImportedFile extends OnnxImport {
  /** The model file, then the files that it keeps weights in. */
  readonly files: readonly string[];
}

interface Pair {
  readonly encoder: ImportedFile;
  readonly decoder: ImportedFile;
}

async function importPair(
  path: string,
  { latentShape, inputShape: imageShape }: { latentShape?: Shape; inputShape?: Shape },
): Promise<Pair> {
  const [encoderPath, decoderPath] = [join(path, "encoder.onnx"), join(path, "decoder.onnx")];
  try {
    const encoder = await importFile(encoderPath, imageShape);
    return { encoder, decoder: await importFile(decoderPath, latentShape) };
  } catch (error) {
    if (!(error instanceof InputError) || imageShape === undefined || latentShape === undefined) throw error;
    // Where each file takes what the other should, the shapes in config.json are right and the names are not.
    const turned = await Promise.all([
      importFile(encoderPath, latentShape),
      importFile(decoderPath, imageShape),
    ]).catch(() => null);
    if (turned === null || sameShape(imageShape, latentShape)) throw error;
    throw swapped(path, { encoder: turned[0], decoder: turned[1] });
  }
}

function swapped(path: string, { encoder, decoder }: Pair): InputError {
  const does = (graph: Graph) =>
    `takes ${formatShape(inputShape(graph))} and gives ${formatShape(outputShape(graph))}`;
  return new InputError(
    `${path}: encoder.onnx ${does(encoder.graph)}, decoder.onnx ${does(decoder.graph)}: the two files look swapped ` +
      `(where a latent larger than the input is meant, say so by "latent_shape" in config.json)`,
  );
}

async function importFile(path: string, shape: Shape | undefined): Promise<ImportedFile> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new InputError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
  const folder = dirname(path);
  const external = new Set<string>();
  const imported = importOnnx(bytes, path, {
    inputShape: shape,
    readExternal: externalReader(folder, path, external),
  });
  return { ...imported, files: [path, ...[...external].sort().map((name) => join(folder, name))] };
}

async function loadSafetensors(path: string): Promise<Autoencoder> {
  const configPath = join(path, "config.json");
  const tensorsPath = join(path, "model.safetensors");
  const config = (await readJsonObject(configPath)) ?? {};
  const { tensors } = await readSafetensors(tensorsPath);
  const { encoder, decoder, notes } = safetensorsModel({ config, configPath, tensors, tensorsPath });
  const files = [configPath, tensorsPath];
  return autoencoderOf(
    { encoder, decoder },
    {
      name: basename(resolve(path)),
      path,
      format: "safetensors",
      hash: await hashOf(files),
      files,
      preprocessor: await readPreprocessor(path),
      notes,
    },
  );
}

/** SHA-256 over the files' bytes, one after the other. */
async function hashOf(files: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}
