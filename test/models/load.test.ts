import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodeSafetensors, readSafetensors, type TensorToWrite } from "../../src/data/safetensors.js";
import { InputError, LatdynError } from "../../src/errors.js";
import type { Graph } from "../../src/graph/graph.js";
import { interpret, interpreter } from "../../src/graph/reference.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { readPreprocessor } from "../../src/models/preprocessor.js";
import { runNative } from "../support/native.js";
import { floats, type ModelToWrite, onnxModel } from "../support/onnxBuilder.js";
import { seededRandom } from "../support/random.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const root = temporaryFolder();
let folders = 0;

function folderOf(files: Record<string, Uint8Array | string | object>): string {
  const folder = join(root, `model${folders++}`);
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files)) {
    const isData = typeof content === "string" || content instanceof Uint8Array;
    writeFileSync(join(folder, name), isData ? content : JSON.stringify(content));
  }
  return folder;
}

/** A linear map of `from` (flattened) to `to`, all weights `weight`. */
function dense(from: (number | string)[], to: number[], weight: number, ins = 4): Uint8Array {
  const outs = to.reduce((a, b) => a * b, 1);
  const model: ModelToWrite = {
    inputs: { x: ["batch", ...from] },
    initializers: {
      w: floats([ins, outs], new Array(ins * outs).fill(weight)),
      shape: { dims: [to.length + 1], dataType: 7, int64Data: [-1, ...to] },
    },
    nodes: [
      { op: "Flatten", inputs: ["x"], outputs: ["f"] },
      { op: "Gemm", inputs: ["f", "w"], outputs: ["g"] },
      { op: "Reshape", inputs: ["g", "shape"], outputs: ["y"] },
    ],
  };
  return onnxModel(model);
}
const encoder = dense([1, 2, 2], [2], 0.5);
const decoder = dense([2], [1, 2, 2], 0.25, 2);

describe("loadAutoencoder, ONNX pair", () => {
  it("composes f = E∘D and describes the model", async () => {
    const path = folderOf({ "encoder.onnx": encoder, "decoder.onnx": decoder });
    await using model = await loadAutoencoder(path);
    expect(model).toMatchObject({
      path,
      format: "onnx",
      latentShape: [2],
      latentDimension: 2,
      inputShape: [1, 2, 2],
      files: [join(path, "encoder.onnx"), join(path, "decoder.onnx")],
      preprocessor: null,
      notes: [],
    });
    expect(model.hash).toBe(createHash("sha256").update(encoder).update(decoder).digest("hex"));
    // Every image element is 0.25·(1 + 3) = 1, every latent element 0.5·4 = 2.
    expect([...interpret(model.map!, Float32Array.of(1, 3), 1)]).toEqual([2, 2]);
    expect([...interpret(model.decoder!, Float32Array.of(1, 3), 1)]).toEqual([1, 1, 1, 1]);
  });
  it("takes open axes from config.json or from the caller", async () => {
    const files = { "encoder.onnx": dense([1, "h", "w"], [2], 1), "decoder.onnx": decoder };
    await expect(loadAutoencoder(folderOf(files))).rejects.toThrow(
      /axis 2 is not fixed; say it in config.json/,
    );
    const config = { input_shape: [1, 2, 2], latent_shape: [2] };
    expect((await loadAutoencoder(folderOf({ ...files, "config.json": config }))).inputShape).toEqual([
      1, 2, 2,
    ]);
    expect((await loadAutoencoder(folderOf(files), { inputShape: [1, 2, 2] })).inputShape).toEqual([1, 2, 2]);
  });
  it("joins shapes of equally many elements and says so", async () => {
    const path = folderOf({ "encoder.onnx": dense([4], [2], 1), "decoder.onnx": decoder });
    expect((await loadAutoencoder(path)).notes).toEqual([
      "the decoder's output (1×2×2) is reshaped to the encoder's input (4)",
    ]);
  });
  it("names both shapes where they do not meet", async () => {
    const path = folderOf({ "encoder.onnx": dense([3], [2], 1, 3), "decoder.onnx": decoder });
    await expect(loadAutoencoder(path)).rejects.toThrow(
      "the decoder's output (1×2×2) does not fit the encoder's input (3)",
    );
  });
  it("notices swapped files, with and without config.json", async () => {
    const files = { "encoder.onnx": decoder, "decoder.onnx": encoder };
    await expect(loadAutoencoder(folderOf(files))).rejects.toThrow(/takes 2 and gives 1×2×2.*look swapped/);
    const config = { input_shape: [1, 2, 2], latent_shape: [2] };
    await expect(loadAutoencoder(folderOf({ ...files, "config.json": config }))).rejects.toThrow(
      /look swapped/,
    );
    // A latent that is larger than the input is meant where config.json says so.
    const large = { input_shape: [2], latent_shape: [1, 2, 2] };
    expect((await loadAutoencoder(folderOf({ ...files, "config.json": large }))).latentDimension).toBe(4);
  });
});

