import { describe, expect, it } from "vitest";
import { type NearestOptions, native } from "../../src/native.js";
import { seededRandom } from "../support/random.js";
import { convergedEndpoints, referenceRecord } from "../support/references.js";
import { hasShared } from "../support/sharedModels.js";

const defaults: NearestOptions = { metric: "cosine", threads: 1 };

async function nearest(
  a: Float32Array,
  b: Float32Array,
  columns: number,
  options: Partial<NearestOptions> = {},
) {
  return native().nearest(a, b, columns, { ...defaults, ...options }).promise;
}

/** The definition, pair by pair: what is smaller wins, the first of equals. */
function plain(
  of: Float32Array,
  among: Float32Array,
  columns: number,
  metric: "cosine" | "euclidean",
): { index: number[]; value: number[] } {
  const dot = (x: Float32Array, i: number, y: Float32Array, j: number) => {
    let sum = 0;
    for (let l = 0; l < columns; l++) sum += x[i * columns + l]! * y[j * columns + l]!;
    return sum;
  };
  const index: number[] = [];
  const value: number[] = [];
  for (let i = 0; i < of.length / columns; i++) {
    let best = Number.POSITIVE_INFINITY;
    let found = -1;
    for (let j = 0; j < among.length / columns; j++) {
      let score = 0;
      if (metric === "cosine") {
        score = -dot(of, i, among, j) / Math.sqrt(dot(of, i, of, i) * dot(among, j, among, j));
      } else {
        for (let l = 0; l < columns; l++) score += (of[i * columns + l]! - among[j * columns + l]!) ** 2;
      }
      if (score < best) {
        best = score;
        found = j;
      }
    }
    index.push(found);
    value.push(metric === "cosine" ? -best : Math.sqrt(best));
  }
  return { index, value };
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

describe("nearest", () => {
  it("settles known cases", async () => {
    const a = Float32Array.of(1, 0, 0, 2, -3, 0);
    const b = Float32Array.of(0, 5, 4, 0);
    const cosine = await nearest(a, b, 2);
    expect([...cosine.aIndex]).toEqual([1, 0, 0]);
    expect([...cosine.aValue]).toEqual([1, 1, 0]);
    expect([...cosine.bIndex]).toEqual([1, 0]);
    expect([...cosine.bValue]).toEqual([1, 1]);
    const euclidean = await nearest(a, b, 2, { metric: "euclidean" });
    expect([...euclidean.aIndex]).toEqual([1, 0, 0]);
    expect([...euclidean.aValue]).toEqual([3, 3, Math.sqrt(34)]);
    expect([...euclidean.bIndex]).toEqual([1, 0]);
    expect([...euclidean.bValue]).toEqual([3, 3]);
  });

  it("gives zero vectors cosine 0 with others and 1 with one another", async () => {
    const found = await nearest(Float32Array.of(0, 0, 1, 1), Float32Array.of(-1, -1, 0, 0), 2);
    expect([...found.aIndex]).toEqual([1, 1]);
    expect([...found.aValue]).toEqual([1, 0]);
    expect([...found.bIndex]).toEqual([0, 0]);
    expect([...found.bValue]).toEqual([0, 1]);
  });

  it("agrees with the definition in double, on any number of threads", async () => {
    const random = seededRandom(21);
    for (const [n, m, columns] of [
      [300, 170, 3],
      [170, 300, 128],
      [90, 700, 33],
    ] as const) {
      const a = random.floats(n * columns);
      const b = random.floats(m * columns);
      for (const metric of ["cosine", "euclidean"] as const) {
        const ofA = plain(a, b, columns, metric);
        const ofB = plain(b, a, columns, metric);
        for (const threads of [1, 4]) {
          const found = await nearest(a, b, columns, { metric, threads });
          expect([...found.aIndex]).toEqual(ofA.index);
          expect([...found.bIndex]).toEqual(ofB.index);
          ofA.value.forEach((value, i) => {
            expect(found.aValue[i]).toBeCloseTo(value, 12);
          });
          ofB.value.forEach((value, j) => {
            expect(found.bValue[j]).toBeCloseTo(value, 12);
          });
        }
      }
    }
  });

  it("names what it cannot search", async () => {
    const rows = seededRandom(22).floats(40);
    await expect(nearest(new Float32Array(0), rows, 4)).rejects.toThrow("a has no rows");
    await expect(nearest(rows, new Float32Array(0), 4)).rejects.toThrow("b has no rows");
    const bad = rows.slice();
    bad[23] = Number.NaN;
    await expect(nearest(rows, bad, 4)).rejects.toThrow(
      "b: row 5 holds NaN in column 3, expected finite numbers",
    );
    expect(() => native().nearest(rows, rows, 3, defaults)).toThrow("do not make rows of 3");
  });

  it("stops when asked", async () => {
    const rows = seededRandom(23).floats(6000 * 64);
    const job = native().nearest(rows, rows, 64, defaults);
    job.abort();
    const result = await job.promise;
    expect(result.aborted).toBe(true);
    expect(result.aIndex).toHaveLength(0);
  });
});

const title = hasShared
  ? "nearest on the reference endpoints"
  : "nearest on the reference endpoints (skipped: the shared folder with reference/ is not there)";
describe.skipIf(!hasShared)(title, () => {
  it.each(["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"])("similarity of %s", async (model) => {
    const { chamfer } = referenceRecord(model);
    const train = await convergedEndpoints(model, "train");
    const noise = await convergedEndpoints(model, "noise");
    for (const metric of ["cosine", "euclidean"] as const) {
      const found = await nearest(train.data, noise.data, train.columns, { metric, threads: 2 });
      const similarity = (mean(found.aValue) + mean(found.bValue)) / 2;
      expect(Math.abs(similarity / chamfer[metric] - 1)).toBeLessThan(1e-4);
    }
  });
});
