/** Maps with known answers, for every engine: how it builds one is its own affair, what comes out is not. */
import { describe, expect, it } from "vitest";
import type { Engine } from "../../src/engines/engine.js";
import { nativeEngine } from "../../src/engines/native.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import type { IterateOptions, IterateResult } from "../../src/native.js";
import { affine } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

/** z → A·z + b: A [k, k] row-major, b [k]. */
export interface AffineMap {
  readonly name: string;
  readonly matrix: readonly number[];
  readonly offset: readonly number[];
}

interface Case {
  readonly map: AffineMap;
  readonly initial: Matrix;
  readonly options?: Partial<Omit<IterateOptions, "threads">>;
  /** Of every point, or of each. */
  readonly status: number | readonly number[];
  readonly iterations?: number | readonly number[];
  readonly period?: number;
  readonly endpoints?: readonly number[];
}

const CONVERGED = 0;
const MAX_ITERATIONS = 1;
const CYCLE = 2;
const DIVERGED = 3;
const NON_FINITE = 4;

const RULES: Omit<IterateOptions, "threads"> = {
  tolerance: 1e-6,
  maxIterations: 400,
  criterion: "residual",
  divergenceRatio: 1e4,
  traceRows: new Int32Array(0),
};

const rows = (k: number, ...values: number[]): Matrix => matrix(Float32Array.from(values), k);
const draw = (seed: number, count: number, k: number): Matrix =>
  matrix(seededRandom(seed).floats(count * k), k);
const scaling = (name: string, k: number, scale: number): AffineMap => ({
  name,
  matrix: Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? scale : 0)),
  offset: new Array<number>(k).fill(0),
});
const golden = Math.PI * (3 - Math.sqrt(5));
const contraction: AffineMap = { name: "contraction", matrix: [0.5, 0.25, -0.25, 0.5], offset: [1, 2] };

const CASES: Record<string, Case> = {
  "an affine contraction": {
    map: contraction,
    initial: draw(1, 70, 2),
    status: CONVERGED,
  },
  "an affine contraction, by the relative step": {
    map: contraction,
    initial: draw(2, 9, 2),
    options: { criterion: "relative" },
    status: CONVERGED,
  },
  "an affine contraction, by the distance that is left": {
    map: contraction,
    initial: draw(3, 9, 2),
    options: { criterion: "error-bound" },
    status: CONVERGED,
  },
  // ‖step‖² = 4^-t·‖z0‖²: first below 1e-6 at t = 10 for ‖z0‖ = 1, at 30 for 2^20.
  "halving, whose counts are known": {
    map: scaling("halving", 2, 0.5),
    initial: rows(2, 1, 0, 0, 2, 2 ** 20, 0, 0, 0),
    status: CONVERGED,
    iterations: [10, 11, 30, 1],
    endpoints: [2 ** -10, 0, 0, 2 ** -10, 2 ** -10, 0, 0, 0],
  },
  "a rotation by an irrational angle": {
    map: {
      name: "rotation",
      matrix: [Math.cos(golden), -Math.sin(golden), Math.sin(golden), Math.cos(golden)],
      offset: [0, 0],
    },
    initial: draw(4, 12, 2),
    status: MAX_ITERATIONS,
    iterations: 400,
  },
  "a cycle of two": {
    map: { name: "swap", matrix: [0, 1, 1, 0], offset: [0, 0] },
    initial: rows(2, 1, 2, -3, 0.5, 4, 4),
    // The last one is a fixed point of it.
    status: [CYCLE, CYCLE, CONVERGED],
    iterations: [4, 4, 1],
  },
  "a cycle of three": {
    map: { name: "turn", matrix: [0, 1, 0, 0, 0, 1, 1, 0, 0], offset: [0, 0, 0] },
    initial: draw(5, 5, 3),
    status: CYCLE,
    period: 3,
    iterations: 6,
  },
  "a flat map": {
    map: { name: "flat", matrix: new Array<number>(9).fill(0), offset: [1, 2, 3] },
    initial: draw(6, 30, 3),
    status: CONVERGED,
    iterations: 2,
  },
  "a map that yields NaN": {
    map: { name: "not a number", matrix: [1, 0, 0, 1], offset: [0, Number.NaN] },
    initial: draw(7, 6, 2),
    status: NON_FINITE,
    iterations: 1,
  },
  "a map that runs away": {
    map: scaling("doubling", 2, 2),
    initial: rows(2, 1, 0, 0, 0.5, 8, 0),
    status: DIVERGED,
    // 2^t > 1e4·max(1, ‖z0‖)/‖z0‖
    iterations: [14, 15, 14],
  },
  "a map that runs away to infinity, beside a point that stays": {
    map: scaling("doubling", 1, 2),
    initial: rows(1, 1, 0, 2),
    options: { divergenceRatio: Number.POSITIVE_INFINITY },
    // float32 ends below 2^128.
    status: [NON_FINITE, CONVERGED, NON_FINITE],
    iterations: [128, 1, 127],
  },
  "an alternation that converges slowly is no cycle": {
    map: scaling("alternation", 1, -0.99),
    initial: rows(1, 1, -1),
    options: { maxIterations: 2000 },
    status: CONVERGED,
  },
  "an alternation that is slower still": {
    map: scaling("alternation", 1, -0.9995),
    initial: rows(1, 0.9, -0.1),
    options: { maxIterations: 1000 },
    status: MAX_ITERATIONS,
    iterations: 1000,
  },
  "k = 1": {
    map: { name: "one", matrix: [0.5], offset: [1] },
    initial: rows(1, 2, 3, -100),
    status: CONVERGED,
  },
  "one row": { map: contraction, initial: draw(8, 1, 2), status: CONVERGED },
  "no rows": { map: contraction, initial: rows(2), status: [], iterations: [] },
};

