import { describe, expect, it } from "vitest";
import { memorization } from "../../src/analysis/memorization.js";
import { prototypeErrors } from "../../src/analysis/prototypes.js";
import { nativeEngine } from "../../src/engines/native.js";
import { InputError } from "../../src/errors.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import { scaling } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const rows = (columns: number, ...values: number[]) => matrix(Float32Array.from(values), columns);

describe("memorization", () => {
  const training = rows(2, 1, 0, 0, 3, -5, 0);

  it("is the cosine to the closest training input, beside its levels", async () => {
    const found = await memorization({
      decoded: rows(2, 7, 0, 2, 1),
      training,
      heldOut: rows(2, 0, -2),
      decodedInitial: rows(2, -1, 0, 0, 1, 0, 2),
    });
    expect(found.rule).toBe("max");
    expect([...found.attractors.training]).toEqual([0, 0]);
    expect(found.attractors.cosine[0]).toBe(1);
    expect(found.attractors.cosine[1]).toBeCloseTo(2 / Math.sqrt(5), 12);
    expect(found.attractors.spread.mean).toBeCloseTo((1 + 2 / Math.sqrt(5)) / 2, 12);
    expect(found.attractors.spread.std).toBeCloseTo((1 - 2 / Math.sqrt(5)) / 2, 12);
    expect(found.heldOut?.spread).toMatchObject({ count: 1, mean: 0, std: 0 });
    expect([...found.initial!.training]).toEqual([2, 1, 1]);
  });

  it("by the rule min is the cosine to the farthest one", async () => {
    const { attractors } = await memorization({ decoded: rows(2, 7, 0, 0, 1), training }, { rule: "min" });
    expect([...attractors.cosine]).toEqual([-1, 0]);
    expect([...attractors.training]).toEqual([2, 0]);
  });

  it("has the defined value for zero vectors under both rules", async () => {
    const withZero = rows(2, 0, 0, 0, 4);
    const of = async (decoded: Matrix, known: Matrix, rule: "max" | "min") => [
      ...(await memorization({ decoded, training: known }, { rule })).attractors.cosine,
    ];
    expect(await of(rows(2, 0, 0), withZero, "max")).toEqual([1]);
    expect(await of(rows(2, 0, 0), withZero, "min")).toEqual([0]);
    expect(await of(rows(2, 0, 0), rows(2, 0, 0), "min")).toEqual([1]);
    expect((await of(rows(2, 3, 0), rows(2, 0, 0), "min")).map(Math.abs)).toEqual([0]);
  });

  it("agrees with looking at every pair", async () => {
    const random = seededRandom(51);
    const [a, b] = [matrix(random.floats(30 * 9), 9), matrix(random.floats(50 * 9), 9)];
    const cosine = (i: number, j: number) => {
      let [ab, aa, bb] = [0, 0, 0];
      for (let c = 0; c < 9; c++) {
        const [x, y] = [a.data[9 * i + c]!, b.data[9 * j + c]!];
        ab += x * y;
        aa += x * x;
        bb += y * y;
      }
      return ab / Math.sqrt(aa * bb);
    };
    for (const rule of ["max", "min"] as const) {
      const { attractors } = await memorization({ decoded: a, training: b }, { rule, threads: 2 });
      attractors.cosine.forEach((value, i) => {
        const all = Array.from({ length: 50 }, (_, j) => cosine(i, j));
        expect(value).toBeCloseTo(Math[rule](...all), 12);
        expect(all[attractors.training[i]!]).toBeCloseTo(value, 12);
      });
    }
  });

  it("without attractors has no mean; without training inputs it is refused", async () => {
    const none = await memorization({ decoded: rows(2), training });
    expect(none.attractors.spread).toEqual({
      count: 0,
      mean: null,
      std: null,
      min: null,
      median: null,
      max: null,
    });
    await expect(memorization({ decoded: rows(2, 1, 1), training: rows(2) })).rejects.toThrow(
      "there are no training inputs",
    );
    await expect(memorization({ decoded: rows(3, 1, 1, 1), training })).rejects.toThrow(InputError);
    await expect(memorization({ decoded: rows(2, 1, Number.NaN), training })).rejects.toThrow("holds NaN");
    await expect(
      memorization({ decoded: rows(2, 1, 1), training }, { rule: "best" as "max" }),
    ).rejects.toThrow('rule is "best"');
  });
});

describe("prototypeErrors", () => {
  const engineOf = (decode: (latents: Matrix) => Matrix) => ({
    ...nativeEngine(scaling("half", 2, 0.5)),
    decode: async (latents: Matrix) => decode(latents),
  });
  // D doubles a latent.
  const engine = engineOf((latents) => ({ ...latents, data: latents.data.map((value) => 2 * value) }));

  it("knows a case by hand", async () => {
    const found = await prototypeErrors(engine, {
      inputs: rows(2, 0, 2, 6, 0),
      latents: rows(2, 0, 1, 4, 0),
      attractors: rows(2, 0, 0, 3, 0),
    });
    expect([...found.attractor]).toEqual([0, 1]);
    expect([...found.coverage]).toEqual([1, 1]);
    expect([...found.prototype]).toEqual([4, 0]);
    expect(found.spread.prototype.mean).toBe(2);
  });

  it("refuses what does not fit", async () => {
    const attractors = rows(2, 0, 0);
    const call = (inputs: Matrix, latents: Matrix, a = attractors) =>
      prototypeErrors(engine, { inputs, latents, attractors: a });
    await expect(call(rows(2, 1, 1), rows(2))).rejects.toThrow("1 inputs and 0 latents");
    await expect(call(rows(2, 1, 1), rows(2, 1, 1), rows(2))).rejects.toThrow("there are no attractors");
    await expect(call(rows(2, 1, 1), rows(3, 1, 1, 1))).rejects.toThrow(InputError);
    expect((await call(rows(2), rows(2))).spread.coverage.count).toBe(0);
  });
});
