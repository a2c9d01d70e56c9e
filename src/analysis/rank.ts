/** How many directions a set of rows takes up. */

import type { MeasureNote } from "../dynamics/note.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";
import { callOf, checkFinite, checkRows, type MeasureOptions, runKernel } from "./kernel.js";

export interface Rank {
  /** Smallest number of singular values whose squares sum to at least 90 % of all; 0 where all are zero. */
  readonly rank90: number;
  /** [min(rows, columns)]: singular values, descending. */
  readonly spectrum: Float64Array;
  readonly centred: boolean;
}

/** What `latdyn rank RUN --json` prints and rank.json holds. */
export interface RankRecord {
  model: { name: string; path: string; hash: string; latentDimension: number };
  run: { folder: string; set: string };
  /** Rows of the matrix of decoded attractors, and its columns. */
  attractors: number;
  elements: number;
  centred: boolean;
  rank90: number;
  spectrum: number[];
  notes: MeasureNote[];
  timing: { seconds: number };
}

const SHARE = 0.9;

/**
 * Rank of rows [N, columns], N ≥ 1, uncentred unless `centred`. Throws InputError where there is no row or a value is
 * not finite, AbortedError where the signal fires.
 * Source: Fumero et al., on the rank of the matrix of decoded attractors.
 */
export async function rank(
  rows: Matrix,
  { centred = false, ...options }: MeasureOptions & { readonly centred?: boolean } = {},
): Promise<Rank> {
  checkRows("rank: the matrix", rows);
  checkFinite("rank: the matrix", rows);
  const call = callOf(options, ["centred"]);
  const { values } = await runKernel("rank", call, (onProgress) =>
    native().singularValues(rows.data, rows.columns, { centred, threads: call.threads }, onProgress),
  );
  return { rank90: rank90(values), spectrum: values, centred };
}

/** Of a spectrum in descending order. Throws InputError where it is not, or holds a negative value or a NaN. */
export function rank90(spectrum: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < spectrum.length; i++) {
    const least = i + 1 < spectrum.length ? spectrum[i + 1] : 0;
    if (!(spectrum[i] >= least)) {
      throw new InputError(`rank: a spectrum of ${spectrum[i]} before ${least}, expected descending values`);
    }
    total += spectrum[i] ** 2;
  }
  if (total === 0) return 0;
  let sum = 0;
  for (let i = 0; i < spectrum.length; i++) {
    sum += spectrum[i] ** 2;
    if (sum >= SHARE * total) return i + 1;
  }
  return spectrum.length;
}
