import { describe, expect, it } from "vitest";
import { drive } from "../../src/engines/drive.js";
import { nativeEngine } from "../../src/engines/native.js";
import type { Runtime } from "../../src/engines/runtime.js";
import { AbortedError, EngineError, InputError } from "../../src/errors.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import type { IterateOptions } from "../../src/native.js";
import { affine, scaling } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const call = { threads: 1 };
const rules: Omit<IterateOptions, "threads"> = {
  tolerance: 1e-6,
  maxIterations: 300,
  criterion: "residual",
  divergenceRatio: 1e4,
  traceRows: new Int32Array(0),
};

/** A runtime around one function of a batch. */
function runtimeOf(
  k: number,
  apply: (latents: Float32Array, rows: number) => Float32Array | Promise<Float32Array>,
  more: Partial<Runtime> = {},
): Runtime {
  return {
    name: "test",
    device: "cpu",
    versions: { test: "1" },
    latentDimension: k,
    inputElements: null,
    batchRows: 4,
    concurrency: 1,
    apply: async (latents, rows) => apply(latents, rows),
    close: async () => undefined,
    ...more,
  };
}

const halve = (latents: Float32Array): Float32Array => latents.map((value) => value / 2);
const later = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
const points = (rows: number, k: number): Matrix => matrix(seededRandom(rows).floats(rows * k), k);

describe("the loop around a runtime", () => {
  it("gives what the native loop gives, bit by bit, where f is exact", async () => {
    const native = nativeEngine(scaling("half", 3, 0.5));
    const initial = points(37, 3);
    const options = { ...call, ...rules, traceRows: Int32Array.from([0, 5, 36]) };
    const expected = await native.iterate(initial, options);
    for (const concurrency of [1, 3]) {
      const found = await drive("half", runtimeOf(3, halve, { concurrency })).iterate(initial, options);
      for (const key of ["endpoints", "iterations", "residual", "status", "period", "traces"] as const) {
        expect(found[key], key).toEqual(expected[key]);
      }
      expect(found.evaluations).toBe(expected.evaluations);
    }
  });

  it("refills batches while points wait, and lets them shrink at the end", async () => {
    const sizes: number[] = [];
    const f = (latents: Float32Array, rows: number): Float32Array => {
      sizes.push(rows);
      return halve(latents);
    };
    const initial = matrix(Float32Array.from([1, 2 ** 20, 1, 1, 1, 1, 1]), 1);
    const { iterations } = await drive("half", runtimeOf(1, f)).iterate(initial, { ...call, ...rules });
    // ‖step‖² = 4^-(t+1)·‖z0‖²
    expect([...iterations]).toEqual([10, 30, 10, 10, 10, 10, 10]);
    expect(sizes).toEqual([...new Array(20).fill(4), ...new Array(10).fill(1)]);
  });

  it("splits rows over the calls that may run at once", async () => {
    let now = 0;
    let most = 0;
    const f = async (latents: Float32Array): Promise<Float32Array> => {
      most = Math.max(most, ++now);
      await later(1);
      now--;
      return halve(latents);
    };
    const engine = drive("half", runtimeOf(2, f, { concurrency: 3 }));
    const { data } = await engine.apply(points(7, 2), call);
    expect(data).toEqual(halve(points(7, 2).data));
    expect(most).toBe(3);
  });
});

