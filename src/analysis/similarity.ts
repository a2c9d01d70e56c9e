/** How alike two sets of attractors are: nearest neighbours from either side, averaged. */
import type { AttractorRun } from "../dynamics/result.js";
import type { Matrix } from "../matrix.js";
import { checkWidths, type DeviceOptions } from "./kernel.js";
import { type Neighbours, nearest } from "./nearest.js";

export interface TwoSided {
  /** ½·(aToB + bToA) */
  readonly value: number;
  /** Mean over the rows of a of the best match in b. */
  readonly aToB: number;
  /** Mean over the rows of b of the best match in a. */
  readonly bToA: number;
}

export interface Similarity {
  /** Best match: the largest cosine. 1 for equal sets. */
  readonly cosine: TwoSided;
  /** Best match: the smallest distance (not squared). 0 for equal sets. */
  readonly euclidean: TwoSided;
}

/** The best match of every row of either set in the other. */
export interface BestMatches {
  readonly cosine: Neighbours;
  readonly euclidean: Neighbours;
}

/** a [A, k], b [B, k]; null where a set is empty. Throws as `similarity`. */
export async function bestMatches(
  a: Matrix,
  b: Matrix,
  options: DeviceOptions = {},
): Promise<BestMatches | null> {
  checkWidths("similarity", a, b);
  if (a.rows === 0 || b.rows === 0) return null;
  return {
    cosine: await nearest("similarity", a, b, "cosine", options),
    euclidean: await nearest("similarity", a, b, "euclidean", options),
  };
}

/**
 * ½·(mean_a max_b cos(a,b) + mean_b max_a cos(a,b)) and the mean of nearest distances likewise, in float64.
 * a [A, k], b [B, k]; null where a set is empty. A zero vector has cosine 1 to a zero vector and 0 to others.
 * Throws InputError where the widths differ or a value is not finite, AbortedError where the signal fires.
 * 2·A·B·k multiply-adds, memory O((A + B)·k).
 * Source: the symmetric Chamfer form by which Fumero et al. compare sets of attractors.
 */
export async function similarity(
  a: Matrix,
  b: Matrix,
  options: DeviceOptions = {},
): Promise<Similarity | null> {
  const matches = await bestMatches(a, b, options);
  return matches === null ? null : similarityOf(matches);
}

/** The means of best matches. */
export function similarityOf({ cosine, euclidean }: BestMatches): Similarity {
  return {
    cosine: twoSided(mean(cosine.aValue), mean(cosine.bValue)),
    euclidean: twoSided(mean(euclidean.aValue), mean(euclidean.bValue)),
  };
}

/** Similarity of every pair of sets of a run, keyed "first~second"; null where one of the two has no attractor. */
export async function pairwiseSimilarity(
  sets: AttractorRun["sets"],
  options: DeviceOptions = {},
): Promise<Record<string, { cosine: number | null; euclidean: number | null }>> {
  const pairs: Record<string, { cosine: number | null; euclidean: number | null }> = {};
  for (const [i, first] of sets.entries()) {
    for (const second of sets.slice(i + 1)) {
      const found = await similarity(first.attractors, second.attractors, options);
      pairs[`${first.name}~${second.name}`] = {
        cosine: found?.cosine.value ?? null,
        euclidean: found?.euclidean.value ?? null,
      };
    }
  }
  return pairs;
}

function twoSided(aToB: number, bToA: number): TwoSided {
  return { value: (aToB + bToA) / 2, aToB, bToA };
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
