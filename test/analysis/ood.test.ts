import { describe, expect, it } from "vitest";
import { knnScore } from "../../src/analysis/knn.js";
import { checkOodSets, oodScores } from "../../src/analysis/ood.js";
import { nativeEngine } from "../../src/engines/native.js";
import { InputError } from "../../src/errors.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import { scaling } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const rows = (columns: number, ...values: number[]) => matrix(Float32Array.from(values), columns);
const set = (latents: Matrix) => ({ inputs: null, latents });

describe("oodScores", () => {
  const engine = nativeEngine(scaling("half", 2, 0.5));
  const train = rows(2, 1, 0, -1, 0, 0, 1, 0, -1);
  const attractors = rows(2, 0, 0);
  const id = set(rows(2, 1, 0, 0, 1));
  const far = set(rows(2, 8, 0, 0, -8, 8, 8));

  it("knows the scores of a contraction to the origin", async () => {
    const found = await oodScores(
      engine,
      { train, attractors, id, ood: { far } },
      { steps: 2, neighbours: 1 },
    );
    // 1, 1/2 and 1/4 from the only attractor.
    expect(found.scores.id?.trajectory?.[0]).toBeCloseTo(1.75 / 3, 6);
    expect([...found.scores.id!.knn!]).toEqual([0, 0]);
    expect([...found.scores.far!.knn!].slice(0, 2)).toEqual([7, 7]);
    // Covariance ½·I.
    expect(found.scores.far?.mahalanobis?.[0]).toBeCloseTo(8 * Math.SQRT2, 12);
    expect(found.scores.id?.reconstruction).toBeUndefined();
    for (const score of ["trajectory", "knn", "mahalanobis"] as const) {
      expect(found.detections.far?.[score]).toMatchObject({ auroc: 1, fpr95: 0, fpr95OodPositive: 0 });
    }
    expect(found.notes.map(({ text }) => text)).toEqual([expect.stringContaining("There is one attractor")]);
  });

  it("uses the whole training set where K is larger, and says so", async () => {
    const found = await oodScores(engine, { train, attractors, id, ood: { far } }, { steps: 0 });
    expect(found.neighbours).toBe(4);
    expect(found.notes[1]?.text).toMatch(/There are 4 training latents, so K is 4 instead of 2000/);
  });

  it("ranks a path that is not finite above all others", async () => {
    const explosive = nativeEngine(scaling("explosive", 2, 1e20));
    const found = await oodScores(explosive, { train, attractors, id, ood: { far } }, { steps: 8 });
    expect(found.nonFinitePaths).toBe(5);
    expect(found.detections.far?.trajectory?.auroc).toBe(0.5);
    expect(found.notes.some(({ text }) => text.includes("5 paths"))).toBe(true);
  });

  it("refuses what cannot be told apart, and what is empty", async () => {
    const score = (input: Partial<Parameters<typeof oodScores>[1]>, options = {}) =>
      oodScores(engine, { train, attractors, id, ood: { far }, ...input }, options);
    await expect(score({ ood: { same: id } })).rejects.toThrow('set "same" holds the very inputs of ID');
    await expect(score({ ood: { same: set(rows(2, 1, 0)) } })).rejects.toThrow("the very inputs of ID");
    await expect(score({ ood: {} })).rejects.toThrow("there is no OOD set");
    await expect(score({ ood: { none: set(rows(2)) } })).rejects.toThrow('set "none": is empty');
    await expect(score({ attractors: rows(2) })).rejects.toThrow("there is no attractor");
    await expect(score({ ood: { wide: set(rows(3, 1, 1, 1)) } })).rejects.toThrow(InputError);
    await expect(score({ train: rows(2, 1, 1) })).rejects.toThrow("needs at least 2 rows");
    await expect(score({}, { steps: -1 })).rejects.toThrow("steps is -1");
    await expect(score({}, { signal: AbortSignal.abort() })).rejects.toThrow("aborted");
  });
});

it("sets with one code for all of their different inputs are not the same inputs", () => {
  const [train, code] = [rows(2, 1, 0, 0, 1), rows(2, 5, 5)];
  const of = (...pixels: number[]) => ({ inputs: rows(3, ...pixels), latents: code });
  const check = (other: ReturnType<typeof of>) => () =>
    checkOodSets({ train, id: of(1, 2, 3), ood: { other } });
  expect(check(of(3, 2, 1))).not.toThrow();
  expect(check(of(1, 2, 3))).toThrow("the very inputs of ID");
});

describe("knnScore", () => {
  it("agrees with sorting all distances", async () => {
    const random = seededRandom(61);
    const [reference, queries] = [matrix(random.floats(80 * 5), 5), matrix(random.floats(20 * 5), 5)];
    const distances = (i: number) =>
      Array.from({ length: 80 }, (_, j) => {
        let sum = 0;
        for (let c = 0; c < 5; c++) sum += (queries.data[5 * i + c]! - reference.data[5 * j + c]!) ** 2;
        return Math.sqrt(sum);
      }).sort((p, q) => p - q);
    const mean = await knnScore(reference, queries, { neighbours: 7 });
    const kth = await knnScore(reference, queries, { neighbours: 7, rule: "kth" });
    for (let i = 0; i < 20; i++) {
      const nearest = distances(i).slice(0, 7);
      expect(mean.score[i]).toBeCloseTo(nearest.reduce((sum, d) => sum + d, 0) / 7, 10);
      expect(kth.score[i]).toBeCloseTo(nearest[6]!, 10);
    }
    expect(mean.wholeReference).toBe(false);
  });

  it("takes no queries, and refuses K of nothing", async () => {
    const reference = rows(2, 1, 1);
    expect(await knnScore(reference, rows(2))).toEqual({
      score: new Float64Array(0),
      neighbours: 1,
      wholeReference: true,
    });
    await expect(knnScore(reference, reference, { neighbours: 0 })).rejects.toThrow("K is 0");
    await expect(knnScore(rows(2), reference)).rejects.toThrow("is empty");
    const misspelt = { neighbors: 5 } as object;
    await expect(knnScore(reference, reference, misspelt)).rejects.toThrow(
      'unknown option "neighbors" (did you mean "neighbours"?)',
    );
    await expect(knnScore(reference, rows(2, 1, Number.NaN))).rejects.toThrow("holds NaN");
  });
});
