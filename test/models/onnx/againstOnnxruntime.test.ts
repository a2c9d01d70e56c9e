/** Operators one by one, a batch of two rows, against the other implementation of ONNX. */
import { describe, expect, it } from "vitest";
import { elements, type Shape } from "../../../src/graph/graph.js";
import { optimize } from "../../../src/graph/optimize.js";
import { interpret } from "../../../src/graph/reference.js";
import { importOnnx } from "../../../src/models/onnx/import.js";
import { type Exporter, exporter } from "../../support/architectures/exporter.js";
import { onnxruntime, runOnnxruntime } from "../../support/onnxruntime.js";
import { seededRandom } from "../../support/random.js";

type Build = (e: Exporter) => string;
type Case = [what: string, opset: number, shape: Shape, build: Build];

const axis = (i: number) => ({ axis: { i } });
const unary = (op: string, attributes?: Parameters<Exporter["op"]>[2]): Build => {
  return (e) => e.op(op, ["x"], attributes);
};
const reduce = (op: string, axes: number[], keepdims: number, asInput: boolean): Build => {
  return (e) =>
    asInput
      ? e.op(op, ["x", e.wholes(...axes)], { keepdims: { i: keepdims } })
      : e.op(op, ["x"], { axes: { ints: axes }, keepdims: { i: keepdims } });
};
/** x where it is positive: for logarithms and roots. */
const positive = (e: Exporter) => e.op("Add", [e.op("Softplus", ["x"]), e.number(0.1)]);
/** The batch of x and the given lengths, as a shape. */
const withBatch = (e: Exporter, ...lengths: number[]) => {
  const batch = e.op("Slice", [e.op("Shape", ["x"]), e.wholes(0), e.wholes(1)]);
  return e.op("Concat", [batch, e.wholes(...lengths)], axis(0));
};
const mask = (e: Exporter) =>
  e.op("Cast", [e.numbers([3, 4], [1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0])], { to: { i: 9 } });

