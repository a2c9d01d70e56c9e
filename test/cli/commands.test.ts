import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { formatProgress } from "../../src/cli/progress.js";
import { table } from "../../src/cli/table.js";
import type { RunRecord } from "../../src/dynamics/result.js";
import { addonPath, native } from "../../src/native.js";
import { readRun } from "../../src/runs/run.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { exampleFolder, exampleModel, latdyn } from "./latdyn.js";

const folder = temporaryFolder();
const images = `data:${join(exampleFolder, "train-images-1000.idx3-ubyte.gz")}`;
const COMMANDS = [
  ...["attractors", "field", "trajectories", "memorization", "similarity", "rank", "probe", "ood", "speed"],
  ...["contraction", "dedup", "knn", "omp", "inspect", "bench engines", "doctor"],
];
const quick = ["--max-iterations", "50", "--threads", "2"];

describe("attractors", () => {
  it("prints a table, the folder and the report, and says nothing on stderr", async () => {
    const args = [
      "attractors",
      exampleModel,
      "--from",
      `${images}:40`,
      "--from",
      "wide=noise:30@3",
      "--out",
      "run",
      ...quick,
    ];
    const { code, stdout, stderr } = await latdyn(args, { cwd: folder });
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^set +points +converged +max-iterations +cycle +diverged +non-finite +mean iterations +attractors +euclidean +verified$/m,
    );
    expect(stdout).toMatch(/^data +40 /m);
    expect(stdout).toMatch(/^wide +30 /m);
    expect(stdout).toMatch(/similarity of data~wide: cosine/);
    expect(stdout).toMatch(/^run +run$/m);
    expect(stdout).toMatch(/^report +run\/report.html$/m);
    const { record, sets } = await readRun(join(folder, "run"));
    expect(sets.map(({ name, label }) => [name, label.length])).toEqual([
      ["data", 40],
      ["wide", 30],
    ]);
    expect(record.options).toMatchObject({ maxIterations: 50, from: { wide: { scale: 3 } } });
    expect(readFileSync(join(folder, "run", "report.html"), "utf8")).toContain("<!doctype html>");
  });

  it("--json prints run.json's object alone; defaults to a folder named after the model", async () => {
    const cwd = temporaryFolder();
    const args = [
      "attractors",
      exampleModel,
      "--from",
      "noise:20",
      "--json",
      "--no-report",
      "--no-endpoints",
      ...quick,
    ];
    const { code, stdout, stderr } = await latdyn(args, { cwd });
    expect(code).toBe(0);
    const record = JSON.parse(stdout) as RunRecord;
    expect(Object.keys(record)).toEqual([
      "model",
      "options",
      "device",
      "versions",
      "summary",
      "timing",
      "interrupted",
      "jacobians",
      "notes",
    ]);
    expect(Object.keys(record.summary.noise!)).toEqual([
      "points",
      "converged",
      "maxIterations",
      "cycle",
      "diverged",
      "nonFinite",
      "meanIterations",
      "attractors",
      "attractorsEuclidean",
      "verified",
    ]);
    const [name] = readdirSync(join(cwd, "runs"));
    expect(name).toMatch(/^mnist-conv-k16-\d{8}-\d{6}$/);
    const lines = stderr
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { out?: string });
    expect(lines.at(-1)).toEqual({ out: join("runs", name!) });
    const run = join(cwd, "runs", name!);
    expect(readdirSync(run).sort()).toEqual(["attractors.safetensors", "points.safetensors", "run.json"]);
    expect(readFileSync(join(run, "run.json"), "utf8")).toBe(stdout);
    expect((await readRun(run)).sets[0]!.endpoints).toBeNull();
  });

  it("the same points whatever the threads, the instruction-set being equal", async () => {
    const run = async (threads: string): Promise<string> => {
      const out = `threads-${threads}`;
      await latdyn(
        ["attractors", exampleModel, "--from", "noise:50", "--out", out, "--no-report", "--threads", threads],
        { cwd: folder },
      );
      return readFileSync(join(folder, out, "points.safetensors")).toString("hex");
    };
    expect(await run("1")).toBe(await run("3"));
  });
});

describe("an interrupt", () => {
  // A tolerance that float32 cannot reach keeps the points going.
  const endless = [
    "attractors",
    exampleModel,
    "--from",
    "first=noise:4",
    "--from",
    `data=${images}:200`,
    "--json",
    "--no-report",
  ];
  const forever = ["--tolerance", "1e-30", "--max-iterations", "1000000000"];

  it("writes what was finished and ends with 130", async () => {
    const { code, stdout, stderr } = await latdyn([...endless, ...forever, "--out", "interrupted"], {
      cwd: folder,
      onStderr: (kill, text) => {
        if (text.includes('"iterate"') && !text.includes("stopping")) kill("SIGINT");
      },
    });
    expect(stderr).toContain("latdyn: stopping");
    expect(code).toBe(130);
    const record = JSON.parse(stdout) as RunRecord;
    expect(record.interrupted).toBe(true);
    const sum = Object.values(record.summary).reduce((n, set) => n + (set.unfinished ?? 0), 0);
    expect(sum).toBeGreaterThan(0);
    expect((await readRun(join(folder, "interrupted"))).record).toEqual(record);
  });

  it("ends at once the second time", async () => {
    let sent = 0;
    const { code } = await latdyn([...endless, ...forever, "--out", "twice"], {
      cwd: folder,
      onStderr: (kill, text) => {
        if (text.includes('"iterate"') && sent === 0) {
          sent = 1;
          kill("SIGINT");
          kill("SIGTERM");
        }
      },
    });
    expect(code).toBe(130);
    expect(readdirSync(folder)).not.toContain("twice");
  });
});