describe("loadAutoencoder, one square map", () => {
  it("is the map itself", async () => {
    const path = join(folderOf({ "map.onnx": dense([4], [4], 0.5) }), "map.onnx");
    await using model = await loadAutoencoder(path);
    expect(model).toMatchObject({
      name: "map",
      format: "square-map",
      encoder: null,
      decoder: null,
      inputShape: null,
    });
    expect([...interpret(model.map!, Float32Array.of(1, 2, 3, 4), 1)]).toEqual([5, 5, 5, 5]);
  });
  it("has to be square", async () => {
    const path = join(folderOf({ "map.onnx": encoder }), "map.onnx");
    await expect(loadAutoencoder(path)).rejects.toThrow(/takes 1×2×2 and gives 2, expected a square map/);
  });
});

describe("loadAutoencoder, bad input", () => {
  it.each<[string, () => string, object, RegExp]>([
    ["a missing path", () => join(root, "nowhere"), {}, /there is no such model/],
    [
      "an empty folder",
      () => folderOf({}),
      {},
      /holds nothing, expected encoder.onnx and decoder.onnx, or config/,
    ],
    [
      "half a pair",
      () => folderOf({ "encoder.onnx": encoder }),
      {},
      /holds encoder.onnx, expected encoder.onnx and/,
    ],
    [
      "another file",
      () => join(folderOf({ "a.txt": "x" }), "a.txt"),
      {},
      /neither a folder nor an .onnx file/,
    ],
    [
      "a format that is not there",
      () => folderOf({ "encoder.onnx": encoder, "decoder.onnx": decoder }),
      { format: "safetensors" },
      /expected config.json and model.safetensors$/,
    ],
    ["an unknown option", () => root, { latents: 3 }, /unknown option "latents"/],
    ["a latent shape of 0", () => root, { latentShape: [0] }, /latentShape is \[0\]/],
    [
      "config.json that is no JSON",
      () => folderOf({ "encoder.onnx": encoder, "decoder.onnx": decoder, "config.json": "{" }),
      {},
      /config.json: is not valid JSON/,
    ],
    [
      "a shape that is text",
      () =>
        folderOf({ "encoder.onnx": encoder, "decoder.onnx": decoder, "config.json": { latent_shape: "2" } }),
      {},
      /"latent_shape" is "2", expected a list/,
    ],
    [
      "a truncated model",
      () => folderOf({ "encoder.onnx": encoder.slice(0, 90), "decoder.onnx": decoder }),
      {},
      /encoder.onnx: /,
    ],
  ])("refuses %s", async (_what, path, options, message) => {
    const error = await loadAutoencoder(path(), options).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(message);
  });
});

describe("disposal", () => {
  const load = () => loadAutoencoder(folderOf({ "encoder.onnx": encoder, "decoder.onnx": decoder }));
  it("runs releases once, the latest first", async () => {
    const model = await load();
    const order: number[] = [];
    model.onDispose(() => void order.push(1));
    model.onDispose(async () => void order.push(2));
    await model[Symbol.asyncDispose]();
    await model[Symbol.asyncDispose]();
    model[Symbol.dispose]();
    expect(order).toEqual([2, 1]);
    expect(() => model.onDispose(() => undefined)).toThrow(LatdynError);
  });
  it("runs all of them even where one fails, and tells", async () => {
    const model = await load();
    const ran: boolean[] = [];
    model.onDispose(() => void ran.push(true));
    model.onDispose(() => {
      throw new Error("first");
    });
    expect(() => model[Symbol.dispose]()).toThrow("first");
    expect(ran).toEqual([true]);
  });
});

