import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { contraction } from "../../src/analysis/contraction.js";
import { engineOf } from "../../src/engines/choose.js";
import { inspectModel } from "../../src/engines/inspect.js";
import { nativeEngine } from "../../src/engines/native.js";
import { RUNTIMES } from "../../src/engines/runtimes.js";
import { InputError, UnsupportedOperatorError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { fromFunction } from "../../src/models/fromFunction.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { scaling } from "../support/maps.js";
import { floats, type ModelToWrite, onnxModel } from "../support/onnxBuilder.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const folder = temporaryFolder();
/** 4 numbers to 2 and back; `op` is the operator between. */
function pair(
  name: string,
  op: string,
  parts: Partial<Record<"encoder" | "decoder", ModelToWrite>> = {},
): string {
  const part = (ins: number, outs: number): ModelToWrite => ({
    inputs: { x: ["batch", ins] },
    initializers: { w: floats([ins, outs], new Array(ins * outs).fill(0.1)) },
    nodes: [
      { op: "MatMul", inputs: ["x", "w"], outputs: ["h"] },
      { op, name: `/${op}`, inputs: ["h"], outputs: ["y"] },
    ],
  });
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, "encoder.onnx"), onnxModel({ ...part(4, 2), ...parts.encoder }));
  writeFileSync(join(path, "decoder.onnx"), onnxModel({ ...part(2, 4), ...parts.decoder }));
  return path;
}
const strange = pair("strange", "Bernoulli");

describe("choosing an engine", () => {
  it("auto is native where there is a graph, and one engine per model and options", async () => {
    const model = scaling("half", 2, 0.5);
    expect(await engineOf(model)).toBe(nativeEngine(model));
    expect(await engineOf(model, { engine: "native", layout: "onednn" })).toBe(
      nativeEngine(model, { layout: "onednn" }),
    );
    const map = fromFunction({ latentShape: [1], apply: (rows) => rows });
    expect(await engineOf(map)).toBe(await engineOf(map, { engine: "function" }));
    expect(await engineOf(map)).not.toBe(await engineOf(map, { threads: 3 }));
  });

  it.each([
    [{ precision: "tf32" }, 'precision is "tf32", which is for CUDA; device is "cpu"'],
    [{ precision: "float32", device: "cpu" }, 'precision is "float32", which is for CUDA; device is "cpu"'],
    [{ device: "gpu" }, 'device is "gpu", expected auto, cpu, cuda or cuda:INDEX'],
    [{ device: "cuda:100" }, 'device is "cuda:100", expected auto'],
  ] as const)("options that do not go together: %j", async (options, message) => {
    const chosen = engineOf(scaling("half", 2, 0.5), options);
    await expect(chosen).rejects.toThrow(InputError);
    await expect(chosen).rejects.toThrow(message);
  });

  it("what is for the native engine goes with no other", async () => {
    const map = fromFunction({ latentShape: [1], apply: (rows) => rows });
    for (const options of [{ layout: "lanes" }, { isa: "avx2" }, { precision: "bf16" }] as const) {
      const [[name, value]] = Object.entries(options);
      await expect(engineOf(map, options)).rejects.toThrow(
        `${name} is "${value}", which is for the native engine; function runs on function`,
      );
    }
  });

  it.each([
    ["torch", /engine is "torch", expected one of auto, native, onnxruntime, tfjs/],
    ["", /engine is "", expected one of/],
    ["function", /half: engine function cannot run a model of format square-map; native can/],
  ])("%s", async (engine, message) => {
    const chosen = engineOf(scaling("half", 2, 0.5), { engine });
    await expect(chosen).rejects.toThrow(InputError);
    await expect(chosen).rejects.toThrow(message);
  });
});

