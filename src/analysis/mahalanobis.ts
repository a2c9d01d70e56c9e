/** Distance to a cloud of latents under its own covariance: a baseline for out-of-distribution detection. */
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";
import { callOf, checkFinite, checkWidths, type MeasureOptions, runKernel } from "./kernel.js";

export interface MahalanobisScores {
  /** [Q]: √((x − m)·C⁻¹·(x − m)ᵀ), not squared. */
  readonly score: Float64Array;
  /** Weight of the scaled identity in C, 0 … 1. */
  readonly shrinkage: number;
}

/**
 * queries [Q, k] against the mean m and the covariance C of reference [N, k]. C is shrunk towards a multiple of the
 * identity by the weight that Ledoit and Wolf (2004) derive, so that fewer rows than dimensions and constant
 * coordinates are no special case. Throws InputError where widths differ, there are fewer than two reference rows, all
 * of them are equal, their shrunk covariance has no inverse (two rows), or a value is not finite; AbortedError where the signal fires. N·k² + k³/3 + Q·k² multiply-adds.
 */
export async function mahalanobis(
  reference: Matrix,
  queries: Matrix,
  options: MeasureOptions = {},
): Promise<MahalanobisScores> {
  checkWidths("mahalanobis", reference, queries);
  checkFinite("mahalanobis: the reference", reference);
  checkFinite("mahalanobis: the queries", queries);
  if (reference.rows < 2) {
    throw new InputError(
      `mahalanobis: a covariance needs at least 2 rows, the reference holds ${reference.rows}`,
    );
  }
  if (allEqual(reference)) {
    throw new InputError(
      `mahalanobis: all ${reference.rows} reference rows are equal, they have no covariance`,
    );
  }
  const call = callOf(options);
  const { distance, shrinkage, singular } = await runKernel("mahalanobis", call, (onProgress) =>
    native().mahalanobis(
      reference.data,
      queries.data,
      reference.columns,
      { threads: call.threads },
      onProgress,
    ),
  );
  if (singular) {
    throw new InputError(
      `mahalanobis: the covariance of the ${reference.rows} reference rows has no inverse although it is shrunk (by ${shrinkage.toPrecision(2)}): there are too few of them, or they lie in too few directions`,
    );
  }
  return { score: distance, shrinkage };
}

function allEqual({ data, columns }: Matrix): boolean {
  for (let i = columns; i < data.length; i++) if (data[i] !== data[i % columns]) return false;
  return true;
}
