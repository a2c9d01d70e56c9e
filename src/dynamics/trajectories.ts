/** Paths z₀, f(z₀), f(f(z₀)), … of a fixed length: stored at chosen steps, scored against attractors, and as curves. */

import { checkNames, show, wholeNumber } from "../check.js";
import { engineOf } from "../engines/choose.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { AbortedError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import type { TrajectoryCurve } from "../native.js";
import { type Bands, bandsOf, endsOf, quantileOf } from "./bands.js";
import { drawPoints, type InitialPoints } from "./initial.js";
import { type AttractorOptions, resolveOptions } from "./options.js";
import { describeSource, type PointSource } from "./points.js";
import { phaseProgress } from "./progress.js";
import type { RunRecord } from "./result.js";

type Shared = "from" | "threads" | "device" | "engine" | "layout" | "isa" | "signal" | "onProgress";

export interface TrajectoryOptions extends Pick<AttractorOptions, Shared> {
  /** Applications of f for every point, 1 … 10^6. Default 100. */
  readonly steps?: number;
  /**
   * Steps whose points are kept, in [0, steps], or all of them. Default 0, 1, 2, 5, 10, 20, 50, … and the last one;
   * none with [].
   */
  readonly store?: readonly number[] | "all";
  /** [A, k]: what the paths are scored against. Default: they are not. */
  readonly attractors?: Matrix;
  /** Points of each set whose curves are kept, evenly chosen. Default 512. */
  readonly curves?: number;
}

/** Middle and spread of finite values. */
export interface ScoreSummary {
  mean: number;
  std: number;
  median: number;
}

/** Medians over the points with curves, at the first and the last step; null where nothing there is finite. */
export interface Ends {
  first: number | null;
  last: number | null;
}

export interface TrajectorySummary {
  points: number;
  steps: number;
  /** Paths on which a point is not finite; they have no score. */
  nonFinite: number;
  /** Trajectory score; null without attractors, or without a finite path. */
  score: ScoreSummary | null;
  /** Squared length of the first and of the last step. */
  residual: Ends;
  norm: Ends;
  /** To the nearest attractor; null without attractors. */
  distance: Ends | null;
}

/** One named set of paths: N points, T steps, k dimensions, S stored steps, C curves. */
export interface TrajectorySet {
  readonly name: string;
  /** [N, k] */
  readonly initial: Matrix;
  /** [S]: which points of a path are stored, 0 for z₀. */
  readonly steps: Int32Array;
  /** [N, S, k] */
  readonly paths: Float32Array;
  /** [N]: mean over all T + 1 points of a path of the distance to the nearest attractor; NaN for paths that are not finite. Null without attractors. */
  readonly score: Float64Array | null;
  /** [C]: points whose curves are kept. */
  readonly curveRows: Int32Array;
  /** [C] */
  readonly curves: readonly TrajectoryCurve[];
  /** Quantiles over the C curves; `distance` is null without attractors. */
  readonly bands: { readonly residual: Bands; readonly norm: Bands; readonly distance: Bands | null };
  readonly summary: TrajectorySummary;
}

/** Everything `--json` prints and trajectories.json holds. */
export interface TrajectoryRecord
  extends Pick<RunRecord, "model" | "options" | "device" | "versions" | "timing" | "notes"> {
  summary: Record<string, TrajectorySummary>;
}

export interface TrajectoryRun {
  readonly sets: readonly TrajectorySet[];
  readonly summary: Record<string, TrajectorySummary>;
  readonly record: TrajectoryRecord;
}

const OWN: Record<Exclude<keyof TrajectoryOptions, Shared>, true> = {
  steps: true,
  store: true,
  attractors: true,
  curves: true,
};
const SHARED: Record<Shared, true> = {
  from: true,
  threads: true,
  device: true,
  engine: true,
  layout: true,
  isa: true,
  signal: true,
  onProgress: true,
};

/**
 * Applies f exactly `steps` times to every point, whether or not it has come to rest: a path is [z₀, …, z_T], both
 * ends included. Scores are computed in a stream, so that with `store: []` memory does not grow with the steps.
 * A point's path and score depend on the point alone.
 *
 * Throws InputError for options, files or models that do not fit, and AbortedError where the signal fires.
 * Source: Fumero et al., section 4.3 (trajectories as scores) and equation 1.
 */
export async function trajectories(model: Autoencoder, options: TrajectoryOptions): Promise<TrajectoryRun> {
  const resolved = resolveTrajectories(model, options);
  const { shared, steps, store, attractors } = resolved;
  const { threads, signal, from } = shared;
  const started = performance.now();
  const engine = await engineOf(model, shared);
  const progress = phaseProgress(shared.onProgress, started);
  const aborted = (): AbortedError =>
    new AbortedError(`${model.name}: aborted`, undefined, { cause: signal?.reason });

  const drawn = new Map<PointSource, InitialPoints>();
  const points: [string, InitialPoints][] = [];
  for (const [name, source] of Object.entries(from)) {
    const onProgress = progress("encode", name);
    points.push([
      name,
      await drawPoints(source, { model, engine, call: { threads, signal, onProgress }, drawn }),
    ]);
  }
  const sets: TrajectorySet[] = [];
  let evaluations = 0;
  for (const [name, { initial }] of points) {
    if (signal?.aborted) throw aborted();
    const curveRows = evenly(initial.rows, resolved.curves);
    const onProgress = progress("walk", name);
    const walked = await walk(engine, initial, {
      attractors,
      steps,
      storeSteps: store,
      curveRows,
      call: { threads, signal, onProgress },
    });
    if (walked.aborted) throw aborted();
    evaluations += walked.evaluations;
    sets.push(toSet({ name, initial, store, curveRows, walked, steps, scored: attractors !== null }));
  }

  const seconds = (performance.now() - started) / 1000;
  const total = sets.reduce((sum, { initial }) => sum + initial.rows, 0);
  const summary = Object.fromEntries(sets.map((set) => [set.name, set.summary]));
  const { device, versions } = engine.info();
  return {
    sets,
    summary,
    record: {
      model: {
        name: model.name,
        path: model.path,
        format: model.format,
        hash: model.hash,
        latentShape: [...model.latentShape],
        latentDimension: model.latentDimension,
        inputShape: model.inputShape === null ? null : [...model.inputShape],
      },
      options: {
        from: Object.fromEntries(
          Object.entries(from).map(([name, source]) => [name, describeSource(source)]),
        ),
        steps,
        store: [...store],
        attractors: attractors === null ? null : attractors.rows,
        curves: resolved.curves,
        layout: shared.layout,
        isa: shared.isa,
        engine: engine.name,
      },
      device: { ...device, threads },
      versions,
      summary,
      timing: { seconds, rowsPerSecond: total / seconds, mapEvaluations: evaluations },
    },
  };
}

