/** Fields, probes and trajectories from the example's files to their folders. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { readSafetensors, writeSafetensors } from "../../src/data/safetensors.js";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { data, noise } from "../../src/dynamics/points.js";
import { InputError } from "../../src/errors.js";
import { readAttractors } from "../../src/runs/attractorSource.js";
import { readPlane, runField } from "../../src/runs/fieldRun.js";
import { runProbe } from "../../src/runs/probeRun.js";
import { writeRun } from "../../src/runs/run.js";
import { runTrajectories } from "../../src/runs/trajectoryRun.js";
import { scaling } from "../support/maps.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const example = fileURLToPath(new URL("../../examples/mnist/", import.meta.url));
const model = join(example, "mnist-conv-k16");
const images = join(example, "train-images-1000.idx3-ubyte.gz");
const folder = temporaryFolder();

/** A run of the identity: every point is an attractor. */
async function runOf(name: string, k: number, sets: Record<string, number>): Promise<string> {
  const from = Object.fromEntries(Object.entries(sets).map(([set, points]) => [set, noise(points)]));
  const run = await findAttractors(scaling(name, k, 1), { from, rule: "euclidean", distance: 1e-6 });
  const path = join(folder, name);
  await writeRun(path, run, { report: null });
  return path;
}

const oneSet = await runOf("one-set", 16, { noise: 5 });
const twoSets = await runOf("two-sets", 16, { a: 4, b: 6 });
const narrow = await runOf("narrow", 3, { noise: 5 });
const empty = await runOf("empty", 16, { noise: 0 });

