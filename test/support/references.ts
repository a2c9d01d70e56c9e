/** The independently computed numbers in the shared folder; see sharedModels.ts for whether it is there. */
import { readFileSync } from "node:fs";
import { openData } from "../../src/data/open.js";
import { prepareInputs } from "../../src/data/preprocess.js";
import { readSafetensors, type Tensor } from "../../src/data/safetensors.js";
import { type Matrix, matrix, takeRows } from "../../src/matrix.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import { sharedPath } from "./sharedModels.js";

export interface ReferenceRecord {
  chamfer: { cosine: number; euclidean: number };
}

export function referenceRecord(model: string): ReferenceRecord {
  return JSON.parse(readFileSync(sharedPath("reference", `${model}.json`), "utf8")) as ReferenceRecord;
}

export async function referenceTensor(model: string, name: string): Promise<Tensor> {
  const { tensors } = await readSafetensors(sharedPath("reference", `${model}.safetensors`));
  const found = tensors.get(name);
  if (found === undefined) throw new Error(`${model}.safetensors has no ${name}`);
  return found;
}

/** A tensor's first dimension as rows. */
export async function referenceRows(model: string, name: string): Promise<Matrix> {
  const { data, shape } = await referenceTensor(model, name);
  return matrix(
    Float32Array.from(data, Number),
    shape.slice(1).reduce((a, b) => a * b, 1),
  );
}

/** The float64 fixed points of the points that converged there. */
export async function convergedEndpoints(model: string, set: "train" | "noise"): Promise<Matrix> {
  const status = await referenceTensor(model, `${set}.f64.status`);
  const converged = Array.from(status.data, Number).flatMap((code, i) => (code === 0 ? [i] : []));
  return takeRows(await referenceRows(model, `${set}.f64.fixed_points`), converged);
}

/** The first `count` images of a file in the shared data folder, as E takes them. */
export async function preparedImages(
  model: Autoencoder,
  path: readonly string[],
  count: number,
): Promise<Matrix> {
  if (model.inputShape === null) throw new Error(`${model.name} has no encoder`);
  const images = await openData(sharedPath("data", ...path), { count });
  return prepareInputs(images, { preprocessor: model.preprocessor, inputShape: model.inputShape });
}
