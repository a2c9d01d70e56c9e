import { describe, expect, it } from "vitest";
import { drawFrom, fitGaussian } from "../../src/dynamics/gaussian.js";
import { data, describeSource, latents, matched, noise, parsePoints } from "../../src/dynamics/points.js";
import { InputError } from "../../src/errors.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import { seededRandom } from "../support/random.js";

describe("specs", () => {
  it.each<[string, Record<string, unknown>]>([
    ["noise:10", { noise: { kind: "noise", points: 10, randomSeed: 0, scale: 1 } }],
    ["noise:0", { noise: { kind: "noise", points: 0, randomSeed: 0, scale: 1 } }],
    ["wide=noise:10@2.5", { wide: { kind: "noise", points: 10, randomSeed: 0, scale: 2.5 } }],
    ["noise:10@1e-3", { noise: { kind: "noise", points: 10, randomSeed: 0, scale: 1e-3 } }],
    ["data:a/b.idx", { data: { kind: "data", from: "a/b.idx", count: undefined } }],
    ["data:a/b.idx:12", { data: { kind: "data", from: "a/b.idx", count: 12 } }],
    ["data:C:\\x.npy", { data: { kind: "data", from: "C:\\x.npy", count: undefined } }],
    ["data:C:\\x.npy:3", { data: { kind: "data", from: "C:\\x.npy", count: 3 } }],
    ["data:a:b:c", { data: { kind: "data", from: "a:b:c", count: undefined } }],
    ["data:with=sign", { data: { kind: "data", from: "with=sign", count: undefined } }],
    ["t=data:with=sign:7", { t: { kind: "data", from: "with=sign", count: 7 } }],
    [
      "latents:z.safetensors#train.seeds:5",
      { latents: { kind: "latents", from: "z.safetensors#train.seeds", count: 5 } },
    ],
  ])("%s", (spec, expected) => {
    expect(parsePoints([spec])).toEqual(expected);
  });

  it("keeps the order given and passes the random seed on", () => {
    const points = parsePoints(["b=noise:1", "a=noise:2"], { randomSeed: 9 });
    expect(Object.keys(points)).toEqual(["b", "a"]);
    expect(points.a).toMatchObject({ randomSeed: 9 });
  });

  it("matched takes the one set there is, or the one that is named", () => {
    const points = parsePoints(["matched:5", "data:x.npy"]);
    expect(points.matched).toMatchObject({ kind: "matched", points: 5 });
    expect(points.matched?.kind === "matched" && points.matched.of).toBe(points.data);
    const named = parsePoints(["a=data:x", "b=latents:y", "m=matched:5@b"]);
    expect(named.m?.kind === "matched" && named.m.of).toBe(named.b);
    expect(() => parsePoints(["matched:5", "noise:3"])).toThrow("needs latents to match");
    expect(() => parsePoints(["a=data:x", "b=latents:y", "matched:5"])).toThrow("a or b");
    expect(() => parsePoints(["a=data:x", "matched:5@c"])).toThrow('called "c"');
  });

  it.each([
    ["noise", /N is ""/],
    ["noise:", /N is ""/],
    ["noise:-1", /N is "-1"/],
    ["noise:1.5", /N is "1.5"/],
    ["noise:many", /N is "many"/],
    ["noise:1e3", /N is "1e3"/],
    ["noise:99999999999", /N is "99999999999"/],
    ["noise:5@", /the scale is ""/],
    ["noise:5@0", /the scale is "0"/],
    ["noise:5@-2", /the scale is "-2"/],
    ["noise:5@x", /the scale is "x"/],
    ["data:", /path is missing/],
    ["data", /path is missing/],
    ["data:x:-3", /N is "-3"/],
    ["data:x:1.5", /N is "1.5"/],
    ["niose:5", /did you mean "noise"/],
    ["zzzzzz:5", /unknown source of points "zzzzzz"/],
    ["a.b=noise:5", /"a.b" cannot name/],
    ["=noise:5", /"" cannot name/],
    ["", /unknown source/],
  ])("refuses %j", (spec, message) => {
    expect(() => parsePoints([spec])).toThrow(InputError);
    expect(() => parsePoints([spec])).toThrow(message);
  });

  it("refuses two sets of one name", () => {
    expect(() => parsePoints(["noise:1", "noise:2"])).toThrow('two sets of points are called "noise"');
    expect(() => parsePoints(["a=noise:1", "a=data:x"])).toThrow(InputError);
  });
});