describe("paths", () => {
  it("have the scores, the points and the curves of the native walk", async () => {
    const model = affine("turn", [0.5, 0.25, -0.25, 0.5], [1, 2]);
    const native = nativeEngine(model);
    const engine = drive("turn", {
      ...runtimeOf(2, halve, { concurrency: 2 }),
      apply: async (data, rows) => (await native.apply({ data, rows, columns: 2 }, call)).data,
    });
    const initial = points(19, 2);
    const attractors = matrix(Float32Array.from([0, 0, 1, 3, -2, 1]), 2);
    const options = {
      ...call,
      steps: 12,
      storeSteps: Int32Array.from([0, 3, 12]),
      curveRows: Int32Array.from([0, 7, 18]),
    };
    for (const against of [attractors, matrix(new Float32Array(0), 2)]) {
      const expected = await native.walk(initial, against, options);
      const found = await engine.walk(initial, against, options);
      expect(found.stored).toEqual(expected.stored);
      expect(found.evaluations).toBe(expected.evaluations);
      expect(found.score).toHaveLength(expected.score.length);
      found.score.forEach((score, i) => {
        expect(score).toBeCloseTo(expected.score[i]!, 12);
      });
      found.curves.forEach((curve, i) => {
        for (const key of ["residual", "norm", "distance"] as const) {
          const of = expected.curves[i]![key];
          expect(curve[key]).toHaveLength(of.length);
          curve[key].forEach((value, j) => {
            expect(Math.abs(value - of[j]!)).toBeLessThanOrEqual(1e-6 * Math.abs(of[j]!));
          });
        }
      });
    }
  });

  it("that stop being finite have no score, and no distance from there on", async () => {
    let calls = 0;
    const f = (latents: Float32Array): Float32Array =>
      ++calls === 2 ? latents.map(() => Number.NaN) : latents.map(() => 1);
    const walked = await drive("gap", runtimeOf(1, f)).walk(points(1, 1), matrix(Float32Array.from([0]), 1), {
      ...call,
      steps: 4,
      storeSteps: new Int32Array(0),
      curveRows: Int32Array.from([0]),
    });
    expect([...walked.score]).toEqual([Number.NaN]);
    expect([...walked.curves[0]!.distance].map(Number.isNaN)).toEqual([false, false, true, true, true]);
  });
});

describe("a runtime that fails", () => {
  const failing = (
    apply: (latents: Float32Array, rows: number) => Float32Array | Promise<Float32Array>,
    more?: Partial<Runtime>,
  ) => drive("model", runtimeOf(2, apply, more)).iterate(points(3, 2), { ...call, ...rules });

  it.each<[string, () => unknown, string]>([
    [
      "too few numbers",
      () => new Float32Array(5),
      "test answered 5 numbers when asked for f of 3 rows, expected 3×2 = 6",
    ],
    ["another array", () => new Float64Array(6), "answered an object (Float64Array)"],
    ["nothing", () => undefined, "answered nothing when asked for f, expected a Float32Array"],
  ])("answers %s", async (_, answer, message) => {
    const error = await failing(answer as () => Float32Array).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(EngineError);
    expect((error as Error).message).toContain(message);
  });

  it("throws, at once or later", async () => {
    const broken = (): never => {
      throw new RangeError("out of bounds");
    };
    const sentence = "model: test failed when asked for f: out of bounds";
    await expect(failing(broken)).rejects.toThrow(new EngineError(sentence));
    const slow = async (): Promise<never> => {
      await later(1);
      return broken();
    };
    await expect(failing(slow, { concurrency: 2 })).rejects.toThrow(new EngineError(sentence));
    const sync = runtimeOf(2, halve, { apply: broken });
    await expect(drive("model", sync).apply(points(1, 2), call)).rejects.toThrow(EngineError);
  });

  it("never answers: an error after its time, at once from then on, and the runtime is closed", async () => {
    let closed = 0;
    const engine = drive(
      "model",
      runtimeOf(2, () => new Promise(() => undefined), {
        timeout: 0.05,
        close: async () => {
          closed++;
        },
      }),
    );
    const sentence = "model: test did not answer when asked for f, waited 0.05 s";
    const both = [engine.apply(points(1, 2), call), engine.apply(points(1, 2), call)];
    for (const one of both) await expect(one).rejects.toThrow(new EngineError(sentence));
    await expect(engine.apply(points(1, 2), call)).rejects.toThrow(new EngineError(sentence));
    expect(closed).toBe(1);
  });

  it("a time limit longer than a timer takes is no limit of a millisecond", async () => {
    const slow = async (latents: Float32Array): Promise<Float32Array> => {
      await later(20);
      return latents;
    };
    const engine = drive("model", runtimeOf(2, slow, { timeout: 1e8 }));
    expect((await engine.apply(points(1, 2), call)).data).toEqual(points(1, 2).data);
  });

  it("NaN rows are points that are not finite, and nobody else's", async () => {
    const f = (latents: Float32Array): Float32Array =>
      latents.map((value, i) => (i === 1 ? Number.NaN : value / 2));
    const found = await drive("model", runtimeOf(1, f, { batchRows: 3 })).iterate(points(3, 1), {
      ...call,
      ...rules,
      maxIterations: 1,
    });
    expect([...found.status]).toEqual([1, 4, 1]);
  });
});

