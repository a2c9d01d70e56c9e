/**
 * The benches of bench/cuda where there is no device: the program on fibers, at sizes that measure nothing, and the
 * record made of its rows.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { engineOf } from "../../src/engines/choose.js";
import type { Matrix } from "../../src/matrix.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { buildPrograms, buildTree, hasBuildTree } from "../support/buildPrograms.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const run = (command: string, args: string[]) => spawnSync(command, args, { encoding: "utf8", cwd: root });
const bench = (...args: string[]) => run(join(buildTree, "cuda_bench_on_host"), ["--small", ...args]);
const rowsOf = (lines: string) =>
  lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const floats = (file: string) => {
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};

describe.skipIf(!hasBuildTree)("cuda_bench on the host", () => {
  const folder = temporaryFolder();
  const points = join(folder, "points");

  beforeAll(() => {
    buildPrograms("cuda_bench_on_host");
    const exporter = join(root, "bench", "cuda", "export-graphs.mjs");
    const exported = run(process.execPath, [exporter, folder, "--only", "mnist-conv-k16"]);
    expect(exported).toMatchObject({ status: 0 });
  }, 600_000);

  it("has a row for every kernel and convolution", () => {
    // What goes by warpgroups is there again without them.
    const nearest = ["nearest-cosine ", "nearest-euclidean "];
    const fast = ["conv-3x3 tf32", "conv-3x3 bf16"];
    const without = (names: string[]) => names.map((name) => `${name.trim()} mma.sync`);
    for (const [only, names] of [
      ["kernels", [...nearest, ...without(nearest), "knn ", "dedup ", "components ", "omp "]],
      ["convolutions", ["conv-3x3 float32", ...fast, ...without(fast)]],
    ] as const) {
      const { status, stdout, stderr } = bench("--only", only, "--graphs", folder);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const rows = rowsOf(stdout);
      expect(rows.map(({ name, variant = "" }) => `${name} ${variant}`)).toEqual(names);
      for (const { flops, bytes, seconds } of rows) {
        expect(Math.min(flops, bytes, ...seconds)).toBeGreaterThan(0);
      }
    }
  });

  it("extracts from noise and from data, in both layouts and all precisions", {
    timeout: 120_000,
  }, async () => {
    const args = ["--only", "extraction", "--graphs", folder, "--points", points];
    const { status, stdout, stderr } = bench(...args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const rows = rowsOf(stdout);
    const variants = ["fused", "kernels"].flatMap((layout) =>
      ["float32", "tf32", "bf16"].map((precision) => `${precision}, ${layout}`),
    );
    expect(rows.map(({ name, variant }) => [name, variant])).toEqual([
      ...variants.map((variant) => ["extract-mnist-conv-k16-noise", variant]),
      ...variants.map((variant) => ["extract-mnist-conv-k16-data", variant]),
      ["extract-mnist-conv-k128", ""],
    ]);
    expect(rows.at(-1).failed).toMatch(/^skipped: there is no .*mnist-conv-k128\.bin$/);
    for (const row of rows.slice(0, -1)) {
      expect(row).toMatchObject({ points: 4, shape: "4 x 16", evaluations: 12, mostIterations: 3 });
      expect(row.flops).toBeCloseTo(12 * 3719168, -4);
    }

    // What it leaves for peers: points, and where three steps take them.
    const model = await loadAutoencoder(join(root, "examples", "mnist", "mnist-conv-k16"));
    const engine = await engineOf(model);
    for (const kind of ["noise", "data"]) {
      let z: Matrix = {
        data: floats(join(points, `extract-mnist-conv-k16-${kind}.initial`)),
        rows: 4,
        columns: 16,
      };
      for (let step = 0; step < 3; step++) z = { ...z, data: (await engine.apply(z, { threads: 1 })).data };
      const endpoints = floats(join(points, `extract-mnist-conv-k16-${kind}.endpoints`));
      for (let i = 0; i < endpoints.length; i++) expect(endpoints[i]).toBeCloseTo(z.data[i], 3);
    }
    await model[Symbol.asyncDispose]();
  });

  it("names what it does not know", () => {
    expect(bench("--only", "everything")).toMatchObject({
      status: 2,
      stderr: "cuda_bench: --only is everything, expected kernels, convolutions or extraction\n",
    });
    expect(bench("--points")).toMatchObject({
      status: 2,
      stderr: "cuda_bench: --points is followed by nothing, expected a value\n",
    });
  });
});

describe("the record of bench/cuda", () => {
  it("holds every row against the card's limits and against the fastest peer of each kind", () => {
    const folder = temporaryFolder();
    const write = (name: string, rows: object[]) => {
      writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
      return join(folder, name);
    };
    const shape = "8 x 8";
    const rows = write("rows.jsonl", [
      { name: "a", shape, precision: "tf32", flops: 8e9, bytes: 1e6, seconds: [3, 2, 9] },
      {
        name: "b",
        shape,
        precision: "bf16",
        variant: "bf16",
        flops: 1,
        bytes: 5e9,
        seconds: [5],
        points: 10,
      },
      { name: "c", variant: "fused", failed: "does not fit" },
    ]);
    const peers = write("peers.jsonl", [
      { card: "Some GPU 80GB", torch: "2" },
      { limit: "bytesPerSecond", value: 1e9 },
      { limit: "tf32FlopsPerSecond", value: 4e9 },
      { limit: "bf16FlopsPerSecond", value: 8e9 },
      { peer: "a", by: "slow", seconds: 12 },
      { peer: "a", by: "fast", seconds: 6 },
      { peer: "a", kind: "compiled", by: "none", failed: "no compiler" },
      { peer: "b", shape, precision: "tf32", seconds: 1 },
      { peer: "b", shape: "9 x 9", precision: "bf16", seconds: 1 },
      { peer: "b", shape, precision: "bf16", seconds: 10, extrapolatedFrom: 10 },
    ]);
    const { status, stdout } = run("python3", [
      join("bench", "cuda", "report.py"),
      rows,
      peers,
      folder,
      "-x",
    ]);
    expect(status).toBe(0);
    const written = /written to (.*some-gpu-80gb-\d{4}-\d\d-\d\d-x\.json)/.exec(stdout);
    const record = JSON.parse(readFileSync(written?.[1] ?? "", "utf8"));
    const [a, b, c] = record.rows;
    // 8e9 FLOPs at 4e9 a second are 2 s of the median's 3.
    expect(a).toMatchObject({ median: 3, limitSeconds: 2, limitedBy: "tf32", share: 2 / 3 });
    expect(a.peers.eager).toMatchObject({ by: "fast", timesAsLong: 2 });
    expect(a.peers.compiled).toMatchObject({ failed: "no compiler" });
    expect(b).toMatchObject({ limitSeconds: 5, limitedBy: "memory", share: 1, pointsPerSecond: 2 });
    expect(b.peers.eager).toMatchObject({ timesAsLong: 2, extrapolatedFrom: 10 });
    expect(c).toMatchObject({ failed: "does not fit" });
    expect(stdout).toMatch(/^b .*5 100\.0% {2}eager 2\.0x \(extrapolated\)$/m);
    expect(stdout).toMatch(/^c +fused +does not fit$/m);
  });
});
