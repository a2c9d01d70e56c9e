import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.js";
import { latents, noise } from "../../src/dynamics/points.js";
import { convergenceSpeed, observedRate, predictedIterations } from "../../src/dynamics/speed.js";
import { pearson, ranks, spearman } from "../../src/dynamics/speedCorrelation.js";
import { AbortedError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { speedReport } from "../../src/report/speedReport.js";
import { runSpeed } from "../../src/runs/speedRun.js";
import { affine, flat, rotation, scaling } from "../support/maps.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

describe("correlations", () => {
  it("Pearson's of a line is ±1, of nothing that varies none", () => {
    expect(pearson([1, 2, 3], [2, 4, 6])).toBeCloseTo(1, 12);
    expect(pearson([1, 2, 3], [3, 2, 1])).toBeCloseTo(-1, 12);
    expect(pearson([1, 2, 3], [1, 3, 2])).toBeCloseTo(0.5, 12);
    expect(pearson([1, 1], [1, 2])).toBeNull();
    expect(pearson([1], [1])).toBeNull();
    expect(pearson([], [])).toBeNull();
  });

  it("ranks share the mean of what equal values take up", () => {
    expect([...ranks([10, 20, 20, 5])]).toEqual([2, 3.5, 3.5, 1]);
    expect([...ranks([7, 7, 7])]).toEqual([2, 2, 2]);
  });

  it("Spearman's sees the order alone", () => {
    expect(spearman([1, 2, 3, 4], [1, 8, 27, 1000])).toBeCloseTo(1, 12);
    // Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5/√(4.5·5)
    expect(spearman([1, 2, 2, 3], [1, 2, 3, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12);
  });
});

describe("predictions", () => {
  it("follow the formula, and have no value where it has none", () => {
    expect(predictedIterations(1, 0.1, 1e-3)).toBeCloseTo(3, 12);
    expect(predictedIterations(1, 1, 1e-3)).toBeNaN();
    expect(predictedIterations(1, 2, 1e-3)).toBeNaN();
    expect(predictedIterations(1, Number.NaN, 1e-3)).toBeNaN();
    expect(predictedIterations(1, 0, 1e-3)).toBe(0);
    expect(predictedIterations(1e-4, 0.5, 1e-3)).toBe(0);
  });

  it("a rate is observed on squared steps", () => {
    expect(observedRate([1, 0.25, 0.0625])).toBeCloseTo(0.5, 12);
    expect(observedRate([1])).toBeNaN();
    expect(observedRate([1, 0])).toBeNaN();
  });
});

describe("convergenceSpeed", () => {
  it("of a scaling: all three rates are the factor, and the prediction is right to two steps", async () => {
    using model = scaling("scale", 3, 0.8);
    const { sets, record } = await convergenceSpeed(model, { from: { noise: noise(50) }, threads: 1 });
    const [{ set, rate, predicted }] = sets;
    for (let i = 0; i < 50; i++) {
      expect(rate.spectralNorm[i]).toBeCloseTo(0.8, 5);
      expect(rate.spectralRadius[i]).toBeCloseTo(0.8, 5);
      expect(rate.observedRate[i]).toBeCloseTo(0.8, 3);
      // The step is (1 − 0.8) of the distance: log 0.2 / log 0.8 ≈ 7.2 steps sooner below the tolerance, one later.
      expect(Math.abs(predicted.spectralRadius[i] - 7.2 + 1 - set.iterations[i])).toBeLessThan(2);
    }
    const { spectralNorm } = record.summary.noise;
    expect(spectralNorm).toMatchObject({ used: 50, atLeastOne: 0, unknown: 0 });
    expect(spectralNorm.pearson).toBeGreaterThan(0.95);
    expect(spectralNorm.spearman).toBeGreaterThan(0.9);
  });

  it("counts points where the norm is at least 1 and still predicts from the radius", async () => {
    using model = affine("shear", [0.5, 10, 0, 0.25], [0, 0]);
    const { record } = await convergenceSpeed(model, { from: { noise: noise(30) }, threads: 1 });
    const { spectralNorm, spectralRadius } = record.summary.noise;
    expect(spectralNorm).toMatchObject({ used: 0, atLeastOne: 30, pearson: null, meanPredicted: null });
    expect(spectralRadius).toMatchObject({ used: 30, atLeastOne: 0 });
  });

  it("points that never converge, points at rest and no points leave no NaN in the record", async () => {
    using turn = rotation("turn", 1);
    using still = flat("flat", [1, 2]);
    const none = latents(matrix(new Float32Array(0), 2));
    const at = latents(matrix(Float32Array.of(1, 2), 2));
    for (const model of [turn, still]) {
      const { record, sets } = await convergenceSpeed(model, {
        from: { noise: noise(5), none, at },
        maxIterations: 20,
        threads: 1,
      });
      expect(record.summary.none).toMatchObject({ points: 0, spectralNorm: { used: 0, pearson: null } });
      const numbers: unknown[] = [];
      JSON.stringify(record, (_, value) => {
        if (typeof value === "number") numbers.push(value);
        return value;
      });
      expect(numbers.every(Number.isFinite)).toBe(true);
      expect(await speedReport({ record, sets }, "1.0.0")).toContain("<!doctype html>");
    }
  });

  it("stops when told to", async () => {
    using model = rotation("turn", 1);
    const signal = AbortSignal.abort();
    await expect(convergenceSpeed(model, { from: { noise: noise(5) }, signal })).rejects.toThrow(
      AbortedError,
    );
  });
});

describe.skipIf(!hasShared)("on a trained model (skipped where the shared folder is missing)", () => {
  it("writes the folder; the radius tells the order of the counts", async () => {
    const folder = join(temporaryFolder(), "speed");
    const { speed } = await runSpeed(sharedPath("models", "mnist-conv-k16"), {
      from: {
        train: latents(`${sharedPath("reference", "mnist-conv-k16.safetensors")}#train.seeds`, {
          count: 128,
        }),
      },
      out: folder,
      threads: 2,
    });
    const { converged, spectralNorm, spectralRadius, observedRate } = speed.record.summary.train;
    for (const { used, atLeastOne, unknown } of [spectralNorm, spectralRadius, observedRate]) {
      expect(used + atLeastOne + unknown).toBe(converged);
    }
    expect(spectralRadius.spearman).toBeGreaterThan(0.7);
    expect(JSON.parse(readFileSync(join(folder, "speed.json"), "utf8"))).toEqual(
      JSON.parse(JSON.stringify(speed.record)),
    );
    const { tensors } = await readSafetensors(join(folder, "speed.safetensors"));
    expect(tensors.get("predicted.spectral_radius")?.shape).toEqual([128]);
    expect(readFileSync(join(folder, "report.html"), "utf8")).toContain("From the spectral radius");
  });
});
