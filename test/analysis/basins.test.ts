import { expect, it } from "vitest";
import { basinAgreement } from "../../src/analysis/basins.js";
import { InputError } from "../../src/errors.js";
import { seededRandom } from "../support/random.js";

const labels = (...values: number[]) => Int32Array.from(values);

it("equal basins under other names agree fully", () => {
  const found = basinAgreement(labels(0, 0, 1, 1, 2), labels(2, 2, 0, 0, 1));
  expect(found).toMatchObject({ points: 5, compared: 5, basins: [3, 3], adjustedRand: 1, jaccard: 1 });
  expect(found.jaccardNull!.mean).toBeLessThan(1);
});

it("a known case", () => {
  // Contingency table [[2, 1], [0, 3]]: sizes 3, 3 and 2, 4.
  const found = basinAgreement(labels(0, 0, 0, 1, 1, 1), labels(0, 0, 1, 1, 1, 1));
  // Pairs together in both 1 + 3; in the first 3 + 3, in the second 1 + 6, of 15.
  const expected = (6 * 7) / 15;
  expect(found.adjustedRand).toBeCloseTo((4 - expected) / (6.5 - expected), 12);
  // Overlaps 2/3 (first with first) and 3/4 (second with second).
  expect(found.jaccard).toBeCloseTo((2 / 3 + 3 / 4) / 2, 12);
});

it("points without an attractor in either run are left out, and counted", () => {
  const found = basinAgreement(labels(0, 0, -1, 1, 1), labels(0, 0, 0, -1, 1));
  expect(found).toMatchObject({ points: 5, compared: 3, adjustedRand: 1, jaccard: 1 });
  const none = basinAgreement(labels(-1, 0), labels(0, -1));
  expect(none).toMatchObject({
    points: 2,
    compared: 0,
    adjustedRand: null,
    jaccard: null,
    jaccardNull: null,
  });
});

it("has a value where there is nothing to tell apart", () => {
  expect(basinAgreement(labels(0, 0, 0), labels(4, 4, 4))).toMatchObject({ adjustedRand: 1, jaccard: 1 });
  expect(basinAgreement(labels(0), labels(3))).toMatchObject({ adjustedRand: 1, jaccard: 1 });
  expect(basinAgreement(labels(0, 1, 2), labels(2, 0, 1))).toMatchObject({ adjustedRand: 1, jaccard: 1 });
  expect(basinAgreement(labels(0, 0, 0), labels(0, 1, 2)).adjustedRand).toBe(0);
});

it("independent basins are at the level of chance", () => {
  const random = seededRandom(5);
  const draw = () => Int32Array.from({ length: 2000 }, () => random.integer(0, 5));
  const found = basinAgreement(draw(), draw(), { permutations: 50 });
  expect(Math.abs(found.adjustedRand!)).toBeLessThan(0.01);
  expect(Math.abs(found.jaccard! - found.jaccardNull!.mean)).toBeLessThan(5 * found.jaccardNull!.std + 1e-3);
});

it("the two runs may change places, and a seed makes the null level", () => {
  const random = seededRandom(6);
  const a = Int32Array.from({ length: 300 }, () => random.integer(0, 3));
  const b = a.map((label) => (random.uniform() < 0.2 ? random.integer(0, 6) : label));
  const [ab, ba] = [basinAgreement(a, b), basinAgreement(b, a)];
  expect(ab.adjustedRand).toBeCloseTo(ba.adjustedRand!, 12);
  expect(ab.jaccard).toBeCloseTo(ba.jaccard!, 12);
  expect(basinAgreement(a, b)).toEqual(ab);
  expect(basinAgreement(a, b, { randomSeed: 1 }).jaccardNull!.mean).not.toBe(ab.jaccardNull!.mean);
});

it("refuses what cannot be compared", () => {
  expect(() => basinAgreement(labels(0, 1), labels(0))).toThrow("2 labels and 1");
  expect(() => basinAgreement(labels(0, -2), labels(0, 0))).toThrow("point 1 has label -2");
  expect(() => basinAgreement(labels(0), labels(0), { permutations: 0 })).toThrow(InputError);
  expect(() => basinAgreement(labels(0), labels(0), { randomSeed: -1 })).toThrow(InputError);
});
