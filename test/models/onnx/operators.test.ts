import { describe, expect, it } from "vitest";
import { InputError, UnsupportedOperatorError } from "../../../src/errors.js";
import { elements, type Shape } from "../../../src/graph/graph.js";
import { optimize } from "../../../src/graph/optimize.js";
import { interpret } from "../../../src/graph/reference.js";
import { importOnnx } from "../../../src/models/onnx/import.js";
import {
  type AttributeToWrite,
  floats,
  ints,
  type ModelToWrite,
  onnxModel,
  scalarInt,
  type TensorToWrite,
} from "../../support/onnxBuilder.js";

interface Case {
  op: string;
  opset?: number;
  /** Row shape. */
  shape: Shape;
  /** One row; counts up from 1 where missing. */
  x?: number[];
  /** After the row; "" leaves an input out. */
  more?: (TensorToWrite | "")[];
  attributes?: Record<string, AttributeToWrite>;
  /** Puts the row at this place instead of the first. */
  rowAt?: number;
  batch?: number | string;
}

function bytesOf({ op, opset, shape, more = [], attributes, rowAt = 0, batch = "batch" }: Case): Uint8Array {
  const initializers: Record<string, TensorToWrite> = {};
  const inputs = more.map((tensor, i) => {
    if (tensor === "") return "";
    initializers[`c${i}`] = tensor;
    return `c${i}`;
  });
  inputs.splice(rowAt, 0, "x");
  return onnxModel({
    opset,
    inputs: { x: [batch, ...shape] },
    initializers,
    nodes: [{ op, name: "the node", inputs, outputs: ["y"], attributes }],
  });
}

/** Shape and elements of the operator's result on one row; the optimised graph has to agree. */
function run(test: Case): { shape: Shape; data: number[] } {
  return runModel(bytesOf(test), test.x);
}

function runModel(bytes: Uint8Array, row?: number[]) {
  const { graph } = importOnnx(bytes, "test.onnx");
  const size = elements(graph.values[graph.input]!.shape);
  const x = Float64Array.from(row ?? Array.from({ length: size }, (_, i) => i + 1));
  const data = [...interpret(graph, x, 1)];
  const optimized = [...interpret(optimize(graph), x, 1)];
  optimized.forEach((value, i) => {
    if (Number.isFinite(data[i]!))
      expect(Math.abs(value - data[i]!)).toBeLessThan(1e-5 * Math.max(1, Math.abs(value)));
  });
  return { shape: graph.values[graph.output]!.shape, data };
}

function refuse(test: Case): Error {
  return refuseModel(bytesOf(test));
}

function refuseModel(bytes: Uint8Array): Error {
  try {
    importOnnx(bytes, "test.onnx");
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(/^test\.onnx: /);
    return error as Error;
  }
  throw new Error("the model was accepted");
}

const close = (data: number[]) => data.map((v) => expect.closeTo(v, 6) as number);

