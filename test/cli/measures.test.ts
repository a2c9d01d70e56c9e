/** latdyn field, probe and trajectories as a user calls them. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { exampleFolder, exampleModel, latdyn } from "./latdyn.js";

const cwd = temporaryFolder();
const images = join(exampleFolder, "train-images-1000.idx3-ubyte.gz");

describe("one JSON object on stdout", () => {
  it.each([
    [
      "trajectories",
      ["--from", "noise:20", "--steps", "10", "--store", "none"],
      { noise: { points: 20, steps: 10, nonFinite: 0, score: null } },
    ],
    [
      "probe",
      [
        "--data",
        `digits=${images}:5`,
        "--atoms",
        "20",
        "--scale",
        "20",
        "--sparsity",
        "0.25,16",
        "--max-iterations",
        "50",
      ],
      { digits: { signals: 5, bySparsity: { "4": {}, "16": {} } } },
    ],
    [
      "field",
      ["--plane", "points:0,1,2", "--from", "noise:10@5", "--resolution", "6", "--max-iterations", "200"],
      { grid: { points: 36 } },
    ],
  ])("latdyn %s", async (command, args, summary) => {
    const out = join(cwd, command);
    const extra = command === "field" ? ["--extent", "-5,5,-5,5"] : [];
    const { code, stdout, stderr } = await latdyn(
      [command, exampleModel, ...args, ...extra, "--out", out, "--json"],
      {
        cwd,
      },
    );
    expect(stderr.trim().split("\n").at(-1)).toBe(JSON.stringify({ out }));
    expect(code).toBe(0);
    expect(JSON.parse(stdout).summary).toMatchObject(summary);
    expect(stdout).not.toMatch(/NaN|Infinity/);
    expect(existsSync(join(out, "report.html"))).toBe(true);
  });
});

describe("a table otherwise", () => {
  it("with the folder and the report below it", async () => {
    const { code, stdout } = await latdyn(
      ["trajectories", exampleModel, "--from", "noise:5", "--steps", "3"],
      { cwd },
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^mnist-conv-k16: k = 16, 3 steps, not scored/);
    expect(stdout).toMatch(
      /folder {2}runs\/mnist-conv-k16-trajectories-[\d-]+\nreport {2}runs\/.*report\.html\n$/,
    );
  });
});

describe("bad input ends with 2 and one sentence", () => {
  it.each([
    ["probe without data", ["probe", exampleModel], /--data/],
    ["probe of noise", ["probe", exampleModel, "--data", "noise:5"], /noise is no data/],
    [
      "a sparsity above k",
      ["probe", exampleModel, "--data", images, "--sparsity", "17"],
      /sparsity is 17.*k = 16/,
    ],
    [
      "a sparsity that is none",
      ["probe", exampleModel, "--data", images, "--sparsity", "4,x"],
      /sparsity is "4,x"/,
    ],
    ["a step beyond the end", ["trajectories", exampleModel, "--steps", "5", "--store", "9"], /store is 9/],
    ["a store that is none", ["trajectories", exampleModel, "--store", "some"], /store is "some"/],
    ["attractors that are not there", ["trajectories", exampleModel, "--attractors", "nowhere"], /nowhere/],
    ["a plane that is none", ["field", exampleModel, "--plane", "1,2,3"], /expected attractors:I,J,K/],
    ["an extent that is none", ["field", exampleModel, "--extent", "1,2,3"], /expected four numbers/],
    ["a device that is not there", ["field", exampleModel, "--device", "cuda"], /CPU only/],
    ["one attractor for a plane", ["field", exampleModel, "--from", "noise:5"], /a plane needs three/],
  ])("%s", async (_, args, message) => {
    const { code, stdout, stderr } = await latdyn([...args, "--out", join(cwd, "nothing")], { cwd });
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^latdyn: [^\n]+\n$/);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(existsSync(join(cwd, "nothing"))).toBe(false);
  });
});

describe("--help", () => {
  it.each(["field", "probe", "trajectories"])("of %s shows examples and what comes out", async (command) => {
    const { code, stdout } = await latdyn([command, "--help"], { cwd });
    expect(code).toBe(0);
    expect(stdout).toContain(`$ latdyn ${command}`);
    expect(stdout).toContain("What comes out:");
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(130);
  });
});
