import { describe, expect, it } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.js";
import { type DeduplicateOptions, native } from "../../src/native.js";
import { type Random, seededRandom } from "../support/random.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";

const defaults: DeduplicateOptions = { rule: "greedy", threshold: 0.99, distance: 0.01, threads: 1 };

async function deduplicate(points: Float32Array, columns: number, options: Partial<DeduplicateOptions> = {}) {
  const { representatives, labels, aborted } = await native().deduplicate(points, columns, {
    ...defaults,
    ...options,
  }).promise;
  return { representatives: [...representatives], labels: [...labels], aborted };
}

/** The greedy rules as they are defined, row by row in double. A row joins the highest score above `limit`. */
function greedy(rows: number, limit: number, score: (i: number, j: number) => number) {
  const representatives: number[] = [];
  const labels: number[] = [];
  for (let i = 0; i < rows; i++) {
    let best = limit;
    let label = -1;
    representatives.forEach((j, r) => {
      const s = score(i, j);
      if (s > best) {
        best = s;
        label = r;
      }
    });
    if (label < 0) label = representatives.push(i) - 1;
    labels.push(label);
  }
  return { representatives, labels, aborted: false };
}

function cosineOf(points: Float32Array, columns: number) {
  const dot = (i: number, j: number) => {
    let sum = 0;
    for (let l = 0; l < columns; l++) sum += points[i * columns + l]! * points[j * columns + l]!;
    return sum;
  };
  return (i: number, j: number) => dot(i, j) / Math.sqrt(dot(i, i) * dot(j, j));
}

function distanceOf(points: Float32Array, columns: number) {
  return (i: number, j: number) => {
    let sum = 0;
    for (let l = 0; l < columns; l++) sum += (points[i * columns + l]! - points[j * columns + l]!) ** 2;
    return Math.sqrt(sum);
  };
}

function clustered(
  random: Random,
  rows: number,
  columns: number,
  clusters: number,
  spread: number,
): Float32Array {
  const centres = random.floats(clusters * columns);
  const points = random.floats(rows * columns, spread);
  for (let i = 0; i < rows; i++) {
    const centre = random.integer(0, clusters - 1);
    for (let l = 0; l < columns; l++) points[i * columns + l]! += centres[centre * columns + l]!;
  }
  return points;
}