describe("safetensors models", () => {
  const random = seededRandom(3);
  const tensor = (...shape: number[]): TensorToWrite => ({
    shape,
    data: random.floats(
      shape.reduce((a, b) => a * b, 1),
      0.3,
    ),
  });
  const convConfig = {
    architecture: "conv-autoencoder",
    latent_dim: 3,
    image_size: 8,
    width: 2,
    channels: 1,
  };
  const convTensors = {
    "encoder.0.weight": tensor(2, 1, 3, 3),
    "encoder.0.bias": tensor(2),
    "encoder.2.weight": tensor(4, 2, 3, 3),
    "encoder.2.bias": tensor(4),
    "encoder.5.weight": tensor(3, 16),
    "encoder.5.bias": tensor(3),
    "decoder.0.weight": tensor(16, 3),
    "decoder.0.bias": tensor(16),
    "decoder.3.weight": tensor(4, 2, 3, 3),
    "decoder.3.bias": tensor(2),
    "decoder.5.weight": tensor(2, 1, 3, 3),
    "decoder.5.bias": tensor(1),
  };
  const folder = (config: object, tensors: Record<string, TensorToWrite>) =>
    folderOf({ "config.json": config, "model.safetensors": encodeSafetensors(tensors) });

  it("conv-autoencoder of two convolutions", async () => {
    const model = await loadAutoencoder(folder({ ...convConfig, output_activation: "sigmoid" }, convTensors));
    expect(model).toMatchObject({ format: "safetensors", latentShape: [3], inputShape: [1, 8, 8] });
    expect(model.decoder!.nodes.map((n) => [n.op, n.activation?.kind])).toEqual([
      ["linear", "relu"],
      ["reshape", undefined],
      ["convTranspose", "relu"],
      ["convTranspose", "sigmoid"],
    ]);
  });
  it("mlp: known answers", async () => {
    const config = {
      architecture: "mlp",
      input_shape: [1, 2],
      hidden_activation: "relu",
      output_activation: "tanh",
    };
    const of = (shape: number[], ...data: number[]) => ({ shape, data: Float32Array.from(data) });
    const model = await loadAutoencoder(
      folder(config, {
        "encoder.0.weight": of([2, 2], 1, 0, 0, -1),
        "encoder.0.bias": of([2], 0, 0),
        "encoder.2.weight": of([1, 2], 2, 3),
        "encoder.2.bias": of([1], 1),
        "decoder.0.weight": of([2, 1], 0.5, -1),
        "decoder.0.bias": of([2], 0, 0),
      }),
    );
    // relu(1, −5) = (1, 0) → 2·1 + 1 = 3; (1.5, −3) → tanh.
    expect([...interpret(model.encoder!, Float32Array.of(1, 5), 1)]).toEqual([3]);
    expect([...interpret(model.decoder!, Float32Array.of(3), 1)]).toEqual([Math.tanh(1.5), Math.tanh(-3)]);
  });
  const { "encoder.5.bias": _left, ...missing } = convTensors;
  it.each<[string, object, Record<string, TensorToWrite>, RegExp]>([
    ["a missing tensor", convConfig, missing, /has no tensor "encoder.5.bias"/],
    [
      "a tensor left over",
      convConfig,
      { ...convTensors, "extra.weight": tensor(1) },
      /does not use: "extra.weight"/,
    ],
    [
      "a wrong shape",
      convConfig,
      { ...convTensors, "decoder.0.weight": tensor(16, 4) },
      /"decoder.0.weight" has shape \[16, 4\], expected \[16, 3\]/,
    ],
    [
      "a wrong type",
      convConfig,
      { ...convTensors, "encoder.5.bias": { shape: [3], data: new Int32Array(3) } },
      /"encoder.5.bias" is I32/,
    ],
    [
      "an unknown architecture",
      { ...convConfig, architecture: "unet" },
      convTensors,
      /"architecture" is "unet", expected "conv-autoencoder" or "mlp"/,
    ],
    [
      "an unknown activation",
      { ...convConfig, hidden_activation: "cos" },
      convTensors,
      /"hidden_activation" is "cos", expected one of none, relu/,
    ],
    [
      "a size that cannot be halved",
      { ...convConfig, image_size: 6 },
      convTensors,
      /"image_size" is 6, expected a multiple of 4/,
    ],
    [
      "a declared shape that is not so",
      { ...convConfig, latent_shape: [4] },
      convTensors,
      /"latent_shape" is \[4\], expected \[3\]/,
    ],
    ["no image size", { ...convConfig, image_size: null }, convTensors, /"image_size" is null/],
  ])("refuse %s", async (_what, config, tensors, message) => {
    const attempt = loadAutoencoder(folder(config, tensors));
    await expect(attempt).rejects.toThrow(InputError);
    await expect(attempt).rejects.toThrow(message);
  });
});

