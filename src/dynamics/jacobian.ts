/** Jacobians of f at given points, and how much they stretch: spectral radius and spectral norm. */
import { availableParallelism } from "node:os";
import { wholeNumber } from "../check.js";
import { engineOf } from "../engines/choose.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { AbortedError, InputError } from "../errors.js";
import { type Matrix, row } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { native } from "../native.js";
import { largestEigenvalues } from "./jacobianKrylov.js";
import { type JacobianMethod, type JacobianProducts, jacobianProducts } from "./jacobianProducts.js";

export interface JacobianOptions {
  /** Worker threads, 1 … 1024. Default: as many as the machine runs at once. */
  readonly threads?: number;
  /** Who computes f and its derivatives. Default: what `auto` chooses for the model. */
  readonly engine?: Engine;
  readonly signal?: AbortSignal;
  /** Points that are done, of all; told again while large ones are at work. */
  readonly onProgress?: (progress: { finished: number; total: number }) => void;
}

export interface Jacobians {
  /** [N, k, k], row-major: element (i, j) of a point's matrix is ∂f_i/∂z_j. */
  readonly data: Float32Array;
  readonly points: number;
  readonly k: number;
  readonly method: JacobianMethod;
}

export interface Spectra {
  /** [N]: largest modulus of an eigenvalue of J_f(z), complex ones included. NaN where J is not finite. */
  readonly spectralRadius: Float64Array;
  /**
   * [N]: largest singular value of J_f(z). NaN where J is not finite, and where J is too large to be formed and the
   * engine does not give its transpose.
   */
  readonly spectralNorm: Float64Array;
  readonly method: JacobianMethod;
  /** `dense`: of the whole matrix. `krylov`: from products with vectors, to `accuracy`. */
  readonly solver: "dense" | "krylov";
  /** Largest relative residual of an eigenpair that was accepted as converged; 0 where the solver is dense. */
  readonly accuracy: number;
  /** Points whose radius or norm is not known to `accuracy`; 0 where the solver is dense. */
  readonly unconverged: number;
}

/** Up to this k a Jacobian is formed whole: k products, k² numbers. */
export const DENSE_LIMIT = 256;

/** Relative residual of an eigenpair at which an iteration ends; products in float32 carry about 1e-6. */
const KRYLOV_TOLERANCE = 1e-5;
const KRYLOV_MOST = 256;

/** Numbers that are held at once for a batch of products, and for the vectors of a Krylov space. */
const BATCH_NUMBERS = 2 ** 23;
const KRYLOV_NUMBERS = 2 ** 25;

/**
 * J_f at each point [N, k], whole: k products with a vector each, in batches of bounded memory beside the result
 * (4·N·k² bytes). Throws InputError where the width is not k or the result would not fit in an array, AbortedError
 * where the signal fires.
 */
export async function jacobian(
  model: Autoencoder,
  points: Matrix,
  options: JacobianOptions = {},
): Promise<Jacobians> {
  const { products, k } = await prepare(model, points, options);
  if (points.rows * k * k > 2 ** 30 - 1) {
    throw new InputError(
      `${model.name}: ${points.rows} Jacobians of ${k}×${k} are more numbers than one array holds`,
    );
  }
  const data = new Float32Array(points.rows * k * k);
  await eachBlock(products, points, options, async (block, first) => {
    data.set(block, first * k * k);
  });
  return { data, points: points.rows, k, method: products.method };
}

/**
 * Spectral radius and spectral norm of J_f at each point [N, k]. Up to k = 256 of the whole matrix; beyond it by
 * Arnoldi's method on J and on JᵀJ, with at most 256 products each. Throws as `jacobian`.
 * Source: Definition 2 (the radius) and Propositions 3.2 and A.9 (the norm) of Fumero et al.
 */
export async function spectra(
  model: Autoencoder,
  points: Matrix,
  options: JacobianOptions = {},
): Promise<Spectra> {
  const { products, k, call } = await prepare(model, points, options);
  return k <= DENSE_LIMIT
    ? denseSpectra(products, points, options, call)
    : krylovSpectra(products, points, options, call);
}

async function prepare(
  model: Autoencoder,
  points: Matrix,
  { threads, engine, signal }: JacobianOptions,
): Promise<{ products: JacobianProducts; k: number; call: CallOptions }> {
  const k = model.latentDimension;
  if (points.columns !== k || points.data.length !== points.rows * k) {
    throw new InputError(`${model.name}: points have ${points.columns} elements a row, expected ${k}`);
  }
  const call = { threads: wholeNumber("threads", threads ?? availableParallelism(), 1, 1024), signal };
  return { products: jacobianProducts(engine ?? (await engineOf(model, call)), call), k, call };
}

