import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { ContractionRecord } from "../../src/analysis/contraction.js";
import type { SpeedRecord } from "../../src/dynamics/speed.js";
import { readRun } from "../../src/runs/run.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { exampleModel, latdyn } from "./latdyn.js";

describe("latdyn speed, contraction and --no-verify", () => {
  it("speed: a table, and the folder whole", async () => {
    const cwd = temporaryFolder();
    const args = ["speed", exampleModel, "--from", "noise:20", "--out", "speed", "--threads", "1"];
    const { code, stdout, stderr } = await latdyn(args, { cwd });
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^noise: 20 of 20 points converged/m);
    expect(stdout).toMatch(/^spectral radius +20 /m);
    expect(readdirSync(join(cwd, "speed")).sort()).toEqual([
      "report.html",
      "speed.json",
      "speed.safetensors",
    ]);
    const again = await latdyn(args, { cwd });
    expect(again.code).toBe(2);
    expect(again.stderr).toMatch(/exists already/);
  });

  it("speed --json: one object with the three rates", async () => {
    const cwd = temporaryFolder();
    const args = ["speed", exampleModel, "--from", "a=noise:5", "--json", "--no-report", "--threads", "1"];
    const { code, stdout } = await latdyn(args, { cwd });
    expect(code).toBe(0);
    const { summary } = JSON.parse(stdout) as SpeedRecord;
    expect(summary.a.spectralRadius.used + summary.a.spectralRadius.atLeastOne).toBe(5);
    expect(Object.keys(summary.a)).toEqual([
      "points",
      "converged",
      "attractors",
      "meanIterations",
      "spectralNorm",
      "spectralRadius",
      "observedRate",
    ]);
  });

  it("contraction --json", async () => {
    const cwd = temporaryFolder();
    const args = [
      "contraction",
      exampleModel,
      "--scheme",
      "kaiming",
      "lecun",
      "--seeds",
      "2",
      "--inputs",
      "16",
    ];
    const { code, stdout } = await latdyn([...args, "--noise", "2", "--json", "--no-report"], { cwd });
    expect(code).toBe(0);
    const { summary } = JSON.parse(stdout) as ContractionRecord;
    expect(Object.keys(summary.initialisation)).toEqual(["kaiming", "lecun"]);
    expect(Object.keys(summary.local)).toEqual(["noise", "far"]);
  });

  it.each([
    [["speed", exampleModel, "--from", "noise:x"], /N is "x"/],
    [["speed", exampleModel, "--tolerance", "0"], /tolerance is 0/],
    [["contraction", exampleModel, "--scheme", "he"], /Allowed choices/],
    [["contraction", exampleModel, "--seeds", "0"], /seeds is 0/],
    [["contraction", exampleModel, "--far", "-1", "--seeds", "1"], /scale is -1/],
  ])("%j ends with 2 and one sentence", async (args, sentence) => {
    const cwd = temporaryFolder();
    const { code, stdout, stderr } = await latdyn(args, { cwd });
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(sentence);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(existsSync(join(cwd, "runs"))).toBe(false);
  });

  it("attractors stores the spectra, and leaves them out with --no-verify", async () => {
    const cwd = temporaryFolder();
    const args = ["attractors", exampleModel, "--from", "noise:10", "--no-report", "--threads", "1"];
    await latdyn([...args, "--out", "with"], { cwd });
    const verified = await readRun(join(cwd, "with"));
    expect(verified.record.summary.noise.verified).toBe(verified.sets[0].attractors.rows);
    expect(verified.sets[0].spectralRadius?.[0]).toBeLessThan(1);
    await latdyn([...args, "--out", "without", "--no-verify"], { cwd });
    const plain = await readRun(join(cwd, "without"));
    expect(plain.record.summary.noise.verified).toBeUndefined();
    expect(plain.sets[0].spectralNorm).toBeNull();
  });
});
