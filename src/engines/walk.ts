/** Paths of a fixed length for engines that only apply f: walked block by block, scored by the addon. */
import { AbortedError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native, type TrajectoryCurve, type TrajectoryOptions, type TrajectoryResult } from "../native.js";
import type { CallOptions } from "./engine.js";
import { reporter } from "./reporter.js";

/** Numbers of paths that are held at once before they are scored. */
const HELD = 2 ** 22;

export interface Walk extends CallOptions, Omit<TrajectoryOptions, "threads"> {
  readonly initial: Matrix;
  readonly attractors: Matrix;
  /** Rows that are walked together. */
  readonly blockRows: number;
  /** f: [rows, k] → [rows, k]. Throws AbortedError where the signal fires. */
  apply(latents: Matrix): Promise<Matrix>;
}

/** As Engine.walk. Memory beside the result: HELD numbers, or one block of rows where that is more. */
export async function walkRows(walk: Walk): Promise<TrajectoryResult> {
  const { initial, attractors, steps, storeSteps, curveRows, blockRows, signal, onProgress } = walk;
  const start = performance.now();
  const scored = attractors.rows > 0;
  const points = steps + 1;
  const result = {
    score: new Float64Array(scored ? initial.rows : 0).fill(Number.NaN),
    stored: new Float32Array(initial.rows * storeSteps.length * initial.columns),
    curves: Array.from(
      curveRows,
      (): TrajectoryCurve => ({
        residual: new Float32Array(steps),
        norm: new Float32Array(points),
        distance: new Float32Array(scored ? points : 0),
      }),
    ),
  };
  const report = reporter(onProgress, initial.rows);
  let evaluations = 0;
  let aborted = false;
  try {
    for (let first = 0; first < initial.rows; first += blockRows) {
      const rows = Math.min(blockRows, initial.rows - first);
      await walkBlock(walk, first, rows, result, () => {
        evaluations += rows;
        report(first, evaluations);
      });
    }
  } catch (error) {
    if (!(error instanceof AbortedError)) throw error;
    aborted = true;
  }
  aborted ||= signal?.aborted ?? false;
  return { ...result, evaluations, aborted, seconds: (performance.now() - start) / 1000 };
}

async function walkBlock(
  walk: Walk,
  first: number,
  rows: number,
  result: Pick<TrajectoryResult, "score" | "stored" | "curves">,
  stepped: () => void,
): Promise<void> {
  const { initial, attractors, steps, storeSteps, curveRows } = walk;
  const k = initial.columns;
  const curves = Array.from(curveRows, (row, index) => ({ place: row - first, index })).filter(
    ({ place }) => place >= 0 && place < rows,
  );
  const sums = new Float64Array(rows);
  const lost = curves.map(() => false);
  const segment = Math.max(1, Math.floor(HELD / (rows * k)));
  // [rows, points of this segment, k]
  let paths = new Float32Array(0);
  let z: Matrix = { data: initial.data.slice(first * k, (first + rows) * k), rows, columns: k };
  for (let step = 0; step <= steps; step++) {
    const at = step % segment;
    const length = Math.min(segment, steps + 1 - (step - at));
    if (step > 0) {
      const next = await walk.apply(z);
      stepped();
      for (const { place, index } of curves) {
        result.curves[index].residual[step - 1] = squaredStep(z.data, next.data, place * k, k);
      }
      z = next;
    }
    const store = storeSteps.indexOf(step);
    for (let row = 0; row < rows && store >= 0; row++) {
      const to = ((first + row) * storeSteps.length + store) * k;
      result.stored.set(z.data.subarray(row * k, (row + 1) * k), to);
    }
    for (const { place, index } of curves) {
      result.curves[index].norm[step] = Math.sqrt(squaredNorm(z.data, place * k, k));
    }
    if (attractors.rows === 0) continue;
    if (at === 0) paths = new Float32Array(rows * length * k);
    for (let row = 0; row < rows; row++) {
      paths.set(z.data.subarray(row * k, (row + 1) * k), (row * length + at) * k);
    }
    if (at + 1 < length) continue;
    const means = await score(walk, paths, length);
    for (let row = 0; row < rows; row++) sums[row] += means[row] * length;
    if (curves.length === 0) continue;
    const shown = new Float32Array(curves.length * length * k);
    curves.forEach(({ place }, i) => {
      shown.set(paths.subarray(place * length * k, (place + 1) * length * k), i * length * k);
    });
    // The score of a path of one point is that point's distance.
    const distances = await score(walk, shown, 1);
    curves.forEach(({ index }, i) => {
      for (let p = 0; p < length; p++) {
        const distance = distances[i * length + p];
        // A path that stopped being finite has no distance from there on.
        lost[i] ||= Number.isNaN(distance);
        result.curves[index].distance[step - at + p] = lost[i] ? Number.NaN : distance;
      }
    });
  }
  for (let row = 0; row < rows && attractors.rows > 0; row++) {
    result.score[first + row] = sums[row] / (steps + 1);
  }
}

async function score(
  { attractors, threads, signal }: Walk,
  paths: Float32Array,
  points: number,
): Promise<Float64Array> {
  const { columns } = attractors;
  const job = native().scorePaths(paths, points, columns, attractors.data, { threads });
  const { score: found } = await job.promise;
  if (signal?.aborted) throw new AbortedError("aborted", undefined, { cause: signal.reason });
  return found;
}

function squaredStep(z: Float32Array, next: Float32Array, from: number, k: number): number {
  let sum = 0;
  for (let j = from; j < from + k; j++) sum += (next[j] - z[j]) ** 2;
  return sum;
}

function squaredNorm(z: Float32Array, from: number, k: number): number {
  let sum = 0;
  for (let j = from; j < from + k; j++) sum += z[j] ** 2;
  return sum;
}
