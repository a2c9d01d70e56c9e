import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.js";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { latents, noise } from "../../src/dynamics/points.js";
import { verificationIsCheap, verifyAttractors, verifyPoints } from "../../src/dynamics/verification.js";
import { InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { readRun, writeRun } from "../../src/runs/run.js";
import { affine, flat, rotation } from "../support/maps.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

describe("verifyPoints", () => {
  it("a contraction's fixed point is verified; a point elsewhere is not at rest", async () => {
    using model = affine("half", [0.5, 0, 0, 0.25], [0, 0]);
    const found = await verifyPoints(model, matrix(Float32Array.of(0, 0, 1, 1), 2));
    expect([...found.verified]).toEqual([1, 0]);
    expect(found.residual[0]).toBe(0);
    expect(found.residual[1]).toBeCloseTo(0.25 + 0.5625, 6);
    expect([...found.spectralRadius]).toEqual([0.5, 0.5]);
    expect([...found.spectralNorm]).toEqual([0.5, 0.5]);
    expect(found.method).toBe("derivatives");
  });

  it("a norm above 1 is no obstacle, a radius of 1 or more is", async () => {
    using shear = affine("shear", [0.5, 10, 0, 0.25], [0, 0]);
    const found = await verifyPoints(shear, matrix(Float32Array.of(0, 0), 2));
    expect([...found.verified]).toEqual([1]);
    expect(found.spectralNorm[0]).toBeGreaterThan(10);
    // A quarter: its sine and cosine are whole numbers, so that the radius is 1 in float32 too.
    using turn = rotation("turn", Math.PI / 2);
    expect([...(await verifyPoints(turn, matrix(Float32Array.of(0, 0), 2))).verified]).toEqual([0]);
    using saddle = affine("saddle", [0.5, 0, 0, 2], [0, 0]);
    expect([...(await verifyPoints(saddle, matrix(Float32Array.of(0, 0), 2))).verified]).toEqual([0]);
  });

  it("the relative criterion measures the step by the point", async () => {
    using still = flat("flat", [1000, 0]);
    const near = matrix(Float32Array.of(1000.01, 0), 2);
    expect((await verifyPoints(still, near)).verified[0]).toBe(0);
    expect((await verifyPoints(still, near, { criterion: "relative" })).verified[0]).toBe(1);
  });

  it("refuses a tolerance that is none", async () => {
    using model = flat("flat", [1]);
    const point = matrix(Float32Array.of(1), 1);
    await expect(verifyPoints(model, point, { tolerance: 0 })).rejects.toThrow(InputError);
    await expect(verifyPoints(model, point, { tolerance: Number.NaN })).rejects.toThrow("tolerance is NaN");
  });

  it("of no points is empty", async () => {
    using model = flat("flat", [1]);
    expect((await verifyPoints(model, matrix(new Float32Array(0), 1))).verified.length).toBe(0);
  });
});

describe("verifyAttractors", () => {
  it("counts per set, writes the spectra, and reads them back", async () => {
    using model = affine("half", [0.5, 0, 0, 0.25], [1, 1]);
    const run = await findAttractors(model, {
      from: { noise: noise(20), none: latents(matrix(new Float32Array(0), 2)) },
      threads: 1,
    });
    const verified = await verifyAttractors(model, run);
    expect(verified.summary.noise).toMatchObject({ attractors: 1, verified: 1 });
    expect(verified.record.summary.none).toMatchObject({ attractors: 0, verified: 0 });
    expect(run.summary.noise.verified).toBeUndefined();
    const folder = temporaryFolder();
    const path = join(folder, "run");
    await writeRun(path, verified, { report: null });
    const stored = await readRun(path);
    expect([...(stored.sets[0].spectralRadius ?? [])]).toEqual([0.5]);
    expect([...(stored.sets[0].spectralNorm ?? [])]).toEqual([0.5]);
    const { tensors } = await readSafetensors(join(path, "attractors.safetensors"));
    expect(tensors.get("noise.spectral_radius")?.shape).toEqual([1]);
    const without = join(folder, "without");
    await writeRun(without, run, { report: null });
    expect((await readRun(without)).sets[0].spectralNorm).toBeNull();
  });

  it("is done unasked only where it is cheap", () => {
    expect(verificationIsCheap(1000, 16)).toBe(true);
    expect(verificationIsCheap(1000, 256)).toBe(false);
    expect(verificationIsCheap(1, 257)).toBe(false);
  });
});