describe("convolutions", () => {
  const ones = (...dims: number[]) => floats(dims, new Array(elements(dims)).fill(1));
  const pads = (...values: number[]) => ({ pads: { ints: values } });

  it("Conv with pads, strides, bias", () => {
    const attributes = { ...pads(1, 1, 0, 0), strides: { ints: [2, 2] }, kernel_shape: { ints: [2, 2] } };
    const more = [ones(1, 1, 2, 2), floats([1], [0.5])];
    expect(run({ op: "Conv", shape: [1, 3, 3], more, attributes })).toEqual({
      shape: [1, 2, 2],
      data: [1.5, 5.5, 11.5, 28.5],
    });
  });
  it("Conv on one-dimensional signals", () => {
    const attributes = { ...pads(1, 0), dilations: { ints: [2] } };
    expect(run({ op: "Conv", shape: [1, 4], more: [floats([1, 1, 2], [10, 1])], attributes })).toEqual({
      shape: [1, 3],
      data: [2, 13, 24],
    });
  });
  it.each([
    // 5 elements, kernel 2, stride 2: one element of padding, after or before.
    ["SAME_UPPER", [3, 7, 5]],
    ["SAME_LOWER", [1, 5, 9]],
    ["VALID", [3, 7]],
  ])("Conv with auto_pad %s", (mode, data) => {
    const attributes = { auto_pad: { s: mode }, strides: { ints: [2] } };
    expect(run({ op: "Conv", shape: [1, 5], more: [ones(1, 1, 2)], attributes }).data).toEqual(data);
  });
  it("ConvTranspose with output_padding and groups", () => {
    const attributes = { strides: { ints: [1, 2] }, output_padding: { ints: [0, 1] }, group: { i: 2 } };
    expect(
      run({ op: "ConvTranspose", shape: [2, 1, 1], more: [floats([2, 1, 1, 1], [3, 5])], attributes }),
    ).toEqual({
      shape: [2, 1, 2],
      data: [3, 0, 10, 0],
    });
  });
  it.each<[string, Record<string, AttributeToWrite>, number[]]>([
    // Full result of kernel [1, 1] with stride 2 on [1, 2]: 1 1 2 2.
    ["SAME_UPPER", { auto_pad: { s: "SAME_UPPER" } }, [1, 1, 2, 2]],
    ["output_shape 3, the odd one from the start", { output_shape: { ints: [3] } }, [1, 2, 2]],
    [
      "output_shape 3, SAME_UPPER: from the end",
      { output_shape: { ints: [3] }, auto_pad: { s: "SAME_UPPER" } },
      [1, 1, 2],
    ],
    ["output_shape beyond the full result", { output_shape: { ints: [5] } }, [1, 1, 2, 2, 0]],
  ])("ConvTranspose with %s", (_what, attributes, data) => {
    const all = { strides: { ints: [2] }, ...attributes };
    expect(run({ op: "ConvTranspose", shape: [1, 2], more: [ones(1, 1, 2)], attributes: all }).data).toEqual(
      data,
    );
  });
  it("refuses three spatial axes, weights from the input, a kernel_shape that lies", () => {
    const three = refuse({ op: "Conv", shape: [1, 2, 2, 2], more: [ones(1, 1, 1, 1, 1)] });
    expect(three).toBeInstanceOf(UnsupportedOperatorError);
    expect(three).toMatchObject({ operator: "Conv", node: "the node" });
    expect(three.message).toMatch(/3 spatial axes.*--engine onnxruntime/);
    expect(refuse({ op: "Conv", shape: [1, 1, 1], more: [ones(1, 1, 1, 1)], rowAt: 1 }).message).toMatch(
      /has a weight that is computed from the input/,
    );
    expect(refuse({ op: "Conv", shape: [1, 1, 1], more: [ones(2, 1, 1, 1)], rowAt: 1 }).message).toMatch(
      /has a constant as its input 0/,
    );
    const lying = { kernel_shape: { ints: [3, 3] } };
    expect(
      refuse({ op: "Conv", shape: [1, 3, 3], more: [ones(1, 1, 2, 2)], attributes: lying }).message,
    ).toMatch(/kernel_shape \[3, 3\]/);
    expect(refuse({ op: "Conv", shape: [2, 3, 3], more: [ones(1, 1, 2, 2)] }).message).toMatch(
      /does not fit/,
    );
  });
});

describe("matrix products", () => {
  const weight = floats([2, 3], [1, 2, 3, 4, 5, 6]);
  it("Gemm: alpha, beta, transB, bias of one or of many", () => {
    expect(run({ op: "Gemm", shape: [2], more: [weight] }).data).toEqual([9, 12, 15]);
    const transposed = { transB: { i: 1 }, alpha: { f: 2 }, beta: { f: 3 } };
    expect(
      run({ op: "Gemm", shape: [3], more: [weight, floats([2], [1, 2])], attributes: transposed }).data,
    ).toEqual([31, 70]);
    expect(run({ op: "Gemm", shape: [2], more: [weight, floats([1, 1], [1])] }).data).toEqual([10, 13, 16]);
  });
  it("MatMul by a matrix, by a vector, and as a general product", () => {
    expect(run({ op: "MatMul", shape: [2, 2], more: [weight] })).toEqual({
      shape: [2, 3],
      data: [9, 12, 15, 19, 26, 33],
    });
    expect(run({ op: "MatMul", shape: [2, 2], more: [floats([2], [1, 10])] })).toEqual({
      shape: [2],
      data: [21, 43],
    });
    expect(run({ op: "MatMul", shape: [3, 1], more: [weight], rowAt: 1 }).data).toEqual([14, 32]);
    expect(run({ op: "MatMul", shape: [1, 1, 2], more: [floats([1, 1, 2, 1], [1, 10])] }).data).toEqual([21]);
    const self = onnxModel({
      inputs: { x: ["n", 2, 2] },
      nodes: [{ op: "MatMul", inputs: ["x", "x"], outputs: ["y"] }],
    });
    expect(runModel(self).data).toEqual([7, 10, 15, 22]);
  });
  it("refuses whatever mixes rows", () => {
    expect(
      refuse({ op: "Gemm", shape: [2], more: [weight], attributes: { transA: { i: 1 } } }).message,
    ).toMatch(/rows of a batch would depend on one another/);
    expect(
      refuse({ op: "Gemm", shape: [2], more: [weight, floats([4, 3], new Array(12).fill(0))] }).message,
    ).toMatch(/depend on one another/);
    expect(refuse({ op: "MatMul", shape: [3], more: [weight], rowAt: 1 }).message).toMatch(
      /batch axis.*depend/,
    );
  });
});

