import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compareEngines, type EngineComparison } from "../../src/engines/compare.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { fromFunction } from "../../src/models/fromFunction.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { exampleModel, latdyn } from "../cli/latdyn.js";
import { scaling } from "../support/maps.js";
import { onnxModel } from "../support/onnxBuilder.js";
import { hasOnnxRuntime } from "../support/runtimes.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const folder = temporaryFolder();

function rowOf({ engines }: EngineComparison, name: string) {
  const row = engines.find(({ engine }) => engine === name);
  if (row === undefined) throw new Error(`${name} is not among ${engines.map((e) => e.engine).join(", ")}`);
  return row;
}

describe("compareEngines", () => {
  it.skipIf(!hasOnnxRuntime)("measures every engine that runs the model on the same rows", async () => {
    await using model = await loadAutoencoder(exampleModel);
    const seen: string[] = [];
    const found = await compareEngines(model, {
      threads: 2,
      rows: 32,
      randomSeed: 3,
      onProgress: ({ engine, finished, total }) => seen.push(`${engine} ${finished} of ${total}`),
    });
    expect(found).toMatchObject({
      model: { name: "mnist-conv-k16", k: 16, hash: model.hash },
      threads: 2,
      rows: 32,
      randomSeed: 3,
      reference: "native",
    });
    for (const name of ["native", "onnxruntime", "onnxruntime, one session"]) {
      const { rowsPerSecond, reason } = rowOf(found, name);
      expect(reason).toBeNull();
      expect(rowsPerSecond!.least).toBeGreaterThan(0);
      expect(rowsPerSecond!.median).toBeGreaterThanOrEqual(rowsPerSecond!.least);
      expect(rowsPerSecond!.most).toBeGreaterThanOrEqual(rowsPerSecond!.median);
      const error = name === "native" ? null : expect.closeTo(0, 5);
      expect(rowOf(found, name)).toMatchObject({ relativeError: error, device: { kind: "cpu" } });
    }
    expect(rowOf(found, "tfjs")).toMatchObject({ rowsPerSecond: null, reason: expect.any(String) });
    // In turns.
    expect(seen.slice(0, 4)).toEqual([
      "native 0 of 15",
      "onnxruntime 1 of 15",
      "onnxruntime, one session 2 of 15",
      "native 3 of 15",
    ]);
  });

  it("says why the native engine does not, and compares with the first that does", async () => {
    const model = fromFunction({ latentShape: [2], apply: (latents) => latents.map((value) => value / 2) });
    const found = await compareEngines(model, { threads: 1, rows: 8 });
    expect(found.reference).toBe("function");
    expect(rowOf(found, "function")).toMatchObject({ relativeError: null, reason: null });
    expect(rowOf(found, "native")).toMatchObject({
      rowsPerSecond: null,
      reason: expect.stringMatching(/\w/),
    });
  });

  it("an engine that fails while it is measured is a row that says so", async () => {
    let calls = 0;
    const apply = (latents: Float32Array): Float32Array => {
      if (++calls > 6) throw new RangeError("out of luck");
      return latents;
    };
    const found = await compareEngines(fromFunction({ latentShape: [2], apply }), { threads: 1, rows: 8 });
    expect(rowOf(found, "function").reason).toContain("out of luck");
    expect(found.reference).toBeNull();
  });

  it("chooses the rows by the slowest engine, a multiple of the threads", async () => {
    const found = await compareEngines(scaling("half", 3, 0.5), { threads: 3 });
    expect(found.rows % 3).toBe(0);
    expect(found.rows).toBeLessThanOrEqual(4096 + 3);
    expect(rowOf(found, "native").rowsPerSecond).not.toBeNull();
  });

  it("stops when it is told to, and refuses options that do not fit", async () => {
    const model = scaling("half", 3, 0.5);
    await expect(compareEngines(model, { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError);
    await expect(compareEngines(model, { threads: 0 })).rejects.toThrow(InputError);
    await expect(compareEngines(model, { rows: 1.5 })).rejects.toThrow("rows is 1.5");
    await expect(compareEngines(model, { row: 1 } as object)).rejects.toThrow('did you mean "rows"');
  });
});

describe("latdyn bench engines", () => {
  it("prints a row an engine, and with --json one object", async () => {
    const path = join(folder, "arctangent.onnx");
    writeFileSync(path, onnxModel({ nodes: [{ op: "Atan", inputs: ["x"], outputs: ["y"] }] }));
    const args = ["bench", "engines", path, "--threads", "1", "--rows", "16"];
    const table = await latdyn(args, { cwd: folder });
    expect(table).toMatchObject({ code: 0, stderr: "" });
    expect(table.stdout).toMatch(/^arctangent: k = 2, 16 rows, 1 thread/);
    expect(table.stdout).toMatch(/^native +– .*operator Atan/m);
    if (hasOnnxRuntime)
      expect(table.stdout).toMatch(/^onnxruntime +[\d,]+ +[\d,]+ – [\d,]+ .*onnxruntime-node/m);
    const json = await latdyn([...args, "--json"], { cwd: folder });
    expect((JSON.parse(json.stdout) as EngineComparison).engines[0]).toMatchObject({
      engine: "native",
      rowsPerSecond: null,
    });
  });

  it("names what is wrong with its options", async () => {
    const { code, stderr } = await latdyn(["bench", "engines", exampleModel, "--threads", "0"], {
      cwd: folder,
    });
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: "latdyn: threads is 0, expected a whole number from 1 to 1024\n",
    });
    expect((await latdyn(["bench"], { cwd: folder })).code).toBe(2);
    expect((await latdyn(["bench", "engine"], { cwd: folder })).stderr).toMatch(/did you mean engines/i);
  });
});