describe("attractors from elsewhere", () => {
  it("are a run's, one of its sets', or rows of a file", async () => {
    expect((await readAttractors(oneSet, 16)).attractors).toMatchObject({ rows: 5, columns: 16 });
    expect((await readAttractors(`${twoSets}#b`, 16)).attractors).toMatchObject({ rows: 6, columns: 16 });
    const file = join(folder, "rows.safetensors");
    await writeSafetensors(file, { points: { shape: [2, 16], data: new Float32Array(32).fill(1) } });
    const found = await readAttractors(`${file}#points`, 16);
    expect(found).toMatchObject({ attractors: { rows: 2, columns: 16 }, notes: [] });
  });

  it.each([
    [
      "several sets and no name",
      () => readAttractors(twoSets, 16),
      /holds 2 sets of points; pick one with ".*#NAME" \(a, b\)/,
    ],
    [
      "a set that is not there",
      () => readAttractors(`${twoSets}#c`, 16),
      /no set of points called "c".*a, b/,
    ],
    ["another width", () => readAttractors(narrow, 16), /3 elements a row, the model's latents have 16/],
    ["no attractor", () => readAttractors(empty, 16), /holds no attractor/],
    ["no such path", () => readAttractors(join(folder, "nowhere"), 16), /nowhere/],
  ])("are refused: %s", async (_, read, message) => {
    await expect(read()).rejects.toThrow(message);
    await expect(read()).rejects.toBeInstanceOf(InputError);
  });
});

describe("a plane in words", () => {
  it("is rows of what the field finds, or of a run", async () => {
    expect(await readPlane("attractors:0,2,5", 16)).toEqual({ attractors: [0, 2, 5] });
    expect(await readPlane("points:7,8,9", 16)).toEqual({ initial: [7, 8, 9] });
    expect(await readPlane(`${oneSet}#4,0,1`, 16)).toMatchObject({ points: { rows: 3, columns: 16 } });
    expect(await readPlane(`${twoSets}#b:4,5,1`, 16)).toMatchObject({ points: { rows: 3 } });
  });

  it.each([
    ["attractors:1,2", /expected attractors:I,J,K/],
    ["points:1,2,x", /expected attractors:I,J,K/],
    [`${oneSet}#0,1,5`, /row 5 was asked for, there are 5 attractors/],
    [`${twoSets}#0,1,2`, /pick one/],
    [`${narrow}#0,1,2`, /3 elements a row/],
    ["nowhere#0,1,2", /no run folder nowhere/],
  ])("%s is refused", async (text, message) => {
    await expect(readPlane(text, 16)).rejects.toThrow(message);
    await expect(readPlane(text, 16)).rejects.toBeInstanceOf(InputError);
  });
});

describe("folders of measures", () => {
  it("a field's holds picture, numbers and page, which agree", async () => {
    const out = join(folder, "deep", "field");
    const plane = `${oneSet}#0,1,2`;
    const { field } = await runField(model, {
      plane,
      from: noise(20),
      resolution: 8,
      maxIterations: 300,
      out,
    });
    expect(readdirSync(out).sort()).toEqual([
      "attractors.safetensors",
      "field.json",
      "field.safetensors",
      "field.svg",
      "report.html",
    ]);
    expect(JSON.parse(readFileSync(join(out, "field.json"), "utf8"))).toEqual(
      JSON.parse(JSON.stringify(field.record)),
    );
    const { tensors } = await readSafetensors(join(out, "field.safetensors"));
    const shape = [field.y.length, field.x.length];
    expect(tensors.get("displacement")).toMatchObject({ shape: [...shape, 2], data: field.displacement });
    expect(tensors.get("label")).toMatchObject({ shape, data: field.grid.label });
    expect(readFileSync(join(out, "field.svg"), "utf8")).toMatch(/^<svg [\s\S]*<\/svg>\s*$/);
    await expect(runField(model, { out })).rejects.toThrow(/exists already/);
  });

  it("a probe's holds the dictionary and what was chosen from it", async () => {
    const out = join(folder, "probe");
    const { probe } = await runProbe(model, {
      data: { train: data(images) },
      atoms: 40,
      scale: 20,
      maxSignals: 12,
      sparsity: [0.25, 16],
      maxIterations: 100,
      pictures: 3,
      out,
    });
    expect(readdirSync(out).sort()).toEqual([
      "dictionary.safetensors",
      "probe.json",
      "probe.safetensors",
      "report.html",
    ]);
    const { tensors } = await readSafetensors(join(out, "probe.safetensors"));
    expect([...tensors.keys()].sort()).toEqual([
      "K16.coefficients",
      "K16.residual_norm",
      "K16.support",
      "K4.coefficients",
      "K4.residual_norm",
      "K4.support",
      "signals",
    ]);
    expect(tensors.get("K4.support")?.shape).toEqual([12, 4]);
    const [set] = probe.sets;
    // All terms of the basis rebuild the latent, so that its decoded form misses the input as the autoencoder does.
    expect(set.bySparsity[1].orthonormal.decoded).toBeLessThan(1e-9);
    expect(set.bySparsity[1].orthonormal.input).toBeCloseTo(set.reconstruction as number, 6);
    // The latent error by decoded vectors is the residual that pursuit reports.
    const residuals = set.selections[0].residualNorm.reduce((sum, value) => sum + value * value, 0);
    expect(set.bySparsity[0].attractors.latent).toBeCloseTo(residuals / (12 * 16), 4);
    const page = readFileSync(join(out, "report.html"), "utf8");
    // Input, decoded latent, and two sparsities of two dictionaries.
    expect(page.match(/<img /g)).toHaveLength(3 * 6);
    expect(page).not.toMatch(/NaN|undefined/);
  });

  it("of trajectories holds paths, steps, scores and curves", async () => {
    const out = join(folder, "trajectories");
    const { run } = await runTrajectories(model, {
      from: { a: noise(6), b: data(images, { count: 3 }) },
      steps: 12,
      attractors: oneSet,
      curves: 4,
      out,
    });
    expect(run.record.options).toMatchObject({ attractors: 5, attractorsFrom: oneSet });
    const { tensors } = await readSafetensors(join(out, "trajectories.safetensors"));
    expect(tensors.get("a.paths")?.shape).toEqual([6, 6, 16]);
    expect(tensors.get("a.steps")).toMatchObject({ shape: [6], data: Int32Array.of(0, 1, 2, 5, 10, 12) });
    expect(tensors.get("a.residual")?.shape).toEqual([4, 12]);
    expect(tensors.get("b.distance")?.shape).toEqual([3, 13]);
    expect(tensors.get("b.score")).toMatchObject({ shape: [3], data: run.sets[1].score });
    expect(existsSync(join(out, "report.html"))).toBe(true);
    // Streamed: no paths, no page.
    const streamed = join(folder, "streamed");
    const { run: scores } = await runTrajectories(model, {
      from: { a: noise(6) },
      steps: 12,
      attractors: oneSet,
      store: [],
      report: false,
      out: streamed,
    });
    expect(scores.sets[0].score).toEqual(run.sets[0].score);
    expect(readdirSync(streamed).sort()).toEqual(["trajectories.json", "trajectories.safetensors"]);
  });

  it("are replaced only where they hold nothing else, and never in part", async () => {
    const out = join(folder, "replaced");
    const options = { from: { a: noise(2) }, steps: 2, out };
    await runTrajectories(model, options);
    await runTrajectories(model, { ...options, overwrite: true, report: false });
    expect(existsSync(join(out, "report.html"))).toBe(false);
    writeFileSync(join(out, "thesis.tex"), "");
    await expect(runTrajectories(model, { ...options, overwrite: true })).rejects.toThrow(/thesis.tex/);
    const aborted = join(folder, "aborted");
    const signal = AbortSignal.abort();
    await expect(runTrajectories(model, { ...options, out: aborted, signal })).rejects.toThrow(/abort/);
    expect(existsSync(aborted)).toBe(false);
    mkdirSync(aborted);
    await expect(runProbe(model, { data: { x: data(images) }, out: aborted })).rejects.toThrow(
      /exists already/,
    );
  });
});
