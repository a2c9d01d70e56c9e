/** What a machine without a CUDA device says, and the tests of the one there is (device.test.mjs). */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { deduplicate } from "../../src/analysis/deduplicate.js";
import { knnScore } from "../../src/analysis/knn.js";
import { nearest } from "../../src/analysis/nearest.js";
import { matchingPursuit } from "../../src/analysis/omp.js";
import { deviceNumber } from "../../src/device.js";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { noise } from "../../src/dynamics/points.js";
import { engineOf } from "../../src/engines/choose.js";
import { DeviceError, InputError } from "../../src/errors.js";
import { lower } from "../../src/graph/lower.js";
import { native } from "../../src/native.js";
import { scaling } from "../support/maps.js";

const { reason, devices } = native().cuda();
const rows = { data: Float32Array.of(1, 0, 0, 1, 2, 0), rows: 3, columns: 2 };

describe("device", () => {
  it("is the CPU by default, and by its name", () => {
    expect([deviceNumber(), deviceNumber("cpu")]).toEqual([-1, -1]);
  });

  it("auto is the first CUDA device, or the CPU", () => {
    expect(deviceNumber("auto")).toBe(reason === null ? 0 : -1);
  });

  it("refuses other names", () => {
    for (const device of ["gpu", "cuda:", "cuda:x", "CUDA", "cuda:123", ""]) {
      expect(() => deviceNumber(device)).toThrow(InputError);
      expect(() => deviceNumber(device)).toThrow(/expected auto, cpu, cuda or cuda:INDEX/);
    }
  });

  it("every kernel takes auto", async () => {
    const device = "auto";
    expect((await nearest("nearest", rows, rows, "cosine", { device })).aIndex).toEqual(
      Int32Array.of(0, 1, 0),
    );
    expect((await knnScore(rows, rows, { neighbours: 2, device })).score).toEqual(
      Float64Array.of(0.5, Math.SQRT2 / 2, 0.5),
    );
    expect((await deduplicate(rows, { device })).labels).toEqual(Int32Array.of(0, 1, 0));
    expect((await deduplicate(rows, { rule: "components", device })).labels).toEqual(Int32Array.of(0, 1, 0));
    expect((await matchingPursuit(rows, rows, { sparsities: [1], device }))[0].support).toEqual(
      Int32Array.of(0, 1, 0),
    );
  });

  it.skipIf(reason === null)("says why CUDA cannot be used, and goes on", async () => {
    expect(devices).toEqual([]);
    for (const call of [
      nearest("nearest", rows, rows, "cosine", { device: "cuda" }),
      knnScore(rows, rows, { neighbours: 1, device: "cuda:0" }),
      deduplicate(rows, { device: "cuda" }),
      deduplicate(rows, { rule: "components", device: "cuda" }),
      matchingPursuit(rows, rows, { sparsities: [1], device: "cuda" }),
    ]) {
      await expect(call).rejects.toThrow(DeviceError);
      await expect(call).rejects.toThrow(`: ${reason}`);
    }
    // And so does the addon itself.
    const { promise } = native().knnScore(rows.data, rows.data, 2, {
      neighbours: 1,
      rule: "mean",
      normalise: false,
      threads: 1,
      device: 0,
    });
    await expect(promise).rejects.toMatchObject({
      code: "ERR_LATDYN_DEVICE",
      message: `CUDA cannot be used: ${reason}`,
    });
    expect((await deduplicate(rows, { device: "auto" })).labels.length).toBe(3);
  });

  it.skipIf(reason === null)("of a model: an error where it is named, the CPU where it is auto", async () => {
    const from = { noise: noise(4) };
    const call = findAttractors(scaling("half", 2, 0.5), { from, device: "cuda" });
    await expect(call).rejects.toThrow(DeviceError);
    await expect(call).rejects.toThrow(`device is "cuda": ${reason}`);
    const run = await findAttractors(scaling("half", 2, 0.5), { from, device: "auto" });
    expect(run.record).toMatchObject({ options: { device: "cpu" }, device: { kind: "cpu" } });
    const engine = engineOf(scaling("half", 2, 0.5), { device: "auto", precision: "bf16" });
    await expect(engine).rejects.toThrow(
      'precision is "bf16", which is for CUDA; device is "auto", which here',
    );
    // And of the addon itself.
    const { map } = scaling("half", 2, 0.5);
    expect(() => native().compile(lower(map!), { device: 0 })).toThrow(`CUDA cannot be used: ${reason}`);
  });

  it.for(["device", "models"])(
    "%s.test.mjs passes, or is skipped by name where there is no device",
    { timeout: 300_000 },
    (name, { skip }) => {
      const file = fileURLToPath(new URL(`${name}.test.mjs`, import.meta.url));
      const { status, stdout } = spawnSync(process.execPath, ["--test", "--test-reporter=tap", file], {
        encoding: "utf8",
        // The runner of this test is one too, and node's takes its children for its own.
        env: { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: undefined },
      });
      expect({ status, stdout }).toMatchObject({ status: 0 });
      if (reason !== null) {
        expect(stdout).toMatch(/SKIP skipped: no CUDA device \(.+\)/);
        skip(`skipped: no CUDA device (${reason})`);
      }
    },
  );
});
