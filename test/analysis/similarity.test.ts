import { expect, it } from "vitest";
import { nearestInputs } from "../../src/analysis/nearestInput.js";
import { similarity } from "../../src/analysis/similarity.js";
import { InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { seededRandom } from "../support/random.js";

const rows = (k: number, ...values: number[]) => matrix(Float32Array.from(values), k);

it("equal sets, in any order and length", async () => {
  const a = rows(2, 1, 0, 0, 2);
  const b = rows(2, 0, 2, 1, 0, 1, 0);
  expect(await similarity(a, b)).toEqual({
    cosine: { value: 1, aToB: 1, bToA: 1 },
    euclidean: { value: 0, aToB: 0, bToA: 0 },
  });
});

it("known values from either side", async () => {
  const a = rows(2, 1, 0);
  const b = rows(2, 3, 0, 0, 1);
  const found = await similarity(a, b);
  expect(found?.cosine).toEqual({ value: 0.75, aToB: 1, bToA: 0.5 });
  const nearest = Math.SQRT2;
  expect(found?.euclidean.aToB).toBeCloseTo(nearest, 12);
  expect(found?.euclidean.bToA).toBeCloseTo((2 + nearest) / 2, 12);
});

it("zero vectors are like one another only", async () => {
  expect((await similarity(rows(2, 0, 0), rows(2, 0, 0)))?.cosine.value).toBe(1);
  expect((await similarity(rows(2, 0, 0), rows(2, 1, 0)))?.cosine.value).toBe(0);
  expect((await similarity(rows(2, 0, 0), rows(2, -1, 0)))?.cosine.value).toBe(0);
});

it("swapping the sets swaps the sides", async () => {
  const random = seededRandom(1);
  const [a, b] = [matrix(random.floats(50 * 7), 7), matrix(random.floats(33 * 7), 7)];
  const [ab, ba] = [await similarity(a, b), await similarity(b, a)];
  expect(ab?.cosine.value).toBeCloseTo(ba!.cosine.value, 14);
  expect(ab?.cosine.aToB).toBeCloseTo(ba!.cosine.bToA, 14);
  expect(ab?.euclidean.bToA).toBeCloseTo(ba!.euclidean.aToB, 14);
});

it("empty sets have none, other widths are refused", async () => {
  expect(await similarity(rows(2), rows(2, 1, 1))).toBeNull();
  await expect(similarity(rows(2, 1, 1), rows(3, 1, 1, 1))).rejects.toThrow(InputError);
});

it("finds the input of the largest cosine, the first of equals", async () => {
  const inputs = rows(2, -1, 0, 0, 5, 0, 1, 3, 3);
  const found = await nearestInputs(rows(2, 0, 2, 7, 7, -0.1, 0), inputs);
  expect([...found.index]).toEqual([1, 3, 0]);
  expect([...found.cosine].map((c) => Math.round(c * 1e6) / 1e6)).toEqual([1, 1, 1]);
  await expect(nearestInputs(rows(2, 1, 1), rows(2))).rejects.toThrow("no inputs");
  await expect(nearestInputs(rows(2, 1, 1), rows(1, 1))).rejects.toThrow(InputError);
});
