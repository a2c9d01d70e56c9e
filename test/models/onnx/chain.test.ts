import { describe, expect, it } from "vitest";
import { interpret } from "../../../src/graph/reference.js";
import { type ChainPart, chainModels } from "../../../src/models/onnx/chain.js";
import { importOnnx } from "../../../src/models/onnx/import.js";
import { modelType } from "../../../src/models/onnx/schema.js";
import { decodeWhole, encodeWhole, externalLocations } from "../../../src/models/onnx/whole.js";
import { floats, ints, type ModelToWrite, onnxModel } from "../../support/onnxBuilder.js";

function part(bytes: Uint8Array, more: Partial<ChainPart> = {}): ChainPart {
  return { bytes, file: "m.onnx", input: "x", inputShape: [2], batchSize: undefined, output: "y", ...more };
}

function chained(...parts: ChainPart[]) {
  const chain = chainModels(parts);
  if ("reason" in chain) throw new Error(chain.reason);
  return chain;
}

function reasonOf(...parts: ChainPart[]): string | undefined {
  const chain = chainModels(parts);
  return "reason" in chain ? chain.reason : undefined;
}

function evaluate(parts: ChainPart[], row: readonly number[]): number[] {
  const { graph } = importOnnx(chained(...parts).bytes, "chain.onnx");
  return [...interpret(graph, Float32Array.from(row), 1)];
}

/** y = w·x element by element, with every name the same as in any other such model. */
const times = (w: readonly number[], more: Partial<ModelToWrite> = {}): Uint8Array =>
  onnxModel({
    initializers: { w: floats([w.length], w) },
    nodes: [
      { op: "Mul", name: "n", inputs: ["x", "w"], outputs: ["t"] },
      { op: "Identity", name: "n", inputs: ["t"], outputs: ["y"] },
    ],
    ...more,
  });

