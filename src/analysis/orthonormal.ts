/** A random orthonormal basis, and the best few of its terms: what a dictionary has to beat. */
import { setImmediate as turn } from "node:timers/promises";
import { AbortedError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";
import { callOf, type MeasureOptions, runKernel } from "./kernel.js";

export interface BasisOptions extends MeasureOptions {
  /** Default 0. */
  readonly randomSeed?: number;
}

/** Rows of the noise stream that no set of initial points reaches, so that the basis owes nothing to the points. */
const FIRST_ROW = 2 ** 32;

/**
 * Q of the QR decomposition of a k × k matrix of Philox normals (A[r, c] is column c of row r of the stream), by
 * Householder reflections in float64: k orthonormal vectors, one after the other, [k, k]. About 8/3·k³ operations.
 * Throws InputError unless k is a whole number from 1 to 16,384, AbortedError where the signal fires.
 */
export async function orthonormalBasis(
  k: number,
  { randomSeed = 0, ...options }: BasisOptions = {},
): Promise<Float64Array> {
  if (!Number.isInteger(k) || k < 1 || k > 16_384) {
    throw new InputError(
      `orthonormal basis: ${k} dimensions, expected a whole number of at least 1 and at most 16384`,
    );
  }
  const call = callOf(options);
  const { threads } = call;
  const { basis } = await runKernel("orthonormal basis", call, (report) =>
    native().orthonormalBasis(randomSeed, FIRST_ROW, k, { threads }, report),
  );
  return basis;
}

/**
 * For each signal [S, k] its best approximation by `sparsity` vectors of an orthonormal basis [k, k], for ascending
 * sparsities, one after the other: [S, k] each. In an orthonormal basis those are the largest |coefficients| (of
 * equals the first), which is also what matching pursuit finds. Throws AbortedError where the signal fires.
 */
export async function* bestTerms(
  basis: Float64Array,
  signals: Matrix,
  sparsities: readonly number[],
  signal?: AbortSignal,
): AsyncGenerator<Matrix> {
  const { rows, columns: k } = signals;
  const coefficients = new Float64Array(rows * k);
  const order = new Int32Array(rows * k);
  for (let i = 0; i < rows; i++) {
    await pauseFor(signal);
    for (let c = 0; c < k; c++) {
      let dot = 0;
      for (let r = 0; r < k; r++) dot += basis[c * k + r] * signals.data[i * k + r];
      coefficients[i * k + c] = dot;
    }
    const own = coefficients.subarray(i * k, (i + 1) * k);
    const indices = order.subarray(i * k, (i + 1) * k);
    for (let c = 0; c < k; c++) indices[c] = c;
    indices.sort((a, b) => Math.abs(own[b]) - Math.abs(own[a]) || a - b);
  }
  const sums = new Float64Array(rows * k);
  let done = 0;
  for (const sparsity of sparsities) {
    for (let i = 0; i < rows; i++) {
      await pauseFor(signal);
      for (let m = done; m < Math.min(sparsity, k); m++) {
        const c = order[i * k + m];
        const factor = coefficients[i * k + c];
        for (let r = 0; r < k; r++) sums[i * k + r] += factor * basis[c * k + r];
      }
    }
    done = Math.max(done, Math.min(sparsity, k));
    yield { data: Float32Array.from(sums), rows, columns: k };
  }
}

async function pauseFor(signal: AbortSignal | undefined): Promise<void> {
  await turn();
  if (signal?.aborted) throw new AbortedError("aborted", undefined, { cause: signal.reason });
}