describe("inspect and doctor", () => {
  it("inspect shows shapes, nodes and the plan", async () => {
    const { code, stdout } = await latdyn(["inspect", exampleModel], { cwd: folder });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^latent +16 \(k = 16\)$/m);
    expect(stdout).toMatch(/^input +1×32×32$/m);
    expect(stdout).toMatch(/^cost +3\.7\d\d MFLOP/m);
    expect(stdout).toMatch(/^conv \+ relu +\S+ +16×16×16 +0\.074$/m);
    expect(stdout).toMatch(/^plan +lanes layout/m);
  });

  it("inspect --json, for a chosen layout", async () => {
    const { stdout } = await latdyn(["inspect", exampleModel, "--json", "--layout", "onednn"], {
      cwd: folder,
    });
    const model = JSON.parse(stdout) as {
      plan: { layout: string; flopsPerRow: number };
      flopsPerRow: number;
    };
    expect(model.plan.layout).toBe("onednn");
    expect(model.plan.flopsPerRow).toBe(model.flopsPerRow);
  });

  it("doctor says what this machine has, and what cannot be loaded", async () => {
    const { code, stdout } = await latdyn(["doctor", "--json"], { cwd: folder });
    expect(code).toBe(0);
    const machine = JSON.parse(stdout);
    expect(machine).toMatchObject({
      node: process.versions.node,
      native: { usable: true, reason: null },
      cuda: native().cuda(),
    });
    expect(machine.cuda.usable).toBe(machine.cuda.reason === null);
    expect(machine.cuda.built).toBe(existsSync(join(dirname(addonPath()), "liblatdyn_cuda.so")));
    expect((await latdyn(["doctor"], { cwd: folder })).stdout).toMatch(/^oneDNN +\d+\.\d+/m);
    const missing = await latdyn(["doctor"], { cwd: folder, env: { LATDYN_ADDON: "/none.node" } });
    expect(missing.code).toBe(1);
    expect(missing.stdout).toMatch(/^native +not usable: .*none\.node/m);
  });

  it("an addon that is missing is a failure, not bad input", async () => {
    const { code, stderr } = await latdyn(["inspect", exampleModel], {
      cwd: folder,
      env: { LATDYN_ADDON: "/none.node" },
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^latdyn: the native addon is not built .*\n$/);
  });
});

describe("help", () => {
  it("of latdyn itself teaches, and names every command", async () => {
    const { code, stdout, stderr } = await latdyn(["--help"], { cwd: folder });
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("Examples:\n  $ latdyn ");
    for (const command of COMMANDS) {
      const [name] = command.split(" ");
      expect(stdout).toMatch(new RegExp(`^ {2}${name} `, "m"));
    }
  });

  it.concurrent.each(COMMANDS)("of %s teaches, with examples that use options it has", async (command) => {
    const { code, stdout, stderr } = await latdyn([...command.split(" "), "--help"], { cwd: folder });
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(`Examples:\n  $ latdyn ${command}`);
    expect(stdout).toContain("What comes out:");
    const [head, tail] = stdout.split("Examples:") as [string, string];
    const known = new Set(head.match(/^ {2}(--[a-z-]+)/gm)?.map((flag) => flag.trim()));
    for (const [flag] of tail.matchAll(/(?<= )--[a-z-]+/g)) {
      expect(known, `${command}: ${flag}`).toContain(flag);
    }
  });

  it("prints the version, and no command is bad usage", async () => {
    expect((await latdyn(["--version"], { cwd: folder })).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const { code, stdout } = await latdyn([], { cwd: folder });
    expect([code, stdout]).toEqual([2, ""]);
  });
});

describe("what is printed", () => {
  it("tables put numbers to the right", () => {
    expect(
      table(
        ["set", "n"],
        [
          ["a", 1],
          ["long name", 12345.678],
        ],
      ),
    ).toBe("set               n\na                 1\nlong name  12,345.7");
  });

  it("the live line", () => {
    const progress = {
      phase: "iterate",
      set: "data",
      finished: 500,
      total: 2000,
      rowsPerSecond: 100,
      mapEvaluations: 1,
      seconds: 5,
    } as const;
    expect(formatProgress(progress)).toBe(
      "iterate ██████──────────────────  500 / 2,000  100 rows/s  0:15 left  data",
    );
    expect(formatProgress({ ...progress, finished: 0, rowsPerSecond: 0 })).not.toContain("left");
    expect(formatProgress({ ...progress, rowsPerSecond: undefined })).toBe(
      "iterate ██████──────────────────  500 / 2,000  data",
    );
    expect(formatProgress({ ...progress, finished: 1, rowsPerSecond: 0.1 })).toContain("5:33:10 left");
  });
});