describe("arithmetic and activations", () => {
  it("broadcasts constants over the row, with or without a batch axis of 1", () => {
    expect(run({ op: "Add", shape: [2, 2], more: [floats([2], [10, 20])] }).data).toEqual([11, 22, 13, 24]);
    expect(run({ op: "Sub", shape: [2, 1], more: [floats([1, 1, 2], [1, 2])], rowAt: 1 }).data).toEqual([
      0, 1, -1, 0,
    ]);
    expect(run({ op: "Mul", shape: [2], more: [floats([], [3])] }).data).toEqual([3, 6]);
    expect(run({ op: "Div", shape: [2], more: [floats([1], [2])], rowAt: 1 }).data).toEqual([2, 1]);
    expect(run({ op: "Sum", shape: [2], more: [floats([1], [2]), floats([2], [10, 20])] }).data).toEqual([
      13, 24,
    ]);
    expect(run({ op: "Neg", shape: [2] }).data).toEqual([-1, -2]);
  });
  it("refuses constants that differ from row to row, and tensors of other ranks", () => {
    expect(refuse({ op: "Add", shape: [2], more: [floats([3, 2], [1, 2, 3, 4, 5, 6])] }).message).toMatch(
      /depend/,
    );
    const mixed = onnxModel({
      inputs: { x: ["n", 2, 2] },
      initializers: { a: ints(1) },
      nodes: [
        {
          op: "ReduceMean",
          inputs: ["x"],
          outputs: ["m"],
          attributes: { axes: { ints: [1] }, keepdims: { i: 0 } },
        },
        { op: "Add", inputs: ["x", "m"], outputs: ["y"] },
      ],
    });
    expect(refuseModel(mixed).message).toMatch(/3 and|and 3 axes/);
  });
  const x = [-2, 0.5, 3];
  const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
  it.each<[string, Partial<Case>, (v: number) => number]>([
    ["Relu", {}, (v) => Math.max(v, 0)],
    ["LeakyRelu", {}, (v) => (v < 0 ? Math.fround(0.01) * v : v)],
    ["LeakyRelu", { attributes: { alpha: { f: 0.5 } } }, (v) => (v < 0 ? 0.5 * v : v)],
    ["LeakyRelu", { attributes: { alpha: { f: 0 } } }, (v) => Math.max(v, 0)],
    ["PRelu", { more: [floats([1], [0.25])] }, (v) => (v < 0 ? 0.25 * v : v)],
    ["Elu", { attributes: { alpha: { f: 2 } } }, (v) => (v < 0 ? 2 * (Math.exp(v) - 1) : v)],
    ["Selu", {}, (v) => 1.0507009873554805 * (v < 0 ? 1.6732632423543772 * (Math.exp(v) - 1) : v)],
    ["Sigmoid", {}, sigmoid],
    ["Tanh", {}, Math.tanh],
    ["Softplus", {}, (v) => Math.log(1 + Math.exp(v))],
    [
      "Gelu",
      { opset: 20, attributes: { approximate: { s: "tanh" } } },
      (v) => v * sigmoid(1.5957691216 * (v + 0.044715 * v ** 3)),
    ],
    [
      "Clip",
      { opset: 6 + 1, attributes: { min: { f: -1 }, max: { f: 1 } } },
      (v) => Math.min(1, Math.max(-1, v)),
    ],
    ["Clip", { opset: 13, more: [floats([], [0]), floats([], [2])] }, (v) => Math.min(2, Math.max(0, v))],
    ["Clip", { opset: 13, more: ["", floats([], [2])] }, (v) => Math.min(2, v)],
    ["Clip", { opset: 13 }, (v) => v],
    ["Identity", {}, (v) => v],
    ["Dropout", { opset: 12 }, (v) => v],
    ["Cast", { attributes: { to: { i: 1 } } }, (v) => v],
  ])("%s %#", (op, options, f) => {
    expect(run({ op, shape: [3], x, ...options }).data).toEqual(close(x.map(f)));
  });
  it("Gelu without approximation: x·Φ(x)", () => {
    const [low, , high] = run({ op: "Gelu", opset: 20, shape: [3], x: [-1, 0, 2] }).data as [
      number,
      number,
      number,
    ];
    expect(low).toBeCloseTo(-0.15865525393145707, 14);
    expect(high).toBeCloseTo(1.9544997361036416, 14);
  });
  it("SiLU as Mul of Sigmoid", () => {
    const bytes = onnxModel({
      nodes: [
        { op: "Sigmoid", inputs: ["x"], outputs: ["s"] },
        { op: "Mul", inputs: ["x", "s"], outputs: ["y"] },
      ],
    });
    expect(runModel(bytes, [1, -1]).data).toEqual(close([sigmoid(1), -sigmoid(-1)]));
    expect(optimize(importOnnx(bytes, "f").graph).nodes).toMatchObject([
      { op: "activate", activation: { kind: "silu" } },
    ]);
  });
  it("refuses a slope per channel and training dropout", () => {
    expect(refuse({ op: "PRelu", shape: [2], more: [floats([2], [0.1, 0.2])] })).toBeInstanceOf(
      UnsupportedOperatorError,
    );
    const training = { dims: [], dataType: 9, int32Data: [1] };
    expect(refuse({ op: "Dropout", shape: [2], more: [floats([], [0.5]), training] }).message).toMatch(
      /training/,
    );
  });
});

