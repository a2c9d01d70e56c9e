/** field, trajectories and probe as commands; and what an interrupted measure leaves behind. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeNpy } from "../../src/data/npy.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { exampleFolder, exampleModel, latdyn } from "./latdyn.js";

const cwd = temporaryFolder();
await writeNpy(join(cwd, "grey.npy"), { shape: [3, 28, 28], data: new Float32Array(3 * 784).fill(0.5) });
const images = join(exampleFolder, "train-images-1000.idx3-ubyte.gz");

const commands: [string, string[], string[], RegExp][] = [
  [
    "field",
    [
      exampleModel,
      "--plane",
      "points:0,1,2",
      "--from",
      "noise:4@9",
      "--resolution",
      "6",
      "--tolerance",
      "1e-3",
    ],
    ["attractors.safetensors", "field.json", "field.safetensors", "field.svg"],
    /^mnist-conv-k16: k = 16, grid of \d+×\d+/m,
  ],
  [
    "trajectories",
    [
      exampleModel,
      "--from",
      `digits=data:${images}:4`,
      "--from",
      "noise:3",
      "--steps",
      "4",
      "--store",
      "0,4",
    ],
    ["trajectories.json", "trajectories.safetensors"],
    /^digits +4 +0 /m,
  ],
  [
    "probe",
    [
      exampleModel,
      "--data",
      `digits=${images}`,
      "--max-signals",
      "4",
      "--atoms",
      "20",
      "--sparsity",
      "1,0.5",
    ],
    ["dictionary.safetensors", "probe.json", "probe.safetensors"],
    /^digits: 4 signals, mean squared errors/m,
  ],
];

describe.each(commands)("latdyn %s", (name, args, files, text) => {
  it("--json prints the record alone, as it lies in the folder", async () => {
    const out = `${name}-json`;
    const { code, stdout, stderr } = await latdyn([name, ...args, "--no-report", "--json", "--out", out], {
      cwd,
    });
    expect(code).toBe(0);
    const record: unknown = JSON.parse(stdout);
    expect(stdout).not.toMatch(/NaN|Infinity/);
    expect(JSON.parse(readFileSync(join(cwd, out, `${name}.json`), "utf8"))).toEqual(record);
    expect(readdirSync(join(cwd, out)).sort()).toEqual(files);
    const lines = stderr.trim().split("\n");
    for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow();
    expect(JSON.parse(lines.at(-1)!)).toEqual({ out });
  });

  it("prints a summary, and where the page is", async () => {
    const out = `${name}-text`;
    const { code, stdout, stderr } = await latdyn([name, ...args, "--out", out], { cwd });
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(text);
    expect(stdout).toContain(`report  ${join(out, "report.html")}`);
    expect(existsSync(join(cwd, out, "report.html"))).toBe(true);
  });
});

describe("bad usage ends with 2, one sentence and nothing written", () => {
  it.concurrent.each<[string, string[], string]>([
    ["a plane that is none", ["field", exampleModel, "--plane", "1,2,3"], 'plane is "1,2,3"'],
    ["an extent that is none", ["field", exampleModel, "--extent", "1,2"], 'extent is "1,2"'],
    ["steps to store that are none", ["trajectories", exampleModel, "--store", "first"], 'store is "first"'],
    [
      "a step that is never made",
      ["trajectories", exampleModel, "--steps", "3", "--store", "9"],
      "store is 9",
    ],
    ["noise for data", ["probe", exampleModel, "--data", "noise:5"], "noise is no data"],
    ["no data", ["probe", exampleModel], "required option '--data <spec>'"],
    ["a sparsity above k", ["probe", exampleModel, "--data", images, "--sparsity", "17"], "sparsity is 17"],
  ])("%s", async (_, args, sentence) => {
    const out = `refused-${Math.random()}`;
    const { code, stdout, stderr } = await latdyn([...args, "--out", out], { cwd });
    expect(stderr).toContain(sentence);
    expect(stderr).toMatch(/^latdyn: [^\n]+\n$/);
    expect([code, stdout]).toEqual([2, ""]);
    expect(existsSync(join(cwd, out))).toBe(false);
  });
});

it.concurrent.each([
  ["memorization", ["--train", images]],
  ["ood", ["--train", images, "--id", `${images}:9`, "--ood", "grey=grey.npy"]],
])("Ctrl-C in %s ends with 130 and leaves nothing", async (name, args) => {
  const out = `${name}-interrupted`;
  const endless = ["--tolerance", "1e-30", "--max-iterations", "100000000", "--threads", "1"];
  const { code, stdout, stderr } = await latdyn(
    [name, exampleModel, ...args, ...endless, "--json", "--out", out],
    {
      cwd,
      onStderr: (kill, text) => {
        if (text.includes('"iterate"') && !text.includes("stopping")) kill("SIGINT");
      },
    },
  );
  expect(code).toBe(130);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/aborted[^\n]*\n$/);
  expect(readdirSync(cwd).filter((entry) => entry.includes(out))).toEqual([]);
});
