import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { engineOf } from "../../../src/engines/choose.js";
import { nativeEngine } from "../../../src/engines/native.js";
import { UnsupportedOperatorError } from "../../../src/errors.js";
import { elements, type Graph } from "../../../src/graph/graph.js";
import { lower } from "../../../src/graph/lower.js";
import { optimize } from "../../../src/graph/optimize.js";
import { interpret } from "../../../src/graph/reference.js";
import { matrix } from "../../../src/matrix.js";
import { loadAutoencoder } from "../../../src/models/load.js";
import { convertLayers } from "../../../src/models/tfjs/convert.js";
import { endsOf } from "../../../src/models/tfjs/ends.js";
import { readTfjsModel } from "../../../src/models/tfjs/file.js";
import { native } from "../../../src/native.js";
import { type Random, seededRandom } from "../../support/random.js";
import { hasShared, sharedPath } from "../../support/sharedModels.js";
import { temporaryFolder } from "../../support/temporaryFolder.js";
import {
  hasTfjs,
  predict,
  randomise,
  relativeError,
  saveModel,
  type TestLayer,
  type TestModel,
  tf,
} from "../../support/tfjs.js";

const folder = temporaryFolder();
let saved = 0;

/** The model's graph, in tfjs' order at both ends, by way of its file. */
async function converted(model: TestModel): Promise<Graph> {
  const path = await saveModel(join(folder, String(saved++)), model);
  const read = await readTfjsModel(path);
  const ends = endsOf(read);
  const { topology, input, output } = ends.layers!;
  const { graph } = convertLayers(topology, {
    path,
    weights: read.weights,
    input,
    output,
    inputShape: ends.inputShape,
    inputOrder: "plain",
    outputOrder: "plain",
  });
  return optimize(graph);
}

/** Largest relative error of the float64 interpreter and of the native plan against tfjs. */
async function errors(
  model: TestModel,
  random: Random,
  rows = 3,
): Promise<{ reference: number; native: number }> {
  const graph = await converted(model);
  const shape = graph.values[graph.input]!.shape;
  const inputs = random.floats(rows * elements(shape));
  const expected = predict(model, inputs, shape, rows);
  const plan = native().compile(lower(graph), {});
  const { output } = await native().apply(plan, inputs, { threads: 1 }).promise;
  plan.dispose();
  return {
    reference: relativeError(interpret(graph, Float64Array.from(inputs), rows), expected),
    native: relativeError(output, expected),
  };
}

const image = [6, 5, 3] as const;