describe("normalisation", () => {
  it("BatchNormalization is a scale and a shift, folded into the convolution before it", () => {
    const stats = [floats([2], [2, 1]), floats([2], [10, 20]), floats([2], [1, 0]), floats([2], [4, 0.25])];
    const attributes = { epsilon: { f: 0 } };
    expect(run({ op: "BatchNormalization", shape: [2, 1, 2], more: stats, attributes }).data).toEqual(
      close([10, 11, 26, 28]),
    );
    const bytes = onnxModel({
      inputs: { x: ["n", 1, 1, 1] },
      initializers: {
        w: floats([2, 1, 1, 1], [1, 3]),
        s: stats[0]!,
        b: stats[1]!,
        m: stats[2]!,
        v: stats[3]!,
      },
      nodes: [
        { op: "Conv", inputs: ["x", "w"], outputs: ["c"] },
        { op: "BatchNormalization", inputs: ["c", "s", "b", "m", "v"], outputs: ["n"], attributes },
        { op: "Relu", inputs: ["n"], outputs: ["y"] },
      ],
    });
    expect(runModel(bytes, [5]).data).toEqual(close([14, 50]));
    expect(optimize(importOnnx(bytes, "f").graph).nodes.map(({ op }) => op)).toEqual(["conv"]);
    const training = { training_mode: { i: 1 } };
    expect(
      refuse({ op: "BatchNormalization", shape: [2], more: stats, attributes: training }).message,
    ).toMatch(/depend/);
  });
  it("InstanceNormalization", () => {
    const more = [floats([2], [1, 2]), floats([2], [0, 5])];
    const attributes = { epsilon: { f: 0 } };
    expect(
      run({ op: "InstanceNormalization", shape: [2, 2], x: [1, 3, 10, 14], more, attributes }).data,
    ).toEqual([-1, 1, 3, 7]);
  });
  it("GroupNormalization: per group in opset 18, per channel from 21", () => {
    const attributes = { num_groups: { i: 1 }, epsilon: { f: 0 } };
    const base = { op: "GroupNormalization", shape: [2, 1], x: [1, 3], attributes };
    expect(run({ ...base, opset: 18, more: [floats([1], [2]), floats([1], [5])] }).data).toEqual([3, 7]);
    expect(run({ ...base, opset: 21, more: [floats([2], [2, 3]), floats([2], [5, 6])] }).data).toEqual([
      3, 9,
    ]);
    expect(refuse({ ...base, opset: 21, more: [floats([1], [2]), floats([1], [5])] }).message).toMatch(
      /expected \[2\]/,
    );
  });
  it("group normalisation as exporters write it becomes one node", () => {
    const bytes = onnxModel({
      opset: 13,
      inputs: { x: ["n", 4, "h", "w"] },
      initializers: {
        groups: ints(0, 2, -1),
        one: floats([2], [1, 1]),
        zero: floats([2], [0, 0]),
        scale: floats([4, 1, 1], [1, 2, 3, 4]),
        shift: floats([4, 1, 1], [1, 1, 1, 1]),
      },
      nodes: [
        { op: "Reshape", inputs: ["x", "groups"], outputs: ["r"] },
        {
          op: "InstanceNormalization",
          inputs: ["r", "one", "zero"],
          outputs: ["i"],
          attributes: { epsilon: { f: 1e-3 } },
        },
        { op: "Shape", inputs: ["x"], outputs: ["shape"] },
        { op: "Reshape", inputs: ["i", "shape"], outputs: ["b"] },
        { op: "Mul", inputs: ["b", "scale"], outputs: ["m"] },
        { op: "Add", inputs: ["m", "shift"], outputs: ["y"] },
      ],
    });
    const { graph } = importOnnx(bytes, "f", { inputShape: [4, 2, 1] });
    const optimized = optimize(graph);
    expect(optimized.nodes).toMatchObject([{ op: "groupNorm", groups: 2 }]);
    const x = Float64Array.of(1, 5, -3, 2, 0.5, 0, 9, 1);
    const difference = interpret(graph, x, 1).map((v, i) => v - interpret(optimized, x, 1)[i]!);
    expect(Math.max(...difference.map(Math.abs))).toBeLessThan(1e-12);
  });
});

