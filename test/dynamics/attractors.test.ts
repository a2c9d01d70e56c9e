import { describe, expect, it } from "vitest";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { latents, noise } from "../../src/dynamics/points.js";
import { type SetResult, STATUS, UNFINISHED } from "../../src/dynamics/result.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import {
  affine,
  elementwise,
  flat,
  mapOf,
  permutation,
  rotation,
  scaling,
  symmetricWithSpectrum,
} from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const rows = (k: number, ...values: number[]) => latents(matrix(Float32Array.from(values), k));

async function only(model: Autoencoder, options: Parameters<typeof findAttractors>[1]): Promise<SetResult> {
  const run = await findAttractors(model, options);
  expect(run.sets).toHaveLength(1);
  return run.sets[0]!;
}

describe("maps with known answers", () => {
  it("an affine contraction: fixed point, and the iterations its spectrum gives", async () => {
    const spectrum = [0.8, 0.5, -0.7, 0.1];
    const a = symmetricWithSpectrum(spectrum, [
      [1, 2, 3, 4],
      [1, -1, 2, 0.5],
    ]);
    const fixedPoint = [1, -2, 0.5, 3];
    const offset = fixedPoint.map((z, r) => z - fixedPoint.reduce((sum, x, c) => sum + a[r * 4 + c]! * x, 0));
    const set = await only(affine("contraction", a, offset), { from: { noise: noise(200) } });
    expect(set.summary).toMatchObject({ points: 200, converged: 200, attractors: 1, attractorsEuclidean: 1 });
    set.attractors.data.forEach((value, i) => {
      expect(value).toBeCloseTo(fixedPoint[i]!, 1);
    });
    for (let i = 0; i < 200; i++) {
      const expected = iterationsInFloat64(a, offset, set.initial.data.subarray(i * 4, i * 4 + 4));
      expect(Math.abs(set.iterations[i]! - expected)).toBeLessThanOrEqual(1);
      expect(set.residual[i]).toBeLessThan(1e-6);
    }
  });

  it("halving: the iteration count in closed form", async () => {
    // r[n] = 4^-(n-1) · ¼ · ‖z0‖², exactly representable: first below 1e-6 at n = 10 for ‖z0‖ = 1 and 11 for 2.
    const set = await only(scaling("halving", 2, 0.5), { from: { latents: rows(2, 1, 0, 0, 2) } });
    expect([...set.iterations]).toEqual([10, 11]);
    expect(set.residual[0]).toBe(4 ** -9 / 4);
    expect([...set.endpoints.data]).toEqual([2 ** -10, 0, 0, 2 ** -10]);
  });

  it("a rotation by an irrational angle never converges", async () => {
    const set = await only(rotation("rotation", Math.PI * (3 - Math.sqrt(5))), {
      from: { noise: noise(50) },
      maxIterations: 500,
    });
    expect(set.summary).toMatchObject({
      maxIterations: 50,
      converged: 0,
      attractors: 0,
      attractorsEuclidean: 0,
    });
    expect(new Set(set.iterations)).toEqual(new Set([500]));
    expect(new Set(set.label)).toEqual(new Set([-1]));
  });

  it.each([
    ["two", [1, 0], 2],
    ["three", [1, 2, 0], 3],
    ["six", [1, 0, 3, 4, 2], 6],
    ["sixteen", Array.from({ length: 16 }, (_, i) => (i + 1) % 16), 16],
  ])("a cycle of %s", async (_, order, period) => {
    const set = await only(permutation("cycle", order), { from: { noise: noise(20) } });
    expect(set.summary).toMatchObject({ cycle: 20, converged: 0 });
    expect(new Set(set.period)).toEqual(new Set([period]));
    expect(Math.max(...set.iterations)).toBeLessThan(200);
  });

  it("a cycle of 17 is longer than those that are looked for", async () => {
    const order = Array.from({ length: 17 }, (_, i) => (i + 1) % 17);
    const set = await only(permutation("long cycle", order), {
      from: { noise: noise(5) },
      maxIterations: 200,
    });
    expect(set.summary.maxIterations).toBe(5);
  });

  it("a flat map: everything ends at one point at once", async () => {
    const set = await only(flat("flat", [1, 2, 3]), { from: { noise: noise(100) } });
    expect(set.summary).toMatchObject({ converged: 100, attractors: 1, attractorsEuclidean: 1 });
    expect(new Set(set.iterations)).toEqual(new Set([2]));
    expect([...set.attractors.data]).toEqual([1, 2, 3]);
    expect([...set.basinSize]).toEqual([100]);
    expect([...set.representative]).toEqual([0]);
  });

  it("an exploding map diverges when the norm has grown by the ratio", async () => {
    const set = await only(scaling("doubling", 2, 2), { from: { latents: rows(2, 1, 0, 0, 0.5, 8, 0) } });
    expect(set.summary).toMatchObject({ diverged: 3 });
    // 2^t > 1e4 · max(1, ‖z0‖) / ‖z0‖
    expect([...set.iterations]).toEqual([14, 15, 14]);
    const unlimited = await only(scaling("doubling", 2, 2), {
      from: { latents: rows(2, 1, 0) },
      divergenceRatio: Number.POSITIVE_INFINITY,
    });
    expect(unlimited.summary).toMatchObject({ diverged: 0, nonFinite: 1 });
  });

  it("a map that yields NaN", async () => {
    const model = mapOf("zero by zero", 2, (graph, z) => {
      const zero = graph.node({ op: "sub", name: "zero", inputs: [z, z] });
      return graph.node({ op: "div", name: "nan", inputs: [zero, zero] });
    });
    const set = await only(model, { from: { noise: noise(10) } });
    expect(set.summary).toMatchObject({ nonFinite: 10, converged: 0, attractors: 0, meanIterations: 1 });
    expect(new Set(set.status)).toEqual(new Set([STATUS.nonFinite]));
  });

  it("k = 1, and lengths that only the Euclidean rule tells apart", async () => {
    const model = elementwise("clip", 1, { kind: "clip", alpha: 1, beta: 2 });
    const set = await only(model, { from: { latents: rows(1, 0, 3, -1) } });
    expect(set.summary).toMatchObject({ attractors: 1, attractorsEuclidean: 2 });
    const euclidean = await only(model, { from: { latents: rows(1, 0, 3, -1) }, rule: "euclidean" });
    expect(euclidean.summary).toMatchObject({ attractors: 2, attractorsEuclidean: 2 });
    expect([...euclidean.label]).toEqual([0, 1, 0]);
    expect([...euclidean.attractors.data]).toEqual([1, 2]);
  });

  it("zero vectors are equal to one another only", async () => {
    const model = elementwise("clip", 1, { kind: "clip", alpha: -1, beta: 1 });
    const set = await only(model, { from: { latents: rows(1, 0, 5, -5, 0) } });
    expect([...set.label]).toEqual([0, 1, 2, 0]);
    expect([...set.basinSize]).toEqual([2, 1, 1]);
  });

  it("one row, no rows, duplicates", async () => {
    const model = scaling("halving", 3, 0.5);
    expect((await only(model, { from: { noise: noise(1) } })).summary).toMatchObject({
      points: 1,
      converged: 1,
      attractors: 1,
    });
    const none = await only(model, { from: { noise: noise(0) } });
    expect(none.summary).toEqual({
      points: 0,
      converged: 0,
      maxIterations: 0,
      cycle: 0,
      diverged: 0,
      nonFinite: 0,
      meanIterations: null,
      attractors: 0,
      attractorsEuclidean: 0,
    });
    expect(none.attractors).toMatchObject({ rows: 0, columns: 3 });
    const twice = await only(model, { from: { latents: rows(3, 1, 2, 3, 1, 2, 3, 1, 2, 3) } });
    expect([...twice.label]).toEqual([0, 0, 0]);
    expect(new Set(twice.iterations).size).toBe(1);
  });

  it("relative: the step as a share of the norm", async () => {
    // ‖z[t+1] − z[t]‖² = 1e-6·‖z[t]‖², at every step.
    const model = scaling("slow", 2, 0.999);
    const run = (tolerance: number) =>
      only(model, {
        from: { z: rows(2, 1000, 0, 0.001, 0) },
        criterion: "relative",
        tolerance,
        maxIterations: 100,
      });
    expect([...(await run(1.1e-6)).iterations]).toEqual([1, 1]);
    expect((await run(0.9e-6)).summary).toMatchObject({ converged: 0, maxIterations: 2 });
  });

  it("error-bound: the distance that is left, from the rate observed", async () => {
    // ρ = 0.9: with the residual alone a point would stop 9 times as far from the fixed point.
    const model = scaling("slow", 2, 0.9);
    const from = { z: rows(2, 1024, 0) };
    const bound = await only(model, { from, criterion: "error-bound" });
    expect(bound.summary.converged).toBe(1);
    expect(Math.abs(bound.endpoints.data[0])).toBeLessThan(1e-3);
    expect(Math.abs(bound.endpoints.data[0])).toBeGreaterThan(0.8e-3);
    const residual = await only(model, { from });
    expect(Math.abs(residual.endpoints.data[0])).toBeGreaterThan(5e-3);
  });

  it("a preset, and options beside it", async () => {
    const model = scaling("halving", 2, 0.5);
    const from = { z: rows(2, 1, 0) };
    const run = await findAttractors(model, { from, preset: "foundation" });
    expect(run.record.options).toMatchObject({ tolerance: 1e-5, maxIterations: 500 });
    const own = await findAttractors(model, { from, preset: "foundation", tolerance: 1e-3 });
    expect(own.record.options).toMatchObject({ tolerance: 1e-3, maxIterations: 500 });
  });
});