async function denseSpectra(
  products: JacobianProducts,
  points: Matrix,
  options: JacobianOptions,
  { threads, signal }: CallOptions,
): Promise<Spectra> {
  const k = points.columns;
  const spectralRadius = new Float64Array(points.rows);
  const spectralNorm = new Float64Array(points.rows);
  await eachBlock(products, points, options, async (block, first) => {
    const job = native().eigenvalues(Float64Array.from(block), k, {
      lastComponents: false,
      norm: true,
      threads,
    });
    const stop = (): void => job.abort();
    signal?.addEventListener("abort", stop, { once: true });
    const { real, imaginary, norm, aborted } = await job.promise.finally(() =>
      signal?.removeEventListener("abort", stop),
    );
    if (aborted) throw new AbortedError("aborted", undefined, { cause: signal?.reason });
    for (let i = 0; i < norm.length; i++) {
      spectralRadius[first + i] = Math.hypot(real[i * k], imaginary[i * k]);
      spectralNorm[first + i] = norm[i];
    }
  });
  const { method } = products;
  return { spectralRadius, spectralNorm, method, solver: "dense", accuracy: 0, unconverged: 0 };
}

/** Calls `visit` with the Jacobians [n, k, k] of so many points from `first` on, block after block. */
async function eachBlock(
  products: JacobianProducts,
  points: Matrix,
  { signal, onProgress }: JacobianOptions,
  visit: (block: Float32Array, first: number) => Promise<void>,
): Promise<void> {
  const k = points.columns;
  const most = Math.max(1, Math.floor(BATCH_NUMBERS / (2 * k * k)));
  for (let first = 0; first < points.rows; first += most) {
    if (signal?.aborted) throw new AbortedError("aborted", undefined, { cause: signal.reason });
    const count = Math.min(most, points.rows - first);
    await visit(await columnsOf(products, points, first, count), first);
    onProgress?.({ finished: first + count, total: points.rows });
  }
}

/** Column j of a Jacobian is its product with the j-th unit vector. */
async function columnsOf(
  products: JacobianProducts,
  points: Matrix,
  first: number,
  count: number,
): Promise<Float32Array> {
  const k = points.columns;
  const latents = new Float32Array(count * k * k);
  const tangents = new Float32Array(count * k * k);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < k; j++) {
      latents.set(row(points, first + i), (i * k + j) * k);
      tangents[(i * k + j) * k + j] = 1;
    }
  }
  const rows = count * k;
  const { data } = await products.forward(
    { data: latents, rows, columns: k },
    { data: tangents, rows, columns: k },
  );
  const block = new Float32Array(count * k * k);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < k; j++) {
      for (let r = 0; r < k; r++) block[(i * k + r) * k + j] = data[(i * k + j) * k + r];
    }
  }
  return block;
}

async function krylovSpectra(
  products: JacobianProducts,
  points: Matrix,
  { onProgress }: JacobianOptions,
  { threads, signal }: CallOptions,
): Promise<Spectra> {
  const k = points.columns;
  const spectralRadius = new Float64Array(points.rows).fill(Number.NaN);
  const spectralNorm = new Float64Array(points.rows).fill(Number.NaN);
  let unconverged = 0;
  let accuracy = 0;
  const { backward } = products;
  const most = Math.max(1, Math.floor(KRYLOV_NUMBERS / (k * KRYLOV_MOST)));
  for (let first = 0; first < points.rows; first += most) {
    const count = Math.min(most, points.rows - first);
    const at = (which: Int32Array): Matrix => {
      const data = new Float32Array(which.length * k);
      which.forEach((index, i) => {
        data.set(row(points, first + index), i * k);
      });
      return { data, rows: which.length, columns: k };
    };
    // A point takes up to hundreds of products: whoever listens should hear that they go on.
    const forward = async (latents: Matrix, vectors: Matrix): Promise<Matrix> => {
      const product = await products.forward(latents, vectors);
      onProgress?.({ finished: first, total: points.rows });
      return product;
    };
    const krylov = { count, k, tolerance: KRYLOV_TOLERANCE, most: KRYLOV_MOST, threads, signal };
    const radius = await largestEigenvalues((which, vectors) => forward(at(which), vectors), krylov);
    spectralRadius.set(radius.modulus, first);
    const errors = [radius.error];
    if (backward !== null) {
      const norm = await largestEigenvalues(async (which, vectors) => {
        const latents = at(which);
        return backward(latents, await forward(latents, vectors));
      }, krylov);
      spectralNorm.set(norm.modulus.map(Math.sqrt), first);
      errors.push(norm.error);
    }
    for (let i = 0; i < count; i++) {
      const worst = Math.max(...errors.map((error) => error[i]));
      if (worst <= KRYLOV_TOLERANCE) accuracy = Math.max(accuracy, worst);
      else unconverged++;
    }
    onProgress?.({ finished: first + count, total: points.rows });
  }
  return { spectralRadius, spectralNorm, method: products.method, solver: "krylov", accuracy, unconverged };
}
