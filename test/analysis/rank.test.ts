import { describe, expect, it } from "vitest";
import { rank, rank90 } from "../../src/analysis/rank.js";
import { InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { seededRandom } from "../support/random.js";

const rows = (columns: number, ...values: number[]) => matrix(Float32Array.from(values), columns);

describe("rank", () => {
  it("knows the singular values of a diagonal, whichever side is longer", async () => {
    const tall = await rank(rows(2, 3, 0, 0, 4, 0, 0));
    expect([...tall.spectrum]).toEqual([4, 3]);
    // 16 of 25 is less than 90 %.
    expect(tall.rank90).toBe(2);
    const wide = await rank(rows(3, 3, 0, 0, 0, 4, 0));
    expect([...wide.spectrum]).toEqual([4, 3]);
    expect((await rank(rows(2, 10, 0, 0, 1))).rank90).toBe(1);
  });

  it("agrees with LAPACK, uncentred and centred", async () => {
    const x = rows(3, 1, 2, 3, 4, 5, 6, 7, 8, 10, 1, 0, 1);
    const close = (found: Float64Array, expected: number[]) => {
      expect(found).toHaveLength(expected.length);
      expected.forEach((value, i) => {
        expect(found[i]).toBeCloseTo(value, 7);
      });
    };
    close((await rank(x)).spectrum, [17.45089558463664, 0.9869391657365876, 0.7015656613921288]);
    close(
      (await rank(x, { centred: true })).spectrum,
      [10.316935349559172, 0.986932470135755, 0.2946341670751869],
    );
  });

  it("squares of the spectrum sum to the squares of the matrix, on any number of threads", async () => {
    const random = seededRandom(31);
    for (const [n, k] of [
      [200, 90],
      [90, 200],
    ] as const) {
      const x = matrix(random.floats(n * k), k);
      const { spectrum } = await rank(x, { threads: 1 });
      const total = x.data.reduce((sum, value) => sum + value * value, 0);
      expect(spectrum.reduce((sum, value) => sum + value * value, 0) / total).toBeCloseTo(1, 12);
      expect((await rank(x, { threads: 3 })).spectrum).toEqual(spectrum);
    }
  });

  it("finds the rank of a product, and does not mind the scale", async () => {
    const random = seededRandom(32);
    const [a, b] = [random.floats(40 * 3), random.floats(3 * 60)];
    for (const scale of [1, 1e-30, 1e30]) {
      const data = Float32Array.from({ length: 40 * 60 }, (_, at) => {
        const [i, j] = [Math.floor(at / 60), at % 60];
        return scale * (a[3 * i]! * b[j]! + a[3 * i + 1]! * b[60 + j]! + a[3 * i + 2]! * b[120 + j]!);
      });
      const { spectrum, rank90: found } = await rank(matrix(data, 60));
      expect(spectrum[2]! / spectrum[0]!).toBeGreaterThan(0.1);
      expect(spectrum[3]! / spectrum[0]!).toBeLessThan(1e-6);
      expect(found).toBeLessThanOrEqual(3);
    }
  });

  it("has a value for one row, equal rows and zeros", async () => {
    expect((await rank(rows(2, 3, 4))).spectrum).toEqual(Float64Array.of(5));
    expect(await rank(rows(2, 3, 4), { centred: true })).toMatchObject({ rank90: 0 });
    expect(await rank(rows(2, 3, 4, 3, 4), { centred: true })).toMatchObject({ rank90: 0 });
    expect(await rank(rows(3, 0, 0, 0))).toMatchObject({ rank90: 0, spectrum: Float64Array.of(0) });
  });

  it("refuses what has no rank", async () => {
    await expect(rank(rows(2))).rejects.toThrow("is empty, expected at least one row");
    await expect(rank(rows(2, 1, Number.NaN))).rejects.toThrow("row 0 holds NaN at column 1");
    await expect(rank(rows(2, 1, 2), { threads: 0 })).rejects.toThrow(InputError);
    await expect(rank(rows(2, 1, 2), { signal: AbortSignal.abort() })).rejects.toThrow("rank: aborted");
  });
});

it("rank90 counts values until their squares reach 90 %", () => {
  expect(rank90([])).toBe(0);
  expect(rank90([0, 0])).toBe(0);
  expect(rank90([3, 1])).toBe(1);
  expect(rank90([2.9, 1])).toBe(2);
  expect(rank90(new Array(10).fill(1))).toBe(9);
  expect(() => rank90([1, 2])).toThrow("expected descending values");
});
