/**
 * The largest eigenvalue modulus of matrices that are only known by their products with vectors: Arnoldi's method,
 * many matrices side by side so that every step is one batch of products.
 */
import { AbortedError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";

export interface KrylovOptions {
  /** Matrices. */
  readonly count: number;
  /** Their width. */
  readonly k: number;
  /** Error, relative to the eigenvalue, at which a matrix is done. */
  readonly tolerance: number;
  /** Most products per matrix, and vectors kept for each. */
  readonly most: number;
  readonly threads: number;
  readonly signal?: AbortSignal;
}

export interface LargestEigenvalues {
  /** [count]; NaN where a product was not finite. */
  readonly modulus: Float64Array;
  /**
   * [count]: residual of the eigenpair relative to the modulus. Above `tolerance` where `most` products were not
   * enough.
   */
  readonly error: Float64Array;
}

/** Products after which the eigenvalues of the small matrix are looked at. */
const STRIDE = 8;

/** A matrix that is not done yet: an orthonormal basis of its Krylov space and what it does to it. */
interface Live {
  readonly index: number;
  readonly basis: Float64Array[];
  /** Columns of the Hessenberg matrix: column j holds j + 2 numbers. */
  readonly columns: Float64Array[];
}

/**
 * `multiply` gives the product of matrix `which[i]` with row i, for as many rows as there are indices. Every matrix
 * starts from the same random vector, so a matrix's result does not depend on the others. Memory
 * O(count·most·k). Throws AbortedError where the signal fires.
 */
export async function largestEigenvalues(
  multiply: (which: Int32Array, vectors: Matrix) => Promise<Matrix>,
  { count, k, tolerance, most, threads, signal }: KrylovOptions,
): Promise<LargestEigenvalues> {
  const modulus = new Float64Array(count).fill(Number.NaN);
  const error = new Float64Array(count).fill(Number.NaN);
  const start = unit(Float64Array.from(native().noise(0, 0, 1, k, 1)));
  let live: Live[] = Array.from({ length: count }, (_, index) => ({ index, basis: [start], columns: [] }));
  const steps = Math.min(most, k);
  for (let step = 1; step <= steps && live.length > 0; step++) {
    if (signal?.aborted) throw new AbortedError("aborted", undefined, { cause: signal.reason });
    const products = await multiply(
      Int32Array.from(live, ({ index }) => index),
      newestVectors(live, k),
    );
    const ended = new Set<Live>();
    live = live.filter((matrix, i) => {
      const growth = extend(matrix, products.data.subarray(i * k, (i + 1) * k));
      if (growth === "closed") ended.add(matrix);
      return growth !== "not finite";
    });
    const looked = step % STRIDE === 0 || step === steps ? live : [...ended];
    const done = new Set<Live>(ended);
    for (const [matrix, found] of await ritz(looked, step, threads)) {
      modulus[matrix.index] = found.modulus;
      error[matrix.index] = found.error;
      if (found.error <= tolerance) done.add(matrix);
    }
    live = live.filter((matrix) => !done.has(matrix));
  }
  return { modulus, error };
}

function newestVectors(live: readonly Live[], k: number): Matrix {
  const data = new Float32Array(live.length * k);
  live.forEach(({ basis }, i) => {
    data.set(basis[basis.length - 1], i * k);
  });
  return { data, rows: live.length, columns: k };
}

/** What is left of a product after orthogonalisation, relative to it, that counts as rounding of float32. */
const CLOSED = 1e-6;

/** Takes the product of the newest vector in: one more column, and one more vector unless the space is closed. */
function extend({ basis, columns }: Live, product: Float32Array): "open" | "closed" | "not finite" {
  const rest = Float64Array.from(product);
  const size = length(rest);
  if (!Number.isFinite(size)) return "not finite";
  const column = new Float64Array(basis.length + 1);
  // Twice: once leaves a remainder of the size of what was taken away times the rounding error.
  for (let pass = 0; pass < 2; pass++) {
    for (let j = 0; j < basis.length; j++) {
      const along = dot(basis[j], rest);
      column[j] += along;
      subtract(rest, basis[j], along);
    }
  }
  const left = length(rest);
  const closed = left <= CLOSED * size;
  column[basis.length] = closed ? 0 : left;
  columns.push(column);
  if (closed) return "closed";
  basis.push(unit(rest));
  return "open";
}

/** The largest eigenvalue of each small matrix [size, size], and the residual that its eigenvector leaves. */
async function ritz(
  matrices: readonly Live[],
  size: number,
  threads: number,
): Promise<[Live, { modulus: number; error: number }][]> {
  if (matrices.length === 0) return [];
  const small = new Float64Array(matrices.length * size * size);
  matrices.forEach(({ columns }, i) => {
    columns.forEach((column, j) => {
      for (let r = 0; r < Math.min(column.length, size); r++) small[(i * size + r) * size + j] = column[r];
    });
  });
  const options = { lastComponents: true, norm: false, threads };
  const { real, imaginary, lastComponents } = await native().eigenvalues(small, size, options).promise;
  return matrices.map((matrix, i) => {
    const modulus = Math.hypot(real[i * size], imaginary[i * size]);
    const beyond = matrix.columns[size - 1][size];
    const residual = beyond * lastComponents[i * size];
    return [matrix, { modulus, error: residual === 0 ? 0 : residual / modulus }];
  });
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function subtract(from: Float64Array, vector: Float64Array, factor: number): void {
  for (let i = 0; i < from.length; i++) from[i] -= factor * vector[i];
}

function length(x: Float64Array): number {
  return Math.sqrt(dot(x, x));
}

function unit(x: Float64Array): Float64Array {
  const size = length(x);
  return x.map((value) => value / size);
}
