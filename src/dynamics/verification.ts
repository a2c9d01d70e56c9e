/** Whether attractors are attractors: the paper's Definition 2, checked at each. */
import { availableParallelism } from "node:os";
import { oneOf } from "../check.js";
import { engineOf } from "../engines/choose.js";
import { InputError } from "../errors.js";
import { type Matrix, row } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { DENSE_LIMIT, type JacobianOptions, spectra } from "./jacobian.js";
import { type AttractorProgress, CRITERIA } from "./options.js";
import { phaseProgress, throttled } from "./progress.js";
import type { AttractorRun, SetResult, SetSummary, Verification } from "./result.js";

export interface VerifyOptions extends JacobianOptions {
  /** Residual below which an attractor is at rest. Default 1e-6. */
  readonly tolerance?: number;
  /** `relative` compares with tolerance·‖z‖², the others with the tolerance itself. Default `residual`. */
  readonly criterion?: (typeof CRITERIA)[number];
}

/** Attractors × k up to which `verifyAttractors` costs seconds: what an extraction does without being asked. */
export const CHEAP_NUMBERS = 2 ** 16;

/** Whether verifying so many attractors of dimension k costs little beside finding them. */
export function verificationIsCheap(attractors: number, k: number): boolean {
  return k <= DENSE_LIMIT && attractors * k <= CHEAP_NUMBERS;
}

/**
 * Verifies points [A, k]: one more application of f keeps the residual below tolerance, and the spectral radius of
 * J_f is below 1 (all eigenvalues inside the unit circle: small disturbances die out). The spectral norm is given
 * beside it; at most attractors of ordinary models it is above 1 although the radius is below. Throws InputError for
 * rows that are not k wide, AbortedError where the signal fires.
 * Source: Definition 2 of Fumero et al., "Navigating the Latent Space Dynamics of Neural Models".
 */
export async function verifyPoints(
  model: Autoencoder,
  points: Matrix,
  options: VerifyOptions = {},
): Promise<Verification> {
  const { tolerance = 1e-6, criterion = "residual", ...jacobianOptions } = options;
  if (!(tolerance > 0)) throw new InputError(`tolerance is ${tolerance}, expected a number above 0`);
  oneOf("criterion", criterion, CRITERIA);
  const { threads = availableParallelism(), signal } = options;
  const engine = options.engine ?? (await engineOf(model, { threads }));
  const found = await spectra(model, points, { ...jacobianOptions, engine });
  const next = await engine.apply(points, { threads, signal });
  const residual = new Float32Array(points.rows);
  const verified = new Uint8Array(points.rows);
  for (let i = 0; i < points.rows; i++) {
    const { step, square } = stepOf(row(points, i), row(next, i));
    residual[i] = step;
    const atRest = criterion === "relative" ? step <= tolerance * square : step < tolerance;
    verified[i] = atRest && found.spectralRadius[i] < 1 ? 1 : 0;
  }
  return {
    residual,
    spectralRadius: Float32Array.from(found.spectralRadius),
    spectralNorm: Float32Array.from(found.spectralNorm),
    verified,
    method: found.method,
    solver: found.solver,
    unconverged: found.unconverged,
  };
}

/** ‖next − z‖² and ‖next‖². */
function stepOf(z: Float32Array, next: Float32Array): { step: number; square: number } {
  let step = 0;
  let square = 0;
  for (let j = 0; j < z.length; j++) {
    step += (next[j] - z[j]) ** 2;
    square += next[j] ** 2;
  }
  return { step, square };
}

export interface VerifyRunOptions extends Omit<JacobianOptions, "onProgress"> {
  /** Called at most 10 times a second. */
  readonly onProgress?: (progress: AttractorProgress) => void;
}

/**
 * The run with every attractor of every set verified under the run's own tolerance and criterion: its sets gain
 * `verification`, their summaries `verified`. Throws as `verifyPoints`.
 */
export async function verifyAttractors(
  model: Autoencoder,
  run: AttractorRun,
  { onProgress, ...options }: VerifyRunOptions = {},
): Promise<AttractorRun> {
  const progress = phaseProgress(onProgress && throttled(onProgress));
  const { tolerance, criterion } = run.record.options as Pick<VerifyOptions, "tolerance" | "criterion">;
  const sets: SetResult[] = [];
  for (const set of run.sets) {
    const report = progress("verify", set.name);
    const begun = performance.now();
    const verification = await verifyPoints(model, set.attractors, {
      ...options,
      tolerance,
      criterion,
      onProgress:
        report &&
        ((counted) => report({ ...counted, evaluations: 0, seconds: (performance.now() - begun) / 1000 })),
    });
    const verified = verification.verified.reduce((sum, value) => sum + value, 0);
    sets.push({ ...set, verification, summary: { ...set.summary, verified } });
  }
  const summary: Record<string, SetSummary> = Object.fromEntries(sets.map((set) => [set.name, set.summary]));
  const methods = sets.flatMap(({ verification }) => verification?.method ?? []);
  const jacobians = methods.includes("central differences") ? "central differences" : methods[0];
  const record = { ...run.record, summary, ...(jacobians === undefined ? {} : { jacobians }) };
  return { ...run, sets, summary, record };
}
