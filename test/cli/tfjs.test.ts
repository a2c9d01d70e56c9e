/** tfjs as the command line has it: there, not there, broken; the tfjs-node packages as stand-ins that fail as they do. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { hasTfjs, randomise, tf } from "../support/tfjs.js";
import { savePair } from "../support/tfjsModels.js";
import { latdyn, type Outcome } from "./latdyn.js";

const folder = temporaryFolder();
const hook = fileURLToPath(new URL("../support/otherPackages.cjs", import.meta.url));
const NODE = "@tensorflow/tfjs-node";
const GPU = "@tensorflow/tfjs-node-gpu";
const ALL = { "@tensorflow/tfjs": null, "@tensorflow/tfjs-backend-wasm": null, [NODE]: null, [GPU]: null };

function with_(packages: Record<string, string | null>, ...args: string[]): Promise<Outcome> {
  const env = { NODE_OPTIONS: `--require ${hook}`, TEST_PACKAGES: JSON.stringify(packages) };
  return latdyn(args, { cwd: folder, env });
}

/** A package of this version whose main file is `code`. */
function packageOf(name: string, version: string, code: string): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "package.json"), JSON.stringify({ version, main: "index.js" }));
  writeFileSync(join(path, "index.js"), code);
  return path;
}

const tfjs = hasTfjs ? createRequire(import.meta.url).resolve("@tensorflow/tfjs") : "";
/** A tfjs-node whose TensorFlow is tfjs' own processor backend. */
const standIn = (gpu: boolean) => `
  const tf = require(${JSON.stringify(tfjs)});
  tf.registerBackend("tensorflow", () => {
    const backend = tf.findBackendFactory("cpu")();
    backend.isUsingGpuDevice = ${gpu};
    return backend;
  });
  for (const kernel of tf.getKernelsForBackend("cpu")) tf.registerKernel({ ...kernel, backendName: "tensorflow" });
  module.exports = tf;`;

interface State {
  readonly name: string;
  readonly usable: boolean;
  readonly version: string | null;
  readonly devices: readonly string[];
  readonly reason: string | null;
}

async function states(packages: Record<string, string | null>): Promise<Record<string, State>> {
  const { stdout } = await with_(packages, "doctor", "--json");
  const { engines } = JSON.parse(stdout) as { engines: State[] };
  return Object.fromEntries(engines.map((state) => [state.name, state]));
}

describe.skipIf(!hasTfjs)("tfjs on the command line", () => {
  let model: string;
  beforeAll(async () => {
    const L = tf.layers;
    const random = seededRandom(1);
    // softsign is outside the native operator set.
    const encoder = tf.sequential({
      layers: [L.dense!({ inputShape: [6], units: 3 }), L.activation!({ activation: "softsign" })],
    });
    const decoder = tf.sequential({ layers: [L.dense!({ inputShape: [3], units: 6, activation: "tanh" })] });
    model = await savePair(join(folder, "softsign"), {
      encoder: randomise(encoder, random),
      decoder: randomise(decoder, random),
    });
  });
  const asked = () => ["attractors", model, "--from", "noise:20", "--no-report", "--json", "--overwrite"];

  it("runs what the native graph cannot, and a backend by name", async () => {
    for (const [args, engine, kind] of [
      [["--engine", "auto"], "tfjs", "wasm"],
      [["--engine", "tfjs:cpu"], "tfjs:cpu", "cpu"],
    ] as const) {
      const { code, stdout, stderr } = await with_(
        { [NODE]: null, [GPU]: null },
        ...asked(),
        "--out",
        "run",
        ...args,
      );
      expect(code, stderr).toBe(0);
      expect(stderr).not.toMatch(/Hi, looks like/);
      const record = JSON.parse(stdout) as {
        options: { engine: string };
        device: { kind: string };
        summary: { noise: object };
      };
      expect(record.options.engine).toMatch(new RegExp(`^${engine}`));
      expect(record.device.kind).toBe(kind);
      expect(record.summary.noise).toMatchObject({ points: 20 });
    }
  });

  it("where nothing is installed: one sentence with the command", async () => {
    const { code, stdout, stderr } = await with_(ALL, ...asked(), "--engine", "tfjs");
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(
      /^latdyn: tfjs is not installed: npm install @tensorflow\/tfjs @tensorflow\/tfjs-backend-wasm\n$/,
    );
    const forced = await with_(ALL, ...asked(), "--engine", "tfjs:node");
    expect(forced.stderr).toMatch(
      /^latdyn: @tensorflow\/tfjs-node is not installed: npm install @tensorflow\/tfjs-node\n$/,
    );
    const found = await states(ALL);
    for (const backend of ["gpu", "node", "wasm", "cpu"]) {
      expect(found[`tfjs:${backend}`]).toMatchObject({ usable: false, version: null });
      expect(found[`tfjs:${backend}`]!.reason).toMatch(/not installed: npm install/);
    }
  });

  it("tfjs-node comes before wasm where it loads", async () => {
    const packages = { [NODE]: packageOf("good", "4.22.0", standIn(false)), [GPU]: null };
    expect((await states(packages))["tfjs:node"]).toEqual({
      name: "tfjs:node",
      usable: true,
      version: "4.22.0",
      devices: ["cpu"],
      reason: null,
    });
    const { code, stdout, stderr } = await with_(packages, ...asked(), "--out", "node-run");
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      device: { kind: "cpu", concurrency: 1 },
      versions: { [NODE]: "4.22.0" },
    });
  });

  it("tfjs-node-gpu without a GPU, or without CUDA's libraries, is passed over and says what it needs", async () => {
    const blind = { [GPU]: packageOf("blind", "4.22.0", standIn(false)), [NODE]: null };
    const bare = {
      [GPU]: packageOf(
        "bare",
        "4.22.0",
        'throw new Error("libcudart.so.11.0: cannot open shared object file");',
      ),
      [NODE]: null,
    };
    expect((await states(blind))["tfjs:gpu"]!.reason).toMatch(
      /^@tensorflow\/tfjs-node-gpu 4.22.0 loads but finds no GPU it can use: it brings TensorFlow 2.9, which needs CUDA 11.2/,
    );
    expect((await states(bare))["tfjs:gpu"]!.reason).toMatch(
      /cannot be loaded \(libcudart.so.11.0: .*CUDA 11.2/,
    );
    const { stdout } = await with_(bare, ...asked(), "--out", "bare-run");
    expect(JSON.parse(stdout)).toMatchObject({ device: { kind: "wasm" } });
    const forced = await with_(blind, ...asked(), "--engine", "tfjs:gpu");
    expect(forced.code).toBe(1);
    expect(forced.stderr).toMatch(/^latdyn: .*finds no GPU it can use.*\n$/);
  });

  it("a package that brings its process down takes nothing with it in doctor", async () => {
    const deadly = { [NODE]: packageOf("deadly", "4.22.0", "process.abort();") };
    expect((await states(deadly))["tfjs:node"]).toMatchObject({
      usable: false,
      version: "4.22.0",
      reason: "tfjs:node brings its process down (SIGABRT)",
    });
  });
});
