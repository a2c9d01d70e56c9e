/** A model kept as ONNX files: encoder.onnx and decoder.onnx, or one square map. */
import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { InputError, UnsupportedOperatorError } from "../errors.js";
import { inputShape, lookSwapped, outputShape } from "../graph/compose.js";
import { formatShape, type Graph, type Shape } from "../graph/graph.js";
import { sameShape } from "../graph/shapes.js";
import { autoencoderOf, encoderOf, foreignOf, squareMapOf } from "./assemble.js";
import type { Autoencoder, Encoder } from "./autoencoder.js";
import { declaredShapes } from "./declaredShapes.js";
import { engineChoice } from "./engineNames.js";
import type { FolderFormat, LoadOptions } from "./format.js";
import { hashOf } from "./hash.js";
import { externalReader } from "./onnx/externalData.js";
import { importOnnx } from "./onnx/import.js";
import { outlineOnnx } from "./onnx/outline.js";
import { readPreprocessor } from "./preprocessor.js";
import type { ModelSource } from "./source.js";

export const onnxPair: FolderFormat = {
  files: "encoder.onnx and decoder.onnx",
  isIn: async (_, names) => names.has("encoder.onnx") && names.has("decoder.onnx"),
  load: loadPair,
};

/** One .onnx file whose output is shaped as its input. Throws as loadAutoencoder. */
export async function loadSquareMap(path: string, options: LoadOptions): Promise<Autoencoder> {
  if (!path.endsWith(".onnx")) throw new InputError(`${path}: is neither a folder nor an .onnx file`);
  const { latentShape } = await declaredShapes(dirname(path), options);
  const map = await readPart(path, latentShape, options);
  const origin = {
    name: basename(path, ".onnx"),
    path,
    format: "square-map",
    hash: await hashOf(map.files),
    files: map.files,
    preprocessor: null,
    notes: map.notes,
    source: { kind: "onnx", files: { map: path } } satisfies ModelSource,
  } as const;
  return "graph" in map
    ? squareMapOf(map.graph, origin)
    : foreignOf({ latentShape: map.inputShape, inputShape: null }, map.unsupported, origin);
}

/**
 * An encoder without a decoder: an .onnx file, or a folder with encoder.onnx, for the native engine. Throws InputError
 * naming the file, UnsupportedOperatorError where the native graph has no such operator.
 */
export async function loadEncoder(
  path: string,
  options: Pick<LoadOptions, "inputShape"> = {},
): Promise<Encoder> {
  const file = path.endsWith(".onnx") ? path : join(path, "encoder.onnx");
  const folder = dirname(file);
  const shapes = await declaredShapes(folder, options);
  const part = (await readPart(file, shapes.inputShape, { engine: "native" })) as Imported;
  return encoderOf(part.graph, {
    name: basename(resolve(path), ".onnx"),
    path,
    format: "onnx",
    hash: await hashOf(part.files),
    files: part.files,
    preprocessor: await readPreprocessor(folder),
    notes: part.notes,
  });
}

async function loadPair(path: string, options: LoadOptions): Promise<Autoencoder> {
  const shapes = await declaredShapes(path, options);
  const { encoder, decoder } = await readPair(path, shapes, options);
  // Hashed in the order: the two models, then whatever weights they keep elsewhere.
  const files = [encoder.files[0]!, decoder.files[0]!, ...encoder.files.slice(1), ...decoder.files.slice(1)];
  const unique = [...new Set(files)];
  const origin = {
    name: basename(resolve(path)),
    path,
    format: "onnx",
    hash: await hashOf(unique),
    files: unique,
    preprocessor: await readPreprocessor(path),
    notes: [...encoder.notes, ...decoder.notes],
    source: {
      kind: "onnx",
      files: { encoder: encoder.files[0]!, decoder: decoder.files[0]! },
    } satisfies ModelSource,
  } as const;
  if (!("graph" in encoder) || !("graph" in decoder)) {
    const unsupported = "unsupported" in encoder ? encoder.unsupported : (decoder as Outlined).unsupported;
    const found = { latentShape: shapeOf(decoder), inputShape: shapeOf(encoder) };
    return foreignOf(found, unsupported, origin);
  }
  const confirmed =
    shapes.latentShape !== undefined && sameShape(shapes.latentShape, inputShape(decoder.graph));
  if (lookSwapped(decoder.graph, encoder.graph) && !confirmed) throw swapped(path, { encoder, decoder });
  return autoencoderOf({ encoder: encoder.graph, decoder: decoder.graph }, origin);
}

interface File {
  readonly notes: readonly string[];
  /** The model file, then the files that it keeps weights in. */
  readonly files: readonly string[];
}

interface Imported extends File {
  readonly graph: Graph;
}

/** A file that the native graph cannot express. */
interface Outlined extends File {
  readonly unsupported: InputError;
  readonly inputShape: Shape;
}

type Read = Imported | Outlined;

function shapeOf(file: Read): Shape {
  return "graph" in file ? inputShape(file.graph) : file.inputShape;
}

async function readPair(
  path: string,
  { latentShape, inputShape: imageShape }: { latentShape?: Shape; inputShape?: Shape },
  options: LoadOptions,
): Promise<{ encoder: Read; decoder: Read }> {
  const [encoderPath, decoderPath] = [join(path, "encoder.onnx"), join(path, "decoder.onnx")];
  try {
    const encoder = await readPart(encoderPath, imageShape, options);
    return { encoder, decoder: await readPart(decoderPath, latentShape, options) };
  } catch (error) {
    if (!(error instanceof InputError) || imageShape === undefined || latentShape === undefined) throw error;
    // Where each file takes what the other should, the shapes in config.json are right and the names are not.
    const turned = await Promise.all([
      readPart(encoderPath, latentShape, { engine: "native" }),
      readPart(decoderPath, imageShape, { engine: "native" }),
    ]).catch(() => null);
    if (turned === null || sameShape(imageShape, latentShape)) throw error;
    throw swapped(path, { encoder: turned[0] as Imported, decoder: turned[1] as Imported });
  }
}

function swapped(path: string, { encoder, decoder }: { encoder: Imported; decoder: Imported }): InputError {
  const does = (graph: Graph) =>
    `takes ${formatShape(inputShape(graph))} and gives ${formatShape(outputShape(graph))}`;
  return new InputError(
    `${path}: encoder.onnx ${does(encoder.graph)}, decoder.onnx ${does(decoder.graph)}: the two files look swapped ` +
      `(where a latent larger than the input is meant, say so by "latent_shape" in config.json)`,
  );
}

/**
 * The file as a graph; or, where it cannot be one and another engine may run it, its outline and why. Asked for by
 * name, onnxruntime may also run what is refused for another reason than an operator, such as a newer operator set.
 */
async function readPart(path: string, shape: Shape | undefined, { engine }: LoadOptions): Promise<Read> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new InputError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
  const folder = dirname(path);
  const external = new Set<string>();
  const readExternal = externalReader(folder, path, external);
  const files = () => [path, ...[...external].sort().map((name) => join(folder, name))];
  try {
    const { graph, notes } = importOnnx(bytes, path, { inputShape: shape, readExternal });
    return { graph, notes, files: files() };
  } catch (error) {
    const choice = engineChoice(engine ?? "auto");
    const elsewhere =
      choice === "onnxruntime"
        ? error instanceof InputError
        : choice === "auto" && error instanceof UnsupportedOperatorError;
    if (!elsewhere) throw error;
    const outline = outlineOnnx(bytes, path, { inputShape: shape, readExternal });
    return { ...outline, unsupported: error as InputError, files: files() };
  }
}