describe("readPreprocessor", () => {
  const read = (config: object | string) =>
    readPreprocessor(folderOf({ "preprocessor_config.json": config }));
  it("reads Hugging Face's keys and ignores the others", async () => {
    expect(
      await read({
        do_rescale: true,
        rescale_factor: 0.5,
        do_normalize: true,
        image_mean: [0.5],
        image_std: [0.25],
        do_resize: true,
        size: { height: 4, width: 6 },
        resample: 3,
        do_pad: true,
        pad_size: 8,
        image_processor_type: "Whatever",
      }),
    ).toEqual({
      doRescale: true,
      rescaleFactor: 0.5,
      doNormalize: true,
      imageMean: [0.5],
      imageStd: [0.25],
      doResize: true,
      size: [4, 6],
      resample: 3,
      doPad: true,
      padSize: [8, 8],
    });
    expect(await readPreprocessor(root)).toBeNull();
  });
  it.each<[object | string, RegExp]>([
    [{ do_rescale: "yes" }, /"do_rescale" is "yes", expected true or false/],
    [{ rescale_factor: "1" }, /"rescale_factor" is "1", expected a finite number/],
    [{ do_resize: true }, /"size" is undefined, expected a height and a width/],
    [{ size: { height: 0, width: 1 } }, /"height" is 0, expected a whole number/],
    [{ size: { shortest_edge: 3 } }, /"size" is .*expected a height and a width/],
    [{ do_normalize: true, image_mean: [0.5] }, /"image_std"/],
    [{ do_normalize: true, image_mean: [0.5], image_std: [0] }, /"image_std" is \[0\]/],
    [{ resample: 9 }, /"resample" is 9/],
    ["[1]", /holds no JSON object/],
  ])("refuses %j", async (config, message) => {
    await expect(read(config)).rejects.toThrow(InputError);
    await expect(read(config)).rejects.toThrow(message);
  });
});