/** 0, 1, 2, 5, 10, 20, 50, … below `steps`, and `steps`. */
export function defaultStore(steps: number): number[] {
  const found = [0];
  for (let decade = 1; decade < steps; decade *= 10) {
    for (const factor of [1, 2, 5]) if (factor * decade < steps) found.push(factor * decade);
  }
  return [...found, steps];
}

function resolveTrajectories(model: Autoencoder, options: TrajectoryOptions) {
  if (typeof options !== "object" || options === null) {
    throw new InputError("options are missing: expected an object with at least { from }");
  }
  checkNames(options, [...Object.keys(OWN), ...Object.keys(SHARED)], "option");
  const { steps: given = 100, store, attractors, curves = 512, ...rest } = options;
  const steps = wholeNumber("steps", given, 1, 1e6);
  return {
    shared: resolveOptions(rest),
    steps,
    store: checkStore(store, steps),
    attractors: attractors === undefined ? null : checkAttractors(attractors, model),
    curves: wholeNumber("curves", curves, 0, 2 ** 20),
  };
}

function checkStore(store: TrajectoryOptions["store"], steps: number): Int32Array {
  if (store === "all") return Int32Array.from({ length: steps + 1 }, (_, t) => t);
  const list = store ?? defaultStore(steps);
  if (!Array.isArray(list))
    throw new InputError(`store is ${show(store)}, expected a list of steps or "all"`);
  for (const step of list) wholeNumber("store", step, 0, steps);
  return Int32Array.from(new Set(list)).sort();
}

function checkAttractors(attractors: Matrix, model: Autoencoder): Matrix {
  const { columns, rows, data } = attractors;
  const k = model.latentDimension;
  if (columns !== k) {
    throw new InputError(`${model.name}: attractors have ${columns} elements a row, expected ${k}`);
  }
  if (rows === 0) throw new InputError("attractors are empty, expected at least one to score paths against");
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `attractors: row ${Math.floor(bad / k)} holds ${data[bad]}, expected finite numbers`,
    );
  }
  return attractors;
}

interface Walk {
  readonly attractors: Matrix | null;
  readonly steps: number;
  readonly storeSteps: Int32Array;
  readonly curveRows: Int32Array;
  readonly call: CallOptions;
}

function walk(engine: Engine, initial: Matrix, { attractors, call, ...options }: Walk) {
  // Scored against the origin where there is nothing else: a score that is no number is how a path says that it
  // stopped being finite.
  const origin: Matrix = { data: new Float32Array(initial.columns), rows: 1, columns: initial.columns };
  return engine.walk(initial, attractors ?? origin, { ...options, ...call });
}

interface SetParts {
  readonly name: string;
  readonly initial: Matrix;
  readonly store: Int32Array;
  readonly curveRows: Int32Array;
  readonly walked: Awaited<ReturnType<typeof walk>>;
  readonly steps: number;
  readonly scored: boolean;
}

function toSet({ name, initial, store, curveRows, walked, steps, scored }: SetParts): TrajectorySet {
  const { score, stored, curves } = walked;
  const bands = {
    residual: bandsOf(
      curves.map(({ residual }) => residual),
      1,
    ),
    norm: bandsOf(
      curves.map(({ norm }) => norm),
      0,
    ),
    distance: scored
      ? bandsOf(
          curves.map(({ distance }) => distance),
          0,
        )
      : null,
  };
  const finite = score.filter(Number.isFinite);
  return {
    name,
    initial,
    steps: store,
    paths: stored,
    score: scored ? score : null,
    curveRows,
    curves,
    bands,
    summary: {
      points: initial.rows,
      steps,
      nonFinite: score.length - finite.length,
      score: scored && finite.length > 0 ? summarizeScore(finite) : null,
      residual: endsOf(bands.residual),
      norm: endsOf(bands.norm),
      distance: bands.distance === null ? null : endsOf(bands.distance),
    },
  };
}

function summarizeScore(finite: Float64Array): ScoreSummary {
  const mean = finite.reduce((sum, value) => sum + value, 0) / finite.length;
  const squares = finite.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    mean,
    std: Math.sqrt(squares / finite.length),
    median: quantileOf(Float64Array.from(finite).sort(), 0.5),
  };
}

/** At most `count` of 0 … n − 1, evenly spaced. */
function evenly(n: number, count: number): Int32Array {
  const rows = Math.min(n, count);
  return Int32Array.from({ length: rows }, (_, i) => Math.floor((i * n) / rows));
}