/** A contraction with several attractors and different speeds. */
function network(): Autoencoder {
  const random = seededRandom(5);
  const k = 8;
  return mapOf("network", k, (graph, z) => {
    const first = graph.constant("W1", [32, k], random.floats(32 * k, 0.8));
    const bias = graph.constant("b1", [32], random.floats(32, 0.3));
    const second = graph.constant("W2", [k, 32], random.floats(32 * k, 0.28));
    const hidden = graph.node({
      op: "linear",
      name: "in",
      inputs: [z, first, bias],
      activation: { kind: "tanh", alpha: 0, beta: 0 },
    });
    return graph.node({ op: "linear", name: "out", inputs: [hidden, second] });
  });
}

describe("a point's result depends on the point alone", () => {
  const options = { maxIterations: 400 };
  const reference = only(network(), {
    ...options,
    from: { noise: noise(300, { randomSeed: 3 }) },
    threads: 1,
  });

  it.each([2, 3, 7])("%i threads", async (threads) => {
    const expected = await reference;
    const set = await only(network(), {
      ...options,
      from: { noise: noise(300, { randomSeed: 3 }) },
      threads,
    });
    expect(new Set(expected.status).size).toBeGreaterThan(0);
    for (const key of [
      "iterations",
      "residual",
      "status",
      "period",
      "label",
      "representative",
      "basinSize",
    ] as const) {
      expect(set[key]).toEqual(expected[key]);
    }
    expect(set.endpoints).toEqual(expected.endpoints);
    expect(set.traces).toEqual(expected.traces);
  });

  it("another order, another batch, alone", async () => {
    const expected = await reference;
    const order = Array.from({ length: 300 }, (_, i) => (i * 7 + 11) % 300);
    const shuffled = new Float32Array(300 * 8);
    order.forEach((from, to) => {
      shuffled.set(expected.initial.data.subarray(from * 8, from * 8 + 8), to * 8);
    });
    const set = await only(network(), { ...options, from: { z: latents(matrix(shuffled, 8)) } });
    const first = await only(network(), {
      ...options,
      from: { z: latents(matrix(shuffled, 8), { count: 5 }) },
    });
    const alone = await only(network(), {
      ...options,
      from: { z: latents(matrix(shuffled, 8), { count: 1 }) },
    });
    order.forEach((from, to) => {
      for (const found of [set, ...(to < 5 ? [first] : []), ...(to < 1 ? [alone] : [])]) {
        expect(found.iterations[to]).toBe(expected.iterations[from]);
        expect(found.residual[to]).toBe(expected.residual[from]);
        expect(found.endpoints.data.subarray(to * 8, to * 8 + 8)).toEqual(
          expected.endpoints.data.subarray(from * 8, from * 8 + 8),
        );
      }
    });
  });

  it("a shard of noise is the same rows", async () => {
    const expected = await reference;
    const set = await only(network(), { ...options, from: { noise: noise(40, { randomSeed: 3 }) } });
    expect(set.initial.data).toEqual(expected.initial.data.subarray(0, 40 * 8));
    expect(set.endpoints.data).toEqual(expected.endpoints.data.subarray(0, 40 * 8));
  });
});

