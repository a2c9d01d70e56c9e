/** Initial points → endpoints → attractors, basins and statuses. */

import { deviceNumber } from "../device.js";
import { engineOf } from "../engines/choose.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { run } from "../engines/native.js";
import { AbortedError } from "../errors.js";
import { type Matrix, takeRows } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { type IterateResult, type NativePoints, native } from "../native.js";
import { drawPoints, type InitialPoints } from "./initial.js";
import {
  type AttractorOptions,
  type AttractorProgress,
  type ResolvedOptions,
  resolveOptions,
} from "./options.js";
import { describeSource, type PointSource } from "./points.js";
import { throttled } from "./progress.js";
import {
  type AttractorRun,
  type RunRecord,
  type SetResult,
  type SetSummary,
  STATUS,
  UNFINISHED,
} from "./result.js";

/**
 * Iterates f = E∘D (or a square map) from every set of initial points until each point converges, cycles,
 * diverges, stops being finite or runs out of iterations, and deduplicates the endpoints of the converged ones.
 *
 * A point's result depends on the point alone: not on threads, on the other points, or on its place among them.
 * Throws InputError for options, files or models that do not fit, and AbortedError where the signal fires; its
 * `partial` is then the run so far (record.interrupted is true, points that were not finished have status
 * UNFINISHED), or undefined where no set had been begun. Endpoints that were reached are always deduplicated,
 * also after an abort.
 * Source: Fumero et al., "Navigating the Latent Space Dynamics of Neural Models", section 3.
 */
export async function findAttractors(model: Autoencoder, options: AttractorOptions): Promise<AttractorRun> {
  const resolved = resolveOptions(options);
  const { signal } = resolved;
  const engine = await engineOf(model, resolved);
  const start = performance.now();
  const seconds = (): number => (performance.now() - start) / 1000;
  const report = throttled(resolved.onProgress);

  const sets: SetResult[] = [];
  let mapEvaluations = 0;
  const soFar = (interrupted: boolean): AttractorRun =>
    assemble({ model, engine, resolved, sets, seconds: seconds(), mapEvaluations, interrupted });
  const aborted = (): AbortedError<AttractorRun> =>
    new AbortedError(
      `${model.name}: aborted after ${seconds().toFixed(1)} s`,
      sets.length > 0 ? soFar(true) : undefined,
      { cause: signal?.reason },
    );

  let points: [string, InitialPoints][];
  try {
    points = await drawAll(model, engine, resolved, (set, { finished, total, seconds: running }) => {
      report({
        phase: "encode",
        set,
        finished,
        total,
        rowsPerSecond: rate(finished, running),
        mapEvaluations,
        seconds: seconds(),
      });
    });
  } catch (error) {
    throw error instanceof AbortedError ? aborted() : error;
  }

  const total = points.reduce((sum, [, { initial }]) => sum + initial.rows, 0);
  const iterationStart = seconds();
  let finishedBefore = 0;
  for (const [name, { initial, inputs }] of points) {
    if (signal?.aborted) throw aborted();
    const progress = (phase: AttractorProgress["phase"], finished: number, evaluations: number): void => {
      const now = seconds();
      report({
        phase,
        set: name,
        finished,
        total,
        rowsPerSecond: rate(finished, now - iterationStart),
        mapEvaluations: mapEvaluations + evaluations,
        seconds: now,
      });
    };
    const traceRows = evenly(initial.rows, resolved.traces);
    const iterated = await iterate(engine, initial, traceRows, resolved, ({ finished, evaluations }) =>
      progress("iterate", finishedBefore + finished, evaluations),
    );
    mapEvaluations += iterated.evaluations;
    finishedBefore += initial.rows;
    progress("deduplicate", finishedBefore, 0);
    try {
      sets.push(await toSet({ name, initial, inputs, traceRows, iterated, engine, options: resolved }));
    } finally {
      iterated.converged?.dispose();
    }
    if (iterated.aborted) throw aborted();
  }
  return soFar(false);
}

async function drawAll(
  model: Autoencoder,
  engine: Engine,
  { from, threads, signal }: ResolvedOptions,
  onProgress: (set: string, progress: { finished: number; total: number; seconds: number }) => void,
): Promise<[string, InitialPoints][]> {
  const drawn = new Map<PointSource, InitialPoints>();
  const points: [string, InitialPoints][] = [];
  for (const [name, source] of Object.entries(from)) {
    const call: CallOptions = { threads, signal, onProgress: (progress) => onProgress(name, progress) };
    points.push([name, await drawPoints(source, { model, engine, call, drawn })]);
  }
  return points;
}

async function iterate(
  engine: Engine,
  initial: Matrix,
  traceRows: Int32Array,
  options: ResolvedOptions,
  onProgress: NonNullable<CallOptions["onProgress"]>,
): Promise<IterateResult> {
  const { tolerance, maxIterations, criterion, divergenceRatio, threads, signal } = options;
  return engine.iterate(initial, {
    tolerance,
    maxIterations,
    criterion,
    divergenceRatio,
    traceRows,
    keepConverged: true,
    threads,
    signal,
    onProgress,
  });
}

interface SetParts {
  readonly name: string;
  readonly initial: Matrix;
  readonly inputs: Matrix | null;
  readonly traceRows: Int32Array;
  readonly iterated: IterateResult;
  readonly engine: Engine;
  readonly options: ResolvedOptions;
}

