/** How well the attractors stand for given inputs: prototype and coverage errors. */
import type { Engine } from "../engines/engine.js";
import { InputError } from "../errors.js";
import { type Matrix, row } from "../matrix.js";
import { callOf, type MeasureOptions } from "./kernel.js";
import { nearest } from "./nearest.js";
import { type Spread, spreadOf } from "./statistics.js";

export interface PrototypeErrors {
  /** [N]: the attractor nearest to each latent, Π(E(x)); the lowest of equals. */
  readonly attractor: Int32Array;
  /** [N]: ‖x − D(Π(E(x)))‖², summed over the elements of the input. */
  readonly prototype: Float64Array;
  /** [N]: ‖E(x) − Π(E(x))‖². */
  readonly coverage: Float64Array;
  readonly spread: { readonly prototype: Spread; readonly coverage: Spread };
}

export interface PrototypeInput {
  /** [N, E] */
  readonly inputs: Matrix;
  /** [N, k]: the inputs, encoded. */
  readonly latents: Matrix;
  /** [A, k], at least one row. */
  readonly attractors: Matrix;
}

/**
 * Each attractor is decoded once. Throws InputError where numbers of rows or widths differ, there is no attractor, or a
 * value is not finite; AbortedError where the signal fires. N·A·k multiply-adds, memory O(A·E) beside the arguments.
 * Source: Proposition 3.2 as the ICLR text has it; Π is the nearest attractor in Euclidean distance.
 */
export async function prototypeErrors(
  engine: Engine,
  { inputs, latents, attractors }: PrototypeInput,
  options: MeasureOptions = {},
): Promise<PrototypeErrors> {
  const call = callOf(options);
  if (inputs.rows !== latents.rows) {
    throw new InputError(
      `prototype errors: ${inputs.rows} inputs and ${latents.rows} latents, expected one each`,
    );
  }
  if (attractors.rows === 0) throw new InputError("prototype errors: there are no attractors");
  if (inputs.rows === 0) {
    const none = new Float64Array(0);
    const spread = { prototype: spreadOf(none), coverage: spreadOf(none) };
    return { attractor: new Int32Array(0), prototype: none, coverage: none, spread };
  }
  const { aIndex, aValue } = await nearest("coverage", latents, attractors, "euclidean", {
    ...call,
    device: engine.kernelDevice,
  });
  const coverage = aValue.map((distance) => distance * distance);
  const decoded = await engine.decode(attractors, call);
  const prototype = Float64Array.from(aIndex, (attractor, i) =>
    squaredDistance(row(inputs, i), row(decoded, attractor)),
  );
  return {
    attractor: aIndex,
    prototype,
    coverage,
    spread: { prototype: spreadOf(prototype), coverage: spreadOf(coverage) },
  };
}

export function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}