describe("what a run says", () => {
  it("has the record's keys, a trace per sampled point, and consistent numbers", async () => {
    const run = await findAttractors(network(), {
      from: { a: noise(100), b: noise(50, { scale: 2 }) },
      traces: 10,
    });
    expect(Object.keys(run.record)).toEqual([
      "model",
      "options",
      "device",
      "versions",
      "summary",
      "timing",
      "interrupted",
    ]);
    expect(Object.keys(run.summary)).toEqual(["a", "b"]);
    expect(run.attractors).toBe(run.sets[0]!.attractors);
    const { timing, summary } = run.record;
    expect(timing.seconds).toBeGreaterThan(0);
    expect(timing.rowsPerSecond).toBeCloseTo(150 / timing.seconds, 6);
    let evaluations = 0;
    for (const set of run.sets) {
      const five = summary[set.name]!;
      expect(five.converged + five.maxIterations + five.cycle + five.diverged + five.nonFinite).toBe(
        five.points,
      );
      expect(set.basinSize.reduce((a, b) => a + b, 0)).toBe(five.converged);
      expect(five.meanIterations).toBeCloseTo(set.iterations.reduce((a, b) => a + b, 0) / five.points, 9);
      evaluations += set.iterations.reduce((a, b) => a + b, 0);
      expect(set.traces).toHaveLength(10);
      for (const { row, residual } of set.traces) {
        expect(residual).toHaveLength(set.iterations[row]!);
        expect(residual.at(-1)).toBe(set.residual[row]);
      }
    }
    expect(timing.mapEvaluations).toBeGreaterThanOrEqual(evaluations);
    expect(JSON.parse(JSON.stringify(run.record))).toEqual(run.record);
    expect(run.record.options).toMatchObject({
      from: { b: { kind: "noise", points: 50, randomSeed: 0, scale: 2 } },
    });
  });
});

