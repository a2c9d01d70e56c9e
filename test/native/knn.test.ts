import { describe, expect, it } from "vitest";
import { type KnnOptions, native } from "../../src/native.js";
import { seededRandom } from "../support/random.js";

const defaults: KnnOptions = { neighbours: 1, rule: "mean", normalise: false, threads: 1 };

async function knn(
  reference: Float32Array,
  queries: Float32Array,
  columns: number,
  options: Partial<KnnOptions>,
) {
  return native().knnScore(reference, queries, columns, { ...defaults, ...options }).promise;
}

/** The definition: every distance in double, sorted. */
function plain(
  reference: Float32Array,
  queries: Float32Array,
  columns: number,
  options: KnnOptions,
): number[] {
  const rows = (data: Float32Array) =>
    Array.from({ length: data.length / columns }, (_, i) => {
      const x = Array.from(data.subarray(i * columns, (i + 1) * columns));
      const length = options.normalise ? Math.hypot(...x) : 1;
      return x.map((value) => (length > 0 ? value / length : 0));
    });
  const known = rows(reference);
  return rows(queries).map((x) => {
    const distances = known
      .map((y) => Math.sqrt(y.reduce((sum, value, l) => sum + (value - x[l]!) ** 2, 0)))
      .sort((a, b) => a - b)
      .slice(0, options.neighbours);
    if (options.rule === "kth") return distances.at(-1)!;
    return distances.reduce((sum, value) => sum + value, 0) / distances.length;
  });
}

describe("knnScore", () => {
  it("settles known cases, and says when K is the whole set", async () => {
    const line = Float32Array.of(0, 1, 2, 10);
    const at = Float32Array.of(1.25, -4);
    const two = await knn(line, at, 1, { neighbours: 2 });
    expect([...two.score]).toEqual([0.5, 4.5]);
    expect([two.neighbours, two.wholeReference]).toEqual([2, false]);
    expect([...(await knn(line, at, 1, { neighbours: 3, rule: "kth" })).score]).toEqual([1.25, 6]);
    const all = await knn(line, at, 1, { neighbours: 4 });
    expect([all.neighbours, all.wholeReference]).toEqual([4, false]);
    const more = await knn(line, at, 1, { neighbours: 2000 });
    expect([more.neighbours, more.wholeReference]).toEqual([4, true]);
    expect(more.score).toEqual(all.score);
    // As unit vectors, opposite ones are 2 apart and a zero vector stays one.
    const directions = Float32Array.of(3, 0, -7, 0, 0, 0);
    const query = Float32Array.of(5, 0);
    expect([...(await knn(directions, query, 2, { neighbours: 3, normalise: true })).score]).toEqual([1]);
    expect((await knn(line, new Float32Array(0), 1, {})).score).toHaveLength(0);
  });

  it("agrees with the definition in double, on any number of threads", async () => {
    const random = seededRandom(31);
    const columns = 17;
    const reference = random.floats(900 * columns);
    const queries = random.floats(70 * columns);
    for (const neighbours of [1, 10, 450, 900]) {
      for (const rule of ["mean", "kth"] as const) {
        for (const normalise of [false, true]) {
          const options = { neighbours, rule, normalise, threads: 1 };
          const found = await knn(reference, queries, columns, options);
          plain(reference, queries, columns, options).forEach((value, i) => {
            expect(Math.abs(found.score[i]! / value - 1)).toBeLessThan(1e-12);
          });
          const many = await knn(reference, queries, columns, { ...options, threads: 3 });
          expect(many.score).toEqual(found.score);
        }
      }
    }
  });

  it("names what it cannot score", async () => {
    const rows = seededRandom(32).floats(40);
    await expect(knn(new Float32Array(0), rows, 4, {})).rejects.toThrow("reference has no rows");
    const bad = rows.slice();
    bad[23] = Number.POSITIVE_INFINITY;
    await expect(knn(rows, bad, 4, {})).rejects.toThrow(
      "queries: row 5 holds infinity in column 3, expected finite numbers",
    );
    await expect(knn(rows, rows, 4, { neighbours: 0 })).rejects.toThrow("neighbours");
    await expect(knn(rows, rows, 4, { neighbours: 1.5 })).rejects.toThrow("neighbours");
  });

  it("stops when asked", async () => {
    const rows = seededRandom(33).floats(6000 * 64);
    const job = native().knnScore(rows, rows, 64, { ...defaults, neighbours: 100 });
    job.abort();
    const result = await job.promise;
    expect(result.aborted).toBe(true);
    expect(result.score[5999]).toBeNaN();
  });
});