const cases: Case[] = [
  ["Erf", 13, [7], unary("Erf")],
  ["Exp", 13, [7], unary("Exp")],
  ["Abs", 13, [7], unary("Abs")],
  ["Neg", 13, [7], unary("Neg")],
  ["Log", 13, [7], (e) => e.op("Log", [positive(e)])],
  ["Sqrt", 13, [7], (e) => e.op("Sqrt", [positive(e)])],
  ["Reciprocal", 13, [7], (e) => e.op("Reciprocal", [positive(e)])],
  ["Pow 2", 13, [7], (e) => e.op("Pow", ["x", e.number(2)])],
  ["Pow −1.5", 13, [7], (e) => e.op("Pow", [positive(e), e.number(-1.5)])],
  ["HardSwish", 14, [7], unary("HardSwish")],
  ["HardSigmoid", 13, [7], unary("HardSigmoid", { alpha: { f: 0.3 }, beta: { f: 0.4 } })],
  ["Mish", 18, [7], unary("Mish")],
  ["Swish", 24, [7], unary("Swish", { alpha: { f: 1.5 } })],
  ["ThresholdedRelu", 13, [7], unary("ThresholdedRelu", { alpha: { f: 0.2 } })],
  ["Gelu", 20, [7], unary("Gelu")],
  ["Gelu by tanh", 20, [7], unary("Gelu", { approximate: { s: "tanh" } })],
  ["Max with a number", 13, [7], (e) => e.op("Max", ["x", e.number(0.25)])],
  ["Min with a number", 13, [7], (e) => e.op("Min", [e.numbers([1], [0.25]), "x"])],
  ["Sum of three", 13, [3], (e) => e.op("Sum", ["x", e.weight([3], 1), "x"])],

  [
    "a constant of more axes than a row",
    13,
    [3],
    (e) => {
      const sum = e.op("Add", ["x", e.weight([2, 1, 3], 1)]);
      return e.op("Reshape", [e.op("Transpose", [sum], { perm: { ints: [1, 0, 2] } }), e.wholes(0, 6)]);
    },
  ],
  ["Softmax of the last axis", 13, [3, 4], unary("Softmax")],
  ["Softmax of the first axis", 13, [3, 4], unary("Softmax", axis(1))],
  ["Softmax of all axes, opset 11", 11, [3, 4], unary("Softmax", axis(1))],
  ["Softmax from the second axis, opset 11", 11, [2, 3, 4], unary("Softmax", axis(2))],
  [
    "LayerNormalization of two axes",
    17,
    [2, 3, 4],
    (e) =>
      e.op("LayerNormalization", ["x", e.weight([3, 4], 0.5, 1), e.weight([3, 4], 0.5)], {
        ...axis(2),
        epsilon: { f: 0.01 },
      }),
  ],
  [
    "LayerNormalization without bias",
    17,
    [3, 4],
    (e) => e.op("LayerNormalization", ["x", e.weight([4], 0.5, 1)], axis(-1)),
  ],
  [
    "GroupNormalization, opset 21",
    21,
    [6, 2, 2],
    (e) =>
      e.op("GroupNormalization", ["x", e.weight([6], 0.5, 1), e.weight([6], 0.5)], { num_groups: { i: 3 } }),
  ],
  [
    "RMSNormalization",
    23,
    [3, 4],
    (e) => e.op("RMSNormalization", ["x", e.weight([4], 0.5, 1)], { ...axis(-1), epsilon: { f: 0.01 } }),
  ],
  ["LpNormalization", 13, [3, 4], unary("LpNormalization", { ...axis(1), p: { i: 2 } })],

  ["ReduceSum", 13, [3, 4], reduce("ReduceSum", [-1], 0, true)],
  ["ReduceSum, opset 11", 11, [3, 4], reduce("ReduceSum", [1], 1, false)],
  ["ReduceMean, opset 18", 18, [3, 4], reduce("ReduceMean", [2, 1], 1, true)],
  ["ReduceMax", 13, [3, 4, 2], reduce("ReduceMax", [1], 0, false)],
  ["ReduceMax of two axes", 18, [3, 4, 2], reduce("ReduceMax", [1, 3], 1, true)],
  ["ReduceMin", 13, [3, 4], reduce("ReduceMin", [2], 1, false)],
  ["ReduceL1", 13, [3, 4], reduce("ReduceL1", [1], 1, false)],
  ["ReduceL2", 18, [3, 4], reduce("ReduceL2", [-1], 0, true)],
  ["ReduceSumSquare", 13, [3, 4], reduce("ReduceSumSquare", [1, 2], 1, false)],

  [
    "Greater and Cast",
    13,
    [4],
    (e) => e.op("Cast", [e.op("Greater", ["x", e.weight([4], 0.5)])], { to: { i: 1 } }),
  ],
  ["Less", 13, [4], (e) => e.op("Cast", [e.op("Less", ["x", e.number(0.1)])], { to: { i: 1 } })],
  ["GreaterOrEqual", 13, [4], (e) => e.op("Cast", [e.op("GreaterOrEqual", ["x", "x"])], { to: { i: 1 } })],
  [
    "LessOrEqual",
    13,
    [4],
    (e) => e.op("Cast", [e.op("LessOrEqual", ["x", e.number(0.1)])], { to: { i: 1 } }),
  ],
  [
    "And, Or, Not",
    13,
    [4],
    (e) => {
      const above = e.op("Greater", ["x", e.number(-0.3)]);
      const below = e.op("Less", ["x", e.number(0.6)]);
      const both = e.op("And", [above, below]);
      const either = e.op("Or", [e.op("Not", [both]), e.op("Greater", ["x", e.number(0.2)])]);
      return e.op("Cast", [either], { to: { i: 1 } });
    },
  ],
  [
    "Where of rows",
    13,
    [4],
    (e) => {
      const above = e.op("Greater", ["x", e.number(0.1)]);
      return e.op("Where", [above, e.op("Exp", ["x"]), e.op("Neg", ["x"])]);
    },
  ],
  [
    "Where with a number",
    13,
    [4],
    (e) => e.op("Where", [e.op("Greater", ["x", e.number(0.1)]), "x", e.number(-2)]),
  ],
  [
    "Where nothing is left",
    13,
    [4],
    (e) => e.op("Where", [e.op("Greater", ["x", e.number(0.1)]), e.number(0), "x"]),
  ],
  ["Where a constant decides", 13, [3, 4], (e) => e.op("Where", [mask(e), "x", e.op("Neg", ["x"])])],
  [
    "Where a constant hides",
    13,
    [3, 4],
    (e) => e.op("Softmax", [e.op("Where", [mask(e), "x", e.number(Number.NEGATIVE_INFINITY)])]),
  ],
  ["Where a constant fills in", 13, [3, 4], (e) => e.op("Where", [mask(e), e.number(7), "x"])],

  ["Expand of a row", 13, [1, 4], (e) => e.op("Expand", ["x", e.wholes(1, 3, 4)])],
  [
    "Expand over the batch",
    13,
    [3],
    (e) => e.op("Add", [e.op("Expand", [e.weight([1, 3], 1), withBatch(e, 3)]), "x"]),
  ],
  ["Tile", 13, [2, 3], (e) => e.op("Tile", ["x", e.wholes(1, 2, 3)])],
  ["Tile of a single column", 13, [2, 1], (e) => e.op("Tile", ["x", e.wholes(1, 1, 3)])],
  ["Gather of several elements", 13, [4, 3], (e) => e.op("Gather", ["x", e.wholes(3, 0, -2)], axis(1))],
  [
    "Gather of a matrix of elements",
    13,
    [4, 3],
    (e) => {
      const picked = e.op("Gather", ["x", e.op("Reshape", [e.wholes(0, 1, 2, 2), e.wholes(2, 2)])], axis(2));
      return e.op("Reshape", [picked, e.wholes(0, 16)]);
    },
  ],
  [
    "GatherElements along one axis",
    13,
    [4, 3],
    (e) => {
      const index = e.op("Expand", [
        e.op("Reshape", [e.wholes(2, 0, 3), e.wholes(1, 3, 1)]),
        withBatch(e, 3, 3),
      ]);
      return e.op("GatherElements", ["x", index], axis(1));
    },
  ],
  [
    "GatherElements here and there",
    13,
    [4, 3],
    (e) => {
      const list = e.op("Reshape", [e.wholes(2, 0, 3, 1, 1, 0), e.wholes(1, 2, 3)]);
      return e.op("GatherElements", ["x", e.op("Expand", [list, withBatch(e, 2, 3)])], axis(1));
    },
  ],
  [
    "Slice with steps",
    13,
    [7],
    (e) => e.op("Slice", ["x", e.wholes(6), e.wholes(-100), e.wholes(1), e.wholes(-2)]),
  ],
  [
    "Slice to the end of time",
    13,
    [7],
    (e) => e.op("Slice", ["x", e.wholes(2), e.wholes(2 ** 62), e.wholes(1)]),
  ],
  [
    "Split by number",
    18,
    [7],
    (e) => {
      const [a, b] = e.ops("Split", ["x"], 2, { ...axis(1), num_outputs: { i: 2 } });
      return e.op("Concat", [b, a], axis(1));
    },
  ],
  ["DepthToSpace", 13, [8, 2, 3], unary("DepthToSpace", { blocksize: { i: 2 } })],
  [
    "DepthToSpace, columns first",
    13,
    [8, 2, 3],
    unary("DepthToSpace", { blocksize: { i: 2 }, mode: { s: "CRD" } }),
  ],
  ["SpaceToDepth", 13, [2, 4, 6], unary("SpaceToDepth", { blocksize: { i: 2 } })],

  [
    "MatMul of rows",
    13,
    [3, 4],
    (e) => e.op("MatMul", ["x", e.op("Transpose", ["x"], { perm: { ints: [0, 2, 1] } })]),
  ],
  [
    "MatMul of two constants",
    13,
    [3],
    (e) => e.op("MatMul", ["x", e.op("MatMul", [e.weight([3, 4], 1), e.weight([4, 2], 1)])]),
  ],
  [
    "layers of constants",
    17,
    [3, 4],
    (e) => {
      const positions = e.op("MatMul", [e.weight([1, 3, 5], 1), e.weight([5, 4], 1)]);
      const scale = e.weight([4], 0.5, 1);
      const normalised = e.op("LayerNormalization", [positions, scale, e.weight([4], 1)], axis(-1));
      return e.op("Add", ["x", e.op("Softmax", [normalised], axis(1))]);
    },
  ],
  ["MatMul with a stack", 13, [2, 3, 4], (e) => e.op("MatMul", ["x", e.weight([2, 4, 5], 1)])],
  ["Einsum of two rows", 13, [3, 4], (e) => e.op("Einsum", ["x", "x"], { equation: { s: "bij,bkj->bik" } })],
  [
    "Einsum with a constant",
    13,
    [3, 4],
    (e) => e.op("Einsum", ["x", e.weight([4, 2, 5], 1)], { equation: { s: "bij,jhk->bhik" } }),
  ],
  ["Einsum that sums", 13, [3, 4], (e) => e.op("Einsum", ["x"], { equation: { s: "bij->bj" } })],
  ["Einsum without an arrow", 13, [3, 4], (e) => e.op("Einsum", ["x"], { equation: { s: "bij" } })],

  ["Attention of four axes", 23, [2, 3, 4], (e) => e.op("Attention", ["x", "x", "x"])],
  [
    "Attention of three axes, scaled",
    23,
    [3, 8],
    (e) =>
      e.op("Attention", ["x", "x", "x"], {
        q_num_heads: { i: 2 },
        kv_num_heads: { i: 2 },
        scale: { f: 0.3 },
      }),
  ],
  [
    "Attention with a mask of numbers",
    23,
    [2, 3, 4],
    (e) => e.op("Attention", ["x", "x", "x", e.weight([3, 3], 1)]),
  ],
  [
    "Attention that is causal",
    23,
    [2, 3, 4],
    (e) => e.op("Attention", ["x", "x", "x"], { is_causal: { i: 1 } }),
  ],
  [
    "Attention with fewer keys' heads",
    23,
    [4, 3, 2],
    (e) => {
      const half = e.op("Slice", ["x", e.wholes(0), e.wholes(2), e.wholes(1)]);
      return e.op("Attention", ["x", half, half]);
    },
  ],

  [
    "CumSum, Range and Trilu of constants",
    14,
    [3, 3],
    (e) => {
      const range = e.op("Cast", [e.op("Range", [e.whole(0), e.whole(3), e.whole(1)])], { to: { i: 1 } });
      const sums = e.op("CumSum", [range, e.whole(0)]);
      const lower = e.op("Trilu", [e.weight([3, 3], 1)], { upper: { i: 0 } });
      return e.op("Add", [e.op("Mul", ["x", lower]), sums]);
    },
  ],
  [
    "NonZero of a constant",
    13,
    [4],
    (e) => {
      const places = e.op("NonZero", [e.numbers([4], [0, 1, 0, 2])]);
      return e.op("Gather", ["x", e.op("Squeeze", [places, e.wholes(0)])], axis(1));
    },
  ],
  [
    "TopK put back",
    13,
    [9],
    (e) => {
      const [values, places] = e.ops("TopK", ["x", e.wholes(3)], 2, axis(-1));
      const zeros = e.op("ConstantOfShape", [e.op("Shape", ["x"])]);
      return e.op("ScatterElements", [zeros, places, values], axis(1));
    },
  ],
  [
    "TopK of another axis, marked with ones",
    13,
    [5, 2],
    (e) => {
      const [, places] = e.ops("TopK", ["x", e.wholes(2)], 2, axis(1));
      const zeros = e.op("Expand", [e.numbers([], [0]), e.op("Shape", ["x"])]);
      const ones = e.op("Expand", [e.numbers([1], [1]), withBatch(e, 2, 2)]);
      return e.op("ScatterElements", [zeros, places, ones], axis(1));
    },
  ],
  [
    "the batch moved aside and back",
    13,
    [3, 4],
    (e) => {
      const moved = e.op("Transpose", ["x"], { perm: { ints: [2, 0, 1] } });
      const scaled = e.op("Mul", [moved, e.weight([4, 1, 3], 1)]);
      const sums = e.op("Softmax", [e.op("Exp", [scaled])], axis(0));
      return e.op("Transpose", [sums], { perm: { ints: [1, 2, 0] } });
    },
  ],
  [
    "parts taken from in front of the batch",
    13,
    [2, 6],
    (e) => {
      const split = e.op("Reshape", ["x", e.wholes(0, 2, 3, 2)]);
      const moved = e.op("Transpose", [split], { perm: { ints: [2, 0, 1, 3] } });
      const [a, b, c] = e.ops("Split", [moved], 3, axis(0));
      const flat = (part: string) => e.op("Squeeze", [part, e.wholes(0)]);
      const last = e.op("Reshape", [c, e.wholes(-1, 2, 2)]);
      return e.op("Add", [e.op("Sub", [flat(a), flat(b)]), last]);
    },
  ],
];

describe.skipIf(onnxruntime === null)("operators, against onnxruntime (skipped without it)", () => {
  it.each(cases)("%s", async (_what, opset, shape, build) => {
    const e = exporter({ opset, seed: 9 });
    const bytes = e.finish("x", ["batch", ...shape], build(e));
    const { graph } = importOnnx(bytes, "operator.onnx");
    const rows = seededRandom(21).floats(2 * elements(shape));
    const expected = await runOnnxruntime(bytes, rows, shape);
    for (const tried of [graph, optimize(graph)]) {
      const found = interpret(tried, rows, 2);
      expect(found.length).toBe(expected.length);
      found.forEach((value, i) => {
        expect(Math.abs(value - expected[i])).toBeLessThan(2e-6 * Math.max(1, Math.abs(value)));
      });
    }
  });
});
