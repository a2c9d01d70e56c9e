import { describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.js";
import { activationFunction, erf, erfc } from "../../src/graph/activation.js";
import { graphBuilder, type NewNode } from "../../src/graph/builder.js";
import type { Activation, Shape } from "../../src/graph/graph.js";
import { interpret } from "../../src/graph/reference.js";

/** Runs one node on one row; `constants` follow the row in the node's inputs. */
function run(
  node: NewNode extends infer N ? (N extends NewNode ? Omit<N, "name" | "inputs"> : never) : never,
  x: { shape: Shape; data: number[] },
  constants: { shape: Shape; data: number[] }[] = [],
  shape?: Shape,
): number[] {
  const builder = graphBuilder("one node");
  const input = builder.input("x", x.shape);
  const inputs = [
    input,
    ...constants.map((c, i) => builder.constant(`c${i}`, c.shape, Float32Array.from(c.data))),
  ];
  const output = builder.node({ ...node, name: "node", inputs } as NewNode, shape);
  return [...interpret(builder.finish(input, output), Float64Array.from(x.data), 1)];
}

const t = (shape: Shape, ...data: number[]) => ({ shape, data });
const count = (shape: Shape) => {
  const n = shape.reduce((a, b) => a * b, 1);
  return t(shape, ...Array.from({ length: n }, (_, i) => i + 1));
};
const plain = { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1] } as const;

describe("erf", () => {
  // Values of the error function to 17 digits (tables of special functions).
  const known: [number, number][] = [
    [0, 0],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [1.5, 0.9661051464753108],
    [2, 0.9953222650189527],
    [2.5, 0.999593047982555],
    [3, 0.9999779095030014],
    [5, 0.9999999999984626],
  ];
  it.each(known)("erf(%d)", (x, y) => {
    expect(Math.abs(erf(x) - y)).toBeLessThan(1e-15);
    expect(Math.abs(erf(-x) + y)).toBeLessThan(1e-15);
  });
  it("erfc keeps its relative accuracy in the tail", () => {
    expect(erfc(3) / 2.2090496998585441e-5 - 1).toBeCloseTo(0, 14);
    expect(erfc(10) / 2.088487583762545e-45 - 1).toBeCloseTo(0, 13);
    expect(erfc(Infinity)).toBe(0);
    expect(erfc(-Infinity)).toBe(2);
    expect(erf(Number.NaN)).toBeNaN();
  });
  it("the series and the continued fraction meet", () => {
    for (let x = 2.45; x < 2.55; x += 0.01) expect(Math.abs(erf(x) + erfc(x) - 1)).toBeLessThan(1e-15);
    expect(Math.abs(erf(2.5) - erf(2.5 - 1e-12))).toBeLessThan(3e-14);
  });
});

describe("activations", () => {
  const a = (kind: Activation["kind"], alpha = 0, beta = 0) => activationFunction({ kind, alpha, beta });
  const known: [string, (x: number) => number, number, number][] = [
    ["relu", a("relu"), -3, 0],
    ["relu", a("relu"), 3, 3],
    ["leakyRelu", a("leakyRelu", 0.1), -3, -0.30000000000000004],
    ["elu", a("elu", 2), -1, 2 * (Math.exp(-1) - 1)],
    ["selu", a("selu", 1.5, 2), -1, 3 * (Math.exp(-1) - 1)],
    ["selu", a("selu", 1.5, 2), 1, 2],
    ["sigmoid", a("sigmoid"), 1, 0.7310585786300049],
    ["sigmoid", a("sigmoid"), -1000, 0],
    ["tanh", a("tanh"), 0.5, 0.46211715726000974],
    ["softplus", a("softplus"), 0, Math.LN2],
    ["softplus", a("softplus"), 1000, 1000],
    ["softplus", a("softplus"), -50, 1.9287498479639178e-22],
    ["gelu", a("gelu"), 1, 0.8413447460685429],
    ["gelu", a("gelu"), -1, -0.15865525393145707],
    ["geluTanh", a("geluTanh"), 1, 0.8411919906082768],
    ["silu", a("silu"), 1, 0.7310585786300049],
    ["clip", a("clip", -1, 2), -5, -1],
    ["clip", a("clip", -1, 2), 5, 2],
    ["clip", a("clip", -1, 2), 0.5, 0.5],
    ["erf", a("erf"), 0.5, 0.5204998778130465],
    ["exp", a("exp"), 1, Math.E],
    ["log", a("log"), 10, Math.LN10],
    ["sqrt", a("sqrt"), 2, Math.SQRT2],
    ["reciprocal", a("reciprocal"), -4, -0.25],
    ["abs", a("abs"), -1.5, 1.5],
    ["pow", a("pow", 3), -2, -8],
    ["pow", a("pow", -0.5), 4, 0.5],
  ];
  it.each(known)("%s", (_name, f, x, y) => {
    expect(Math.abs(f(x) - y)).toBeLessThanOrEqual(1e-15 * Math.max(1, Math.abs(y)));
    expect(f(Number.NaN)).toBeNaN();
  });
});

