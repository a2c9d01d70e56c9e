import { describe, expect, it } from "vitest";
import { detection, rocCurve } from "../../src/analysis/roc.js";
import { InputError } from "../../src/errors.js";
import { seededRandom } from "../support/random.js";
import { referenceMeasures } from "../support/referenceMeasures.js";
import { referenceTensor } from "../support/references.js";
import { hasShared } from "../support/sharedModels.js";

const range = (n: number, start = 0) => Array.from({ length: n }, (_, i) => start + i);

describe("detection", () => {
  it("is perfect where the scores do not meet", () => {
    expect(detection(range(20), range(30, 100))).toEqual({
      auroc: 1,
      fpr95: 0,
      fpr95OodPositive: 0,
      threshold: 18,
    });
  });

  it("is worse than nothing where they are the wrong way round", () => {
    expect(detection(range(20, 100), range(30))).toMatchObject({ auroc: 0, fpr95: 1, fpr95OodPositive: 1 });
  });

  it("counts ties half, and keeps them on one side of the threshold", () => {
    expect(detection([1, 1, 1], [1, 1])).toEqual({ auroc: 0.5, fpr95: 1, fpr95OodPositive: 1, threshold: 1 });
    expect(detection([0, 1], [1, 2]).auroc).toBe((1 + 1 + 0.5 + 1) / 4);
  });

  it("accepts at least 95 % of the ID scores, and no more of them than that takes", () => {
    // 19 of 20 are 95 %: the threshold is the 19th score, 18, and 3 of 5 OOD scores are at most that.
    const ood = [0, 17, 18, 19, 50];
    expect(detection(range(20), ood)).toMatchObject({ threshold: 18, fpr95: 0.6 });
    // All five must be rejected, so everything from 0 on is.
    expect(detection(range(20), ood).fpr95OodPositive).toBe(1);
    // Of 100 OOD scores five may be kept: rejecting starts at 5, and 15 of 20 ID scores are at least that.
    expect(detection(range(20), range(100)).fpr95OodPositive).toBeCloseTo(0.75, 12);
  });

  it("agrees with counting all pairs", () => {
    const random = seededRandom(3);
    const id = Array.from({ length: 70 }, () => random.integer(0, 12));
    const ood = Array.from({ length: 45 }, () => random.integer(4, 16));
    let pairs = 0;
    for (const x of id) for (const y of ood) pairs += y > x ? 1 : y === x ? 0.5 : 0;
    expect(detection(id, ood).auroc).toBeCloseTo(pairs / (70 * 45), 12);
    expect(detection(id, ood).auroc + detection(ood, id).auroc).toBeCloseTo(1, 12);
  });

  it("refuses empty sets and scores that are not finite", () => {
    expect(() => detection([], [1])).toThrow("there are no ID scores");
    expect(() => detection([1], [])).toThrow("there are no OOD scores");
    expect(() => detection([1, Number.NaN], [1])).toThrow("ID score 1 is NaN, expected a finite number");
    expect(() => detection([1], [Number.POSITIVE_INFINITY])).toThrow(InputError);
  });
});

describe("rocCurve", () => {
  it("goes from nothing to everything and never back, and its area is the AUROC", () => {
    const random = seededRandom(4);
    const id = random.floats(150);
    const ood = random.floats(90).map((x) => x + 1);
    const curve = rocCurve(id, ood, 1000);
    expect(curve[0]).toEqual({ id: 0, ood: 0 });
    expect(curve.at(-1)).toEqual({ id: 1, ood: 1 });
    let area = 0;
    for (let i = 1; i < curve.length; i++) {
      const [from, to] = [curve[i - 1]!, curve[i]!];
      expect(to.id).toBeGreaterThanOrEqual(from.id);
      expect(to.ood).toBeGreaterThanOrEqual(from.ood);
      area += ((to.ood - from.ood) * (to.id + from.id)) / 2;
    }
    expect(area).toBeCloseTo(detection(id, ood).auroc, 12);
    expect(rocCurve(id, ood, 10).length).toBeLessThanOrEqual(11);
  });
});

const missing = hasShared ? "" : " (skipped: the shared references are not here)";
describe.skipIf(!hasShared)(`scores of an independent implementation${missing}`, () => {
  it.each(["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"])("%s", async (model) => {
    const { ood } = referenceMeasures(model);
    for (const [score, expected] of [
      ["trajectory_score", ood.trajectory],
      ["knn50_score", ood.knn50_mean_of_first_2000_train],
    ] as const) {
      const of = async (set: string) => Float64Array.from((await referenceTensor(model, set)).data, Number);
      const found = detection(await of(`ood.id.${score}`), await of(`ood.ood_notmnist.${score}`));
      expect(Math.abs(found.auroc - expected.auroc)).toBeLessThan(1e-4);
      expect(Math.abs(found.fpr95 - expected.fpr95)).toBeLessThan(0.002);
    }
  });
});