describe.skipIf(!hasTfjs)("layers of tfjs against their graph", () => {
  beforeAll(async () => {
    await tf.setBackend("cpu");
  });

  const L = hasTfjs ? tf.layers : ({} as never);
  const after = (shape: readonly number[], ...layers: readonly object[]): TestModel =>
    tf.sequential({ layers: [L.inputLayer!({ inputShape: shape }), ...(layers as never[])] });

  const cases: Record<string, () => TestModel> = {
    Dense: () => after([5], L.dense!({ units: 4 })),
    "Dense over the last axis of an image": () => after(image, L.dense!({ units: 4, useBias: false })),
    "Conv2D, same": () => after(image, L.conv2d!({ filters: 4, kernelSize: 3, padding: "same" })),
    "Conv2D, same, stride 2, even kernel": () =>
      after(image, L.conv2d!({ filters: 4, kernelSize: [4, 2], strides: 2, padding: "same" })),
    "Conv2D, valid, dilated": () =>
      after(image, L.conv2d!({ filters: 2, kernelSize: 2, dilationRate: 2, useBias: false })),
    DepthwiseConv2D: () =>
      after(image, L.depthwiseConv2d!({ kernelSize: 3, depthMultiplier: 2, padding: "same", strides: 2 })),
    SeparableConv2D: () =>
      after(image, L.separableConv2d!({ filters: 5, kernelSize: [3, 2], strides: 1, padding: "same" })),
    "Conv2DTranspose, same": () =>
      after(image, L.conv2dTranspose!({ filters: 4, kernelSize: 3, strides: 2, padding: "same" })),
    "Conv2DTranspose, same, kernel below its stride": () =>
      after(image, L.conv2dTranspose!({ filters: 2, kernelSize: 2, strides: 3, padding: "same" })),
    "Conv2DTranspose, valid": () =>
      after(image, L.conv2dTranspose!({ filters: 2, kernelSize: 4, strides: 2 })),
    "Conv2DTranspose, valid, kernel below its stride": () =>
      after(image, L.conv2dTranspose!({ filters: 2, kernelSize: [1, 2], strides: 3, useBias: false })),
    "MaxPooling2D, same": () => after(image, L.maxPooling2d!({ poolSize: 3, strides: 2, padding: "same" })),
    "MaxPooling2D, valid": () => after(image, L.maxPooling2d!({ poolSize: [2, 3] })),
    "AveragePooling2D, same": () =>
      after(image, L.averagePooling2d!({ poolSize: [3, 2], strides: 2, padding: "same" })),
    GlobalAveragePooling2D: () => after(image, L.globalAveragePooling2d!({})),
    GlobalMaxPooling2D: () => after(image, L.globalMaxPooling2d!({})),
    Flatten: () => after(image, L.flatten!()),
    Reshape: () => after(image, L.reshape!({ targetShape: [5, -1] })),
    Permute: () => after(image, L.permute!({ dims: [3, 1, 2] })),
    UpSampling2D: () => after(image, L.upSampling2d!({ size: [2, 3] })),
    ZeroPadding2D: () =>
      after(
        image,
        L.zeroPadding2d!({
          padding: [
            [1, 2],
            [0, 3],
          ],
        }),
      ),
    Cropping2D: () =>
      after(
        image,
        L.cropping2D!({
          cropping: [
            [1, 2],
            [0, 3],
          ],
        }),
      ),
    "BatchNormalization of an image": () => after(image, L.batchNormalization!({ epsilon: 0.01 })),
    "BatchNormalization of a vector, without scale": () =>
      after([7], L.batchNormalization!({ scale: false, center: false })),
    ReLU: () => after(image, L.reLU!({ maxValue: 0.7 })),
    LeakyReLU: () => after(image, L.leakyReLU!()),
    ELU: () => after(image, L.elu!()),
    Rescaling: () => after(image, L.rescaling!({ scale: 0.5, offset: -1 })),
    "Dropout, GaussianNoise and others of training": () =>
      after(
        image,
        L.dropout!({ rate: 0.5 }),
        L.gaussianNoise!({ stddev: 3 }),
        L.gaussianDropout!({ rate: 0.2 }),
        L.alphaDropout!({ rate: 0.2 }),
      ),
    "Add, Subtract, Multiply and Average": () => {
      const x = tf.input({ shape: image });
      const a = L.conv2d!({ filters: 3, kernelSize: 1 }).apply(x);
      const b = L.conv2d!({ filters: 3, kernelSize: 3, padding: "same" }).apply(x);
      const sum = L.add!().apply([a, b, x]);
      const product = L.multiply!().apply([sum, a]);
      return tf.model({ inputs: x, outputs: L.average!().apply([product, b, x]) });
    },
    "Concatenate along every axis": () => {
      const x = tf.input({ shape: image });
      const a = L.conv2d!({ filters: 3, kernelSize: 1 }).apply(x);
      const channels = L.concatenate!().apply([x, a]);
      const rows = L.concatenate!({ axis: 1 }).apply([channels, channels]);
      return tf.model({ inputs: x, outputs: L.concatenate!({ axis: 2 }).apply([rows, rows]) });
    },
    "a layer that is called twice": () => {
      const x = tf.input({ shape: image });
      const conv = L.conv2d!({ filters: 3, kernelSize: 3, padding: "same", activation: "tanh" });
      return tf.model({ inputs: x, outputs: L.add!().apply([conv.apply(conv.apply(x)), x]) });
    },
    "models inside models": () => {
      const inner = tf.sequential({
        layers: [
          L.conv2d!({ inputShape: image, filters: 3, kernelSize: 1 }) as never,
          L.batchNormalization!(),
        ],
      });
      const y = tf.input({ shape: image });
      const branched = tf.model({
        inputs: y,
        outputs: L.add!().apply([inner.apply(y), L.leakyReLU!({ alpha: 0.1 }).apply(y)]),
      });
      const x = tf.input({ shape: image });
      const once = branched.apply(x);
      return tf.model({
        inputs: x,
        outputs: L.flatten!().apply(L.add!().apply([once, branched.apply(once)])),
      });
    },
  };
  for (const name of [
    "relu",
    "relu6",
    "elu",
    "selu",
    "sigmoid",
    "hardSigmoid",
    "softplus",
    "tanh",
    "swish",
    "gelu",
    "gelu_new",
    "linear",
  ]) {
    cases[`Activation ${name}`] = () => after(image, L.activation!({ activation: name }));
  }

  for (const [name, build] of Object.entries(cases)) {
    it(name, async () => {
      const random = seededRandom(1);
      const { reference, native: plan } = await errors(randomise(build(), random), random);
      expect(reference).toBeLessThan(1e-5);
      expect(plan).toBeLessThan(1e-5);
    });
  }

  /** A stack of layers that fit one another, with branches, down to a vector and back to an image. */
  function randomModel(random: Random): TestModel {
    const shape = [random.integer(4, 7), random.integer(4, 7), random.integer(1, 3)];
    const input = tf.input({ shape });
    let x = input;
    const image = (from: TestLayer): TestLayer => {
      const channels = (from as TestLayer & { shape: number[] }).shape[3]!;
      const padding = random.pick(["same", "valid"]);
      const activation = random.pick(["relu", "tanh", "elu", "sigmoid", "linear"]);
      const small = { kernelSize: random.integer(1, 3), strides: random.integer(1, 2), padding, activation };
      const same = { filters: channels, kernelSize: 3, padding: "same", activation };
      return random.pick([
        () => L.conv2d!({ ...small, filters: random.integer(1, 5) }).apply(from),
        () => L.conv2dTranspose!({ ...small, filters: random.integer(1, 4) }).apply(from),
        () => L.depthwiseConv2d!({ ...small, depthMultiplier: random.integer(1, 2) }).apply(from),
        () => L.separableConv2d!({ ...small, filters: random.integer(1, 4) }).apply(from),
        () => L.batchNormalization!().apply(from),
        () => L.leakyReLU!({ alpha: 0.1 }).apply(from),
        () => L.zeroPadding2d!({ padding: random.integer(1, 2) }).apply(from),
        () => L.upSampling2d!({ size: [random.integer(1, 2), random.integer(1, 2)] }).apply(from),
        () => L.maxPooling2d!({ poolSize: 2, strides: 1, padding: "same" }).apply(from),
        () => L.averagePooling2d!({ poolSize: 3, strides: 1, padding: "same" }).apply(from),
        () => L.add!().apply([from, L.conv2d!(same).apply(from)]),
        () => L.concatenate!().apply([L.conv2d!(same).apply(from), from]),
        () => L.dense!({ units: random.integer(1, 4), activation }).apply(from),
      ])();
    };
    const wide = (from: TestLayer) => {
      const [, height, width] = (from as TestLayer & { shape: number[] }).shape;
      return height! >= 3 && width! >= 3;
    };
    for (let steps = random.integer(2, 6); steps > 0 && wide(x); steps--) x = image(x);
    if (random.uniform() < 0.3) x = L.globalAveragePooling2d!({}).apply(x);
    else if (random.uniform() < 0.8) x = L.flatten!().apply(x);
    else return tf.model({ inputs: input, outputs: x });
    x = L.dense!({ units: 5, activation: random.pick(["tanh", "relu"]) }).apply(x);
    if (random.uniform() < 0.3) return tf.model({ inputs: input, outputs: x });
    x = L.reshape!({ targetShape: [4, 3, 2] }).apply(L.dense!({ units: 24, activation: "elu" }).apply(x));
    for (let steps = random.integer(0, 3); steps > 0 && wide(x); steps--) x = image(x);
    return tf.model({ inputs: input, outputs: x });
  }

  it("whole random stacks", async () => {
    let transposes = 0;
    for (let seed = 0; seed < 60; seed++) {
      const random = seededRandom(seed);
      const model = randomise(randomModel(random), random);
      const { reference, native: plan } = await errors(model, random);
      expect(reference, `seed ${seed}`).toBeLessThan(1e-5);
      expect(plan, `seed ${seed}`).toBeLessThan(1e-5);
      transposes += (await converted(model)).nodes.filter(({ op }) => op === "transpose").length;
    }
    // Ends in tfjs' order, and dense layers over channels, need some.
    expect(transposes).toBeGreaterThan(10);
  });
});