describe("conv", () => {
  it("sums products over the window: 2×2 ones on 3×3", () => {
    expect(
      run({ op: "conv", ...plain, groups: 1 }, count([1, 3, 3]), [t([1, 1, 2, 2], 1, 1, 1, 1), t([1], 0.5)]),
    ).toEqual([12.5, 16.5, 24.5, 28.5]);
  });
  it("is a correlation (kernels are not flipped), with asymmetric pads, stride and dilation", () => {
    const weight = t([1, 1, 1, 2], 10, 1);
    expect(run({ op: "conv", ...plain, groups: 1 }, count([1, 1, 3]), [weight])).toEqual([12, 23]);
    expect(run({ op: "conv", ...plain, pads: [0, 1, 0, 0], groups: 1 }, count([1, 1, 3]), [weight])).toEqual([
      1, 12, 23,
    ]);
    expect(run({ op: "conv", ...plain, strides: [1, 2], groups: 1 }, count([1, 1, 4]), [weight])).toEqual([
      12, 34,
    ]);
    expect(run({ op: "conv", ...plain, dilations: [1, 2], groups: 1 }, count([1, 1, 3]), [weight])).toEqual([
      13,
    ]);
  });
  it("keeps groups apart and mixes channels within one", () => {
    const x = t([4, 1, 1], 1, 2, 3, 4);
    const weight = t([2, 2, 1, 1], 1, 10, 100, 1000);
    expect(run({ op: "conv", ...plain, groups: 2 }, x, [weight])).toEqual([21, 4300]);
    expect(run({ op: "conv", ...plain, groups: 1 }, t([2, 1, 1], 1, 2), [weight])).toEqual([21, 2100]);
  });
});

describe("convTranspose", () => {
  it("spreads every element over its kernel", () => {
    const weight = t([1, 1, 1, 2], 10, 1);
    const base = { op: "convTranspose", ...plain, outputPadding: [0, 0], groups: 1 } as const;
    expect(run(base, count([1, 1, 2]), [weight])).toEqual([10, 21, 2]);
    expect(
      run({ ...base, strides: [1, 3], outputPadding: [0, 1] }, count([1, 1, 2]), [weight, t([1], 0.5)]),
    ).toEqual([10.5, 1.5, 0.5, 20.5, 2.5, 0.5]);
    expect(run({ ...base, pads: [0, 1, 0, 0] }, count([1, 1, 2]), [weight])).toEqual([21, 2]);
    expect(run({ ...base, dilations: [1, 2] }, count([1, 1, 2]), [weight])).toEqual([10, 20, 1, 2]);
  });
  it("keeps groups apart", () => {
    const base = { op: "convTranspose", ...plain, outputPadding: [0, 0], groups: 2 } as const;
    expect(run(base, t([2, 1, 1], 1, 2), [t([2, 2, 1, 1], 1, 10, 100, 1000)])).toEqual([1, 10, 200, 2000]);
  });
  it("is the transpose of conv: ⟨conv(x), y⟩ = ⟨x, convTranspose(y)⟩", () => {
    const weight = t([2, 3, 3, 3], ...Array.from({ length: 54 }, (_, i) => ((i * 7) % 11) - 5));
    const x = t([3, 5, 4], ...Array.from({ length: 60 }, (_, i) => ((i * 5) % 13) - 6));
    const y = t([2, 3, 2], ...Array.from({ length: 12 }, (_, i) => ((i * 3) % 7) - 3));
    const options = { strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 } as const;
    const forward = run({ op: "conv", ...options }, x, [weight]);
    const back = run({ op: "convTranspose", ...options, outputPadding: [0, 1] }, y, [weight]);
    expect(back.length).toBe(60);
    const dot = (p: number[], q: number[]) => p.reduce((sum, v, i) => sum + v * q[i]!, 0);
    expect(dot(forward, y.data)).toBe(dot(x.data, back));
  });
});