describe("abort, progress, several at once", () => {
  const endless = () => ({
    model: rotation("endless", 1),
    options: { from: { quick: rows(2, 0, 0), slow: noise(64) }, maxIterations: 2 ** 31 - 1 },
  });

  it("aborts in the middle, with what was finished, and the process goes on", async () => {
    const { model, options } = endless();
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 60);
    const error = await findAttractors(model, { ...options, signal: controller.signal }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(AbortedError);
    const partial = (error as AbortedError<Awaited<ReturnType<typeof findAttractors>>>).partial!;
    expect(partial.record.interrupted).toBe(true);
    expect(partial.summary.quick).toMatchObject({ converged: 1, attractors: 1 });
    expect(partial.summary.slow).toMatchObject({
      points: 64,
      unfinished: 64,
      converged: 0,
      meanIterations: null,
    });
    expect(new Set(partial.sets[1]!.status)).toEqual(new Set([UNFINISHED]));
    expect((await only(scaling("halving", 2, 0.5), { from: { noise: noise(5) } })).summary.converged).toBe(5);
  });

  it("a signal that has fired already gives nothing", async () => {
    const { model, options } = endless();
    const error = await findAttractors(model, { ...options, signal: AbortSignal.abort() }).catch(
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(AbortedError);
    expect((error as AbortedError).partial).toBeUndefined();
  });

  it("reports at most ten times a second, with growing numbers", async () => {
    const { model, options } = endless();
    const times: number[] = [];
    const evaluations: number[] = [];
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 700);
    await expect(
      findAttractors(model, {
        ...options,
        signal: controller.signal,
        onProgress: ({ mapEvaluations, total }) => {
          times.push(performance.now());
          evaluations.push(mapEvaluations);
          expect(total).toBe(65);
        },
      }),
    ).rejects.toThrow(AbortedError);
    expect(times.length).toBeGreaterThanOrEqual(2);
    expect(times.length).toBeLessThanOrEqual(8);
    for (let i = 1; i < times.length; i++) {
      expect(times[i]! - times[i - 1]!).toBeGreaterThanOrEqual(99);
      expect(evaluations[i]).toBeGreaterThanOrEqual(evaluations[i - 1]!);
    }
  });

  it("an error in onProgress ends the call with that error", async () => {
    const { model, options } = endless();
    const onProgress = (): void => {
      throw new RangeError("from the caller");
    };
    await expect(findAttractors(model, { ...options, onProgress })).rejects.toThrow("from the caller");
  });

  it("several runs at once give what each gives alone", async () => {
    const model = network();
    const run = (randomSeed: number) =>
      only(model, { from: { noise: noise(60, { randomSeed }) }, maxIterations: 300 });
    const together = await Promise.all([1, 2, 3, 4].map(run));
    for (const [i, set] of together.entries()) {
      const alone = await run(i + 1);
      expect(set.endpoints).toEqual(alone.endpoints);
      expect(set.label).toEqual(alone.label);
    }
  });

  it("a disposed model is refused", async () => {
    const model = scaling("halving", 2, 0.5);
    await only(model, { from: { noise: noise(5) } });
    await model[Symbol.asyncDispose]();
    await expect(findAttractors(model, { from: { noise: noise(5) } })).rejects.toThrow("disposed");
  });
});

