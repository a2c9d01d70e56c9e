/** From a data set to a model's inputs; of a surrogate, through the encoder whose features it takes. */
import type { Dataset } from "../data/dataset.js";
import { openData } from "../data/open.js";
import { prepareInputs } from "../data/preprocess.js";
import type { CallOptions } from "../engines/engine.js";
import { nativeEngine } from "../engines/native.js";
import { InputError } from "../errors.js";
import { elements, formatShape, type Shape } from "../graph/graph.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder, Encoder } from "../models/autoencoder.js";
import type { DataSource } from "./points.js";

/**
 * Inputs [N, elements of the model's input shape], prepared. The data of a surrogate may be what its encoder takes or
 * the features themselves, whichever the rows are shaped as. Throws InputError where files or widths do not fit,
 * AbortedError where the signal fires.
 */
export async function inputsOf(
  { from, count }: DataSource,
  { model, call }: { model: Autoencoder; call: CallOptions },
): Promise<Matrix> {
  const shape = model.inputShape ?? model.latentShape;
  const { features } = model;
  if (typeof from !== "string" && "columns" in from) {
    const given = firstRows(from, count, "data");
    if (
      features !== null &&
      given.columns === elements(features.inputShape) &&
      given.columns !== elements(shape)
    ) {
      return nativeEngine(features).encode(given, call);
    }
    if (given.columns !== elements(shape)) {
      throw new InputError(
        `${model.name}: inputs have ${given.columns} elements a row, expected ${elements(shape)} (${formatShape(shape)})`,
      );
    }
    return given;
  }
  const dataset = await open(from, count);
  if (features === null || (await holdsVectors(dataset, shape))) return prepared(dataset, model, shape, call);
  return featuresOf(dataset, features, call);
}

/** Features [N, d] of a data set. Throws as inputsOf. */
export async function featuresOf(dataset: Dataset, encoder: Encoder, call: CallOptions): Promise<Matrix> {
  return nativeEngine(encoder).encode(await prepared(dataset, encoder, encoder.inputShape, call), call);
}

function prepared(
  dataset: Dataset,
  { preprocessor }: Autoencoder,
  inputShape: Shape,
  { signal }: CallOptions,
) {
  return prepareInputs(dataset, { preprocessor, inputShape, signal });
}

async function holdsVectors(dataset: Dataset, shape: Shape): Promise<boolean> {
  if (dataset.rows === 0) return true;
  const row = await dataset.row(0);
  return row.shape.length === 1 && row.data.length === elements(shape);
}

async function open(from: string | Dataset, count: number | undefined): Promise<Dataset> {
  if (typeof from === "string") return openData(from, { count });
  if (count === undefined) return from;
  if (count > from.rows)
    throw new InputError(`${from.path}: ${count} rows were asked for, the dataset holds ${from.rows}`);
  return { ...from, rows: count };
}

/** The first `count` rows. Throws InputError where there are fewer. */
export function firstRows(m: Matrix, count: number | undefined, what: string): Matrix {
  if (m.data.length !== m.rows * m.columns) {
    throw new InputError(`${what}: a matrix of ${m.rows}×${m.columns} holds ${m.data.length} elements`);
  }
  if (count === undefined) return m;
  if (count > m.rows)
    throw new InputError(`${what}: ${count} rows were asked for, the matrix holds ${m.rows}`);
  return { data: m.data.subarray(0, count * m.columns), rows: count, columns: m.columns };
}