describe("resizing", () => {
  const doubled = [1, 1, 2, 2];
  const mode = (transformation: string, nearest: string) => ({
    coordinate_transformation_mode: { s: transformation },
    nearest_mode: { s: nearest },
  });
  it.each<[string, Omit<Case, "shape">]>([
    [
      "Upsample 7, scales as an attribute",
      { op: "Upsample", opset: 7, attributes: { scales: { floats: [1, 1, 2] } } },
    ],
    ["Upsample 9, scales as an input", { op: "Upsample", opset: 9, more: [floats([3], [1, 1, 2])] }],
    ["Resize 10", { op: "Resize", opset: 10, more: [floats([3], [1, 1, 2])] }],
    ["Resize 11, scales", { op: "Resize", opset: 11, more: ["", floats([3], [1, 1, 2])] }],
    [
      "Resize 13, asymmetric floor",
      {
        op: "Resize",
        opset: 13,
        more: ["", floats([3], [1, 1, 2])],
        attributes: mode("asymmetric", "floor"),
      },
    ],
    [
      "Resize 13, sizes with a fixed batch",
      { op: "Resize", opset: 13, batch: 1, more: ["", "", ints(1, 1, 4)] },
    ],
    [
      "Resize 18, some axes",
      { op: "Resize", opset: 18, more: ["", floats([1], [2])], attributes: { axes: { ints: [2] } } },
    ],
    [
      "Resize 19, pytorch_half_pixel",
      {
        op: "Resize",
        opset: 19,
        more: ["", floats([3], [1, 1, 2])],
        attributes: mode("pytorch_half_pixel", "round_prefer_ceil"),
      },
    ],
  ])("%s", (_what, options) => {
    expect(run({ shape: [1, 2], ...options })).toEqual({ shape: [1, 4], data: doubled });
  });
  it("enlarges height and width by different scales", () => {
    const { shape, data } = run({ op: "Resize", shape: [1, 1, 2], more: ["", floats([4], [1, 1, 2, 3])] });
    expect(shape).toEqual([1, 2, 6]);
    expect(data).toEqual([1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
  });
  it("refuses rules that pick other elements, fractions and other modes, saying what to do", () => {
    const resize = { op: "Resize", shape: [1, 3], more: ["" as const, floats([3], [1, 1, 3])] };
    const bad = [
      refuse({ ...resize, attributes: mode("asymmetric", "round_prefer_floor") }),
      refuse({ ...resize, attributes: mode("align_corners", "floor") }),
      refuse({ ...resize, attributes: mode("tf_crop_and_resize", "floor") }),
      refuse({ ...resize, attributes: { mode: { s: "linear" } } }),
      refuse({ ...resize, more: ["", floats([3], [1, 1, 1.5])] }),
      refuse({ ...resize, more: ["", floats([3], [1, 2, 1])] }),
    ];
    for (const error of bad) {
      expect(error).toBeInstanceOf(UnsupportedOperatorError);
      expect(error.message).toMatch(/Resize \(node "the node"\).*--engine onnxruntime/);
    }
    expect(refuse({ ...resize, more: ["", floats([3], [2, 1, 1])] }).message).toMatch(/batch axis/);
  });
});

describe("pooling", () => {
  const kernel = (...values: number[]) => ({ kernel_shape: { ints: values } });
  it.each<[string, Case, number[]]>([
    ["MaxPool", { op: "MaxPool", shape: [1, 2, 2], attributes: kernel(2, 2) }, [4]],
    [
      "MaxPool 1-D with stride",
      { op: "MaxPool", shape: [1, 5], attributes: { ...kernel(2), strides: { ints: [2] } } },
      [2, 4],
    ],
    [
      "MaxPool in ceil mode",
      {
        op: "MaxPool",
        shape: [1, 5],
        attributes: { ...kernel(2), strides: { ints: [2] }, ceil_mode: { i: 1 } },
      },
      [2, 4, 5],
    ],
    [
      "AveragePool with padding left out",
      { op: "AveragePool", shape: [1, 2], attributes: { ...kernel(2), pads: { ints: [1, 0] } } },
      [1, 1.5],
    ],
    [
      "AveragePool with padding counted",
      {
        op: "AveragePool",
        shape: [1, 2],
        attributes: { ...kernel(2), pads: { ints: [1, 0] }, count_include_pad: { i: 1 } },
      },
      [0.5, 1.5],
    ],
    [
      "AveragePool with auto_pad",
      {
        op: "AveragePool",
        shape: [1, 3],
        attributes: { ...kernel(2), strides: { ints: [2] }, auto_pad: { s: "SAME_UPPER" } },
      },
      [1.5, 3],
    ],
    ["GlobalAveragePool", { op: "GlobalAveragePool", shape: [2, 1, 2] }, [1.5, 3.5]],
    ["GlobalMaxPool", { op: "GlobalMaxPool", shape: [2, 1, 2] }, [2, 4]],
  ])("%s", (_what, test, data) => {
    expect(run(test).data).toEqual(data);
  });
  it("GlobalAveragePool keeps its axes", () => {
    expect(run({ op: "GlobalAveragePool", shape: [2, 1, 2] }).shape).toEqual([2, 1, 1]);
  });
});

describe("layout", () => {
  it.each<[string, Case, Shape, number[]]>([
    [
      "ReduceMean 13",
      { op: "ReduceMean", opset: 13, shape: [2, 2], attributes: { axes: { ints: [-1] } } },
      [2, 1],
      [1.5, 3.5],
    ],
    [
      "ReduceMean 18, axes dropped",
      { op: "ReduceMean", opset: 18, shape: [2, 2], more: [ints(1, 2)], attributes: { keepdims: { i: 0 } } },
      [],
      [2.5],
    ],
    [
      "Pad 2",
      { op: "Pad", opset: 7, shape: [2], attributes: { pads: { ints: [0, 1, 0, 0] }, value: { f: 9 } } },
      [3],
      [9, 1, 2],
    ],
    ["Pad 13", { op: "Pad", opset: 13, shape: [2], more: [ints(0, 1, 0, -1), floats([], [7])] }, [2], [7, 1]],
    [
      "Pad 18 with axes, reflect",
      {
        op: "Pad",
        opset: 18,
        shape: [3],
        more: [ints(2, 0), "", ints(-1)],
        attributes: { mode: { s: "reflect" } },
      },
      [5],
      [3, 2, 1, 2, 3],
    ],
    [
      "Pad edge",
      { op: "Pad", shape: [2], more: [ints(0, 0, 0, 2)], attributes: { mode: { s: "edge" } } },
      [4],
      [1, 2, 2, 2],
    ],
    [
      "Reshape with −1 for the batch",
      { op: "Reshape", shape: [2, 3], more: [ints(-1, 6)] },
      [6],
      [1, 2, 3, 4, 5, 6],
    ],
    ["Reshape with 0 and −1", { op: "Reshape", shape: [2, 2], more: [ints(0, -1)] }, [4], [1, 2, 3, 4]],
    [
      "Reshape with 0 for a later axis",
      { op: "Reshape", shape: [2, 2, 1], more: [ints(0, 0, -1)] },
      [2, 2],
      [1, 2, 3, 4],
    ],
    [
      "Reshape with a fixed batch",
      { op: "Reshape", batch: 1, shape: [2, 2], more: [ints(1, -1)] },
      [4],
      [1, 2, 3, 4],
    ],
    ["Flatten", { op: "Flatten", shape: [2, 2] }, [4], [1, 2, 3, 4]],
    ["Flatten from the end", { op: "Flatten", shape: [1, 2], attributes: { axis: { i: -1 } } }, [2], [1, 2]],
    [
      "Transpose",
      { op: "Transpose", shape: [2, 3], attributes: { perm: { ints: [0, 2, 1] } } },
      [3, 2],
      [1, 4, 2, 5, 3, 6],
    ],
    [
      "Unsqueeze 11",
      { op: "Unsqueeze", opset: 11, shape: [2], attributes: { axes: { ints: [1] } } },
      [1, 2],
      [1, 2],
    ],
    ["Unsqueeze 13", { op: "Unsqueeze", opset: 13, shape: [2], more: [ints(-1)] }, [2, 1], [1, 2]],
    ["Squeeze 13", { op: "Squeeze", opset: 13, shape: [1, 2], more: [ints(1)] }, [2], [1, 2]],
    [
      "Slice 9",
      {
        op: "Slice",
        opset: 9,
        shape: [3],
        attributes: { starts: { ints: [1] }, ends: { ints: [9] }, axes: { ints: [1] } },
      },
      [2],
      [2, 3],
    ],
    ["Slice 13", { op: "Slice", opset: 13, shape: [4], more: [ints(-3), ints(-1), ints(1)] }, [2], [2, 3]],
    [
      "Gather of one element",
      { op: "Gather", shape: [2, 2], more: [scalarInt(-1)], attributes: { axis: { i: 1 } } },
      [2],
      [3, 4],
    ],
  ])("%s", (_what, test, shape, data) => {
    expect(run(test)).toEqual({ shape, data });
  });

  it("Split and Concat along a row's axis", () => {
    const bytes = onnxModel({
      inputs: { x: ["n", 4] },
      nodes: [
        { op: "Split", inputs: ["x"], outputs: ["a", "b"], attributes: { axis: { i: 1 } } },
        { op: "Concat", inputs: ["b", "a", "b"], outputs: ["y"], attributes: { axis: { i: -1 } } },
      ],
    });
    expect(runModel(bytes).data).toEqual([3, 4, 1, 2, 3, 4]);
  });

  it.each<[string, Case]>([
    ["Reshape that splits rows", { op: "Reshape", shape: [4], more: [ints(-1, 2)] }],
    ["Reshape that joins rows", { op: "Reshape", shape: [4], more: [ints(1, -1)] }],
    ["Reshape to another batch", { op: "Reshape", batch: 2, shape: [4], more: [ints(4, 2)] }],
    ["Flatten of everything", { op: "Flatten", shape: [2], attributes: { axis: { i: 0 } } }],
    ["Flatten inside a row", { op: "Flatten", shape: [2, 2], attributes: { axis: { i: 2 } } }],
    ["ReduceMean over the batch", { op: "ReduceMean", shape: [2], attributes: { axes: { ints: [0] } } }],
    ["ReduceMean over everything", { op: "ReduceMean", shape: [2] }],
    [
      "Concat along the batch",
      { op: "Concat", shape: [2], more: [floats([1, 2], [1, 2])], attributes: { axis: { i: 0 } } },
    ],
    ["Pad of the batch", { op: "Pad", shape: [2], more: [ints(1, 0, 0, 0)] }],
    ["Slice of the batch", { op: "Slice", shape: [2], more: [ints(0), ints(1), ints(0)] }],
    ["Squeeze of the batch", { op: "Squeeze", batch: 1, shape: [2], more: [ints(0)] }],
    ["Gather of a row", { op: "Gather", shape: [2], more: [scalarInt(0)] }],
    [
      "BatchNormalization of opset 15 in training",
      {
        op: "BatchNormalization",
        shape: [1],
        more: [1, 2, 3, 4].map(() => floats([1], [1])),
        attributes: { training_mode: { i: 1 } },
      },
    ],
  ])("refuses what mixes rows: %s", (_what, test) => {
    const error = refuse(test);
    expect(error).not.toBeInstanceOf(UnsupportedOperatorError);
    expect(error.message).toMatch(/rows of a batch would depend on one another/);
  });
  it.each<[string, Case]>([
    ["Transpose", { op: "Transpose", shape: [2] }],
    ["Unsqueeze", { op: "Unsqueeze", shape: [2], more: [ints(0)] }],
  ])("refuses an output whose batch was moved: %s", (_what, test) => {
    expect(refuse(test).message).toMatch(/its output "y" has its batch on axis 1, expected 0/);
  });
});

describe("shape arithmetic", () => {
  /** Ends in a reshape of x to what the nodes compute as "target". */
  const reshapeTo = (nodes: ModelToWrite["nodes"], initializers: Record<string, TensorToWrite>, opset = 13) =>
    onnxModel({
      opset,
      inputs: { x: ["batch", 4, 2, 2] },
      initializers,
      nodes: [...nodes, { op: "Reshape", inputs: ["x", "target"], outputs: ["y"] }],
    });
  const shape = { op: "Shape", inputs: ["x"], outputs: ["shape"] };

  it("carries the batch through Gather, Unsqueeze and Concat", () => {
    const bytes = reshapeTo(
      [
        shape,
        { op: "Gather", inputs: ["shape", "zero"], outputs: ["n"] },
        { op: "Unsqueeze", inputs: ["n", "axis"], outputs: ["n1"] },
        { op: "Concat", inputs: ["n1", "rest"], outputs: ["target"], attributes: { axis: { i: 0 } } },
      ],
      { zero: scalarInt(0), axis: ints(0), rest: ints(-1) },
    );
    expect(runModel(bytes).shape).toEqual([16]);
  });
  it("computes with the other axes: Slice, Mul, Div, Cast, Squeeze", () => {
    const bytes = reshapeTo(
      [
        shape,
        { op: "Slice", inputs: ["shape", "zero", "one"], outputs: ["n"] },
        { op: "Slice", inputs: ["shape", "one", "two"], outputs: ["c"] },
        { op: "Cast", inputs: ["c"], outputs: ["cf"], attributes: { to: { i: 1 } } },
        { op: "Div", inputs: ["cf", "half"], outputs: ["c2f"] },
        { op: "Floor", inputs: ["c2f"], outputs: ["c2g"] },
        { op: "Cast", inputs: ["c2g"], outputs: ["c2"], attributes: { to: { i: 7 } } },
        { op: "Squeeze", inputs: ["c2"], outputs: ["s"] },
        { op: "Unsqueeze", inputs: ["s", "zero"], outputs: ["s1"] },
        { op: "Concat", inputs: ["n", "s1", "minus"], outputs: ["target"], attributes: { axis: { i: 0 } } },
      ],
      { zero: ints(0), one: ints(1), two: ints(2), half: floats([], [0.5]), minus: ints(-1) },
    );
    expect(runModel(bytes).shape).toEqual([8, 2]);
  });
  it("computes scales and sizes for Resize from the shape", () => {
    const bytes = onnxModel({
      opset: 13,
      inputs: { x: ["batch", 1, 1, 2] },
      initializers: { factors: { dims: [4], dataType: 7, int64Data: [1, 1, 2, 2] } },
      nodes: [
        shape,
        { op: "Mul", inputs: ["shape", "factors"], outputs: ["sizes"] },
        { op: "Resize", inputs: ["x", "", "", "sizes"], outputs: ["y"] },
      ],
    });
    expect(runModel(bytes).shape).toEqual([1, 2, 4]);
  });
  it("knows every way to write a Constant", () => {
    for (const attributes of [
      { value: { t: ints(0, -1) } },
      { value_ints: { ints: [0, -1] } },
      { value: { t: { dims: [2], dataType: 6, int32Data: [0, -1] } } },
    ] as Record<string, AttributeToWrite>[]) {
      const bytes = reshapeTo([{ op: "Constant", inputs: [], outputs: ["target"], attributes }], {});
      expect(runModel(bytes).shape).toEqual([16]);
    }
    for (const attributes of [
      { value_float: { f: 2.5 } },
      { value_floats: { floats: [2.5] } },
      { value: { t: { dims: [], dataType: 1, floatData: [2.5] } } },
      { value: { t: { dims: [1], dataType: 11, doubleData: [2.5] } } },
      { value: { t: { dims: [1], dataType: 10, int32Data: [0x4100] } } },
      { value: { t: { dims: [1], dataType: 10, rawData: Uint8Array.of(0x00, 0x41) } } },
      { value: { t: { dims: [1], dataType: 16, rawData: Uint8Array.of(0x20, 0x40) } } },
    ] as Record<string, AttributeToWrite>[]) {
      const bytes = onnxModel({
        nodes: [
          { op: "Constant", inputs: [], outputs: ["c"], attributes },
          { op: "Mul", inputs: ["x", "c"], outputs: ["y"] },
        ],
      });
      expect(runModel(bytes).data).toEqual([2.5, 5]);
    }
  });
  it("refuses to compute with the batch", () => {
    const bytes = reshapeTo([shape, { op: "Mul", inputs: ["shape", "two"], outputs: ["target"] }], {
      two: ints(2),
    });
    expect(refuseModel(bytes).message).toMatch(/computes with the batch size.*depend/);
    const moved = reshapeTo([shape, { op: "Gather", inputs: ["shape", "order"], outputs: ["target"] }], {
      order: ints(1, 0, 2, 3),
    });
    expect(refuseModel(moved).message).toMatch(/moves the batch axis/);
  });
});
