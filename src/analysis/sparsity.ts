/** How many atoms a probe may use: whole numbers, or shares of the latent dimension. */
import { InputError } from "../errors.js";

/** The first default where the latent space is large enough for steps from it: the paper's. */
const FIRST = 32;
const LARGE = 256;

/** Powers of two up to k, and k itself: from 32 where k is at least 256, else from 1. */
export function defaultSparsities(k: number): number[] {
  const found: number[] = [];
  for (let sparsity = k >= LARGE ? FIRST : 1; sparsity < k; sparsity *= 2) found.push(sparsity);
  return [...found, k];
}

/**
 * Ascending, each once. Numbers below 1 are shares of k (at least one atom). Throws InputError for an empty list, and
 * for a number that is neither a share above 0 nor a whole number from 1 to k.
 */
export function resolveSparsities(given: readonly number[] | undefined, k: number): number[] {
  if (given === undefined) return defaultSparsities(k);
  if (!Array.isArray(given) || given.length === 0) {
    throw new InputError("sparsity is empty, expected at least one number of atoms or share of k");
  }
  const counts = given.map((value) => {
    if (value > 0 && value < 1) return Math.max(1, Math.round(value * k));
    if (Number.isInteger(value) && value >= 1 && value <= k) return value;
    throw new InputError(
      `sparsity is ${value}, expected a whole number from 1 to k = ${k}, or a share of k above 0 and below 1`,
    );
  });
  return [...new Set(counts)].sort((a, b) => a - b);
}
