/**
 * The peers of bench/cuda on the CPU, at sizes that show they compute the same and measure nothing: endpoints of the
 * plain and of the careful loop, in PyTorch on the weights of a graph file, against this library's.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { data } from "../../src/dynamics/points.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const python = process.env.LATDYN_PYTHON ?? "/usr/bin/python3";
const hasTorch = spawnSync(python, ["-c", "import numpy, torch"], { stdio: "ignore" }).status === 0;
const run = (command: string, args: string[]) =>
  spawnSync(command, args, { encoding: "utf8", cwd: root, env: { ...process.env, OMP_NUM_THREADS: "1" } });

const floats = (file: string) => {
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};

describe.skipIf(!hasTorch)("peers of bench/cuda in PyTorch", () => {
  const folder = temporaryFolder();
  const file = join(folder, "mnist-conv-k16.bin");

  beforeAll(() => {
    const exporter = join(root, "bench", "cuda", "export-graphs.mjs");
    expect(run(process.execPath, [exporter, folder, "--only", "mnist-conv-k16"])).toMatchObject({
      status: 0,
    });
  });

  it("end where the library ends", async () => {
    const count = 10;
    const prefix = join(folder, "peer");
    const peer = run(python, ["bench/cuda/extraction_peers.py", "--check", file, String(count), prefix]);
    expect(peer).toMatchObject({ status: 0, stderr: "" });

    const examples = join(root, "examples", "mnist");
    const model = await loadAutoencoder(join(examples, "mnist-conv-k16"));
    const images = data(join(examples, "train-images-1000.idx3-ubyte.gz"), { count });
    const { sets } = await findAttractors(model, { from: { data: images }, threads: 1 });
    await model[Symbol.asyncDispose]();
    const { endpoints, status } = sets[0];
    // All of these points converge; else the plain loop would go on for 3,000 steps.
    expect([...status]).toEqual(new Array(count).fill(0));
    const statuses = readFileSync(`${prefix}.status`);
    expect(Array.from({ length: count }, (_, i) => statuses.readInt32LE(4 * i))).toEqual([...status]);
    const careful = floats(`${prefix}.careful`);
    const plain = floats(`${prefix}.plain`);
    expect([careful.length, plain.length]).toEqual([endpoints.data.length, endpoints.data.length]);
    // Careful stops at the step that the library stops at; plain takes the others along until all are done.
    for (let i = 0; i < endpoints.data.length; i++) {
      expect(Math.abs(careful[i] - endpoints.data[i])).toBeLessThan(1e-3);
      expect(Math.abs(plain[i] - endpoints.data[i])).toBeLessThan(3e-2);
    }
  });

  it("every row is one of numbers or one of reasons", () => {
    for (const [only, peers] of [
      ["limits", []],
      ["kernels", ["nearest-cosine", "nearest-euclidean", "knn", "dedup", "omp"]],
      ["convolutions", ["conv-3x3", "conv-3x3", "conv-3x3", "f-taef2-8"]],
    ] as const) {
      const { status, stdout, stderr } = run(python, [
        "bench/cuda/peers.py",
        "--small",
        "--only",
        only,
        "--graphs",
        folder,
      ]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const rows = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(rows[0].torch).toBeTypeOf("string");
      expect(rows.filter(({ peer }) => peer).map(({ peer }) => peer)).toEqual(peers);
      for (const row of rows.slice(1)) {
        if (row.failed === undefined) expect(row.seconds ?? row.value).toBeGreaterThan(0);
        else expect(row.failed).toMatch(/^skipped: there is no .*taef2-8\.bin$/);
      }
    }
  });
});