describe("chainModels", () => {
  it("keeps the same names of two files apart", () => {
    expect(evaluate([part(times([2, 3])), part(times([5, 7]))], [1, 1])).toEqual([10, 21]);
  });

  it("keeps the order of the parts", () => {
    const plus = onnxModel({
      initializers: { w: floats([2], [1, 1]) },
      nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
    });
    expect(evaluate([part(times([2, 3])), part(plus)], [1, 1])).toEqual([3, 4]);
    expect(evaluate([part(plus), part(times([2, 3]))], [1, 1])).toEqual([4, 6]);
    expect(evaluate([part(plus), part(plus), part(plus)], [1, 2])).toEqual([4, 5]);
  });

  it("passes on the output that is named, and not another one", () => {
    const two = times([2, 3], { outputs: ["t", "other"] });
    expect(evaluate([part(two, { output: "t" }), part(times([1, 10]))], [1, 1])).toEqual([2, 30]);
  });

  it("reshapes where one row has another shape", () => {
    const image = onnxModel({
      inputs: { x: ["n", 1, 2, 1] },
      nodes: [{ op: "GlobalAveragePool", inputs: ["x"], outputs: ["y"] }],
    });
    const parts = [part(times([2, 4])), part(image, { inputShape: [1, 2, 1] })];
    expect(evaluate(parts, [1, 1])).toEqual([3]);
  });

  it("needs no reshape where both files say the same shape", () => {
    const said = { outputs: { y: ["n", 2] } };
    const nodes = (...parts: ChainPart[]) =>
      decodeWhole(chained(...parts).bytes, "").graph.node.map(({ output }) => output[0]);
    expect(nodes(part(times([1, 1], said)), part(times([1, 1])))).toEqual([
      "part0/t",
      "part0/y",
      "part1/t",
      "part1/y",
    ]);
    expect(nodes(part(times([1, 1])), part(times([1, 1])))).toContain("seam1/Reshape");
  });

  it("hands over what a file only hands on", () => {
    const same = onnxModel({ outputs: ["x"], nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"] }] });
    expect(evaluate([part(same, { output: "x" }), part(times([2, 3]))], [1, 1])).toEqual([2, 3]);
    expect(evaluate([part(times([2, 3])), part(same, { output: "x" })], [1, 1])).toEqual([2, 3]);
  });

  it("takes weights that are listed among the inputs for weights", () => {
    const old = times([2, 3], { inputs: { x: ["n", 2], w: [2] } });
    expect(evaluate([part(old), part(old)], [1, 1])).toEqual([4, 9]);
  });

  it("makes input and output float32", () => {
    const half = onnxModel({
      inputType: 10,
      outputs: { y: ["n", 2] },
      nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"] }],
    });
    const { graph } = decodeWhole(chained(part(half)).bytes, "");
    expect(graph.node.map(({ input, output }) => [input[0], output[0]])).toEqual([
      ["input", "seam0/Cast"],
      ["seam0/Cast", "part0/y"],
      ["part0/y", "end/Cast"],
    ]);
    expect(graph.input[0]!.type!.tensorType!.elemType).toBe(1);
  });

  it("renames what subgraphs read from outside, and keeps what it does not know", () => {
    const branch = (op: string): ModelToWrite => ({
      inputs: {},
      outputs: [`${op}_y`],
      initializers: { inner: floats([2], [1, 1]) },
      nodes: [{ op, inputs: ["t", "inner"], outputs: [`${op}_y`] }],
    });
    const model = onnxModel({
      initializers: { yes: { dims: [], dataType: 9, int32Data: [1] } },
      nodes: [
        { op: "Relu", inputs: ["x"], outputs: ["t"] },
        {
          op: "If",
          inputs: ["yes"],
          outputs: ["y"],
          // As exporters write "to the end".
          attributes: { then_branch: { g: branch("Add") }, else_branch: { g: branch("Sub") } },
        },
      ],
    });
    const whole = decodeWhole(model, "m.onnx");
    // A documentation string (field 6 of a node), which the schema does not list.
    const documented = whole.graph.node[0] as unknown as { $unknowns?: Uint8Array[] };
    documented.$unknowns = [Uint8Array.from([0x32, 2, 0x68, 0x69])];
    const again = decodeWhole(chained(part(encodeWhole(whole)), part(times([1, 1]))).bytes, "").graph;
    expect((again.node[0] as unknown as { $unknowns: Uint8Array[] }).$unknowns.map((b) => [...b])).toEqual([
      [0x32, 2, 0x68, 0x69],
    ]);
    const [then] = again.node[1]!.attribute;
    expect(then!.g).toMatchObject({
      node: [{ input: ["part0/t", "part0/inner"], output: ["part0/Add_y"] }],
      initializer: [{ name: "part0/inner" }],
      output: [{ name: "part0/Add_y" }],
    });
  });

  it("keeps whole numbers of 64 bits", () => {
    const end = { dims: [1], dataType: 7, rawData: new Uint8Array(8).fill(255, 0, 7).fill(127, 7) };
    const bytes = modelType
      .encode(
        modelType.fromObject({
          opsetImport: [{ version: 17 }],
          graph: {
            node: [
              {
                opType: "X",
                input: ["x"],
                output: ["y"],
                attribute: [{ name: "i", type: 2, i: "9223372036854775807" }],
              },
            ],
            initializer: [{ name: "end", ...end }],
            input: [{ name: "x" }],
            output: [{ name: "y" }],
          },
        }),
      )
      .finish();
    const [node] = decodeWhole(chained(part(bytes)).bytes, "").graph.node;
    expect(String((node!.attribute[0] as unknown as { i: unknown }).i)).toBe("9223372036854775807");
  });

  it("says why two files stay two", () => {
    const with17 = part(times([1, 1]));
    expect(reasonOf(with17, part(times([1, 1], { opset: 18 })))).toBe(
      "the files are written in operator sets 17 and 18",
    );
    expect(reasonOf(with17, part(times([1, 1], { domain: "ai.onnx", opset: 17 })))).toBeUndefined();
    expect(reasonOf(part(times([1, 1]), { batchSize: 4 }), part(times([1, 1]), { batchSize: 3 }))).toBe(
      "the files take batches of 4 and 3 rows",
    );
    expect(chained(part(times([1, 1]), { batchSize: 4 }), with17).batchSize).toBe(4);
    const whole = decodeWhole(times([1, 1]), "");
    whole.functions = [Uint8Array.of(10, 1, 102)];
    const withFunction = part(encodeWhole(whole));
    expect(reasonOf(withFunction, withFunction)).toMatch(/functions of their own/);
    expect(decodeWhole(chained(withFunction, with17).bytes, "").functions.map((f) => [...f])).toEqual([
      [10, 1, 102],
    ]);
  });
});

describe("externalLocations", () => {
  it("finds weights in other files wherever a model can keep them", () => {
    const elsewhere = (location: string) => ({
      dims: [2],
      dataType: 1,
      dataLocation: 1,
      externalData: [{ key: "location", value: location }],
    });
    const model = onnxModel({
      initializers: { a: elsewhere("a.bin"), b: elsewhere("a.bin"), c: ints(1) },
      nodes: [
        { op: "Constant", inputs: [], outputs: ["v"], attributes: { value: { t: elsewhere("t.bin") } } },
        {
          op: "If",
          inputs: ["c"],
          outputs: ["y"],
          attributes: {
            then_branch: { g: { inputs: {}, nodes: [], initializers: { w: elsewhere("g.bin") } } },
          },
        },
      ],
    });
    expect(externalLocations(decodeWhole(model, "m"), "m")).toEqual(["a.bin", "t.bin", "g.bin"]);
  });

  it("refuses a tensor that is elsewhere and does not say where", () => {
    const model = onnxModel({
      initializers: { w: { dims: [2], dataType: 1, dataLocation: 1 } },
      nodes: [{ op: "Mul", inputs: ["x", "w"], outputs: ["y"] }],
    });
    expect(() => externalLocations(decodeWhole(model, "m.onnx"), "m.onnx")).toThrow(
      'm.onnx: tensor "w" lies in another file that is not named',
    );
  });
});
