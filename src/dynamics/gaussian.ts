/** A Gaussian with the mean and covariance of given rows, also where the covariance has no full rank. */
import { setImmediate as turn } from "node:timers/promises";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";

export interface Gaussian {
  /** [k] */
  readonly mean: Float64Array;
  /** L [k, rank], row-major: covariance = L·Lᵀ. */
  readonly factor: Float64Array;
  readonly rank: number;
}

/**
 * Mean and factored unbiased covariance of `rows` [N, k].
 *
 * The factor is a pivoted Cholesky decomposition: each step takes the direction with the largest variance left
 * and ends where what is left is rounding error, so fewer rows than dimensions, or constant columns, are no
 * special case. Columns of the covariance are formed when they are needed: memory O(N·k + k·rank).
 * Throws InputError for fewer than two rows, and where a value is not finite.
 */
export async function fitGaussian(rows: Matrix): Promise<Gaussian> {
  const { rows: n, columns: k } = rows;
  if (n < 2)
    throw new InputError(`a covariance needs at least 2 latents, there ${n === 1 ? "is 1" : `are ${n}`}`);
  const mean = new Float64Array(k);
  for (let i = 0; i < n; i++) for (let c = 0; c < k; c++) mean[c] += rows.data[i * k + c] / n;
  const centred = new Float64Array(n * k);
  const left = new Float64Array(k);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < k; c++) {
      const value = rows.data[i * k + c] - mean[c];
      centred[i * k + c] = value;
      left[c] += (value * value) / (n - 1);
    }
  }
  const total = left.reduce((a, b) => a + b, 0);
  if (!Number.isFinite(total)) throw new InputError("the latents to match hold values that are not finite");

  const most = Math.min(k, n - 1);
  const factor = new Float64Array(k * most);
  const smallest = k * Number.EPSILON * Math.max(...left);
  const taken = new Uint8Array(k);
  let rank = 0;
  for (; rank < most; rank++) {
    await turn();
    const pivot = largest(left, taken);
    if (!(left[pivot] > smallest)) break;
    const covariance = covarianceWith(centred, n, k, pivot);
    const scale = Math.sqrt(left[pivot]);
    taken[pivot] = 1;
    factor[pivot * most + rank] = scale;
    for (let c = 0; c < k; c++) {
      if (taken[c] === 1) continue;
      let dot = 0;
      for (let m = 0; m < rank; m++) dot += factor[c * most + m] * factor[pivot * most + m];
      const value = (covariance[c] - dot) / scale;
      factor[c * most + rank] = value;
      left[c] -= value * value;
    }
  }
  return { mean, factor: firstColumns(factor, k, most, rank), rank };
}

/** mean + L·g for every row g of standard normals [N, k]; only the first `rank` columns are used. */
export async function drawFrom({ mean, factor, rank }: Gaussian, normals: Matrix): Promise<Matrix> {
  const { rows: n, columns: k } = normals;
  const data = new Float32Array(n * k);
  for (let i = 0; i < n; i++) {
    if (i % 64 === 0) await turn();
    for (let c = 0; c < k; c++) {
      let value = mean[c];
      for (let m = 0; m < rank; m++) value += factor[c * rank + m] * normals.data[i * k + m];
      data[i * k + c] = value;
    }
  }
  return { data, rows: n, columns: k };
}

/** Index of the largest variance left; the lowest index of equals. */
function largest(left: Float64Array, taken: Uint8Array): number {
  let best = -1;
  for (let c = 0; c < left.length; c++) {
    if (taken[c] === 0 && (best < 0 || left[c] > left[best])) best = c;
  }
  return best;
}

function covarianceWith(centred: Float64Array, n: number, k: number, pivot: number): Float64Array {
  const out = new Float64Array(k);
  for (let i = 0; i < n; i++) {
    const weight = centred[i * k + pivot] / (n - 1);
    for (let c = 0; c < k; c++) out[c] += weight * centred[i * k + c];
  }
  return out;
}

function firstColumns(factor: Float64Array, k: number, width: number, columns: number): Float64Array {
  const out = new Float64Array(k * columns);
  for (let c = 0; c < k; c++) out.set(factor.subarray(c * width, c * width + columns), c * columns);
  return out;
}