describe.skipIf(!hasShared)("models and reference tensors in ../shared (skipped without them)", () => {
  const reference = async (name: string) =>
    (await readSafetensors(sharedPath("reference", `${name}.safetensors`))).tensors;
  const float = (tensors: Awaited<ReturnType<typeof reference>>, name: string) =>
    tensors.get(name)!.data as Float32Array;

  /** Largest difference, relative to the size of the expected values. */
  function error(found: ArrayLike<number>, expected: Float32Array): number {
    const scale = Math.max(...expected.map(Math.abs));
    return Math.max(...Array.from(expected, (value, i) => Math.abs(value - found[i]!))) / scale;
  }

  it.each(["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"])("%s: one step of f", async (name) => {
    const tensors = await reference(name);
    const { map, latentDimension, preprocessor } = await loadAutoencoder(sharedPath("models", name));
    expect(preprocessor).toMatchObject({ doRescale: true, doPad: true, padSize: [32, 32] });
    const rows = 8;
    for (const from of ["train", "noise"]) {
      const seeds = float(tensors, `${from}.seeds`).subarray(0, rows * latentDimension);
      const step = float(tensors, `${from}.step1`).subarray(0, rows * latentDimension);
      expect(error(interpret(map!, seeds, rows), step)).toBeLessThan(2e-6);
    }
  });

  it("mnist-conv-k16: the two formats give the same graphs", async () => {
    const path = sharedPath("models", "mnist-conv-k16");
    const [onnx, safetensors] = [
      await loadAutoencoder(path),
      await loadAutoencoder(path, { format: "safetensors" }),
    ];
    const shape = ({ nodes, values }: Graph) =>
      nodes.map(({ name: _name, ...node }) => ({
        ...node,
        inputs: node.inputs.map((id) => values[id]!.constant ?? values[id]!.shape),
        output: values[node.output]!.shape,
      }));
    expect(shape(safetensors.map!)).toEqual(shape(onnx.map!));
    expect(safetensors.hash).not.toBe(onnx.hash);
    expect(readFileSync(join(path, "config.json"), "utf8")).toContain("conv-autoencoder");
  });

  it("taef2: decoding and one step of f", { timeout: 240_000 }, async () => {
    const tensors = await reference("taef2");
    const model = await loadAutoencoder(sharedPath("models", "taef2"));
    expect(model).toMatchObject({ latentShape: [32, 8, 8], inputShape: [3, 64, 64] });
    const k = model.latentDimension;
    const z = float(tensors, "noise.seeds").subarray(0, k);
    const decoded = interpreter(model.decoder!)(z, 1);
    expect(error(decoded, float(tensors, "noise.decoded").subarray(0, 3 * 64 * 64))).toBeLessThan(1e-5);
    const steps = [...(tensors.get("noise.trajectory_steps")!.data as Int32Array)];
    const trajectory = tensors.get("noise.trajectory")!;
    expect(trajectory.shape).toEqual([8, steps.length, 32, 8, 8]);
    const first = float(tensors, "noise.trajectory").subarray(
      steps.indexOf(1) * k,
      (steps.indexOf(1) + 1) * k,
    );
    expect(error(interpret(model.encoder!, decoded, 1), first)).toBeLessThan(1e-5);
  });

  it("vit-mae-tiny: encoding, decoding and one step of f", { timeout: 60_000 }, async () => {
    const tensors = await reference("vit-mae-tiny");
    const model = await loadAutoencoder(sharedPath("models", "vit-mae-tiny"));
    expect(model).toMatchObject({ latentShape: [65, 96], inputShape: [3, 32, 32], notes: [] });
    const ops = new Set(model.map!.nodes.map(({ op }) => op));
    // The exporter wrote it in parts; none of them is left.
    expect([...ops].toSorted()).toEqual(
      ["add", "attention", "concat", "conv", "layerNorm", "linear", "pad", "reshape", "transpose"].toSorted(),
    );
    const k = model.latentDimension;
    const rows = 2;
    const first = (name: string, size: number) => float(tensors, name).subarray(0, rows * size);
    const seeds = first("data.seeds", k);
    expect(error(interpret(model.encoder!, first("images", 3072), rows), seeds)).toBeLessThan(2e-6);
    expect(error(interpret(model.decoder!, seeds, rows), first("data.decoded", 3072))).toBeLessThan(2e-6);
    const steps = [...(tensors.get("trajectory_steps")!.data as Int32Array)];
    const at = steps.indexOf(1);
    for (const from of ["data", "noise"]) {
      const found = interpret(model.map!, float(tensors, `${from}.seeds`).subarray(0, k), 1);
      const trajectory = float(tensors, `${from}.trajectory`);
      expect(error(found, trajectory.subarray(at * k, (at + 1) * k)), from).toBeLessThan(5e-6);
      for (const layout of ["lanes", "onednn"] as const) {
        const native = await runNative(model.map!, float(tensors, `${from}.seeds`).subarray(0, k), {
          layout,
        });
        expect(error(native, trajectory.subarray(at * k, (at + 1) * k)), `${from}, ${layout}`).toBeLessThan(
          5e-5,
        );
      }
    }
  });
});