describe("what does not fit", () => {
  const model = scaling("halving", 2, 0.5);
  it.each<[string, object, RegExp]>([
    ["an unknown option", { tolerence: 1 }, /unknown option "tolerence" \(did you mean "tolerance"\?\)/],
    ["no points", { from: {} }, /from is empty/],
    ["a tolerance of 0", { tolerance: 0 }, /tolerance is 0/],
    ["a NaN", { tolerance: Number.NaN }, /tolerance is NaN/],
    ["half an iteration", { maxIterations: 0.5 }, /maxIterations is 0.5/],
    [
      "a rule nobody knows",
      { rule: "nearest" },
      /rule is "nearest", expected one of greedy, components, euclidean/,
    ],
    ["a cosine of 2", { threshold: 2 }, /threshold is 2/],
    ["no threads", { threads: 0 }, /threads is 0/],
    ["no device", { device: "gpu" }, /device is "gpu", expected auto, cpu, cuda or cuda:INDEX/],
    ["no precision", { precision: "fp8" }, /precision is "fp8", expected one of auto, float32, tf32, bf16/],
    [
      "a precision of the CPU",
      { precision: "tf32" },
      /precision is "tf32", which is for CUDA; device is "cpu"/,
    ],
    ["no engine", { engine: "torch" }, /engine is "torch", expected one of auto, native/],
    [
      "an engine for other models",
      { engine: "process" },
      /process cannot run a model of format square-map; native can/,
    ],
    ["a name with a dot", { from: { "a.b": noise(1) } }, /"a\.b"/],
    ["latents that are too wide", { from: { z: rows(3, 1, 2, 3) } }, /3 elements a row, expected 2/],
    ["latents with NaN", { from: { z: rows(2, 1, 2, 3, Number.NaN) } }, /row 1 holds NaN/],
    [
      "more rows than there are",
      { from: { z: latents(matrix(new Float32Array(4), 2), { count: 3 }) } },
      /holds 2/,
    ],
    ["more noise than memory", { from: { z: noise(2 ** 31 - 1) }, threads: 1, traces: 2 ** 21 }, /traces is/],
  ])("%s", async (_, options, message) => {
    const run = findAttractors(model, { from: { noise: noise(1) }, ...options });
    await expect(run).rejects.toThrow(InputError);
    await expect(run).rejects.toThrow(message);
  });
});

/** The same iteration in float64, from definition alone. */
function iterationsInFloat64(a: readonly number[], b: readonly number[], start: Float32Array): number {
  const k = b.length;
  let z = Array.from(start);
  for (let n = 1; n <= 3000; n++) {
    const next = b.map((offset, r) => offset + z.reduce((sum, x, c) => sum + a[r * k + c]! * x, 0));
    const residual = next.reduce((sum, x, i) => sum + (x - z[i]!) ** 2, 0);
    z = next;
    if (residual < 1e-6) return n;
  }
  return 3000;
}
