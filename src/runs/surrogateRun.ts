/** A surrogate: a small autoencoder trained on an encoder's features, kept in a folder that is a model. */
import { copyFile, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { readMatrix } from "../data/matrixFile.js";
import { openData } from "../data/open.js";
import { writeSafetensors } from "../data/safetensors.js";
import { featuresOf } from "../dynamics/inputs.js";
import type { DataSource } from "../dynamics/points.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { Encoder } from "../models/autoencoder.js";
import { loadEncoder } from "../models/onnxModel.js";
import { type MlpOptions, resolveMlp, type TrainedMlp, trainMlp } from "../training/mlp.js";
import { packageVersion } from "../version.js";
import { checkFolder, writeFolder } from "./folder.js";

/** Where the encoder lies in the folder. */
const FEATURES = "features";
const FILES = ["config.json", "model.safetensors", "surrogate.json", FEATURES];

export interface SurrogateOptions extends MlpOptions {
  /** What the encoder is given: a data set, as `data()` describes it. None where the features are given themselves. */
  readonly from?: DataSource;
  /** Replace an existing folder of a surrogate, once the new one is whole. Default false. */
  readonly overwrite?: boolean;
}

export interface SurrogateRecord {
  readonly kind: "surrogate";
  readonly versions: { readonly "latent-dynamics": string };
  /** The encoder, or the file of features. */
  readonly of: { readonly path: string; readonly hash: string | null };
  readonly features: number;
  readonly latentDimension: number;
  readonly options: Readonly<Record<string, unknown>>;
  readonly rows: number;
  readonly heldOut: number;
  /** Mean squared error per element of the standardised features, of the first and the last epoch. */
  readonly firstLoss: number;
  readonly lastLoss: number;
  readonly losses: readonly number[];
  /** Share of the variance of held-out features that the surrogate does not give back; null where none were held out. */
  readonly unexplained: number | null;
  readonly timing: { readonly seconds: number };
}

/**
 * Trains a surrogate and writes it to `folder`, from which `loadAutoencoder` reads it like any other model. `source` is
 * an encoder (an .onnx file or a folder with encoder.onnx), whose features of `from` are learned, or a file of features
 * (`FILE.npy`, `FILE.safetensors[#tensor]`). The encoder is copied into the folder, so that data goes through it first.
 *
 * Throws InputError where options, files or the folder do not fit, before anything is computed where that can be known;
 * AbortedError where the signal fires; then nothing is written.
 */
export async function trainSurrogate(
  source: string,
  folder: string,
  { from, overwrite = false, ...options }: SurrogateOptions,
): Promise<SurrogateRecord> {
  const resolved = resolveMlp(options);
  await checkFolder(folder, { overwrite, replaceable: FILES });
  await using encoder = (await isEncoder(source)) ? await loadEncoder(source) : null;
  const features = await featuresFor(source, encoder, from, resolved);
  const trained = await trainMlp(features, options);
  const record = recordOf(source, encoder, features, trained, options);
  await writeFolder(folder, { overwrite, replaceable: FILES }, async (temporary) => {
    const config = { ...trained.config, ...(encoder === null ? {} : { features: FEATURES }) };
    await writeFile(join(temporary, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
    await writeFile(join(temporary, "surrogate.json"), `${JSON.stringify(record, null, 2)}\n`);
    await writeSafetensors(join(temporary, "model.safetensors"), trained.tensors, {
      producer: `latent-dynamics ${packageVersion()}`,
    });
    if (encoder !== null) await copyEncoder(encoder, join(temporary, FEATURES));
  });
  return record;
}

/** Whether there is a surrogate in `folder` already. */
export async function holdsSurrogate(folder: string): Promise<boolean> {
  return stat(join(folder, "surrogate.json")).then(
    (info) => info.isFile(),
    () => false,
  );
}

async function isEncoder(source: string): Promise<boolean> {
  if (source.endsWith(".onnx")) return true;
  return stat(source).then(
    (info) => info.isDirectory(),
    () => false,
  );
}

async function featuresFor(
  source: string,
  encoder: Encoder | null,
  from: DataSource | undefined,
  { threads, signal }: { threads: number; signal?: AbortSignal },
): Promise<Matrix> {
  if (encoder === null) {
    if (from === undefined) return readMatrix(source);
    throw new InputError(`${source}: holds features, there is nothing that "from" could be given to`);
  }
  if (from === undefined || typeof from.from !== "string") {
    throw new InputError(
      `${source}: is an encoder, expected the data whose features are learned (data:PATH)`,
    );
  }
  const dataset = await openData(from.from, { count: from.count });
  return featuresOf(dataset, encoder, { threads, ...(signal === undefined ? {} : { signal }) });
}

/** The encoder's files as they lie, and how its inputs are prepared. */
async function copyEncoder(encoder: Encoder, to: string): Promise<void> {
  const [model, ...external] = encoder.files as [string, ...string[]];
  const from = dirname(model);
  await mkdir(to);
  await copyFile(model, join(to, "encoder.onnx"));
  for (const file of external) {
    const name = relative(from, file);
    await mkdir(dirname(join(to, name)), { recursive: true });
    await copyFile(file, join(to, name));
  }
  for (const name of ["preprocessor_config.json", "config.json"]) {
    const bytes = await readFile(join(from, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw new InputError(`${join(from, name)}: cannot be read (${error.message})`, { cause: error });
    });
    if (bytes !== null) await writeFile(join(to, name), bytes);
  }
}

function recordOf(
  source: string,
  encoder: Encoder | null,
  features: Matrix,
  { latentDimension, losses, rows, heldOut, unexplained, seconds }: TrainedMlp,
  options: MlpOptions,
): SurrogateRecord {
  const { signal: _signal, onProgress: _onProgress, threads: _threads, ...kept } = resolveMlp(options);
  return {
    kind: "surrogate",
    versions: { "latent-dynamics": packageVersion() },
    of: { path: encoder === null ? source : basename(source), hash: encoder?.hash ?? null },
    features: features.columns,
    latentDimension,
    options: { ...kept, latentDimension },
    ...{ rows, heldOut },
    firstLoss: losses[0],
    lastLoss: losses[losses.length - 1],
    losses: Array.from(losses),
    unexplained,
    timing: { seconds },
  };
}
