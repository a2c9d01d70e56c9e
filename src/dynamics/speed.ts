/** Convergence speed: iterations that the linear theory predicts, beside those that points took. */
import { engineOf } from "../engines/choose.js";
import { AbortedError } from "../errors.js";
import { row } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { findAttractors } from "./attractors.js";
import type { AttractorOptions } from "./options.js";
import { type RunRecord, type SetResult, STATUS } from "./result.js";
import { pearson, spearman } from "./speedCorrelation.js";
import { verifyAttractors } from "./verification.js";

/** Where the rate of a prediction comes from. */
export const RATES = ["spectralNorm", "spectralRadius", "observedRate"] as const;
export type Rate = (typeof RATES)[number];

export type SpeedOptions = Omit<AttractorOptions, "traces">;

/** One prediction against the true counts, over the converged points of a set. */
export interface Agreement {
  /** Points that have a prediction. */
  used: number;
  /** Points whose rate is at least 1: the formula has no value there. */
  atLeastOne: number;
  /** Points whose rate is not known: J is not finite, or the path was too short to show a rate. */
  unknown: number;
  /** Correlations of predicted and true counts over the used points; null for fewer than two, or without variation. */
  pearson: number | null;
  spearman: number | null;
  /** Over the used points; null where there is none. */
  meanPredicted: number | null;
  /** True counts of the same points. */
  meanIterations: number | null;
}

/** N points of one set. */
export interface SpeedSet {
  readonly set: SetResult;
  /** [N]: ‖z₀ − z*‖; NaN for points that did not converge. */
  readonly distance: Float64Array;
  /** [N] each: the rate ρ; NaN where it is not known, or the point did not converge. */
  readonly rate: Readonly<Record<Rate, Float64Array>>;
  /** [N] each: predicted applications of f; NaN where there is no prediction. */
  readonly predicted: Readonly<Record<Rate, Float64Array>>;
  readonly agreement: Readonly<Record<Rate, Agreement>>;
}

export interface SpeedSummary extends Record<Rate, Agreement> {
  points: number;
  converged: number;
  attractors: number;
  meanIterations: number | null;
}

/** Everything `latdyn speed --json` prints and speed.json holds. */
export interface SpeedRecord extends Omit<RunRecord, "summary" | "similarity" | "interrupted"> {
  summary: Record<string, SpeedSummary>;
}

export interface Speed {
  readonly sets: readonly SpeedSet[];
  readonly record: SpeedRecord;
}

/** Steps at the end of a path over which its rate is observed: where f is nearly linear. */
const OBSERVED_STEPS = 10;

/**
 * Iterates sets of initial points and predicts for each that converged how many applications of f it would take,
 * log(ε/‖e₀‖)/log ρ with e₀ = z₀ − z*, ε = √tolerance and z* the point's attractor; 0 where ‖e₀‖ ≤ ε. ρ is the
 * spectral norm of J_f(z*), its spectral radius, or the rate observed on the last steps of the point's own path
 * (geometric mean of ‖step[t+1]‖/‖step[t]‖). For ρ ≥ 1 there is no prediction: such points are counted.
 *
 * Attractors are told apart by distance unless `rule` says otherwise: z* and its Jacobian should be the point's own,
 * and one direction can hold several fixed points. Throws as `findAttractors`; an abort leaves no result.
 * Source: Proposition A.9 of Fumero et al.
 */
export async function convergenceSpeed(model: Autoencoder, options: SpeedOptions): Promise<Speed> {
  const started = performance.now();
  const { threads, signal, onProgress } = options;
  let run: Awaited<ReturnType<typeof findAttractors>>;
  try {
    run = await findAttractors(model, { rule: "euclidean", ...options, traces: 2 ** 20 });
    run = await verifyAttractors(model, run, {
      threads,
      signal,
      onProgress,
      engine: await engineOf(model, options),
    });
  } catch (error) {
    if (error instanceof AbortedError) {
      throw new AbortedError(`${model.name}: aborted`, undefined, { cause: error.cause });
    }
    throw error;
  }
  const { summary, similarity: _similarity, interrupted: _interrupted, ...record } = run.record;
  const { traces: _traces, ...recorded } = record.options;
  const tolerance = recorded.tolerance as number;
  const sets = run.sets.map((set) => speedOf(set, Math.sqrt(tolerance)));
  return {
    sets,
    record: {
      ...record,
      options: recorded,
      summary: Object.fromEntries(
        sets.map(({ set: { name }, agreement }) => {
          const { points, converged, attractors, meanIterations } = summary[name];
          return [name, { points, converged, attractors, meanIterations, ...agreement }];
        }),
      ),
      timing: { ...record.timing, seconds: (performance.now() - started) / 1000 },
    },
  };
}

