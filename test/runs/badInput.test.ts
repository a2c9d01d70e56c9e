/** What no measure can be taken of: one clear sentence and nothing written, or the value that is defined for it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { writeNpy } from "../../src/data/npy.js";
import { readSafetensors, writeSafetensors } from "../../src/data/safetensors.js";
import { data, latents, noise } from "../../src/dynamics/points.js";
import { InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { runComparison } from "../../src/runs/comparisonRun.js";
import { runContraction } from "../../src/runs/contractionRun.js";
import { extractAttractors } from "../../src/runs/extract.js";
import { runField } from "../../src/runs/fieldRun.js";
import { runMemorization } from "../../src/runs/memorizationRun.js";
import { type OodRunOptions, runOod } from "../../src/runs/oodRun.js";
import { runProbe } from "../../src/runs/probeRun.js";
import { runRank } from "../../src/runs/rankRun.js";
import { runSpeed } from "../../src/runs/speedRun.js";
import { runTrajectories } from "../../src/runs/trajectoryRun.js";
import { notFinite } from "../support/findNumbers.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const example = fileURLToPath(new URL("../../examples/mnist/", import.meta.url));
const model = join(example, "mnist-conv-k16");
const images = join(example, "train-images-1000.idx3-ubyte.gz");
const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);
const once = { threads: 1, report: false } as const;

const pictures = (name: string, rows: number, value: number) =>
  writeNpy(file(name), { shape: [rows, 28, 28], data: new Float32Array(rows * 784).fill(value) });

beforeAll(async () => {
  await pictures("none.npy", 0, 0);
  await pictures("nan.npy", 3, Number.NaN);
  await pictures("black.npy", 4, 0);
  await pictures("one.npy", 1, 0.5);
  await pictures("grey.npy", 5, 0.5);
  await writeNpy(file("labels.npy"), { shape: [4], data: Int32Array.of(1, 2, 3, 4) });
  const rows = (name: string, count: number, columns: number, value: number) =>
    writeNpy(file(name), {
      shape: [count, columns],
      data: new Float32Array(count * columns).fill(value),
    });
  await rows("zeros16.npy", 6, 16, 0);
  await rows("one16.npy", 1, 16, 1);
  await rows("none16.npy", 0, 16, 0);
  await rows("nan16.npy", 2, 16, Number.NaN);
  await rows("wide.npy", 2, 17, 1);
  const from = { noise: noise(6) };
  await extractAttractors(model, { ...once, from, out: file("run") });
  await extractAttractors(model, { ...once, from, maxIterations: 1, out: file("restless") });
  await extractAttractors(model, { ...once, from, out: file("cut") });
  // Labels of five points, where run.json says six.
  const points = join(file("cut"), "points.safetensors");
  const { tensors } = await readSafetensors(points);
  const kept = Object.fromEntries(
    [...tensors].map(([name, { shape, data: all }]) => [name, { shape, data: all }]),
  );
  const label = new Int32Array(5);
  await writeSafetensors(points, { ...kept, label: { shape: [5], data: label } } as never);
});

const ood = (options: Partial<OodRunOptions>) => (out: string) =>
  runOod(model, {
    ...once,
    train: `${images}:30`,
    id: `${images}:5`,
    ood: { grey: file("grey.npy") },
    attractors: file("zeros16.npy"),
    steps: 2,
    out,
    ...options,
  });
const memory =
  (train: string, options: object = {}) =>
  (out: string) =>
    runMemorization(model, { ...once, train, out, ...options });
const path = (name: string) => file(name);

describe("is refused, and nothing written", () => {
  it.each<[string, (out: string) => Promise<unknown>, RegExp]>([
    ["memorization: no training input", memory(path("none.npy")), /none.npy: holds no inputs/],
    ["memorization: NaN", memory(path("nan.npy")), /nan.npy: row 0 holds NaN/],
    [
      "memorization: no held-out input",
      memory(`${images}:5`, { heldOut: path("none.npy") }),
      /none.npy: holds no inputs/,
    ],
    [
      "memorization: NaN held out",
      memory(`${images}:5`, { heldOut: path("nan.npy") }),
      /nan.npy: row 0 holds NaN/,
    ],
    ["memorization: labels for images", memory(path("labels.npy")), /labels.npy: row 0 .*1 elements.*1024/],
    [
      "memorization: an unknown rule",
      memory(path("nowhere"), { memorizationRule: "mean" }),
      /rule is "mean", expected one of max, min/,
    ],
    [
      "memorization: an option there is none of, before anything is read",
      memory(path("nowhere"), { heldout: "x" }),
      /unknown option "heldout"/,
    ],
    [
      "memorization: a tolerance for a run",
      (out) => runMemorization(file("run"), { ...once, train: `${images}:5`, tolerance: 1e-3, out }),
      /tolerance is 0.001, but .*run is a finished run/,
    ],
    ["ood: no training input", ood({ train: path("none.npy") }), /none.npy: holds no inputs/],
    ["ood: no ID input", ood({ id: path("none.npy") }), /none.npy: holds no inputs/],
    ["ood: no OOD input", ood({ ood: { a: path("none.npy") } }), /none.npy: holds no inputs/],
    ["ood: NaN", ood({ ood: { a: path("nan.npy") } }), /nan.npy: row 0 holds NaN/],
    ["ood: ID and OOD one file", ood({ ood: { a: `${images}:5` } }), /are the same data/],
    ["ood: ID and OOD begin alike", ood({ ood: { a: `${images}:9` } }), /holds the very inputs of ID/],
    ["ood: one training input", ood({ train: path("one.npy") }), /at least 2 rows, the reference holds 1/],
    ["ood: equal training inputs", ood({ train: path("black.npy") }), /all 4 reference rows are equal/],
    ["ood: attractors of another width", ood({ attractors: path("wide.npy") }), /rows have 17 elements/],
    ["ood: attractors with NaN", ood({ attractors: path("nan16.npy") }), /nan16.npy: row 0 holds NaN/],
    ["ood: no attractor", ood({ attractors: path("none16.npy") }), /holds no attractor/],
    ["ood: a run without attractors", ood({ attractors: path("restless") }), /holds no attractor/],
    [
      "ood: nothing converged",
      ood({ attractors: undefined, maxIterations: 1 }),
      /none of the 30 training points converged.*give some with --attractors/,
    ],
    ["ood: K of nothing, before anything is read", ood({ id: "nowhere", neighbours: 0 }), /K is 0/],
    ["ood: steps below 0, before anything is read", ood({ id: "nowhere", steps: -1 }), /steps is -1/],
    [
      "ood: a misspelt option, before anything is read",
      ood({ id: "nowhere", ...({ neighbors: 5 } as object) }),
      /unknown option "neighbors"/,
    ],
    [
      "ood: a tolerance nobody needs",
      ood({ tolerance: 1e-3 }),
      /tolerance is 0.001, but with attractors given/,
    ],
    [
      "trajectories: no attractor",
      (out) =>
        runTrajectories(model, { ...once, from: { a: noise(2) }, attractors: file("none16.npy"), out }),
      /holds no attractor/,
    ],
    [
      "trajectories: attractors of another width",
      (out) => runTrajectories(model, { ...once, from: { a: noise(2) }, attractors: file("wide.npy"), out }),
      /rows have 17 elements/,
    ],
    [
      "field: no points",
      (out) => runField(model, { ...once, from: noise(0), out }),
      /0 attractors were found, a plane needs three/,
    ],
    [
      "field: a single attractor",
      (out) => runField(model, { ...once, from: noise(20), out }),
      /1 attractor was found, a plane needs three/,
    ],
    [
      "probe: no signals",
      (out) => runProbe(model, { ...once, data: { a: data(file("none.npy")) }, out }),
      /none.npy: holds no rows/,
    ],
    [
      "probe: NaN",
      (out) => runProbe(model, { ...once, data: { a: data(file("nan.npy")) }, out }),
      /nan.npy: the latent of row 0 holds NaN/,
    ],
    [
      "rank: a run without attractors",
      (out) => runRank(file("restless"), { ...once, out }),
      /none of its points/,
    ],
    [
      "rank: a misspelt option",
      (out) => runRank(file("run"), { ...once, ...({ centered: true } as object), out }),
      /unknown option "centered" \(did you mean "centred"\?\)/,
    ],
    [
      "similarity: labels of the wrong length",
      (out) => runComparison(file("cut"), file("run"), { ...once, out }),
      /points.safetensors: "label" is I32 \[5\], run.json expects \[6\]/,
    ],
  ])("%s", async (_, measure, sentence) => {
    const out = file(`out-${Math.random()}`);
    const refused = await measure(out).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(InputError);
    expect((refused as Error).message).toMatch(sentence);
    expect((refused as Error).message).not.toContain("\n");
    expect(existsSync(out)).toBe(false);
  });
});

describe("has a value", () => {
  const out = null;

  it("memorization of black training inputs, and of a single attractor", async () => {
    const { result } = await runMemorization(model, { ...once, train: file("black.npy"), out });
    expect(result.record.coefficient.attractors).toMatchObject({ count: 1, mean: 0, std: 0 });
    expect(notFinite(result.record)).toEqual([]);
  });

  it("memorization without attractors says so, in a whole record", async () => {
    const { result } = await runMemorization(file("restless"), { ...once, train: `${images}:5`, out });
    expect(result.record.coefficient.attractors).toMatchObject({ count: 0, mean: null });
    expect(result.record.errors).toBeNull();
    expect(result.record.notes.map(({ text }) => text).join()).toMatch(
      /Nothing converged.*no attractor to measure/s,
    );
    expect(notFinite(result.record)).toEqual([]);
  });

  it("ood with K beyond the training set and a single attractor, both said", async () => {
    const { result } = await ood({ attractors: file("one16.npy"), neighbours: 1000 })(null as never);
    expect(result.record.options.neighbours).toBe(30);
    const texts = result.record.notes.map(({ text }) => text).join();
    expect(texts).toContain("K is 30 instead of 1000: the whole set");
    expect(texts).toContain("There is one attractor");
    expect(notFinite(result.record)).toEqual([]);
  });

  it("rank and similarity of a single attractor, and of none", async () => {
    const { record } = await runRank(file("run"), { ...once, out });
    expect(record).toMatchObject({ attractors: 1, rank90: 1 });
    const { record: same } = await runComparison(file("run"), file("run"), { ...once, out });
    expect(same.sets.noise?.similarity).toMatchObject({ cosineAToB: expect.closeTo(1, 12), euclidean: 0 });
    const { record: none } = await runComparison(file("run"), file("restless"), { ...once, out });
    expect(none.sets.noise).toMatchObject({ similarity: null, basins: { compared: 0, adjustedRand: null } });
    expect([record, same, none].flatMap((found) => notFinite(found))).toEqual([]);
  });

  it("probe of zero latents, and with fewer atoms than are asked for", async () => {
    const { probe } = await runProbe(model, {
      ...once,
      data: { zero: latents(file("zeros16.npy")), some: data(images) },
      atoms: 2,
      maxSignals: 3,
      out,
    });
    expect(probe.sets[0]?.bySparsity[0]?.attractors).toMatchObject({ decoded: 0, earlyStops: 3 });
    expect(notFinite(probe.record)).toEqual([]);
  });

  it("points that are NaN, one point, and no points: trajectories, speed and contraction", async () => {
    const from = { nan: data(file("nan.npy")), one: noise(1), none: noise(0) };
    const { run } = await runTrajectories(model, {
      ...once,
      from,
      attractors: file("one16.npy"),
      steps: 2,
      out,
    });
    expect(run.summary.nan).toMatchObject({ nonFinite: 3, score: null });
    expect(run.summary.none).toMatchObject({ points: 0, score: null });
    const { speed } = await runSpeed(model, { ...once, from, out });
    expect(speed.record.summary.nan).toMatchObject({ converged: 0, meanIterations: 1 });
    expect(speed.record.summary.one?.spectralRadius).toMatchObject({ used: 1, pearson: null });
    const { contraction } = await runContraction(model, { ...once, from, seeds: 1, inputs: 2, out });
    expect(contraction.record.summary.local.nan?.spectralNorm).toMatchObject({
      count: 0,
      notFinite: 3,
      mean: null,
    });
    expect([run.record, speed.record, contraction.record].flatMap((found) => notFinite(found))).toEqual([]);
  });

  it("equal latents for a matched set and equal attractors are one attractor", async () => {
    const from = { same: latents(matrix(new Float32Array(48).fill(0.5), 16)) };
    const { run } = await extractAttractors(model, { ...once, from, out: null });
    expect(run.summary.same).toMatchObject({ points: 3, attractors: 1 });
    expect(notFinite(run.record)).toEqual([]);
  });
});
