/** How alike two sets of attractors are: nearest neighbours from either side, averaged. */
import { setImmediate as turn } from "node:timers/promises";
import type { AttractorRun } from "../dynamics/result.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";

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

/** Rows of `a` that are compared before the event loop gets a turn. */
const BLOCK = 32;

/**
 * ½·(mean_a max_b cos(a,b) + mean_b max_a cos(a,b)) and the mean of nearest distances likewise, in float64.
 * a [A, k], b [B, k]; null where a set is empty. A zero vector has cosine 1 to a zero vector and 0 to others.
 * Throws InputError where the widths differ. A·B·k multiply-adds, memory O(A + B + (A + B)·k).
 */
export async function similarity(a: Matrix, b: Matrix): Promise<Similarity | null> {
  if (a.columns !== b.columns) {
    throw new InputError(
      `similarity: rows of ${a.columns} and of ${b.columns} elements, expected equal widths`,
    );
  }
  if (a.rows === 0 || b.rows === 0) return null;
  const k = a.columns;
  const [x, y] = [Float64Array.from(a.data), Float64Array.from(b.data)];
  const [normX, normY] = [norms(x, k), norms(y, k)];
  const cosineA = new Float64Array(a.rows).fill(-Infinity);
  const cosineB = new Float64Array(b.rows).fill(-Infinity);
  const distanceA = new Float64Array(a.rows).fill(Infinity);
  const distanceB = new Float64Array(b.rows).fill(Infinity);
  for (let i = 0; i < a.rows; i++) {
    if (i % BLOCK === 0) await turn();
    for (let j = 0; j < b.rows; j++) {
      let dot = 0;
      let squared = 0;
      for (let c = 0; c < k; c++) {
        const [u, v] = [x[i * k + c], y[j * k + c]];
        dot += u * v;
        squared += (u - v) * (u - v);
      }
      const cosine = cosineOf(dot, normX[i], normY[j]);
      cosineA[i] = Math.max(cosineA[i], cosine);
      cosineB[j] = Math.max(cosineB[j], cosine);
      distanceA[i] = Math.min(distanceA[i], squared);
      distanceB[j] = Math.min(distanceB[j], squared);
    }
  }
  return {
    cosine: twoSided(mean(cosineA), mean(cosineB)),
    euclidean: twoSided(mean(distanceA.map(Math.sqrt)), mean(distanceB.map(Math.sqrt))),
  };
}

/** Similarity of every pair of sets of a run, keyed "first~second"; null where one of the two has no attractor. */
export async function pairwiseSimilarity(
  sets: AttractorRun["sets"],
): Promise<Record<string, { cosine: number | null; euclidean: number | null }>> {
  const pairs: Record<string, { cosine: number | null; euclidean: number | null }> = {};
  for (const [i, first] of sets.entries()) {
    for (const second of sets.slice(i + 1)) {
      const found = await similarity(first.attractors, second.attractors);
      pairs[`${first.name}~${second.name}`] = {
        cosine: found?.cosine.value ?? null,
        euclidean: found?.euclidean.value ?? null,
      };
    }
  }
  return pairs;
}

export function norms(data: Float64Array | Float32Array, columns: number): Float64Array {
  return Float64Array.from({ length: data.length / columns }, (_, i) => {
    let sum = 0;
    for (let c = i * columns; c < (i + 1) * columns; c++) sum += data[c] * data[c];
    return Math.sqrt(sum);
  });
}

/** Cosine from a dot product and two norms; zero vectors are equal to one another only. */
export function cosineOf(dot: number, normA: number, normB: number): number {
  if (normA === 0 || normB === 0) return normA === normB ? 1 : 0;
  return dot / (normA * normB);
}

function twoSided(aToB: number, bToA: number): TwoSided {
  return { value: (aToB + bToA) / 2, aToB, bToA };
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