describe("matrix products", () => {
  it("linear: x·Wᵀ + b, over the last dimension", () => {
    const weight = t([3, 2], 1, 2, 3, 4, 5, 6);
    expect(run({ op: "linear" }, t([2], 1, 10), [weight, t([3], 0.5, 0, 0)])).toEqual([21.5, 43, 65]);
    expect(run({ op: "linear" }, t([2, 2], 1, 10, 10, 1), [weight])).toEqual([21, 43, 65, 12, 34, 56]);
  });
  it("matmul: broadcast over leading dimensions, from either side", () => {
    expect(run({ op: "matmul" }, count([2, 1, 2]), [t([2, 1], 1, 10)])).toEqual([21, 43]);
    expect(run({ op: "matmul" }, count([1, 2]), [t([2, 2, 1], 1, 10, 100, 1000)])).toEqual([21, 2100]);
  });
});

describe("element-wise arithmetic", () => {
  it("broadcasts as NumPy does", () => {
    expect(run({ op: "add" }, count([2, 2]), [t([2], 10, 20)])).toEqual([11, 22, 13, 24]);
    expect(run({ op: "sub" }, count([2, 1]), [t([1, 2], 10, 20)])).toEqual([-9, -19, -8, -18]);
    expect(run({ op: "mul" }, count([2]), [t([], 3)])).toEqual([3, 6]);
    expect(run({ op: "div" }, count([2]), [t([2, 1], 1, 2)])).toEqual([1, 2, 0.5, 1]);
  });
});

describe("groupNorm", () => {
  it("normalises each group by its mean and biased variance", () => {
    const [p, q, r, s] = run({ op: "groupNorm", groups: 2, epsilon: 0 }, t([2, 2], 1, 3, 10, 14), [
      t([2], 1, 2),
      t([2], 0, 5),
    ]);
    expect([p, q, r, s]).toEqual([-1, 1, 3, 7]);
    const whole = run({ op: "groupNorm", groups: 1, epsilon: 1 }, t([2, 1], 0, 2), [
      t([2], 1, 1),
      t([2], 0, 0),
    ]);
    expect(whole).toEqual([-1 / Math.SQRT2, 1 / Math.SQRT2]);
  });
});

describe("resizeNearest", () => {
  it("repeats rows and columns", () => {
    expect(run({ op: "resizeNearest", scales: [2, 3] }, count([1, 1, 2]))).toEqual([
      1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2,
    ]);
  });
});

describe("pooling", () => {
  const pool = { ...plain, kernel: [1, 2], strides: [1, 2], countIncludePad: false } as const;
  it("maxPool ignores the padding", () => {
    expect(run({ op: "maxPool", ...pool, pads: [0, 1, 0, 0] }, t([1, 1, 3], -5, -4, -3))).toEqual([-5, -3]);
  });
  it("averagePool divides by what lies inside, or by the padded window", () => {
    expect(run({ op: "averagePool", ...pool, pads: [0, 1, 0, 0] }, t([1, 1, 3], 6, 2, 4))).toEqual([6, 3]);
    const including = { ...pool, countIncludePad: true };
    expect(run({ op: "averagePool", ...including, pads: [0, 1, 0, 0] }, t([1, 1, 3], 6, 2, 4))).toEqual([
      3, 3,
    ]);
  });
  it("takes a last, partial window where the output shape says so (ceil mode)", () => {
    const x = t([1, 1, 3], 6, 2, 4);
    expect(run({ op: "averagePool", ...pool }, x)).toEqual([4]);
    expect(run({ op: "averagePool", ...pool }, x, [], [1, 1, 2])).toEqual([4, 4]);
    // The part of the window beyond the padded input counts for neither.
    expect(run({ op: "averagePool", ...pool, countIncludePad: true }, x, [], [1, 1, 2])).toEqual([4, 4]);
  });
  it("spreads the window by dilations, and lets NaN through", () => {
    expect(
      run({ op: "maxPool", ...pool, strides: [1, 1], dilations: [1, 2] }, t([1, 1, 4], 4, 3, 2, 9)),
    ).toEqual([4, 9]);
    expect(run({ op: "maxPool", ...pool }, t([1, 1, 2], Number.NaN, 3))).toEqual([Number.NaN]);
  });
});