describe("an ONNX model with an operator outside the native set", () => {
  it("is an error for the native engine, which names operator, node and the engine to use", async () => {
    const error = await loadAutoencoder(strange, { engine: "native" }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(UnsupportedOperatorError);
    expect(error).toMatchObject({ operator: "Bernoulli", node: "/Bernoulli" });
    expect((error as Error).message).toMatch(/--engine onnxruntime/);
  });

  it("loads without graphs where another engine may run it", async () => {
    await using model = await loadAutoencoder(strange);
    expect(model).toMatchObject({
      format: "onnx",
      latentShape: [2],
      inputShape: [4],
      encoder: null,
      decoder: null,
      map: null,
      source: {
        kind: "onnx",
        files: { encoder: join(strange, "encoder.onnx"), decoder: join(strange, "decoder.onnx") },
      },
    });
    expect(model.unsupported).toBeInstanceOf(UnsupportedOperatorError);
    expect(model.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(inspectModel(model)).toMatchObject({ nodes: [], plan: null, parameters: null });
    expect(inspectModel(model).unsupported).toMatch(/operator Bernoulli \(node "\/Bernoulli"\)/);
    const z = matrix(new Float32Array(2), 2);
    await expect(nativeEngine(model).apply(z, { threads: 1 })).rejects.toThrow(UnsupportedOperatorError);
    await expect(engineOf(model, { engine: "native" })).rejects.toThrow(UnsupportedOperatorError);
    await expect(contraction(model, { schemes: ["kaiming"] })).rejects.toThrow(InputError);
  });

  it.skipIf(RUNTIMES.onnxruntime !== undefined)(
    "has no engine in a build with the native one alone",
    async () => {
      await using model = await loadAutoencoder(strange);
      await expect(engineOf(model)).rejects.toThrow(UnsupportedOperatorError);
      await expect(engineOf(model, { engine: "onnx" })).rejects.toThrow(
        'engine is "onnxruntime", which this build does not have',
      );
    },
  );

  it("is one square map as well", async () => {
    const path = join(folder, "map.onnx");
    writeFileSync(
      path,
      onnxModel({
        inputs: { x: ["batch", 3] },
        nodes: [{ op: "Bernoulli", name: "b", inputs: ["x"], outputs: ["y"] }],
      }),
    );
    await using model = await loadAutoencoder(path);
    expect(model).toMatchObject({
      format: "square-map",
      latentShape: [3],
      inputShape: null,
      map: null,
      source: { kind: "onnx", files: { map: path } },
    });
  });

  it("what is wrong with a file for any engine is an error whatever the engine", async () => {
    const open = pair("open", "Bernoulli", { encoder: { inputs: { x: ["batch", "width"] }, nodes: [] } });
    await expect(loadAutoencoder(open)).rejects.toThrow(/axis 1 is not fixed/);
    const outside = pair("outside", "Bernoulli", {
      decoder: {
        inputs: { x: ["batch", 2] },
        initializers: {
          w: {
            dims: [2, 4],
            dataType: 1,
            dataLocation: 1,
            externalData: [{ key: "location", value: "../strange/encoder.onnx" }],
          },
        },
        nodes: [
          { op: "Bernoulli", inputs: ["x"], outputs: ["h"] },
          { op: "MatMul", inputs: ["h", "w"], outputs: ["y"] },
        ],
      },
    });
    await expect(loadAutoencoder(outside)).rejects.toThrow(/not inside the model's folder/);
    const broken = join(folder, "broken");
    mkdirSync(broken);
    for (const name of ["encoder.onnx", "decoder.onnx"]) writeFileSync(join(broken, name), "no model at all");
    await expect(loadAutoencoder(broken, { engine: "onnxruntime" })).rejects.toThrow(InputError);
  });

  it("a newer operator set loads for onnxruntime where it is asked for by name", async () => {
    const newer = pair("newer", "Relu", { encoder: { opset: 99, nodes: [], inputs: { x: ["batch", 4] } } });
    await expect(loadAutoencoder(newer)).rejects.toThrow(/operator set 99/);
    await using model = await loadAutoencoder(newer, { engine: "onnxruntime" });
    expect(model.map).toBeNull();
    expect(model.unsupported?.message).toMatch(/operator set 99/);
  });

  it("an engine that is none", async () => {
    await expect(loadAutoencoder(strange, { engine: "torch" })).rejects.toThrow(
      /engine is "torch", expected one/,
    );
  });
});
