import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Runtime } from "../../src/engines/runtime.js";
import {
  backendsOf,
  findTfjs,
  isBroken,
  loadFailure,
  type TfjsBackend,
} from "../../src/engines/tfjs/backends.js";
import { openLiveTfjs, openTfjs } from "../../src/engines/tfjs.js";
import { InputError } from "../../src/errors.js";
import { compose } from "../../src/graph/compose.js";
import { interpret } from "../../src/graph/reference.js";
import { readTfjsModel } from "../../src/models/tfjs/file.js";
import { partsOf, type TfjsParts } from "../../src/models/tfjs/parts.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { hasTfjs, predict, relativeError, tf } from "../support/tfjs.js";
import { convolutionalPair, savePair, type TfjsPair } from "../support/tfjsModels.js";

const rows = 7;

/** [rows, H, W, C] → [rows, C, H, W] */
function channelsFirst(data: Float32Array, [height, width, channels]: readonly [number, number, number]) {
  const plane = height * width;
  return data.map((_, index) => {
    const row = Math.floor(index / (plane * channels));
    const channel = Math.floor(index / plane) % channels;
    return data[(row * plane + (index % plane)) * channels + channel]!;
  });
}

describe.skipIf(!hasTfjs)("tfjs", () => {
  let pair: TfjsPair;
  let parts: TfjsParts;
  beforeAll(async () => {
    await tf.setBackend("cpu");
    pair = convolutionalPair();
    const folder = await savePair(temporaryFolder(), pair);
    const [encoder, decoder] = await Promise.all(
      ["encoder", "decoder"].map((half) => readTfjsModel(join(folder, half, "model.json"))),
    );
    parts = partsOf({ encoder: encoder!, decoder: decoder! }, { name: "pair" });
  });

  describe.each<TfjsBackend | "live">(["wasm", "cpu", "live"])("%s", (backend) => {
    let runtime: Runtime;
    beforeAll(async () => {
      runtime =
        backend === "live"
          ? await openLiveTfjs(parts.source, { tf, ...pair })
          : await openTfjs(parts.source, { backends: [backend], threads: 2 });
    });
    afterAll(() => runtime.close());

    it("says what it is", () => {
      expect(runtime.name).toBe(`tfjs:${backend === "live" ? "cpu" : backend}`);
      expect(runtime.device).toBe(backend === "wasm" ? "wasm" : "cpu");
      expect(runtime.latentDimension).toBe(5);
      expect(runtime.inputElements).toBe(96);
      expect(Object.values(runtime.versions).every((version) => /^\d+\.\d+/.test(version))).toBe(true);
    });

    it("computes E, D and f of images that an Autoencoder has as [C, H, W]", async () => {
      const random = seededRandom(2);
      const images = random.floats(rows * 96);
      const latents = random.floats(rows * 5);
      const decoded = predict(pair.decoder, latents, [5], rows);
      const turned = channelsFirst(images, [8, 6, 2]);
      expect(
        relativeError(await runtime.encode!(turned, rows), predict(pair.encoder, images, [8, 6, 2], rows)),
      ).toBeLessThan(1e-5);
      expect(
        relativeError(await runtime.decode!(latents.slice(), rows), channelsFirst(decoded, [8, 6, 2])),
      ).toBeLessThan(1e-5);
      const mapped = predict(pair.encoder, decoded, [8, 6, 2], rows);
      expect(relativeError(await runtime.apply(latents.slice(), rows), mapped)).toBeLessThan(1e-5);
    });

    it("agrees with the converted graph", async () => {
      const { graph } = compose(parts.graphs!.decoder, parts.graphs!.encoder!);
      const latents = seededRandom(3).floats(rows * 5);
      const expected = interpret(graph, Float64Array.from(latents), rows);
      expect(relativeError(await runtime.apply(latents, rows), expected)).toBeLessThan(1e-5);
    });
  });

  it("leaves no tensor behind in 1,000 iterations", async () => {
    const runtime = await openLiveTfjs(parts.source, { tf, ...pair });
    const latents = seededRandom(4).floats(2 * 5);
    await runtime.apply(latents.slice(), 2);
    const before = tf.memory().numTensors;
    let points: Float32Array = latents;
    for (let i = 0; i < 1000; i++) points = await runtime.apply(points, 2);
    await runtime.encode!(await runtime.decode!(points, 2), 2);
    expect(tf.memory().numTensors).toBe(before);
    await runtime.close();
    await expect(runtime.apply(points, 2)).rejects.toThrow(/tfjs has been closed/);
  });

  it("leaves none where a call fails either", async () => {
    const source = { ...parts.source, decoder: { ...parts.source.decoder, inputShape: [4] } };
    const before = tf.memory().numTensors;
    await expect(openLiveTfjs(source, { tf, ...pair })).rejects.toThrow();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("keeps the event loop free while a thread computes", async () => {
    const runtime = await openTfjs(parts.source, { backends: ["cpu"], threads: 1 });
    const rowsOfWork = 400;
    let turns = 0;
    const timer = setInterval(() => turns++, 2);
    const start = performance.now();
    await runtime.apply(new Float32Array(rowsOfWork * 5), rowsOfWork);
    const elapsed = performance.now() - start;
    clearInterval(timer);
    // A call that held the loop would leave at most one turn, whatever the machine.
    expect(turns, `${elapsed} ms`).toBeGreaterThan(3);
    await runtime.close();
  });

  it("calls a model that takes a fixed number of rows as often as it needs", async () => {
    const { decoder, encoder } = parts.source;
    const source = {
      ...parts.source,
      decoder: { ...decoder, batchRows: 3 },
      encoder: { ...encoder!, batchRows: 2 },
    };
    const fixed = await openLiveTfjs(source, { tf, ...pair });
    const free = await openLiveTfjs(parts.source, { tf, ...pair });
    const latents = seededRandom(5).floats(rows * 5);
    expect(
      relativeError(await fixed.apply(latents.slice(), rows), await free.apply(latents, rows)),
    ).toBeLessThan(1e-6);
    expect(fixed.batchRows % 2).toBe(0);
  });

  it("says why no backend can run the model", async () => {
    const missing = { ...parts.source, decoder: { ...parts.source.decoder, path: "gone/model.json" } };
    await expect(openTfjs(missing, { backends: ["cpu"], threads: 1 })).rejects.toThrow(
      new InputError("gone/model.json: no such file"),
    );
  });
});

describe("what tfjs' packages say", () => {
  it("becomes one sentence that says what to do", () => {
    const say = (message: string) => loadFailure("@tensorflow/tfjs-node-gpu", "4.22.0", message);
    expect(say("libcudart.so.11.0: cannot open shared object file")).toMatch(
      /^@tensorflow\/tfjs-node-gpu 4.22.0 cannot be loaded \(libcudart.*\): it brings TensorFlow 2.9, which needs CUDA 11.2/,
    );
    expect(say("The Node.js native addon module (tfjs_binding.node) can not be found at path: x")).toMatch(
      /its binary is not there; npm rebuild @tensorflow\/tfjs-node-gpu downloads it$/,
    );
    expect(say("libtensorflow.so.2: cannot open shared object file")).toMatch(/npm rebuild/);
    expect(say("anything else")).toBe("@tensorflow/tfjs-node-gpu 4.22.0 cannot be loaded (anything else)");
  });

  it("tfjs-node up to 4.22 does not run where util.isNullOrUndefined is gone", () => {
    expect(isBroken("4.22.0", {})).toBe(true);
    expect(isBroken("3.21.1", {})).toBe(true);
    expect(isBroken("4.23.0", {})).toBe(false);
    expect(isBroken("5.0.0", {})).toBe(false);
    expect(isBroken("4.22.0", { isNullOrUndefined: () => true })).toBe(false);
  });

  it.skipIf(Object.keys(packagesOf("node")).length > 0)(
    "a missing package is named with the command that installs it",
    () => {
      expect(() => findTfjs("node")).toThrow(
        new InputError("@tensorflow/tfjs-node is not installed: npm install @tensorflow/tfjs-node"),
      );
    },
  );

  it("knows its backends by name", () => {
    expect(backendsOf(null)).toEqual(["gpu", "node", "wasm", "cpu"]);
    expect(backendsOf("wasm")).toEqual(["wasm"]);
    expect(backendsOf(null, "cpu")).toEqual(["node", "wasm", "cpu"]);
    expect(backendsOf(null, "cuda:0")).toEqual(["gpu"]);
    expect(() => backendsOf("wasm", "cuda")).toThrow(/device is "cuda", which tfjs:wasm does not compute on/);
    expect(() => backendsOf("gpu", "cpu")).toThrow(/device is "cpu", which tfjs:gpu does not compute on/);
    expect(() => backendsOf(null, "cuda:1")).toThrow(/choose by CUDA_VISIBLE_DEVICES/);
    expect(() => backendsOf("webgl")).toThrow(/engine is "tfjs:webgl", expected tfjs or tfjs:gpu/);
  });
});

function packagesOf(backend: TfjsBackend): Record<string, string> {
  try {
    return findTfjs(backend);
  } catch (error) {
    if (error instanceof InputError) return {};
    throw error;
  }
}