describe("sources", () => {
  it("check what they are given", () => {
    for (const points of [-1, 0.5, Number.NaN, 2 ** 31]) expect(() => noise(points)).toThrow(InputError);
    expect(() => noise(1, { scale: 0 })).toThrow(InputError);
    expect(() => noise(1, { randomSeed: -1 })).toThrow(InputError);
    expect(() => noise(1, { randomSeed: 2 ** 53 })).toThrow(InputError);
    expect(() => data("x", { count: -1 })).toThrow(InputError);
    expect(() => latents("x", { count: 1.5 })).toThrow(InputError);
    expect(() => matched(-1, latents("x"))).toThrow(InputError);
  });

  it("describe themselves in plain JSON", () => {
    const of = data("x.npy", { count: 3 });
    expect(describeSource(of)).toEqual({ kind: "data", path: "x.npy", points: 3 });
    expect(describeSource(latents(matrix(new Float32Array(2), 2)))).toEqual({ kind: "latents", path: null });
    expect(describeSource(matched(2, of))).toEqual({
      kind: "matched",
      points: 2,
      randomSeed: 0,
      of: { kind: "data", path: "x.npy", points: 3 },
    });
  });
});

describe("the matched Gaussian", () => {
  const k = 6;
  function correlated(n: number, rank = k): Matrix {
    const random = seededRandom(2);
    const mix = random.floats(k * rank);
    const rows = new Float32Array(n * k);
    for (let i = 0; i < n; i++) {
      const g = random.floats(rank);
      for (let c = 0; c < k; c++) {
        rows[i * k + c] = 3 * c;
        for (let m = 0; m < rank; m++) rows[i * k + c]! += mix[c * rank + m]! * g[m]!;
      }
    }
    return matrix(rows, k);
  }

  function moments(m: Matrix): { mean: number[]; covariance: number[] } {
    const mean = Array.from({ length: k }, (_, c) => {
      let sum = 0;
      for (let i = 0; i < m.rows; i++) sum += m.data[i * k + c]!;
      return sum / m.rows;
    });
    const covariance = Array.from({ length: k * k }, (_, at) => {
      const [r, c] = [Math.floor(at / k), at % k];
      let sum = 0;
      for (let i = 0; i < m.rows; i++)
        sum += (m.data[i * k + r]! - mean[r]!) * (m.data[i * k + c]! - mean[c]!);
      return sum / (m.rows - 1);
    });
    return { mean, covariance };
  }

  it.each([
    ["of full rank", 500, k, k],
    ["of low rank", 500, 2, 2],
    ["of fewer rows than dimensions", 4, k, 3],
  ])("L·Lᵀ is the covariance %s", async (_, n, rank, expectedRank) => {
    const rows = correlated(n, rank);
    const { mean, covariance } = moments(rows);
    const gaussian = await fitGaussian(rows);
    // Float32 rows of low rank are of low rank up to rounding: what is left is far below the rest.
    expect(gaussian.rank).toBeGreaterThanOrEqual(expectedRank);
    const largest = Math.max(...covariance.map(Math.abs));
    for (let r = 0; r < k; r++) {
      expect(gaussian.mean[r]).toBeCloseTo(mean[r]!, 6);
      for (let c = 0; c < k; c++) {
        let sum = 0;
        for (let m = 0; m < gaussian.rank; m++) {
          sum += gaussian.factor[r * gaussian.rank + m]! * gaussian.factor[c * gaussian.rank + m]!;
        }
        expect(Math.abs(sum - covariance[r * k + c]!)).toBeLessThan(1e-9 * largest);
      }
    }
  });

  it("draws have the mean and the covariance", async () => {
    const rows = correlated(200);
    const gaussian = await fitGaussian(rows);
    const n = 20000;
    const drawn = moments(await drawFrom(gaussian, matrix(seededRandom(8).floats(n * k), k)));
    const expected = moments(rows);
    const largest = Math.max(...expected.covariance.map(Math.abs));
    expected.mean.forEach((value, c) => {
      expect(Math.abs(drawn.mean[c]! - value)).toBeLessThan(5 * Math.sqrt(largest / n));
    });
    expected.covariance.forEach((value, at) => {
      expect(Math.abs(drawn.covariance[at]! - value)).toBeLessThan(0.06 * largest);
    });
  });

  it("constant latents draw the constant; one row, and NaN, are refused", async () => {
    const constant = await fitGaussian(matrix(new Float32Array(12).fill(2), 6));
    expect(constant.rank).toBe(0);
    const drawn = await drawFrom(constant, matrix(new Float32Array(6).fill(9), 6));
    expect([...drawn.data]).toEqual([2, 2, 2, 2, 2, 2]);
    await expect(fitGaussian(matrix(new Float32Array(6), 6))).rejects.toThrow("at least 2 latents");
    await expect(fitGaussian(matrix(new Float32Array(12).fill(Number.NaN), 6))).rejects.toThrow(InputError);
  });
});
