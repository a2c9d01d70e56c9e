/** The graphs that bench/cuda reads: written by JavaScript, read and run by C++, which has no reader of models. */
import { spawnSync } from "node:child_process";
import { statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { data } from "../../src/dynamics/points.js";
import { flopsOf } from "../../src/engines/inspect.js";
import { graphOf } from "../../src/models/autoencoder.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { buildPrograms, buildTree, hasBuildTree } from "../support/buildPrograms.js";
import { runNative } from "../support/native.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = join(buildTree, "graph_file_test");
const run = (command: string, args: string[]) =>
  spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 26 });

describe.skipIf(!hasBuildTree)("graph files of bench/cuda", () => {
  const folder = temporaryFolder();
  const file = join(folder, "mnist-conv-k16.bin");

  beforeAll(() => {
    buildPrograms("graph_file_test");
    const exporter = join(root, "bench", "cuda", "export-graphs.mjs");
    const exported = run(process.execPath, [exporter, folder, "--only", "mnist-conv-k16"]);
    expect(exported).toMatchObject({ status: 0, stderr: "" });
    expect(exported.stdout).toMatch(/^mnist-conv-k16: \d+\.\d MB, 1000 points$/m);
  }, 600_000);

  it("are refused where they are cut off or damaged", () => {
    expect(run(program, [])).toMatchObject({ status: 0, stdout: "graph_file: passed\n" });
  });

  it("hold the model's map and encoded images", async () => {
    const examples = join(root, "examples", "mnist");
    const model = await loadAutoencoder(join(examples, "mnist-conv-k16"));
    const graph = graphOf(model, "map");
    const images = data(join(examples, "train-images-1000.idx3-ubyte.gz"), { count: 3 });
    const { sets } = await findAttractors(model, { from: { data: images }, maxIterations: 1, threads: 1 });
    const read = run(program, [file]);
    expect(read).toMatchObject({ status: 0, stderr: "" });
    const { images: mapped, ...facts } = JSON.parse(read.stdout);
    const flops = graph.nodes.reduce((sum, node) => sum + flopsOf(graph, node), 0);
    expect(facts).toEqual({ name: "mnist-conv-k16", points: 1000, k: 16, flops });
    expect(Float32Array.from(mapped)).toEqual(await runNative(graph, sets[0].initial.data));
    await model[Symbol.asyncDispose]();
  });

  it("one that lacks its end is one sentence", () => {
    truncateSync(file, statSync(file).size - 10);
    const { status, stdout, stderr } = run(program, [file]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toBe(
      `graph_file: ${file}: is cut off: 16000 elements of 4 bytes are announced, 63990 bytes are left at byte ${
        statSync(file).size - 63990
      }\n`,
    );
  });

  it("the exporter names what it does not know", () => {
    const exporter = join(root, "bench", "cuda", "export-graphs.mjs");
    const { status, stderr } = run(process.execPath, [exporter, folder, "--only", "resnet"]);
    expect(status).toBe(2);
    expect(stderr).toBe(
      "export-graphs: --only is resnet, expected one of mnist-conv-k16, mnist-conv-k128, taef2-8, taef2-32\n",
    );
  });
});
