/** Inputs that a measure is taken over: read, encoded, and refused where no measure could say anything of them. */
import { drawPoints } from "../dynamics/initial.js";
import { type DataSource, parsePoints } from "../dynamics/points.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";

export interface EncodedInputs {
  /** [N, E], N ≥ 1: prepared. */
  readonly inputs: Matrix;
  /** [N, k]: their codes; for a square map the inputs themselves. */
  readonly latents: Matrix;
}

/** "PATH[:N]" as a source of points. Throws InputError quoting it. */
export function dataSource(spec: string): DataSource {
  return parsePoints([`data:${spec}`]).data as DataSource;
}

/**
 * Throws InputError, which names the file, where it cannot be read or does not fit the model, holds no input, or an
 * input or its code is not finite; AbortedError where the signal fires.
 */
export async function encodedInputs(
  source: DataSource,
  model: Autoencoder,
  engine: Engine,
  call: CallOptions,
): Promise<EncodedInputs> {
  const { initial, inputs } = await drawPoints(source, { model, engine, call, drawn: new Map() });
  const path = typeof source.from === "string" ? source.from : "data";
  if (initial.rows === 0) throw new InputError(`${path}: holds no inputs, expected at least one`);
  const encoded = { inputs: inputs ?? initial, latents: initial };
  const damaged = firstNotFinite(encoded.inputs);
  if (damaged !== null) {
    throw new InputError(`${path}: row ${damaged.row} holds ${damaged.value}, expected finite numbers`);
  }
  const code = firstNotFinite(encoded.latents);
  if (code !== null) {
    throw new InputError(
      `${path}: the encoder makes ${code.value} of row ${code.row}, expected a finite code; the model overflows, or its weights are damaged`,
    );
  }
  return encoded;
}

function firstNotFinite({ data, columns }: Matrix): { row: number; value: number } | null {
  const at = data.findIndex((value) => !Number.isFinite(value));
  return at < 0 ? null : { row: Math.floor(at / columns), value: data[at] };
}
