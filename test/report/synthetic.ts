/** Runs made up for the tests of reports: every number follows from the arguments. */
import {
  type AttractorRun,
  type RunRecord,
  type SetResult,
  type SetSummary,
  STATUS,
  UNFINISHED,
} from "../../src/dynamics/result.js";
import { elements, type Shape } from "../../src/graph/graph.js";
import type { Matrix } from "../../src/matrix.js";
import type { AttractorPictures } from "../../src/report/attractorReport.js";
import { largestFirst } from "../../src/report/series.js";

export interface SetOptions {
  name?: string;
  /** Points of every attractor. */
  basins?: readonly number[];
  /** Points that did not converge. */
  others?: Partial<Record<"maxIterations" | "cycle" | "diverged" | "nonFinite" | "unfinished", number>>;
  k?: number;
  /** Iterations of the i-th converged point. */
  iterations?: (i: number) => number;
  attractorsEuclidean?: number;
  /** Points with a recorded path, at most. */
  traces?: number;
}

const CODES = { ...STATUS, unfinished: UNFINISHED } as const;

export function syntheticSet({
  name = "noise",
  basins = [],
  others = {},
  k = 4,
  iterations = (i) => 10 + (i % 25),
  attractorsEuclidean = basins.length,
  traces = 40,
}: SetOptions): SetResult {
  const label: number[] = basins.flatMap((size, attractor) => new Array<number>(size).fill(attractor));
  const status: number[] = new Array<number>(label.length).fill(STATUS.converged);
  const converged = label.length;
  for (const [key, points] of Object.entries(others)) {
    for (let i = 0; i < points; i++) {
      label.push(-1);
      status.push(CODES[key as keyof typeof CODES]);
    }
  }
  const n = label.length;
  const counts = Int32Array.from(label, (_, i) => (i < converged ? iterations(i) : 300));
  const attractors = filled(basins.length, k, (row, column) =>
    Math.sin(1 + row * 3 + column * (1 + row / 5)),
  );
  const representative = Int32Array.from(basins, (_, attractor) => label.indexOf(attractor));
  const residual = Float32Array.from(label, (_, i) => (i < converged ? 5e-7 : 1));
  const summary: SetSummary = {
    points: n,
    converged,
    maxIterations: others.maxIterations ?? 0,
    cycle: others.cycle ?? 0,
    diverged: others.diverged ?? 0,
    nonFinite: others.nonFinite ?? 0,
    ...(others.unfinished === undefined ? {} : { unfinished: others.unfinished }),
    meanIterations: n === 0 ? null : counts.reduce((sum, value) => sum + value, 0) / n,
    attractors: basins.length,
    attractorsEuclidean,
  };
  return {
    name,
    initial: filled(n, k, (row, column) => Math.cos(row * 7 + column)),
    endpoints: filled(n, k, (row, column) =>
      label[row] < 0 ? row + column : attractors.data[label[row] * k + column],
    ),
    iterations: counts,
    residual,
    status: Uint8Array.from(status),
    period: Uint8Array.from(status, (code) => (code === STATUS.cycle ? 2 : 0)),
    label: Int32Array.from(label),
    attractors,
    representative,
    basinSize: Int32Array.from(basins),
    attractorResidual: Float32Array.from(basins, () => 5e-7),
    traces: everyFew(n, traces).map((row) => ({ row, residual: path(status[row], counts[row], row) })),
    inputs: null,
    summary,
  };
}

/** About `most` of 0…n−1, from all parts of the list. */
function everyFew(n: number, most: number): number[] {
  const step = Math.max(1, Math.ceil(n / most));
  return Array.from({ length: Math.ceil(n / step) }, (_, i) => i * step);
}

/** A residual's path as each status has it. */
function path(status: number, length: number, row: number): Float32Array {
  const start = 1 + (row % 9);
  return Float32Array.from({ length }, (_, t) => {
    switch (status) {
      case STATUS.converged:
        return start * (5e-7 / start) ** ((t + 1) / length);
      case STATUS.cycle:
        return start * (t % 2 === 0 ? 1 : 1.5);
      case STATUS.diverged:
        return start * 1.1 ** t;
      case STATUS.nonFinite:
        return t === length - 1 ? Number.NaN : start;
      default:
        return start * (t + 1) ** -0.4;
    }
  });
}

export function filled(
  rows: number,
  columns: number,
  value: (row: number, column: number) => number,
): Matrix {
  const data = new Float32Array(rows * columns);
  for (let i = 0; i < data.length; i++) data[i] = value(Math.floor(i / columns), i % columns);
  return { data, rows, columns };
}

/** A disc for every attractor, in [low, high]; each channel has its own centre. Inputs are the same, a little moved. */
export function syntheticPictures(
  set: SetResult,
  shape: Shape,
  { low = 0, high = 1, inputs = false }: { low?: number; high?: number; inputs?: boolean } = {},
): AttractorPictures {
  const [, height, width] = shape;
  const order = largestFirst(set.basinSize);
  const disc = (shift: number) =>
    filled(order.length, elements(shape), (row, i) => {
      const channel = Math.floor(i / (height * width));
      const y = Math.floor(i / width) % height;
      const x = i % width;
      const middle = width * (0.3 + 0.05 * ((row + channel) % 9)) + shift;
      const distance = Math.hypot(y - height / 2, x - middle) / (width / 4);
      return low + (high - low) * Math.max(0, Math.min(1, 1.5 - distance));
    });
  return {
    order,
    decoded: disc(0),
    nearest: inputs
      ? {
          inputs: disc(1),
          cosine: Float32Array.from(order, (_, i) => 0.99 - i / 100),
          index: Int32Array.from(order, (_, i) => 3 * i),
        }
      : null,
  };
}

export interface RunOptions {
  modelName?: string;
  inputShape?: number[] | null;
  options?: Record<string, unknown>;
  similarity?: RunRecord["similarity"];
  interrupted?: boolean;
  format?: string;
}

export function syntheticRun(
  sets: readonly SetResult[],
  {
    modelName = "made-up",
    inputShape = [1, 16, 16],
    options = { tolerance: 1e-6, maxIterations: 300 },
    similarity,
    interrupted = false,
    format = "onnx",
  }: RunOptions = {},
): AttractorRun {
  const summary = Object.fromEntries(sets.map((set) => [set.name, set.summary]));
  const k = sets[0]?.attractors.columns ?? 4;
  return {
    attractors: sets[0]?.attractors ?? { data: new Float32Array(0), rows: 0, columns: k },
    summary,
    sets,
    record: {
      model: {
        name: modelName,
        path: `models/${modelName}`,
        format,
        hash: "0123456789abcdef".repeat(4),
        latentShape: [k],
        latentDimension: k,
        inputShape,
      },
      options,
      device: {
        kind: "cpu",
        isa: "avx2",
        threads: 2,
        layout: "lanes",
        reason: "a tile fits into the cache",
        tileRows: 16,
      },
      versions: { node: "20.0.0" },
      summary,
      similarity,
      timing: { seconds: 2.5, rowsPerSecond: 800, mapEvaluations: 123456 },
      interrupted,
    },
  };
}
