import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { InputError, UnsupportedOperatorError } from "../../../src/errors.js";
import { interpret } from "../../../src/graph/reference.js";
import { externalReader } from "../../../src/models/onnx/externalData.js";
import { importOnnx } from "../../../src/models/onnx/import.js";
import { floats, ints, type ModelToWrite, onnxModel } from "../../support/onnxBuilder.js";
import { seededRandom } from "../../support/random.js";
import { temporaryFolder } from "../../support/temporaryFolder.js";

const folder = temporaryFolder();
const relu: ModelToWrite = { nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"], name: "r" }] };
const load = (model: ModelToWrite) => importOnnx(onnxModel(model), "m.onnx");

describe("importOnnx", () => {
  it("gives a graph of one row, named by the exporter's names", () => {
    const { graph, opset, notes } = load({ ...relu, opset: 15 });
    expect({ opset, notes }).toEqual({ opset: 15, notes: [] });
    expect(graph.nodes).toMatchObject([{ op: "activate", name: "r" }]);
    expect(graph.values[graph.input]).toEqual({ name: "x", shape: [2] });
  });
  it("hands its input on where the model does nothing", () => {
    const { graph } = load({ nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }] });
    expect([...interpret(graph, Float32Array.of(3, 4), 1)]).toEqual([3, 4]);
  });
  it("takes the first of several outputs and leaves out what only the others need", () => {
    const { graph, notes } = load({
      outputs: ["mean", "variance"],
      nodes: [
        { op: "Relu", inputs: ["x"], outputs: ["mean"] },
        { op: "Exp", inputs: ["x"], outputs: ["variance"] },
      ],
    });
    expect(graph.nodes).toHaveLength(1);
    expect(notes).toEqual(['m.onnx: has 2 outputs (mean, variance), of which the first, "mean", is used']);
  });
  it("accepts weights among the inputs, as old files list them", () => {
    const { graph } = load({
      inputs: { x: ["n", 2], w: [2] },
      initializers: { w: floats([2], [1, 2]) },
      nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
    });
    expect([...interpret(graph, Float32Array.of(3, 4), 1)]).toEqual([4, 6]);
  });
  it("says which weights are NaN", () => {
    const { notes } = load({
      initializers: { w: floats([2], [Number.NaN, 2]) },
      nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
    });
    expect(notes).toEqual(['tensor "w" holds 1 elements that are NaN or infinite']);
  });
  it("computes a float16 model in float32, and says so", () => {
    expect(load({ ...relu, inputType: 10 }).notes).toEqual([
      expect.stringMatching(/not float32.*computed in float32/),
    ]);
  });

  it("fills open axes from the given shape", () => {
    const open = onnxModel({ ...relu, inputs: { x: ["n", 3, "h", "w"] } });
    expect(importOnnx(open, "m.onnx", { inputShape: [3, 4, 5] }).graph.values[0]!.shape).toEqual([3, 4, 5]);
    expect(() => importOnnx(open, "m.onnx")).toThrow(
      /\[n, 3, h, w\], whose axis 2 is not fixed; say it in config.json/,
    );
    expect(() => importOnnx(open, "m.onnx", { inputShape: [4, 4, 5] })).toThrow(/expected a batch of 4×4×5/);
    expect(() => importOnnx(open, "m.onnx", { inputShape: [3, 4] })).toThrow(/expected a batch of 3×4/);
  });

  it.each<[string, ModelToWrite, RegExp]>([
    ["an operator set too old", { ...relu, opset: 6 }, /operator set 6, expected 7 to 24/],
    [
      "an operator set too new",
      { ...relu, opset: 99 },
      /operator set 99, expected 7 to 24; export it at an older one/,
    ],
    ["no standard operator set", { ...relu, domain: "com.example" }, /operator set 0/],
    [
      "two inputs",
      { ...relu, inputs: { x: ["n", 2], z: ["n", 2] } },
      /has 2 inputs \("x", "z"\), expected one/,
    ],
    ["no input", { ...relu, inputs: {} }, /has 0 inputs, expected one/],
    ["whole numbers as input", { ...relu, inputType: 7 }, /data type 7, expected floating point/],
    ["an input without axes", { ...relu, inputs: { x: [] } }, /has shape \[\], expected a batch axis/],
    [
      "a value nobody computes",
      { nodes: [{ op: "Relu", inputs: ["q"], outputs: ["y"] }] },
      /reads "q", which nothing computes/,
    ],
    ["an output nobody computes", { ...relu, outputs: ["q"] }, /nothing computes its output "q"/],
    [
      "a cycle",
      { nodes: [{ op: "Add", inputs: ["x", "y"], outputs: ["y"] }] },
      /reads "y", which nothing computes before it/,
    ],
    ["a missing input", { nodes: [{ op: "Add", inputs: ["x"], outputs: ["y"] }] }, /has no input 1/],
    [
      "an attribute of another type",
      { nodes: [{ op: "Elu", inputs: ["x"], outputs: ["y"], attributes: { alpha: { i: 1 } } }] },
      /"alpha" of type 2, expected 1/,
    ],
    [
      "a constant output",
      { nodes: [{ op: "Shape", inputs: ["x"], outputs: ["y"] }] },
      /does not depend on its input/,
    ],
    [
      "a weight with too few bytes",
      {
        initializers: { w: { dims: [2 ** 30], dataType: 1, rawData: new Uint8Array(8) } },
        nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
      },
      /tensor "w" of shape \[1073741824\] holds 8 bytes, expected 4294967296: the file is damaged/,
    ],
    [
      "a weight of a negative shape",
      {
        initializers: { w: { dims: [-2], dataType: 1 } },
        nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
      },
      /shape \[-2\], expected whole numbers/,
    ],
    [
      "a weight of text",
      {
        initializers: { w: { dims: [1], dataType: 8 } },
        nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
      },
      /data type 8, expected a type of numbers/,
    ],
    [
      "a padding that would fill the memory",
      {
        initializers: { p: ints(0, 0, 0, 2 ** 40) },
        nodes: [{ op: "Pad", inputs: ["x", "p"], outputs: ["y"] }],
      },
      /fewer than 2\^31 elements/,
    ],
  ])("refuses %s", (_what, model, message) => {
    const attempt = () => load(model);
    expect(attempt).toThrow(InputError);
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(/m\.onnx: /);
  });

  it("names operator, node and the engine to use for what is outside the set", () => {
    const attempt = () => load({ nodes: [{ op: "GRU", inputs: ["x"], outputs: ["y"], name: "/attn/GRU" }] });
    expect(attempt).toThrow(UnsupportedOperatorError);
    expect(attempt).toThrow(
      'm.onnx: operator GRU (node "/attn/GRU") is outside the native operator set; run it with --engine onnxruntime instead',
    );
    const foreign = () =>
      load({ nodes: [{ op: "Relu", domain: "com.example", inputs: ["x"], outputs: ["y"] }] });
    expect(foreign).toThrow(UnsupportedOperatorError);
  });

  it.each([
    ["nothing", new Uint8Array(0)],
    ["text", new TextEncoder().encode("this is not a model at all")],
    ["zeros", new Uint8Array(100)],
    ["half a model", onnxModel(relu).slice(0, 20)],
  ])("refuses %s, naming the file", (_what, bytes) => {
    expect(() => importOnnx(bytes, "m.onnx")).toThrow(/^m\.onnx: is not an ONNX model/);
  });
});