describe("layers outside the native operator set", () => {
  it.skipIf(!hasTfjs)("are named with what is not supported", async () => {
    const L = tf.layers;
    const image = [4, 4, 2] as const;
    const refused: [object, RegExp][] = [
      [
        L.activation!({ inputShape: image, activation: "softmax", name: "s" }),
        /layer "s" \(Activation\) applies "softmax"/,
      ],
      [
        L.softmax!({ inputShape: image, name: "s" }),
        /layer "s" \(Softmax\) is outside the native operator set/,
      ],
      [
        L.upSampling2d!({ inputShape: image, interpolation: "bilinear", name: "u" }),
        /"bilinear" as interpolation/,
      ],
      [
        L.layerNormalization!({ inputShape: image, name: "n" }),
        /layer "n" \(LayerNormalization\) is outside/,
      ],
      [L.flatten!({ inputShape: image, dataFormat: "channelsFirst", name: "f" }), /expected channels last/],
    ];
    for (const [layer, message] of refused) {
      const error = await converted(tf.sequential({ layers: [layer as never] })).catch(
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(UnsupportedOperatorError);
      expect((error as Error).message).toMatch(message);
    }
  });

  it.skipIf(!hasTfjs)("do no harm where the output does not need them", async () => {
    const L = tf.layers;
    const x = tf.input({ shape: [4] });
    const mean = L.dense!({ units: 2, name: "z_mean" }).apply(x);
    const odd = L.activation!({ activation: "softsign" }).apply(L.dense!({ units: 2 }).apply(x));
    const model = tf.model({ inputs: x, outputs: [odd, mean] });
    expect((await converted(model)).nodes.map(({ op }) => op)).toEqual(["linear"]);
  });
});

describe.skipIf(!hasShared)("a PyTorch model written in tfjs' form", () => {
  it("is the same graph, weights and all", async () => {
    const script = new URL("../../../bench/tfjsModel.mjs", import.meta.url).href;
    const { writeTfjsModel } = (await import(script)) as {
      writeTfjsModel(from: string, to: string): Promise<void>;
    };
    const source = sharedPath("models", "mnist-conv-k16");
    const target = join(folder, "mnist");
    await writeTfjsModel(source, target);
    await using model = await loadAutoencoder(target);
    await using original = await loadAutoencoder(source, { format: "safetensors" });
    expect(model.map!.nodes.map(({ op }) => op)).toEqual(original.map!.nodes.map(({ op }) => op));
    const latents = matrix(seededRandom(1).floats(20 * 16), 16);
    const call = { threads: 1 };
    const found = await nativeEngine(model).apply(latents, call);
    expect(found.data).toEqual((await nativeEngine(original).apply(latents, call)).data);
    if (!hasTfjs) return;
    const wasm = await engineOf(model, { engine: "tfjs:wasm", threads: 1 });
    expect(relativeError((await wasm.apply(latents, call)).data, found.data)).toBeLessThan(1e-5);
  });
});
