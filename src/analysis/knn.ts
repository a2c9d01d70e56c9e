/** How far a point is from the K reference points nearest to it. */
import { deviceNumber } from "../device.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";
import { callOf, checkFinite, checkRows, checkWidths, type DeviceOptions, runKernel } from "./kernel.js";

export const KNN_RULES = ["mean", "kth"] as const;
export type KnnRule = (typeof KNN_RULES)[number];

export interface KnnOptions extends DeviceOptions {
  /** K, at least 1; where the reference has fewer rows, all of them are used. Default 2000. */
  readonly neighbours?: number;
  /** `mean` of the distances to the K nearest (default), or the distance to the `kth`. */
  readonly rule?: KnnRule;
  /** Scale every row to unit length first; zero vectors stay. Default false. */
  readonly normalise?: boolean;
}

export interface KnnScores {
  /** [Q], Euclidean and not squared. */
  readonly score: Float64Array;
  /** K as it was used: at most the number of reference rows. */
  readonly neighbours: number;
  /** K was larger than the reference, which was used as a whole. */
  readonly wholeReference: boolean;
}

/**
 * KNN score of queries [Q, k] against reference [N, k], exact. Throws InputError where widths differ, the reference is
 * empty, K is not a whole number of at least 1, or a value is not finite; AbortedError where the signal fires.
 */
export async function knnScore(
  reference: Matrix,
  queries: Matrix,
  { neighbours = 2000, rule = "mean", normalise = false, ...options }: KnnOptions = {},
): Promise<KnnScores> {
  checkKnn(neighbours, rule);
  const call = callOf(options, ["neighbours", "rule", "normalise", "device"]);
  checkWidths("knn", reference, queries);
  checkRows("knn: the reference", reference);
  checkFinite("knn: the reference", reference);
  checkFinite("knn: the queries", queries);
  if (queries.rows === 0) {
    const used = Math.min(neighbours, reference.rows);
    return { score: new Float64Array(0), neighbours: used, wholeReference: neighbours > reference.rows };
  }
  const device = deviceNumber(options.device);
  const found = await runKernel("knn", call, (onProgress) =>
    native().knnScore(
      reference.data,
      queries.data,
      reference.columns,
      { neighbours, rule, normalise, threads: call.threads, device },
      onProgress,
    ),
  );
  return { score: found.score, neighbours: found.neighbours, wholeReference: found.wholeReference };
}

/** Throws InputError where K is not a whole number of at least 1, or there is no such rule. */
export function checkKnn(neighbours: number, rule: KnnRule): void {
  if (!Number.isInteger(neighbours) || neighbours < 1 || neighbours > 2 ** 31 - 1) {
    throw new InputError(`knn: K is ${neighbours}, expected a whole number from 1 to ${2 ** 31 - 1}`);
  }
  if (!KNN_RULES.includes(rule)) {
    throw new InputError(`knn: rule is ${JSON.stringify(rule)}, expected one of ${KNN_RULES.join(", ")}`);
  }
}