describe("weights in other files", () => {
  const model = (location: string, length = "8") =>
    onnxModel({
      initializers: {
        w: {
          dims: [2],
          dataType: 1,
          dataLocation: 1,
          externalData: [
            { key: "location", value: location },
            { key: "offset", value: "4" },
            { key: "length", value: length },
          ],
        },
      },
      nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
    });
  const inside = join(folder, "model");
  mkdirSync(inside);
  writeFileSync(join(inside, "weights.bin"), new Uint8Array(Float32Array.of(9, 10, 20).buffer));
  writeFileSync(join(folder, "outside.bin"), new Uint8Array(12));
  symlinkSync(join(folder, "outside.bin"), join(inside, "link.bin"));
  const read = (bytes: Uint8Array, files = new Set<string>()) =>
    importOnnx(bytes, "m.onnx", { readExternal: externalReader(inside, "m.onnx", files) });

  it("are read from the model's folder", () => {
    const files = new Set<string>();
    const { graph } = read(model("weights.bin"), files);
    expect([...interpret(graph, Float32Array.of(1, 2), 1)]).toEqual([11, 22]);
    expect([...files]).toEqual(["weights.bin"]);
  });
  it.each([
    ["../outside.bin", /not inside the model's folder/],
    [join(folder, "outside.bin"), /not inside the model's folder/],
    ["link.bin", /leads out of the model's folder/],
    ["missing.bin", /cannot be opened/],
  ])("are refused at %s", (location, message) => {
    expect(() => read(model(location))).toThrow(InputError);
    expect(() => read(model(location))).toThrow(message);
  });
  it("are refused where sizes do not fit or no file can be read", () => {
    writeFileSync(join(inside, "short.bin"), new Uint8Array(6));
    expect(() => read(model("short.bin"))).toThrow(/needs bytes 4 to 12 of "short.bin", which holds 6/);
    expect(() => read(model("weights.bin", "4"))).toThrow(/needs 8 bytes but says/);
    expect(() => importOnnx(model("weights.bin"), "m.onnx")).toThrow(/cannot be read from here/);
  });
});

describe("damaged models", () => {
  const whole = onnxModel({
    opset: 13,
    inputs: { x: ["batch", 2, "h", 4] },
    initializers: {
      w: floats([4, 2, 3, 3], new Array(72).fill(0.1)),
      b: floats([4], [1, 2, 3, 4]),
      groups: ints(0, 2, -1),
      one: floats([2], [1, 1]),
      scales: floats([4], [1, 1, 2, 2]),
      pads: ints(0, 0, 1, 0, 0, 0, 0, 1),
      m: floats([36, 3], new Array(108).fill(0.5)),
    },
    nodes: [
      { op: "Pad", inputs: ["x", "pads"], outputs: ["p"] },
      {
        op: "Conv",
        inputs: ["p", "w", "b"],
        outputs: ["c"],
        attributes: { pads: { ints: [1, 1, 1, 1] }, strides: { ints: [2, 2] } },
      },
      { op: "Relu", inputs: ["c"], outputs: ["r"] },
      { op: "Reshape", inputs: ["r", "groups"], outputs: ["g"] },
      {
        op: "InstanceNormalization",
        inputs: ["g", "one", "one"],
        outputs: ["i"],
        attributes: { epsilon: { f: 1e-5 } },
      },
      { op: "Shape", inputs: ["r"], outputs: ["s"] },
      { op: "Reshape", inputs: ["i", "s"], outputs: ["q"] },
      { op: "Resize", inputs: ["q", "", "scales"], outputs: ["u"] },
      {
        op: "MaxPool",
        inputs: ["u"],
        outputs: ["k"],
        attributes: { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } },
      },
      { op: "Flatten", inputs: ["k"], outputs: ["f"] },
      { op: "Gemm", inputs: ["f", "m"], outputs: ["y"], attributes: { alpha: { f: 0.5 } } },
    ],
  });
  it("is whole to begin with", () => {
    expect(importOnnx(whole, "m.onnx", { inputShape: [2, 4, 4] }).graph.nodes.length).toBeGreaterThan(5);
  });
  it("give a graph or an InputError, whatever is cut or flipped", () => {
    const random = seededRandom(11);
    let refused = 0;
    for (let i = 0; i < 4000; i++) {
      const bytes = whole.slice(0, i % 4 === 0 ? random.integer(0, whole.length) : whole.length);
      for (let flips = i % 4 === 0 ? 0 : random.integer(1, 4); flips > 0; flips--) {
        const at = random.integer(0, bytes.length - 1);
        bytes[at] =
          random.uniform() < 0.5 ? bytes[at]! ^ (1 << random.integer(0, 7)) : random.integer(0, 255);
      }
      try {
        importOnnx(bytes, "m.onnx", { inputShape: [2, 4, 4] });
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
    expect(refused).toBeLessThan(4000);
  });
});