/** The map as JavaScript computes it: sums in double, rounded to float32 at the end. */
export function applyAffine({ matrix: a, offset: b }: AffineMap, latents: Float32Array): Float32Array {
  const k = b.length;
  const [weights, offset] = [Float32Array.from(a), Float32Array.from(b)];
  return latents.map((_, i) => {
    const r = i % k;
    let sum = offset[r]!;
    for (let c = 0; c < k; c++) sum += weights[r * k + c]! * latents[i - r + c]!;
    return sum;
  });
}

/**
 * Statuses, iteration counts and periods as the native engine gives them and as they are known, apply, aborts and
 * widths. `build` makes an engine of a map, with batches smaller than most cases have rows.
 */
export function testKnownMaps(name: string, build: (map: AffineMap) => Engine | Promise<Engine>): void {
  const call = { threads: 1 };
  const using = async <Result>(map: AffineMap, use: (engine: Engine) => Promise<Result>): Promise<Result> => {
    const engine = await build(map);
    try {
      return await use(engine);
    } finally {
      await engine.dispose();
    }
  };
  const each = (value: number | readonly number[], count: number): readonly number[] =>
    typeof value === "number" ? new Array<number>(count).fill(value) : value;

  describe(`${name}: maps with known answers`, () => {
    it.each(Object.entries(CASES))("%s", async (_, { map, initial, options, ...expected }) => {
      const traceRows = Int32Array.from(initial.rows > 0 ? [0] : []);
      const all = { ...call, ...RULES, traceRows, ...options };
      const found = await using(map, (engine) => engine.iterate(initial, all));
      expect([...found.status]).toEqual(each(expected.status, initial.rows));
      if (expected.iterations !== undefined) {
        expect([...found.iterations]).toEqual(each(expected.iterations, initial.rows));
      }
      if (expected.period !== undefined) expect(new Set(found.period)).toEqual(new Set([expected.period]));
      if (expected.endpoints !== undefined) expect([...found.endpoints]).toEqual(expected.endpoints);
      expectAlike(found, await nativeEngine(affine(map.name, map.matrix, map.offset)).iterate(initial, all));
    });

    it("apply is one step", async () => {
      const initial = draw(9, 11, 2);
      const found = await using(contraction, (engine) => engine.apply(initial, call));
      expect([found.rows, found.columns]).toEqual([11, 2]);
      const expected = applyAffine(contraction, initial.data);
      found.data.forEach((value, i) => {
        expect(value).toBeCloseTo(expected[i]!, 5);
      });
    });

    it("paths end where steps end", async () => {
      const initial = draw(10, 6, 2);
      const steps = 3;
      const found = await using(scaling("halving", 2, 0.5), (engine) =>
        engine.walk(initial, rows(2, 0, 0), {
          ...call,
          steps,
          storeSteps: Int32Array.from([0, steps]),
          curveRows: new Int32Array(0),
        }),
      );
      for (let i = 0; i < 6; i++) {
        const z = initial.data.slice(2 * i, 2 * i + 2);
        expect(found.stored.slice(4 * i, 4 * i + 4)).toEqual(
          Float32Array.from([...z, ...z.map((v) => v / 8)]),
        );
        expect(found.score[i]).toBeCloseTo((Math.hypot(...z) * (1 + 1 / 2 + 1 / 4 + 1 / 8)) / 4, 6);
      }
    });

    it("no iterate is lost to an abort before the first step", async () => {
      const signal = AbortSignal.abort();
      await using(contraction, async (engine) => {
        await expect(engine.apply(draw(11, 3, 2), { ...call, signal })).rejects.toThrow(AbortedError);
        const found = await engine.iterate(draw(11, 3, 2), { ...call, ...RULES, signal });
        expect(found.aborted).toBe(true);
        // And it can be used again.
        const { status } = await engine.iterate(draw(11, 3, 2), { ...call, ...RULES });
        expect([...status]).toEqual([CONVERGED, CONVERGED, CONVERGED]);
      });
    });

    it("names a width that does not fit", async () => {
      await using(contraction, async (engine) => {
        const three = draw(12, 1, 3);
        await expect(engine.apply(three, call)).rejects.toThrow(InputError);
        await expect(engine.iterate(three, { ...call, ...RULES })).rejects.toThrow(
          "3 elements a row, expected 2",
        );
      });
    });
  });
}

/** What is decided is the same; numbers differ by how a sum was rounded. */
function expectAlike(found: IterateResult, native: IterateResult): void {
  expect(found.status).toEqual(native.status);
  expect(found.iterations).toEqual(native.iterations);
  expect(found.period).toEqual(native.period);
  expect(found.evaluations).toBe(native.evaluations);
  expect(found.traces.map((trace) => trace.length)).toEqual(native.traces.map((trace) => trace.length));
  found.endpoints.forEach((value, i) => {
    const expected = native.endpoints[i]!;
    if (Number.isFinite(expected))
      expect(Math.abs(value - expected)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(expected)));
    else expect(value).toBe(expected);
  });
}