describe("deduplicate", () => {
  it("settles known cases", async () => {
    const empty = { representatives: [], labels: [], aborted: false };
    const half = { representatives: [0, 1], labels: [0, 1, 0, 1], aborted: false };
    for (const rule of ["greedy", "components", "euclidean"] as const) {
      expect(await deduplicate(new Float32Array(0), 3, { rule })).toEqual(empty);
      // Zero rows, and rows that equal one another exactly.
      expect(await deduplicate(Float32Array.of(0, 0, 1, 1, 0, 0, 1, 1), 2, { rule })).toEqual(half);
    }
    // Attractors that differ in length alone: one under cosine, two under Euclidean.
    const lengths = Float32Array.of(1, 2, 3, 6);
    expect((await deduplicate(lengths, 2)).representatives).toEqual([0]);
    expect((await deduplicate(lengths, 2, { rule: "euclidean" })).representatives).toEqual([0, 1]);
    // A chain of 20° steps under a limit of 30°: greedy cuts it, components do not.
    const angles = [0, 20, 40].map((degrees) => (degrees * Math.PI) / 180);
    const chain = Float32Array.from(angles.flatMap((a) => [Math.cos(a), Math.sin(a)]));
    const threshold = Math.cos(Math.PI / 6);
    expect((await deduplicate(chain, 2, { threshold })).labels).toEqual([0, 0, 1]);
    expect((await deduplicate(chain, 2, { threshold, rule: "components" })).labels).toEqual([0, 0, 0]);
  });

  it("agrees with the definitions in double", async () => {
    const random = seededRandom(11);
    for (const [rows, columns] of [
      [400, 2],
      [400, 16],
      [300, 130],
    ] as const) {
      const points = clustered(random, rows, columns, 30, 0.12);
      const cosine = cosineOf(points, columns);
      const distance = distanceOf(points, columns);
      for (const threshold of [0.5, 0.9375, Math.fround(0.99)]) {
        expect(await deduplicate(points, columns, { threshold, threads: 2 })).toEqual(
          greedy(rows, threshold, cosine),
        );
      }
      for (const limit of [0.125, 0.5, 2]) {
        const found = await deduplicate(points, columns, { rule: "euclidean", distance: limit });
        expect(found).toEqual(greedy(rows, -limit, (i, j) => -distance(i, j)));
      }
    }
  });

  it("does not depend on the number of threads", async () => {
    const points = clustered(seededRandom(12), 3000, 12, 200, 0.15);
    for (const rule of ["greedy", "components", "euclidean"] as const) {
      const one = await deduplicate(points, 12, { rule, distance: 0.5 });
      expect(await deduplicate(points, 12, { rule, distance: 0.5, threads: 5 })).toEqual(one);
    }
  });

  it("names the row and the column that are not finite", async () => {
    const points = seededRandom(13).floats(40);
    points[23] = Number.NaN;
    await expect(deduplicate(points, 4)).rejects.toThrow(
      "row 5 holds NaN in column 3, expected finite numbers",
    );
    points[23] = Number.NEGATIVE_INFINITY;
    await expect(deduplicate(points, 4)).rejects.toThrow(
      "row 5 holds infinity in column 3, expected finite numbers",
    );
  });

  it("tells how many rows it is through with", async () => {
    // All different, so that it takes a multiple of the tenth of a second between two reports.
    const [rows, columns] = [16_000, 256];
    const seen: number[] = [];
    const points = native().noise(9, 0, rows, columns, 1);
    await native().deduplicate(points, columns, { ...defaults }, ({ finished, total }) => {
      expect(total).toBe(rows);
      seen.push(finished);
    }).promise;
    expect(seen.length).toBeGreaterThan(0);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBeGreaterThan(0);
    expect(seen.at(-1)).toBeLessThanOrEqual(rows);
  });

  it("stops when asked", async () => {
    // All different: far more work than passes between the start and abort().
    const job = native().deduplicate(seededRandom(14).floats(20_000 * 64), 64, defaults);
    job.abort();
    const result = await job.promise;
    expect(result.aborted).toBe(true);
    expect(result.representatives).toHaveLength(0);
  });
});

const title = hasShared
  ? "deduplicate on the reference endpoints"
  : "deduplicate on the reference endpoints (skipped: the shared folder with reference/ is not there)";
describe.skipIf(!hasShared)(title, () => {
  for (const model of ["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"]) {
    for (const set of ["train", "noise"]) {
      it(`${model}, ${set}`, async () => {
        const { tensors } = await readSafetensors(sharedPath("reference", `${model}.safetensors`));
        const tensor = (name: string) => {
          const found = tensors.get(`${set}.${name}`);
          if (found === undefined) throw new Error(`${model}.safetensors has no ${set}.${name}`);
          return found;
        };
        const endpoints = tensor("f64.fixed_points");
        const columns = endpoints.shape[1]!;
        // The reference counts rows among all points and labels those that did not converge −1.
        const converged = Array.from(tensor("f64.status").data, Number).flatMap((s, i) =>
          s === 0 ? [i] : [],
        );
        const points = new Float32Array(converged.length * columns);
        converged.forEach((row, i) => {
          const from = endpoints.data.subarray(row * columns, (row + 1) * columns);
          points.set(Array.from(from, Number), i * columns);
        });
        const found = await deduplicate(points, columns);
        const labels = new Array<number>(endpoints.shape[0]!).fill(-1);
        found.labels.forEach((label, i) => {
          labels[converged[i]!] = label;
        });
        expect(found.representatives.map((i) => converged[i])).toEqual(
          Array.from(tensor("dedup.representatives").data, Number),
        );
        expect(labels).toEqual(Array.from(tensor("dedup.labels").data, Number));
      });
    }
  }
});
