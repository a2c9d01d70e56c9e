import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { writeNpy } from "../../../src/data/npy.js";
import { findAttractors } from "../../../src/dynamics/attractors.js";
import { data, noise } from "../../../src/dynamics/points.js";
import { engineOf } from "../../../src/engines/choose.js";
import { InputError, UnsupportedOperatorError } from "../../../src/errors.js";
import { matrix } from "../../../src/matrix.js";
import { loadAutoencoder } from "../../../src/models/load.js";
import { fromTfjs } from "../../../src/models/tfjs/fromTfjs.js";
import { seededRandom } from "../../support/random.js";
import { temporaryFolder } from "../../support/temporaryFolder.js";
import { hasTfjs, predict, randomise, relativeError, saveModel, tf } from "../../support/tfjs.js";
import { writeGraphPair } from "../../support/tfjsGraph.js";
import { convolutionalPair, savePair, type TfjsPair } from "../../support/tfjsModels.js";

const call = { threads: 1 };

describe.skipIf(!hasTfjs)("a folder of tfjs models", () => {
  let pair: TfjsPair;
  let folder: string;
  beforeAll(async () => {
    await tf.setBackend("cpu");
    pair = convolutionalPair();
    folder = await savePair(temporaryFolder(), pair);
  });

  it("is an Autoencoder whose images are [C, H, W] and whose latents are the file's", async () => {
    await using model = await loadAutoencoder(folder);
    expect(model).toMatchObject({
      format: "tfjs",
      latentShape: [5],
      inputShape: [2, 8, 6],
      unsupported: null,
    });
    expect(model.files).toHaveLength(4);
    expect(model.map!.nodes.map(({ op }) => op)).not.toContain("transpose");
  });

  it("has data, latents and pictures in the right order on either engine", async () => {
    const count = 5;
    const images = seededRandom(1)
      .floats(count * 96)
      .map(Math.abs);
    const path = join(temporaryFolder(), "images.npy");
    // Channels last, as a tfjs user keeps them.
    await writeNpy(path, { shape: [count, 8, 6, 2], data: images });
    const expected = predict(pair.encoder, images, [8, 6, 2], count);
    for (const engine of ["native", "tfjs:cpu"]) {
      await using model = await loadAutoencoder(folder);
      const run = await findAttractors(model, {
        from: { data: data(path) },
        maxIterations: 1,
        engine,
        ...call,
      });
      expect(relativeError(run.sets[0]!.initial.data, expected)).toBeLessThan(1e-5);
      const decoded = await (await engineOf(model, { engine })).decode(matrix(expected, 5), call);
      const last = predict(pair.decoder, expected, [5], count);
      for (const [channel, y, x] of [
        [0, 0, 0],
        [1, 0, 0],
        [0, 3, 2],
        [1, 7, 5],
      ] as const) {
        const found = decoded.data[96 + (channel * 8 + y) * 6 + x]!;
        expect(found).toBeCloseTo(last[96 + (y * 6 + x) * 2 + channel]!, 4);
      }
    }
  });

  it("gives the same attractors and basins by its graph and by tfjs", async () => {
    await using model = await loadAutoencoder(folder);
    const from = { noise: noise(60, { randomSeed: 1 }) };
    const native = await findAttractors(model, { from, engine: "auto", ...call });
    const foreign = await findAttractors(model, { from, engine: "tfjs:wasm", ...call });
    expect(native.record.device.kind).toBe("cpu");
    expect(foreign.record.device).toMatchObject({ kind: "wasm", concurrency: 1 });
    expect([...foreign.sets[0]!.label]).toEqual([...native.sets[0]!.label]);
    expect([...foreign.sets[0]!.status]).toEqual([...native.sets[0]!.status]);
    expect(foreign.sets[0]!.attractors.rows).toBeGreaterThan(0);
  });

  it("keeps latents of three axes in the file's order", async () => {
    const L = tf.layers;
    const random = seededRandom(3);
    const encoder = tf.sequential({
      layers: [
        L.conv2d!({ inputShape: [4, 6, 1], filters: 2, kernelSize: 2, strides: 2, activation: "tanh" }),
      ],
    });
    const decoder = tf.sequential({
      layers: [L.conv2dTranspose!({ inputShape: [2, 3, 2], filters: 1, kernelSize: 2, strides: 2 })],
    });
    const path = await savePair(temporaryFolder(), {
      encoder: randomise(encoder, random),
      decoder: randomise(decoder, random),
    });
    await using model = await loadAutoencoder(path);
    expect(model.latentShape).toEqual([2, 3, 2]);
    const latents = random.floats(12);
    const expected = predict(encoder, predict(decoder, latents, [2, 3, 2], 1), [4, 6, 1], 1);
    for (const engine of ["native", "tfjs:cpu"]) {
      const mapped = await (await engineOf(model, { engine })).apply(matrix(latents, 12), call);
      expect(relativeError(mapped.data, expected)).toBeLessThan(1e-5);
    }
  });

  it("runs on tfjs where a layer cannot be converted, and says which", async () => {
    const L = tf.layers;
    const random = seededRandom(4);
    const encoder = tf.sequential({
      layers: [
        L.dense!({ inputShape: [6], units: 4 }),
        L.activation!({ activation: "softsign", name: "odd" }),
      ],
    });
    const decoder = tf.sequential({ layers: [L.dense!({ inputShape: [4], units: 6 })] });
    const path = await savePair(temporaryFolder(), {
      encoder: randomise(encoder, random),
      decoder: randomise(decoder, random),
    });
    await using model = await loadAutoencoder(path);
    expect(model.map).toBeNull();
    expect(model.unsupported).toBeInstanceOf(UnsupportedOperatorError);
    expect(model.unsupported).toMatchObject({ operator: "Activation", node: "odd" });
    const engine = await engineOf(model, { threads: 1 });
    expect(engine.name).toMatch(/^tfjs:/);
    await expect(loadAutoencoder(path, { engine: "native" })).rejects.toThrow(
      /layer "odd" \(Activation\) applies "softsign"/,
    );
  });

  it("is a square map where it is one file", async () => {
    const map = randomise(
      tf.sequential({ layers: [tf.layers.dense!({ inputShape: [3], units: 3, activation: "tanh" })] }),
      seededRandom(5),
    );
    const path = await saveModel(join(temporaryFolder(), "thing"), map);
    await using model = await loadAutoencoder(path);
    expect(model).toMatchObject({ name: "thing", format: "square-map", inputShape: null, latentShape: [3] });
    const latents = seededRandom(6).floats(6);
    for (const engine of ["native", "tfjs:cpu"]) {
      const mapped = await (await engineOf(model, { engine })).apply(matrix(latents, 3), call);
      expect(relativeError(mapped.data, predict(map, latents, [3], 2))).toBeLessThan(1e-5);
    }
    await expect(
      (await engineOf(model, { engine: "tfjs:cpu" })).encode(matrix(latents, 3), call),
    ).rejects.toThrow(/is a square map/);
  });

  it("is refused where its parts are swapped or do not meet", async () => {
    const swapped = await savePair(temporaryFolder(), { encoder: pair.decoder, decoder: pair.encoder });
    await expect(loadAutoencoder(swapped)).rejects.toThrow(/the two look swapped/);
    const other = tf.sequential({ layers: [tf.layers.dense!({ inputShape: [5], units: 7 })] });
    const apart = await savePair(temporaryFolder(), { encoder: pair.encoder, decoder: other });
    await expect(loadAutoencoder(apart)).rejects.toThrow(
      /the decoder's output \(7\) does not fit the encoder's input/,
    );
    const odd = tf.sequential({
      layers: [
        tf.layers.dense!({ inputShape: [5], units: 7 }),
        tf.layers.activation!({ activation: "softsign" }),
      ],
    });
    const late = await savePair(temporaryFolder(), { encoder: pair.encoder, decoder: odd });
    await using model = await loadAutoencoder(late);
    await expect(engineOf(model, { engine: "tfjs:cpu", threads: 1 })).rejects.toThrow(
      /the decoder gives 7, expected 8×6×2/,
    );
  });

  it("takes open axes, the encoder's output and the order of images from config.json", async () => {
    const L = tf.layers;
    const x = tf.input({ shape: [null, 4, 2] });
    const conv = L.conv2d!({ filters: 1, kernelSize: 4, padding: "valid" }).apply(x);
    const named = (name: string) =>
      L.globalAveragePooling2d!({ name }).apply(L.conv2d!({ filters: 3, kernelSize: 1 }).apply(conv));
    const encoder = tf.model({ inputs: x, outputs: [named("other"), named("z_mean"), named("chosen")] });
    const decoder = tf.sequential({
      layers: [L.dense!({ inputShape: [3], units: 32 }), L.reshape!({ targetShape: [4, 4, 2] })],
    });
    const path = await savePair(temporaryFolder(), { encoder, decoder });
    await expect(loadAutoencoder(path)).rejects.toThrow(/whose axis 1 is not fixed; say it in config.json/);
    const config = { input_shape: [4, 4, 2], encoder_output: "chosen" };
    writeFileSync(join(path, "config.json"), JSON.stringify(config));
    await using model = await loadAutoencoder(path);
    expect(model.inputShape).toEqual([2, 4, 4]);
    expect(model.source).toMatchObject({ tfjs: { encoder: { outputIndex: 2, outputName: "chosen" } } });
    await using mean = await loadAutoencoder(path, { encoderOutput: "z_mean" });
    expect(mean.source).toMatchObject({ tfjs: { encoder: { outputIndex: 1 } } });
    writeFileSync(
      join(path, "config.json"),
      JSON.stringify({ ...config, image_data_format: "channels_first" }),
    );
    await using plain = await loadAutoencoder(path);
    expect(plain.inputShape).toEqual([4, 4, 2]);
  });
});

