import { describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.js";
import { graphBuilder, type NewNode } from "../../src/graph/builder.js";
import { checkGraph } from "../../src/graph/check.js";
import type { Shape } from "../../src/graph/graph.js";
import { lower } from "../../src/graph/lower.js";
import { interpret } from "../../src/graph/reference.js";
import { seededRandom } from "../support/random.js";

interface Tensor {
  shape: Shape;
  data: number[];
}
const t = (shape: Shape, ...data: number[]): Tensor => ({ shape, data });

type Bare<N> = N extends NewNode ? Omit<N, "name" | "inputs"> : never;

/** Runs one node whose inputs are `row`, cut into tensors of the given shapes, and constants after them. */
function run(node: Bare<NewNode>, rows: Tensor[], constants: Tensor[] = []) {
  const builder = graphBuilder("one node");
  const row = rows.flatMap(({ data }) => data);
  const input = builder.input("x", [row.length]);
  let start = 0;
  const inputs = rows.map(({ shape, data }, i) => {
    const before = [start === 0 ? 0 : -start];
    const after = [start + data.length === row.length ? 0 : start + data.length - row.length];
    start += data.length;
    const cut = { op: "pad", name: `cut${i}`, inputs: [input], before, after, mode: "constant", value: 0 };
    const part = builder.node(cut as NewNode);
    return builder.node({ op: "reshape", name: `row${i}`, inputs: [part] }, shape);
  });
  inputs.push(...constants.map((c, i) => builder.constant(`c${i}`, c.shape, Float32Array.from(c.data))));
  const output = builder.node({ ...node, name: "node", inputs } as NewNode);
  const graph = builder.finish(input, output);
  checkGraph(graph);
  return {
    graph,
    shape: builder.shapeOf(output),
    data: [...interpret(graph, Float64Array.from(row), 1)],
  };
}

const near = (data: number[], digits = 12) => data.map((v) => expect.closeTo(v, digits) as number);

describe("layerNorm", () => {
  it("makes the last dimensions' mean 0 and variance 1, then scales and shifts them", () => {
    const node = { op: "layerNorm", dimensions: 1, epsilon: 0 } as const;
    const { data } = run(node, [t([2, 2], 1, 3, 10, 30)], [t([2], 1, 2), t([2], 0.5, 0.25)]);
    expect(data).toEqual(near([-0.5, 2.25, -0.5, 2.25]));
  });
  it("over two dimensions, ε under the root", () => {
    const node = { op: "layerNorm", dimensions: 2, epsilon: 4 } as const;
    const ones = t([2, 2], 1, 1, 1, 1);
    // mean 2, variance 5, 1/√9
    expect(run(node, [t([2, 2], -1, 1, 3, 5)], [ones, t([2, 2], 0, 0, 0, 0)]).data).toEqual(
      near([-1, -1 / 3, 1 / 3, 1]),
    );
  });
  it("its derivative has no part along what normalising removes", () => {
    const node = { op: "layerNormGrad", dimensions: 1, epsilon: 0 } as const;
    const x = t([3], 1, 2, 6);
    expect(run(node, [x, t([3], 5, 5, 5)]).data).toEqual(near([0, 0, 0]));
    expect(run(node, [x, t([3], -2, -1, 3)]).data).toEqual(near([0, 0, 0]));
    // x̂ = (−1, 0, 1)·√(3/2), deviation √(2/3): (1, −2, 1) is orthogonal to both.
    expect(run(node, [t([3], 0, 1, 2), t([3], 1, -2, 1)]).data).toEqual(
      near([1, -2, 1].map((v) => v * Math.sqrt(1.5))),
    );
  });
});

describe("softmax", () => {
  it("of equal numbers is uniform, of far apart ones picks the largest, and does not overflow", () => {
    expect(run({ op: "softmax" }, [t([2, 2], 7, 7, 1000, 0)]).data).toEqual([0.5, 0.5, 1, 0]);
    expect(run({ op: "softmax" }, [t([3], Math.log(1), Math.log(2), Math.log(5))]).data).toEqual(
      near([0.125, 0.25, 0.625]),
    );
    expect(run({ op: "softmax" }, [t([2], -1000, -1000)]).data).toEqual([0.5, 0.5]);
    expect(run({ op: "softmax" }, [t([2, 2], Number.NaN, 0, 1, 1)]).data).toEqual([NaN, NaN, 0.5, 0.5]);
  });
  it("its derivative is s·(t − Σ s·t)", () => {
    expect(run({ op: "softmaxGrad" }, [t([2], 0.25, 0.75), t([2], 1, 3)]).data).toEqual([-0.375, 0.375]);
  });
});

describe("attention", () => {
  it("is the mean of the values where all scores are equal, and one value where one score wins", () => {
    const keys = t([2, 1], 0, 0);
    const values = t([2, 3], 1, 2, 3, 5, 6, 7);
    const node = { op: "attention", scale: 1 } as const;
    expect(run(node, [t([1, 1], 9), keys, values])).toMatchObject({ shape: [1, 3], data: [3, 4, 5] });
    expect(run(node, [t([1, 1], 1), t([2, 1], 0, 1000), values]).data).toEqual([5, 6, 7]);
    expect(run({ ...node, scale: -1 }, [t([1, 1], 1), t([2, 1], 0, 1000), values]).data).toEqual([1, 2, 3]);
  });
  it("adds its bias to the scores, broadcast, and keeps heads apart", () => {
    const node = { op: "attention", scale: 0.5 } as const;
    const q = t([2, 1, 1], 1, 1);
    const k = t([2, 2, 1], 0, 0, 0, 2);
    const v = t([2, 2, 1], 0, 1, 0, 1);
    const [first, second] = run(node, [q, k, v], [t([1, 2], 0, 1)]).data;
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
    expect([first, second]).toEqual(near([sigmoid(1), sigmoid(2)]));
  });
  it("is softmax(scale · q·kᵀ + bias)·v of random tensors, op by op", () => {
    const random = seededRandom(5);
    const builder = graphBuilder("both");
    const q = builder.input("q", [3, 4, 5]);
    const constant = (...shape: number[]) =>
      builder.constant("c", shape, random.floats(shape.reduce((a, b) => a * b, 1)));
    const [k, v, bias] = [constant(3, 7, 5), constant(3, 7, 2), constant(4, 7)];
    const fused = builder.node({ op: "attention", name: "fused", inputs: [q, k, v, bias], scale: 0.75 });
    const kt = builder.node({ op: "transpose", name: "kt", inputs: [k], permutation: [0, 2, 1] });
    const products = builder.node({ op: "matmul", name: "qk", inputs: [q, kt] });
    const scale = builder.constant("scale", [], Float32Array.of(0.75));
    const scores = builder.node({ op: "mul", name: "scores", inputs: [products, scale] });
    const biased = builder.node({ op: "add", name: "biased", inputs: [scores, bias] });
    const weights = builder.node({ op: "softmax", name: "weights", inputs: [biased] });
    const steps = builder.node({ op: "matmul", name: "steps", inputs: [weights, v] });
    const difference = builder.node({ op: "sub", name: "difference", inputs: [fused, steps] });
    const rows = random.floats(60);
    for (const value of interpret(builder.finish(q, difference), rows, 1)) {
      expect(Math.abs(value)).toBeLessThan(1e-14);
    }
  });
});

describe("gather and scatterAdd", () => {
  it("picks along an axis, more than once where asked", () => {
    const x = t([2, 3], 1, 2, 3, 4, 5, 6);
    expect(run({ op: "gather", axis: 1, indices: [2, 0, 2, 1] }, [x])).toMatchObject({
      shape: [2, 4],
      data: [3, 1, 3, 2, 6, 4, 6, 5],
    });
    expect(run({ op: "gather", axis: 0, indices: [1] }, [x])).toMatchObject({
      shape: [1, 3],
      data: [4, 5, 6],
    });
  });
  it("the transpose adds up what was picked twice", () => {
    const u = t([2, 3], 1, 2, 4, 10, 20, 40);
    expect(run({ op: "scatterAdd", axis: 1, indices: [3, 0, 3], size: 4 }, [u])).toMatchObject({
      shape: [2, 4],
      data: [2, 0, 0, 5, 20, 0, 0, 50],
    });
  });
});

describe("topKMask", () => {
  it("marks the largest, the first ones among equals", () => {
    const x = t([2, 4], 1, 3, 2, 3, 5, 5, 5, 5);
    expect(run({ op: "topKMask", k: 1 }, [x]).data).toEqual([0, 1, 0, 0, 1, 0, 0, 0]);
    expect(run({ op: "topKMask", k: 3 }, [x]).data).toEqual([0, 1, 1, 1, 1, 1, 1, 0]);
  });
  it("takes NaN for more than infinity, and infinities for numbers", () => {
    const x = t([4], 1, Infinity, Number.NaN, -Infinity);
    expect(run({ op: "topKMask", k: 1 }, [x]).data).toEqual([0, 0, 1, 0]);
    expect(run({ op: "topKMask", k: 2 }, [x]).data).toEqual([0, 1, 1, 0]);
    expect(run({ op: "topKMask", k: 3 }, [x]).data).toEqual([1, 1, 1, 0]);
  });
});

describe("greater", () => {
  it("is strict, broadcasts, and says no to NaN", () => {
    const x = t([2, 2], 1, 2, 3, Number.NaN);
    expect(run({ op: "greater" }, [x], [t([2], 1, 1)]).data).toEqual([0, 1, 1, 0]);
    expect(run({ op: "greater" }, [x], [t([], Number.NaN)]).data).toEqual([0, 0, 0, 0]);
  });
});

describe("what does not fit is refused", () => {
  const x = t([2, 4], 1, 2, 3, 4, 5, 6, 7, 8);
  it.each<[string, Bare<NewNode>, Tensor[], Tensor[], RegExp]>([
    [
      "scale",
      { op: "layerNorm", dimensions: 1, epsilon: 0 },
      [x],
      [t([3], 1, 1, 1), t([4], 0, 0, 0, 0)],
      /scale/,
    ],
    ["axes", { op: "layerNormGrad", dimensions: 3, epsilon: 0 }, [x, x], [], /normalises 3 axes of 2×4/],
    ["epsilon", { op: "layerNormGrad", dimensions: 1, epsilon: -1 }, [x, x], [], /epsilon is -1/],
    ["a scalar", { op: "softmax" }, [t([], 1)], [], /found a scalar/],
    ["two shapes", { op: "softmaxGrad" }, [x, t([4], 1, 2, 3, 4)], [], /one shape/],
    ["depths", { op: "attention", scale: 1 }, [x, t([2, 3], 1, 2, 3, 4, 5, 6), x], [], /cannot attend/],
    ["scale", { op: "attention", scale: Number.NaN }, [x, x, x], [], /scale is NaN/],
    ["bias", { op: "attention", scale: 1 }, [x, x, x], [t([3], 1, 2, 3)], /bias has shape 3/],
    ["an index", { op: "gather", axis: 1, indices: [0, 4] }, [x], [], /index 4 on an axis of 4/],
    ["no index", { op: "gather", axis: 1, indices: [] }, [x], [], /no indices/],
    ["an axis", { op: "gather", axis: 2, indices: [0] }, [x], [], /axis 2/],
    ["a count", { op: "scatterAdd", axis: 1, indices: [0], size: 9 }, [x], [], /1 indices for axis 1/],
    ["an index", { op: "scatterAdd", axis: 0, indices: [0, 3], size: 3 }, [x], [], /index 3/],
    ["k", { op: "topKMask", k: 5 }, [x], [], /k = 5 on an axis of 4/],
    ["k", { op: "topKMask", k: 0 }, [x], [], /at least 1/],
    ["shapes", { op: "greater" }, [x], [t([3], 1, 2, 3)], /cannot broadcast/],
  ])("%s: %o", (_what, node, rows, constants, message) => {
    expect(() => run(node, rows, constants)).toThrow(InputError);
    expect(() => run(node, rows, constants)).toThrow(message);
  });
  it("weights and biases that a row brings", () => {
    const one = t([4], 1, 1, 1, 1);
    expect(() => run({ op: "layerNorm", dimensions: 1, epsilon: 0 }, [x, one, one])).toThrow(
      /not a constant/,
    );
    expect(() => run({ op: "attention", scale: 1 }, [x, x, x, t([1], 0)])).toThrow(/not a constant/);
  });
});

describe("lower", () => {
  const x = t([2, 4], 1, 2, 3, 4, 5, 6, 7, 8);
  it.each<[Bare<NewNode>, Tensor[], Tensor[], object]>([
    [
      { op: "layerNorm", dimensions: 1, epsilon: 0.5 },
      [x],
      [t([4], 1, 1, 1, 1), t([4], 0, 0, 0, 0)],
      { dimensions: 1, epsilon: 0.5 },
    ],
    [{ op: "layerNormGrad", dimensions: 2, epsilon: 0.5 }, [x, x], [], { dimensions: 2, epsilon: 0.5 }],
    [{ op: "attention", scale: 0.5 }, [x, x, x], [], { scale: 0.5 }],
    [{ op: "gather", axis: 1, indices: [0, 2] }, [x], [], { axis: 1, indices: [0, 2] }],
    [{ op: "scatterAdd", axis: 0, indices: [1, 2], size: 3 }, [x], [], { axis: 0, indices: [1, 2], size: 3 }],
    [{ op: "topKMask", k: 2 }, [x], [], { k: 2 }],
    [{ op: "softmax" }, [x], [], {}],
    [{ op: "softmaxGrad" }, [x, x], [], {}],
    [{ op: "greater" }, [x], [t([], 0)], {}],
  ])("%o", (node, rows, constants, attributes) => {
    const { graph } = run(node, rows, constants);
    expect(lower(graph).nodes.at(-1)).toMatchObject({ op: node.op, attributes });
  });
});
