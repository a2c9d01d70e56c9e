/** tfjs for tests, where it is installed: models built by tfjs itself, saved as it would save them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Shape } from "../../src/graph/graph.js";
import type { Tf, TfArtifacts, TfLayersModel, TfTensor } from "../../src/models/tfjs/tf.js";
import type { Random } from "./random.js";

/** A layer, or the symbol that a layer gives. */
export interface TestLayer {
  apply(inputs: unknown): TestLayer;
  getWeights(): TfTensor[];
  setWeights(weights: readonly TfTensor[]): void;
  readonly name: string;
}

export interface TestModel extends TfLayersModel {
  readonly layers: readonly TestLayer[];
  apply(inputs: unknown): TestLayer;
  getWeights(): TfTensor[];
  setWeights(weights: readonly TfTensor[]): void;
}

/** What tests use of tfjs beyond what the library does. */
export interface TestTf extends Tf {
  readonly layers: Readonly<Record<string, (options?: object) => TestLayer>>;
  sequential(options: { name?: string; layers: readonly (TestLayer | TestModel)[] }): TestModel;
  input(options: { shape: readonly (number | null)[]; name?: string }): TestLayer;
  model(options: { inputs: TestLayer; outputs: TestLayer | readonly TestLayer[]; name?: string }): TestModel;
}

const require = createRequire(import.meta.url);

function load(): TestTf | null {
  try {
    const tf = require("@tensorflow/tfjs") as TestTf;
    tf.enableProdMode();
    return tf;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND") return null;
    throw error;
  }
}

const loaded = load();
/** Tests that need tfjs are skipped, by name, where it is not installed. */
export const hasTfjs = loaded !== null;
export const tf = loaded as TestTf;

/** Gives every weight seeded values: small ones, and variances that are positive. */
export function randomise(model: TestModel, random: Random): TestModel {
  const names = model as unknown as { weights: { name: string }[] };
  const weights = model.getWeights();
  model.setWeights(
    weights.map((weight, i) => {
      const count = weight.shape.reduce((n, d) => n * d, 1);
      const name = names.weights[i]!.name;
      const fanIn = Math.max(1, count / (weight.shape.at(-1) ?? 1));
      const data = /variance/.test(name)
        ? Float32Array.from({ length: count }, () => 0.5 + random.uniform())
        : random.floats(count, /bias|beta|mean/.test(name) ? 0.3 : 1 / Math.sqrt(fanIn));
      return tf.tensor(data, weight.shape, "float32");
    }),
  );
  return model;
}

export interface SavedArtifacts extends TfArtifacts {
  readonly weightSpecs: readonly { name: string; shape: number[]; dtype: string }[];
}

export async function artifactsOf(model: TfLayersModel): Promise<SavedArtifacts> {
  let saved: TfArtifacts | undefined;
  await model.save({
    async save(artifacts) {
      saved = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: "JSON" } };
    },
  });
  return saved as SavedArtifacts;
}

/** Writes `folder`/model.json and its weights, in files of at most `shardBytes`. */
export function writeArtifacts(
  folder: string,
  artifacts: TfArtifacts,
  { shardBytes = 4 * 2 ** 20, format = "layers-model" } = {},
): string {
  mkdirSync(folder, { recursive: true });
  const { weightData, weightSpecs, ...rest } = artifacts;
  const parts = Array.isArray(weightData) ? (weightData as ArrayBuffer[]) : [weightData as ArrayBuffer];
  const bytes = Buffer.concat(parts.map((part) => new Uint8Array(part)));
  const paths: string[] = [];
  for (let first = 0; first < bytes.length; first += shardBytes) {
    const path = `group1-shard${paths.length + 1}.bin`;
    writeFileSync(join(folder, path), bytes.subarray(first, first + shardBytes));
    paths.push(path);
  }
  const json = { format, ...rest, weightsManifest: [{ paths, weights: weightSpecs }] };
  writeFileSync(join(folder, "model.json"), JSON.stringify(json));
  return join(folder, "model.json");
}

export async function saveModel(
  folder: string,
  model: TfLayersModel,
  options: { shardBytes?: number } = {},
): Promise<string> {
  return writeArtifacts(folder, await artifactsOf(model), options);
}

/** What tfjs makes of `rows` inputs in its own order, on whatever backend is set. */
export function predict(
  model: TfLayersModel,
  inputs: Float32Array,
  shape: Shape,
  rows: number,
): Float32Array {
  const result = tf.tidy(() => {
    const output = model.predictOnBatch(tf.tensor(inputs, [rows, ...shape], "float32"));
    return Array.isArray(output) ? (output as TfTensor[])[0]! : (output as TfTensor);
  });
  const data = (result as TfTensor & { dataSync(): Float32Array }).dataSync().slice();
  result.dispose();
  return data;
}

/** max |a − b| / max |b| */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, scale] = [0, 1e-6];
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(found[i]! - expected[i]!);
    error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, difference);
    scale = Math.max(scale, Math.abs(expected[i]!));
  }
  return found.length === expected.length ? error / scale : Number.POSITIVE_INFINITY;
}