describe.skipIf(!hasTfjs)("Graph models", () => {
  it("run on tfjs, the encoder by its mean", async () => {
    const pair = writeGraphPair(temporaryFolder(), seededRandom(7));
    await using model = await loadAutoencoder(pair.folder);
    expect(model).toMatchObject({ inputShape: [2, 4, 4], latentShape: [3], map: null });
    expect(model.unsupported!.message).toMatch(/is a Graph model, which only tfjs runs/);
    expect(model.notes[0]).toMatch(/has 2 outputs \(z_log_var, z_mean\), of which "z_mean"/);
    const latents = seededRandom(8).floats(4 * 3);
    const result = tf.tidy(() => pair.encode(pair.decode(tf.tensor(latents, [4, 3], "float32"))));
    const expected = Float32Array.from(await result.data());
    result.dispose();
    for (const engine of ["tfjs:wasm", "tfjs:cpu"]) {
      const mapped = await (await engineOf(model, { engine, threads: 1 })).apply(matrix(latents, 3), call);
      expect(relativeError(mapped.data, expected)).toBeLessThan(1e-5);
    }
  });
});

describe.skipIf(!hasTfjs)("live models", () => {
  it("are converted, and run as they are by name", async () => {
    const pair = convolutionalPair(9);
    await using model = await fromTfjs({ tf, ...pair, name: "live" });
    expect(model).toMatchObject({ name: "live", format: "tfjs", inputShape: [2, 8, 6], unsupported: null });
    expect(model.hash).toMatch(/^[0-9a-f]{64}$/);
    const latents = seededRandom(10).floats(3 * 5);
    const expected = predict(pair.encoder, predict(pair.decoder, latents, [5], 3), [8, 6, 2], 3);
    for (const engine of ["auto", "tfjs"]) {
      const chosen = await engineOf(model, { engine });
      expect(chosen.name).toBe(engine === "auto" ? "native" : `tfjs:${tf.getBackend()}`);
      expect(relativeError((await chosen.apply(matrix(latents, 5), call)).data, expected)).toBeLessThan(1e-5);
    }
  });

  it("take no backend by name: they have one", async () => {
    await using model = await fromTfjs({ tf, ...convolutionalPair(9) });
    await expect(engineOf(model, { engine: "tfjs:wasm" })).rejects.toThrow(
      /live models compute where their own tfjs does/,
    );
  });

  it("stay their owner's when the Autoencoder is disposed of", async () => {
    const pair = convolutionalPair(11);
    const model = await fromTfjs({ tf, ...pair });
    await engineOf(model, { engine: "tfjs" });
    await model[Symbol.asyncDispose]();
    expect(predict(pair.decoder, new Float32Array(5), [5], 1)).toHaveLength(96);
  });

  it("must be an encoder and a decoder, or a map", async () => {
    const { encoder, decoder } = convolutionalPair(12);
    const map = tf.sequential({ layers: [tf.layers.dense!({ inputShape: [2], units: 2 })] });
    await using square = await fromTfjs({ tf, map });
    expect(square.inputShape).toBeNull();
    const bad = (options: object, message: RegExp) =>
      expect(fromTfjs(options as never), String(message)).rejects.toThrow(message);
    await bad({ tf, encoder }, /expected encoder and decoder, or map, found encoder/);
    await bad({ tf, encoder, decoder, map }, /found encoder and decoder and map/);
    await bad({ encoder, decoder }, /tf is not tfjs/);
    await bad(
      { tf, encoder, decoder, encoderOutptu: "z" },
      /unknown option "encoderOutptu" \(did you mean "encoderOutput"\?\)/,
    );
    await bad({ tf, encoder: {}, decoder }, /tfjs: encoder is no tfjs model/);
    await expect(fromTfjs(undefined as never)).rejects.toThrow(InputError);
  });
});