describe("layout", () => {
  it("reduceMean keeps or drops axes as the result's shape says", () => {
    expect(run({ op: "reduceMean", axes: [1] }, count([2, 3]), [], [2, 1])).toEqual([2, 5]);
    expect(run({ op: "reduceMean", axes: [0] }, count([2, 3]))).toEqual([2.5, 3.5, 4.5]);
    expect(run({ op: "reduceMean", axes: [0, 1] }, count([2, 3]))).toEqual([3.5]);
  });
  it("pad: constant, reflect, edge, and cropping", () => {
    const x = count([3]);
    const p = { op: "pad", before: [2], after: [1], value: 9 } as const;
    expect(run({ ...p, mode: "constant" }, x)).toEqual([9, 9, 1, 2, 3, 9]);
    expect(run({ ...p, mode: "reflect" }, x)).toEqual([3, 2, 1, 2, 3, 2]);
    expect(run({ ...p, mode: "edge" }, x)).toEqual([1, 1, 1, 2, 3, 3]);
    expect(run({ ...p, mode: "constant", before: [-1], after: [1] }, x)).toEqual([2, 3, 9]);
    expect(run({ ...p, mode: "constant", before: [1, 0], after: [0, 1] }, count([1, 2]))).toEqual([
      9, 9, 9, 1, 2, 9,
    ]);
  });
  it("reshape keeps the order; transpose moves axes", () => {
    expect(run({ op: "reshape" }, count([2, 3]), [], [3, 2])).toEqual([1, 2, 3, 4, 5, 6]);
    expect(run({ op: "transpose", permutation: [1, 0] }, count([2, 3]))).toEqual([1, 4, 2, 5, 3, 6]);
    // [2,3,2]: element (a, b, c) of the result is (b, c, a) of the input.
    expect(run({ op: "transpose", permutation: [2, 0, 1] }, count([2, 3, 2]))).toEqual([
      1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12,
    ]);
  });
  it("concat joins along any axis", () => {
    expect(run({ op: "concat", axis: 0 }, count([1, 2]), [t([1, 2], 8, 9)])).toEqual([1, 2, 8, 9]);
    expect(run({ op: "concat", axis: 1 }, count([2, 1]), [t([2, 2], 5, 6, 7, 8)])).toEqual([
      1, 5, 6, 2, 7, 8,
    ]);
  });
});

describe("interpret", () => {
  it("adds the residual before the activation", () => {
    const builder = graphBuilder("epilogue");
    const x = builder.input("x", [2]);
    const weight = builder.constant("w", [2, 2], Float32Array.of(1, 0, 0, 1));
    const relu = { kind: "relu", alpha: 0, beta: 0 } as const;
    const y = builder.node({ op: "linear", name: "l", inputs: [x, weight], residual: x, activation: relu });
    expect([...interpret(builder.finish(x, y), Float64Array.of(-3, 3), 1)]).toEqual([0, 6]);
  });
  it("computes row by row, none included, and refuses rows of another length", () => {
    const builder = graphBuilder("square");
    const x = builder.input("x", [1]);
    const graph = builder.finish(x, builder.node({ op: "mul", name: "m", inputs: [x, x] }));
    expect([...interpret(graph, Float32Array.of(1, 2, 3), 3)]).toEqual([1, 4, 9]);
    expect(interpret(graph, new Float64Array(0), 0)).toHaveLength(0);
    expect(() => interpret(graph, new Float64Array(3), 2)).toThrow(InputError);
  });
});