describe("an abort", () => {
  it("ends the iteration although the runtime does not answer, and keeps what was finished", async () => {
    const controller = new AbortController();
    let calls = 0;
    const f = (latents: Float32Array): Float32Array | Promise<Float32Array> => {
      if (++calls < 3) return latents;
      setTimeout(() => controller.abort(), 1);
      return new Promise(() => undefined);
    };
    const found = await drive("stay", runtimeOf(1, f, { batchRows: 2 })).iterate(points(5, 1), {
      ...call,
      ...rules,
      signal: controller.signal,
    });
    expect(found.aborted).toBe(true);
    expect([...found.status]).toEqual([0, 0, 0, 0, 255]);
    expect([...found.iterations]).toEqual([1, 1, 1, 1, 0]);
  });

  it("comes through to a function that never lets go of the event loop", async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 20);
    const found = await drive(
      "swap",
      runtimeOf(2, (z) => z.map((value) => -value)),
    ).iterate(points(4, 2), {
      ...call,
      ...rules,
      tolerance: 0,
      maxIterations: 2 ** 31 - 1,
      signal: controller.signal,
    });
    expect(found.aborted).toBe(true);
  });

  it("is an AbortedError where there is one answer, and the runtime goes on afterwards", async () => {
    let answer: () => void = () => undefined;
    const f = async (latents: Float32Array): Promise<Float32Array> => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return halve(latents);
    };
    const engine = drive("half", runtimeOf(1, f));
    const controller = new AbortController();
    const first = engine.apply(points(1, 1), { ...call, signal: controller.signal });
    const second = engine.apply(points(1, 1), { ...call, signal: AbortSignal.timeout(5) });
    await later(1);
    controller.abort();
    await expect(first).rejects.toThrow(AbortedError);
    await expect(second).rejects.toThrow(AbortedError);
    const third = engine.apply(points(1, 1), call);
    // The runtime is still busy with what nobody waits for.
    answer();
    await later(1);
    answer();
    expect((await third).data).toEqual(halve(points(1, 1).data));
  });
});

describe("what does not fit", () => {
  it("names widths, and parts that are not there", async () => {
    const engine = drive("half", runtimeOf(2, halve));
    await expect(engine.apply(points(1, 3), call)).rejects.toThrow("3 elements a row, expected 2");
    await expect(engine.encode(points(1, 2), call)).rejects.toThrow(InputError);
    await expect(engine.decode(points(1, 2), call)).rejects.toThrow("is a square map, it has no decoder");
  });

  it("an error of onProgress is the caller's", async () => {
    const slow = async (latents: Float32Array): Promise<Float32Array> => {
      await later(30);
      return latents.map((value) => -value);
    };
    const onProgress = (): never => {
      throw new Error("enough");
    };
    const options = { ...call, ...rules, tolerance: 0, onProgress };
    await expect(drive("swap", runtimeOf(1, slow)).iterate(points(1, 1), options)).rejects.toThrow("enough");
  });

  it("no rows give no rows", async () => {
    const engine = drive("half", runtimeOf(2, halve));
    const none = matrix(new Float32Array(0), 2);
    expect(await engine.apply(none, call)).toMatchObject({ rows: 0, columns: 2 });
    expect(await engine.iterate(none, { ...call, ...rules })).toMatchObject({
      evaluations: 0,
      aborted: false,
    });
  });
});
