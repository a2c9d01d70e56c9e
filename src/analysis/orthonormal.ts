/** A random orthonormal basis, and the best few of its terms: what a dictionary has to beat. */
import { setImmediate as turn } from "node:timers/promises";
import { AbortedError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";

export interface BasisOptions {
  readonly randomSeed?: number;
  readonly signal?: AbortSignal;
}

/** Rows of the noise stream that no set of initial points reaches, so that the basis owes nothing to the points. */
const FIRST_ROW = 2 ** 32;

/** Columns that meet each reflection together: few enough to stay in cache while the reflections stream past. */
const PANEL = 16;

/** Multiply-adds before the event loop gets a turn: about 10 ms. */
const WORK = 1e7;

/**
 * Q of the QR decomposition of a k × k matrix of Philox normals (A[r, c] is column c of row r of the stream), by
 * Householder reflections in float64: k orthonormal vectors, one after the other, [k, k]. About 8/3·k³ operations.
 * Throws InputError unless k is a whole number of at least 1, AbortedError where the signal fires.
 */
export async function orthonormalBasis(
  k: number,
  { randomSeed = 0, signal }: BasisOptions = {},
): Promise<Float64Array> {
  if (!Number.isInteger(k) || k < 1) {
    throw new InputError(`orthonormal basis: ${k} dimensions, expected a whole number of at least 1`);
  }
  let work = 0;
  const pause = async (added: number): Promise<void> => {
    work += added;
    if (work < WORK) return;
    work = 0;
    await turn();
    if (signal?.aborted) throw new AbortedError("aborted", undefined, { cause: signal.reason });
  };
  await pause(WORK);
  // Column c of A lies at [c·k, (c + 1)·k): reflections run along columns.
  const a = await gaussian(k, randomSeed);
  const beta = new Float64Array(k);
  for (let panel = 0; panel < k; panel += PANEL) {
    const end = Math.min(k, panel + PANEL);
    for (let j = 0; j < end; j++) {
      if (j >= panel) beta[j] = reflectorOf(a, k, j);
      reflect(a, k, j, beta[j], a, Math.max(panel, j + 1), end);
      await pause(2 * PANEL * (k - j));
    }
  }
  // Q = H₀·H₁·…·H_{k−1}, from the right: column c starts as a unit vector that the reflections after c leave alone.
  const q = new Float64Array(k * k);
  for (let panel = 0; panel < k; panel += PANEL) {
    const end = Math.min(k, panel + PANEL);
    for (let c = panel; c < end; c++) q[c * k + c] = 1;
    for (let j = end - 1; j >= 0; j--) {
      reflect(a, k, j, beta[j], q, Math.max(panel, j), end);
      await pause(2 * PANEL * (k - j));
    }
  }
  return q;
}

async function gaussian(k: number, randomSeed: number): Promise<Float64Array> {
  const a = new Float64Array(k * k);
  for (let r = 0; r < k; r++) {
    if (r % 256 === 0) await turn();
    const normals = native().noise(randomSeed, FIRST_ROW + r, 1, k, 1);
    for (let c = 0; c < k; c++) a[c * k + r] = normals[c];
  }
  return a;
}

/** Overwrites column j from the diagonal on with the vector v of its reflection I − β·v·vᵀ; gives β (0: none needed). */
function reflectorOf(a: Float64Array, k: number, j: number): number {
  const start = j * k;
  let squared = 0;
  for (let r = j; r < k; r++) squared += a[start + r] ** 2;
  if (squared === 0) return 0;
  const pivot = a[start + j];
  // Away from cancellation.
  a[start + j] = pivot + Math.sign(pivot || 1) * Math.sqrt(squared);
  return 2 / (squared - pivot ** 2 + a[start + j] ** 2);
}

/** Columns first … end − 1 of `to`, each less β·v·(vᵀ·column), v being column j of `a` from the diagonal on. */
function reflect(
  a: Float64Array,
  k: number,
  j: number,
  beta: number,
  to: Float64Array,
  first: number,
  end: number,
): void {
  if (beta === 0) return;
  const n = k - j;
  const v = a.subarray(j * k + j, (j + 1) * k);
  let c = first;
  // Four columns share each element of v; their sums do not wait for one another.
  for (; c + 4 <= end; c += 4) {
    const x0 = to.subarray(c * k + j, (c + 1) * k);
    const x1 = to.subarray((c + 1) * k + j, (c + 2) * k);
    const x2 = to.subarray((c + 2) * k + j, (c + 3) * k);
    const x3 = to.subarray((c + 3) * k + j, (c + 4) * k);
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (let r = 0; r < n; r++) {
      const value = v[r];
      s0 += value * x0[r];
      s1 += value * x1[r];
      s2 += value * x2[r];
      s3 += value * x3[r];
    }
    [s0, s1, s2, s3] = [s0 * beta, s1 * beta, s2 * beta, s3 * beta];
    for (let r = 0; r < n; r++) {
      const value = v[r];
      x0[r] -= s0 * value;
      x1[r] -= s1 * value;
      x2[r] -= s2 * value;
      x3[r] -= s3 * value;
    }
  }
  for (; c < end; c++) {
    const x = to.subarray(c * k + j, (c + 1) * k);
    let sum = 0;
    for (let r = 0; r < n; r++) sum += v[r] * x[r];
    sum *= beta;
    for (let r = 0; r < n; r++) x[r] -= sum * v[r];
  }
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
