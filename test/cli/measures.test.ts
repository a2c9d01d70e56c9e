/** memorization, ood, rank and similarity on the example model, from its files to a folder. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { ComparisonRecord } from "../../src/analysis/comparison.js";
import type { MemorizationRecord } from "../../src/analysis/memorization.js";
import type { OodRecord } from "../../src/analysis/ood.js";
import type { RankRecord } from "../../src/analysis/rank.js";
import { writeNpy } from "../../src/data/npy.js";
import { readSafetensors } from "../../src/data/safetensors.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { exampleFolder, exampleModel, latdyn } from "./latdyn.js";

const cwd = temporaryFolder();
const images = join(exampleFolder, "train-images-1000.idx3-ubyte.gz");
const run = (...args: string[]) => latdyn([...args, "--threads", "2"], { cwd });

beforeAll(async () => {
  const from = ["--from", `data:${images}:60`, "--from", "noise:30"];
  for (const [out, tolerance] of [
    ["one", "1e-6"],
    ["two", "1e-5"],
  ] as const) {
    const args = [...from, "--tolerance", tolerance, "--out", out, "--no-report", "--no-verify"];
    const { code, stderr } = await run("attractors", exampleModel, ...args);
    expect(stderr).toBe("");
    expect(code).toBe(0);
  }
  const random = seededRandom(71);
  const noisy = Float32Array.from({ length: 40 * 784 }, () => random.uniform());
  await writeNpy(join(cwd, "noisy.npy"), { shape: [40, 28, 28], data: noisy });
}, 60_000);

async function recordOf<Record>(...args: string[]): Promise<Record> {
  const { code, stdout } = await run(...args, "--json");
  expect(code).toBe(0);
  expect(stdout).not.toMatch(/NaN|Infinity/);
  return JSON.parse(stdout) as Record;
}

it("attractors says it in a sentence where everything falls to one point, or nothing comes to rest", async () => {
  const one = await run("attractors", exampleModel, "--from", "noise:30", "--out", "flat", "--no-report");
  expect(one.stdout).toMatch(/^warning \(noise\): Everything that converged \(30 of 30 points\)/m);
  const none = await run(
    ...["attractors", exampleModel, "--from", "noise:30", "--max-iterations", "2"],
    ...["--out", "moving", "--no-report"],
  );
  expect(none.stdout).toMatch(/^warning \(noise\): Nothing converged: of 30 finished points/m);
});

describe("memorization", () => {
  it("of a finished run", async () => {
    const args = ["memorization", "one#data", "--train", `${images}:200`, "--held-out", "noisy.npy"];
    const found = await recordOf<MemorizationRecord>(...args, "--out", "memory");
    const { attractors, heldOut, initial } = found.coefficient;
    expect(found.run).toEqual({ folder: "one", set: "data" });
    expect(found).toMatchObject({ options: { engine: "native" }, device: { kind: "cpu" } });
    expect(attractors.count).toBe(found.summary.attractors);
    expect(attractors.mean).toBeGreaterThan(0.5);
    expect(heldOut).toMatchObject({ count: 40 });
    expect(initial).toMatchObject({ count: 60 });
    expect(initial!.mean!).toBeGreaterThan(heldOut!.mean!);
    expect(found.errors?.heldOut?.prototype.mean).toBeGreaterThan(found.errors!.training.prototype.mean!);
    expect(readdirSync(join(cwd, "memory")).sort()).toEqual([
      "memorization.json",
      "memorization.safetensors",
      "report.html",
    ]);
    expect(JSON.parse(readFileSync(join(cwd, "memory", "memorization.json"), "utf8"))).toEqual(found);
    const { tensors } = await readSafetensors(join(cwd, "memory", "memorization.safetensors"));
    expect(tensors.get("coefficient")?.shape).toEqual([attractors.count]);
    expect(tensors.get("training.prototype_error")?.shape).toEqual([200]);
    const page = readFileSync(join(cwd, "memory", "report.html"), "utf8");
    expect(page.match(/<img /g)).toHaveLength(2 * attractors.count);
  });

  it("of a model, from its training inputs", async () => {
    const { code, stdout } = await run(
      ...["memorization", exampleModel, "--train", `${images}:50`, "--out", "m", "--no-report"],
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^attractors +\d+ /m);
    expect(stdout).toMatch(/^note: Without held-out inputs/m);
    expect(existsSync(join(cwd, "m", "report.html"))).toBe(false);
  });
});

describe("ood", () => {
  it("tells random pixels from digits, by a finished run's attractors", async () => {
    const found = await recordOf<OodRecord>(
      ...["ood", exampleModel, "--train", `${images}:300`, "--id", `${images}:60`],
      ...["--ood", "noisy=noisy.npy", "--attractors", "one#data", "--steps", "10", "--out", "ood"],
    );
    expect(found.options).toMatchObject({ neighbours: 300, attractors: "one#data", steps: 10 });
    expect(found).toMatchObject({ options: { engine: "native" }, device: { kind: "cpu" } });
    expect(found.notes.some(({ text }) => text.includes("K is 300 instead of 2000"))).toBe(true);
    expect(Object.keys(found.detection.noisy!)).toEqual([
      "trajectory",
      "knn",
      "mahalanobis",
      "reconstruction",
    ]);
    expect(found.detection.noisy!.reconstruction).toMatchObject({ auroc: 1, fpr95: 0 });
    const { tensors } = await readSafetensors(join(cwd, "ood", "ood.safetensors"));
    expect(tensors.get("id.trajectory")?.shape).toEqual([60]);
    expect(tensors.get("noisy.knn")?.shape).toEqual([40]);
    expect(readFileSync(join(cwd, "ood", "report.html"), "utf8").match(/<svg /g)).toHaveLength(5);
  });
});

it("rank of a run's decoded attractors", async () => {
  const found = await recordOf<RankRecord>("rank", "one#data", "--out", "rank");
  expect(found.spectrum).toHaveLength(found.attractors);
  expect(found.rank90).toBeGreaterThan(0);
  expect(found.rank90).toBeLessThanOrEqual(found.attractors);
  const single = await recordOf<RankRecord>("rank", "one#noise", "--centred", "--out", "rank-noise");
  expect(single).toMatchObject({ attractors: 1, rank90: 0, spectrum: [0] });
  expect(readFileSync(join(cwd, "rank-noise", "report.html"), "utf8")).toContain(
    "Every singular value is zero",
  );
});

it("similarity of two runs over the same points, set by set", async () => {
  const { sets } = await recordOf<ComparisonRecord>("similarity", "one", "two", "--out", "same");
  expect(Object.keys(sets)).toEqual(["data", "noise"]);
  expect(sets.data!.similarity!.cosine).toBeGreaterThan(0.99);
  expect(sets.data!.basins!.points).toBe(60);
  expect(sets.data!.basins!.adjustedRand).toBeGreaterThan(0.9);
  const { tensors } = await readSafetensors(join(cwd, "same", "similarity.safetensors"));
  expect(tensors.get("data.label_a")?.shape).toEqual([60]);
  const best = Array.from(tensors.get("data.cosine_a")!.data, Number);
  expect(best).toHaveLength(sets.data!.first.attractors);
  const mean = best.reduce((sum, value) => sum + value, 0) / best.length;
  expect(mean).toBeCloseTo(sets.data!.similarity!.cosineAToB, 6);
  const other = await recordOf<ComparisonRecord>("similarity", "one#data", "two#noise", "--out", "other");
  expect(other.sets["data~noise"]).toMatchObject({ basins: null });
  expect(other.sets["data~noise"]!.notes[0]!.text).toContain("the sets have 60 and 30 points");
  const itself = await recordOf<ComparisonRecord>("similarity", "one", "one", "--out", "itself");
  expect(itself.sets.data!.similarity).toMatchObject({ cosineAToB: expect.closeTo(1, 12), euclidean: 0 });
  expect(itself.sets.data!.basins).toMatchObject({ adjustedRand: 1, jaccard: 1 });
});

describe("bad input ends with 2, one sentence and nothing written", () => {
  const train = ["--train", `${images}:20`];
  const refused: [string, string[], string][] = [
    ["two sets and none picked", ["memorization", "one", ...train], 'pick one with "one#NAME"'],
    ["a set there is none of", ["memorization", "one#x", ...train], 'no set of points called "x"'],
    [
      "--from for a run",
      ["memorization", "one#data", ...train, "--from", "noise:3"],
      "--from goes with a model",
    ],
    ["--model for a model", ["memorization", exampleModel, ...train, "--model", "x"], "--model goes with"],
    ["a folder that is there", ["memorization", "one#data", ...train, "--out", "two"], "exists already"],
    [
      "ID and OOD of one file",
      ["ood", exampleModel, ...train, "--id", images, "--ood", `a=${images}`],
      "are the same data",
    ],
    [
      "ID and OOD that begin alike",
      ["ood", exampleModel, ...train, "--id", `${images}:9`, "--ood", `a=${images}:30`],
      "holds the very inputs of ID",
    ],
    ["an OOD set called id", ["ood", exampleModel, ...train, "--id", images, "--ood", "id=x"], 'called "id"'],
    ["a run and a matrix", ["similarity", "one", "noisy.npy"], "expected two runs or two matrices"],
  ];
  it.each(refused)("%s", async (_, args, sentence) => {
    const { code, stdout, stderr } = await run(
      ...args,
      ...(args.includes("--out") ? [] : ["--out", "refused"]),
    );
    expect(stderr).toContain(sentence);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(existsSync(join(cwd, "refused"))).toBe(false);
  });
});
