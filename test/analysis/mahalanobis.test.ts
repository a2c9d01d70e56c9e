import { expect, it } from "vitest";
import { mahalanobis } from "../../src/analysis/mahalanobis.js";
import { InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { seededRandom } from "../support/random.js";

const rows = (columns: number, ...values: number[]) => matrix(Float32Array.from(values), columns);

it("agrees with scikit-learn's LedoitWolf", async () => {
  const reference = rows(
    3,
    10,
    9,
    1,
    -8,
    -9,
    0,
    5,
    6,
    -1,
    -5,
    -4,
    1,
    2,
    1,
    1,
    -2,
    -3,
    -1,
    7,
    7,
    0,
    -9,
    -7,
    -1,
  );
  const found = await mahalanobis(reference, rows(3, 0, 0, 0, 1.5, 1.5, 1.25, 10, -3, 5));
  expect(found.shrinkage).toBeCloseTo(0.10417718438359574, 12);
  [0.0, 0.6810378463048666, 5.422828745676695].forEach((distance, i) => {
    expect(found.score[i]).toBeCloseTo(distance, 10);
  });
});

it("is the scaled distance to the mean where the cloud is a cross", async () => {
  const found = await mahalanobis(rows(2, 2, 0, -2, 0, 0, 2, 0, -2), rows(2, 0, 0, 3, 4));
  // Covariance 2·I, a multiple of the identity whatever is mixed in.
  expect(found.score[0]).toBe(0);
  expect(found.score[1]).toBeCloseTo(5 / Math.SQRT2, 12);
});

it("does not change with a shift, and depends on no number of threads", async () => {
  const random = seededRandom(41);
  const [reference, queries] = [matrix(random.floats(700 * 70), 70), matrix(random.floats(600 * 70), 70)];
  const shifted = (m: typeof reference) => ({ ...m, data: m.data.map((value) => value + 8) });
  const found = await mahalanobis(reference, queries, { threads: 1 });
  expect(await mahalanobis(reference, queries, { threads: 3 })).toEqual(found);
  const other = await mahalanobis(shifted(reference), shifted(queries));
  other.score.forEach((value, i) => {
    expect(value / found.score[i]!).toBeCloseTo(1, 4);
  });
});

it("needs no more rows than dimensions, nor coordinates that vary", async () => {
  const few = await mahalanobis(rows(4, 1, 2, 3, 4, 2, 0, 1, 4, 0, 5, 1, 4), rows(4, 0, 0, 0, 0));
  expect(few.score[0]).toBeGreaterThan(0);
  expect(Number.isFinite(few.score[0])).toBe(true);
  const none = await mahalanobis(rows(1, 1, 2), rows(1));
  expect(none.score).toHaveLength(0);
});

it("refuses what has no covariance", async () => {
  const query = rows(2, 0, 0);
  await expect(mahalanobis(rows(2, 1, 2), query)).rejects.toThrow(
    "needs at least 2 rows, the reference holds 1",
  );
  await expect(mahalanobis(rows(2, 1, 2, 1, 2), query)).rejects.toThrow("all 2 reference rows are equal");
  await expect(mahalanobis(rows(2, 1, 2, 3, 4), query)).rejects.toThrow(
    "has no inverse although it is shrunk",
  );
  await expect(mahalanobis(rows(2, 1, 2, 3, 4), rows(3, 1, 1, 1))).rejects.toThrow(InputError);
  await expect(mahalanobis(rows(2, 1, Number.NaN, 3, 4), query)).rejects.toThrow("row 0 holds NaN");
});