/** log(ε/‖e₀‖)/log ρ; 0 within ε or at a rate of 0, NaN where ρ is at least 1 or not known. */
export function predictedIterations(distance: number, rate: number, epsilon: number): number {
  if (!(rate < 1) || Number.isNaN(distance)) return Number.NaN;
  if (distance <= epsilon || rate === 0) return 0;
  return Math.log(epsilon / distance) / Math.log(rate);
}

/**
 * Geometric mean of the ratios of the last steps' lengths, from squared lengths; NaN for a path of one step, or one
 * that ends in steps of length 0.
 */
export function observedRate(residual: ArrayLike<number>): number {
  const last = residual.length - 1;
  const steps = Math.min(OBSERVED_STEPS, last);
  if (steps < 1) return Number.NaN;
  const rate = (residual[last] / residual[last - steps]) ** (1 / (2 * steps));
  return Number.isFinite(rate) && rate > 0 ? rate : Number.NaN;
}

function speedOf(set: SetResult, epsilon: number): SpeedSet {
  const { initial, attractors, label, status, verification, traces } = set;
  const points = initial.rows;
  const unknown = (): Float64Array => new Float64Array(points).fill(Number.NaN);
  const distance = unknown();
  const rate: Record<Rate, Float64Array> = {
    spectralNorm: unknown(),
    spectralRadius: unknown(),
    observedRate: unknown(),
  };
  const converged = (i: number): boolean => status[i] === STATUS.converged;
  for (let i = 0; i < points; i++) {
    if (!converged(i)) continue;
    distance[i] = distanceOf(row(initial, i), row(attractors, label[i]));
    rate.spectralNorm[i] = verification?.spectralNorm[label[i]] ?? Number.NaN;
    rate.spectralRadius[i] = verification?.spectralRadius[label[i]] ?? Number.NaN;
  }
  for (const { row: point, residual } of traces) {
    if (converged(point)) rate.observedRate[point] = observedRate(residual);
  }
  const predict = (rates: Float64Array) =>
    rates.map((value, i) => predictedIterations(distance[i], value, epsilon));
  const predicted: Record<Rate, Float64Array> = {
    spectralNorm: predict(rate.spectralNorm),
    spectralRadius: predict(rate.spectralRadius),
    observedRate: predict(rate.observedRate),
  };
  const agree = (name: Rate): Agreement => agreement(set, rate[name], predicted[name]);
  return {
    set,
    distance,
    rate,
    predicted,
    agreement: {
      spectralNorm: agree("spectralNorm"),
      spectralRadius: agree("spectralRadius"),
      observedRate: agree("observedRate"),
    },
  };
}

function agreement(
  { status, iterations }: SetResult,
  rate: Float64Array,
  predicted: Float64Array,
): Agreement {
  const guesses: number[] = [];
  const truths: number[] = [];
  let atLeastOne = 0;
  let unknown = 0;
  for (let i = 0; i < status.length; i++) {
    if (status[i] !== STATUS.converged) continue;
    if (rate[i] >= 1) atLeastOne++;
    else if (Number.isNaN(predicted[i])) unknown++;
    else {
      guesses.push(predicted[i]);
      truths.push(iterations[i]);
    }
  }
  return {
    used: guesses.length,
    atLeastOne,
    unknown,
    pearson: pearson(guesses, truths),
    spearman: spearman(guesses, truths),
    meanPredicted: mean(guesses),
    meanIterations: mean(truths),
  };
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function distanceOf(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += (a[j] - b[j]) ** 2;
  return Math.sqrt(sum);
}
