/** Fields that look like a result and are none, from their files: every measure says so, in its record and on its page. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { formatField } from "../../src/cli/field.js";
import { formatMemorization } from "../../src/cli/memorization.js";
import { formatOod } from "../../src/cli/ood.js";
import { formatProbe } from "../../src/cli/probe.js";
import { formatRank } from "../../src/cli/rank.js";
import { formatComparison } from "../../src/cli/similarity.js";
import { formatSpeed } from "../../src/cli/speed.js";
import { noteLines } from "../../src/cli/table.js";
import { formatTrajectories } from "../../src/cli/trajectories.js";
import { writeNpy } from "../../src/data/npy.js";
import type { MeasureNote } from "../../src/dynamics/note.js";
import { latents, noise } from "../../src/dynamics/points.js";
import { runComparison } from "../../src/runs/comparisonRun.js";
import { extractAttractors } from "../../src/runs/extract.js";
import { runField } from "../../src/runs/fieldRun.js";
import { runMemorization } from "../../src/runs/memorizationRun.js";
import { runOod } from "../../src/runs/oodRun.js";
import { runProbe } from "../../src/runs/probeRun.js";
import { runRank } from "../../src/runs/rankRun.js";
import { runSpeed } from "../../src/runs/speedRun.js";
import { runTrajectories } from "../../src/runs/trajectoryRun.js";
import { floats, onnxModel } from "../support/onnxBuilder.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);

/** z → A·z + b as an .onnx file. */
function affineFile(name: string, matrix: number[], offset: number[]): string {
  const model = onnxModel({
    nodes: [
      { op: "MatMul", inputs: ["x", "A"], outputs: ["p"] },
      { op: "Add", inputs: ["p", "b"], outputs: ["y"] },
    ],
    initializers: { A: floats([2, 2], matrix), b: floats([2], offset) },
  });
  writeFileSync(file(`${name}.onnx`), model);
  return file(`${name}.onnx`);
}

const constant = affineFile("constant", [0, 0, 0, 0], [1, 2]);
// A turn by one radian that contracts by a ten thousandth a step.
const [c, s] = [0.9999 * Math.cos(1), 0.9999 * Math.sin(1)];
const turn = affineFile("turn", [c, s, -s, c], [0, 0]);

const AT_ONCE = /one attractor within a handful of steps.*too brief a training/;
const NOWHERE = /Nothing converged: .*contraction near 1 needs many more iterations/;
const from = { noise: noise(20) };
const options = { threads: 1, maxIterations: 300 };

beforeAll(async () => {
  const random = seededRandom(9);
  for (const [name, count] of [
    ["some.npy", 12],
    ["other.npy", 7],
    ["more.npy", 9],
  ] as const) {
    await writeNpy(file(name), { shape: [count, 2], data: random.floats(2 * count) });
  }
  for (const [name, model] of Object.entries({ constant, turn })) {
    await extractAttractors(model, { ...options, from, out: file(name), report: true });
  }
});

/** The sentence stands in the notes, among what is printed, and on the page. */
function expectSaid(
  sentence: RegExp,
  { notes = [], text, out }: { notes?: readonly MeasureNote[]; text: string; out: string },
): void {
  expect(notes.filter(({ kind, text: words }) => kind === "warning" && sentence.test(words))).not.toEqual([]);
  expect(text).toMatch(sentence);
  expect(text).toContain("warning");
  const page = readFileSync(join(out, "report.html"), "utf8");
  expect(page).toMatch(sentence);
  expect(page).toContain("Read with care.");
}

describe.each([
  ["sends everything to one place", "constant", constant, AT_ONCE],
  ["comes to rest nowhere", "turn", turn, NOWHERE],
])("a map that %s is called by name", (_, name, model, sentence) => {
  const outOf = (measure: string): string => file(`${name}-${measure}`);

  it("by attractors", () => {
    const { notes } = JSON.parse(readFileSync(join(file(name), "run.json"), "utf8")) as {
      notes: MeasureNote[];
    };
    expectSaid(sentence, { notes, text: noteLines(notes).join("\n"), out: file(name) });
    expect(notes[0]?.set).toBe("noise");
  });

  it("by field", async () => {
    const out = outOf("field");
    const { field } = await runField(model, { ...options, extent: [-2, 2, -2, 2], resolution: 8, out });
    expectSaid(sentence, { notes: field.record.notes, text: formatField(field.record), out });
  });

  it("by speed", async () => {
    const out = outOf("speed");
    const { speed } = await runSpeed(model, { ...options, from, out });
    expectSaid(sentence, { notes: speed.record.notes, text: formatSpeed(speed.record), out });
  });

  it("by probe", async () => {
    const out = outOf("probe");
    const signals = { some: latents(file("some.npy")) };
    const { probe } = await runProbe(model, { ...options, data: signals, atoms: 20, out });
    expectSaid(sentence, { notes: probe.record.notes, text: formatProbe(probe.record), out });
  });

  it("by trajectories", async () => {
    const out = outOf("trajectories");
    const { run } = await runTrajectories(model, { threads: 1, from, steps: 20, out });
    const said =
      name === "constant"
        ? /stand still after a handful of steps.*too brief a training/
        : /do not settle.*Contraction near 1/;
    expectSaid(said, { notes: run.record.notes, text: formatTrajectories(run.record), out });
  });

  it("by memorization, of the map and of a run", async () => {
    for (const source of [model, file(name)]) {
      const out = outOf(`memorization-${source === model}`);
      const iteration = source === model ? { maxIterations: 300 } : {};
      const { result } = await runMemorization(source, {
        threads: 1,
        train: file("some.npy"),
        out,
        ...iteration,
      });
      const { record } = result;
      expectSaid(sentence, { notes: record.notes, text: formatMemorization(record), out });
    }
  });

  it("by similarity of two runs", async () => {
    const out = outOf("similarity");
    const { record } = await runComparison(file(name), file(name), { threads: 1, out });
    expectSaid(sentence, { notes: record.sets.noise?.notes, text: formatComparison(record), out });
  });
});

const sets = { train: file("some.npy"), id: file("other.npy"), ood: { more: file("more.npy") }, threads: 1 };

it("ood says it of the attractors it finds, and of those it is given", async () => {
  for (const attractors of [undefined, file("constant")]) {
    const out = file(`ood-${attractors === undefined}`);
    const { result } = await runOod(constant, { ...sets, attractors, steps: 3, out });
    expectSaid(AT_ONCE, { notes: result.record.notes, text: formatOod(result.record), out });
  }
  await expect(runOod(turn, { ...sets, maxIterations: 300, out: file("none") })).rejects.toThrow(
    /none of the 12 training points converged/,
  );
});

it("rank says it of a run's attractor; trajectories of a run they are scored against", async () => {
  const out = file("rank");
  const { record } = await runRank(file("constant"), { threads: 1, out });
  expectSaid(AT_ONCE, { notes: record.notes, text: formatRank(record), out });
  const scored = file("scored");
  const attractors = file("constant");
  const { run } = await runTrajectories(turn, { threads: 1, from, steps: 5, attractors, out: scored });
  expectSaid(AT_ONCE, { notes: run.record.notes, text: formatTrajectories(run.record), out: scored });
});