async function toSet(parts: SetParts): Promise<SetResult> {
  const { name, initial, inputs, traceRows, iterated, engine, options } = parts;
  const { iterations, residual, status, period } = iterated;
  const endpoints: Matrix = { data: iterated.endpoints, rows: initial.rows, columns: initial.columns };
  const converged = rowsWhere(status, STATUS.converged);
  // Where they are still on the device that deduplicates them, they need not go there again.
  const found = iterated.converged ?? takeRows(endpoints, converged);
  const { representatives, labels } = await deduplicate(found, engine, options.rule, options);
  const attractorsEuclidean =
    options.rule === "euclidean"
      ? representatives.length
      : (await deduplicate(found, engine, "euclidean", options)).representatives.length;

  const representative = representatives.map((i) => converged[i]);
  const label = new Int32Array(initial.rows).fill(-1);
  const basinSize = new Int32Array(representatives.length);
  for (let i = 0; i < converged.length; i++) {
    label[converged[i]] = labels[i];
    basinSize[labels[i]]++;
  }
  return {
    name,
    initial,
    endpoints,
    iterations,
    residual,
    status,
    period,
    label,
    attractors: takeRows(endpoints, representative),
    representative,
    basinSize,
    attractorResidual: Float32Array.from(representative, (row) => residual[row]),
    traces: Array.from(traceRows, (row, i) => ({ row, residual: iterated.traces[i] })),
    inputs,
    summary: summarize(status, iterations, { attractors: representatives.length, attractorsEuclidean }),
  };
}

async function deduplicate(
  points: Matrix | NativePoints,
  { kernelDevice }: Engine,
  rule: ResolvedOptions["rule"],
  { threshold, distance, threads }: ResolvedOptions,
): Promise<{ representatives: Int32Array; labels: Int32Array }> {
  if (points.rows === 0) return { representatives: new Int32Array(0), labels: new Int32Array(0) };
  const device = deviceNumber(kernelDevice);
  // What was reached is deduplicated after an abort too, so there is no signal here.
  return run({}, () =>
    native().deduplicate("data" in points ? points.data : points, points.columns, {
      rule,
      threshold,
      distance,
      threads,
      device,
    }),
  );
}

function summarize(
  status: Uint8Array,
  iterations: Int32Array,
  counts: Pick<SetSummary, "attractors" | "attractorsEuclidean">,
): SetSummary {
  const count = (code: number): number => rowsWhere(status, code).length;
  const unfinished = count(UNFINISHED);
  const finished = status.length - unfinished;
  let sum = 0;
  for (let i = 0; i < status.length; i++) if (status[i] !== UNFINISHED) sum += iterations[i];
  return {
    points: status.length,
    converged: count(STATUS.converged),
    maxIterations: count(STATUS.maxIterations),
    cycle: count(STATUS.cycle),
    diverged: count(STATUS.diverged),
    nonFinite: count(STATUS.nonFinite),
    ...(unfinished > 0 ? { unfinished } : {}),
    meanIterations: finished > 0 ? sum / finished : null,
    ...counts,
  };
}

interface RunParts {
  readonly model: Autoencoder;
  readonly engine: Engine;
  readonly resolved: ResolvedOptions;
  readonly sets: readonly SetResult[];
  readonly seconds: number;
  readonly mapEvaluations: number;
  readonly interrupted: boolean;
}

function assemble({
  model,
  engine,
  resolved,
  sets,
  seconds,
  mapEvaluations,
  interrupted,
}: RunParts): AttractorRun {
  const summary = Object.fromEntries(sets.map((set) => [set.name, set.summary]));
  const finished = sets.reduce((sum, set) => sum + set.summary.points - (set.summary.unfinished ?? 0), 0);
  const { device, versions } = engine.info();
  const record: RunRecord = {
    model: {
      name: model.name,
      path: model.path,
      format: model.format,
      hash: model.hash,
      latentShape: [...model.latentShape],
      latentDimension: model.latentDimension,
      inputShape: model.inputShape === null ? null : [...model.inputShape],
    },
    options: describeOptions(resolved, engine),
    device: { ...device, threads: resolved.threads },
    versions,
    summary,
    timing: { seconds, rowsPerSecond: rate(finished, seconds), mapEvaluations },
    interrupted,
  };
  return { attractors: sets[0].attractors, summary, sets: [...sets], record };
}

function describeOptions(options: ResolvedOptions, engine: Engine): Record<string, unknown> {
  const {
    signal: _signal,
    onProgress: _onProgress,
    threads: _threads,
    from,
    divergenceRatio,
    ...rest
  } = options;
  return {
    from: Object.fromEntries(Object.entries(from).map(([name, source]) => [name, describeSource(source)])),
    ...rest,
    // JSON has no infinity.
    divergenceRatio: divergenceRatio === Infinity ? "Infinity" : divergenceRatio,
    engine: engine.name,
    device: engine.kernelDevice ?? engine.info().device.kind,
  };
}

function rowsWhere(status: Uint8Array, code: number): Int32Array {
  const rows: number[] = [];
  for (let i = 0; i < status.length; i++) if (status[i] === code) rows.push(i);
  return Int32Array.from(rows);
}

/** At most `count` of 0 … n − 1, evenly spaced. */
function evenly(n: number, count: number): Int32Array {
  const rows = Math.min(n, count);
  return Int32Array.from({ length: rows }, (_, i) => Math.floor((i * n) / rows));
}

function rate(finished: number, seconds: number): number {
  return seconds > 0 ? finished / seconds : 0;
}
