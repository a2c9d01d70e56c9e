import { describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.js";
import { type GraphBuilder, graphBuilder } from "../../src/graph/builder.js";
import { checkGraph } from "../../src/graph/check.js";
import { compose, lookSwapped } from "../../src/graph/compose.js";
import { fold } from "../../src/graph/fold.js";
import { fuse } from "../../src/graph/fuse.js";
import { elements, type Graph, type Shape, type ValueId } from "../../src/graph/graph.js";
import { lower } from "../../src/graph/lower.js";
import { optimize } from "../../src/graph/optimize.js";
import { interpret } from "../../src/graph/reference.js";
import { prune } from "../../src/graph/rewrite.js";
import { seededRandom } from "../support/random.js";
import { activationKinds, randomGraph } from "../support/randomGraph.js";

const relu = { kind: "relu", alpha: 0, beta: 0 } as const;
const plain = { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1 } as const;

function build(shape: Shape, body: (b: GraphBuilder, x: ValueId) => ValueId): Graph {
  const builder = graphBuilder("test");
  const x = builder.input("x", shape);
  return builder.finish(x, body(builder, x));
}
const f32 = (...values: number[]) => Float32Array.from(values);
const ops = (graph: Graph) => graph.nodes.map((node) => node.op);

/** Largest difference between the two graphs on random rows, relative to the size of the results. */
function difference(a: Graph, b: Graph, seed: number): number {
  const random = seededRandom(seed);
  const rows = random.floats(3 * elements(a.values[a.input]!.shape));
  const ya = interpret(a, rows, 3);
  const yb = interpret(b, rows, 3);
  expect(yb.length).toBe(ya.length);
  const scale = Math.max(1, ...ya.map(Math.abs));
  return Math.max(...ya.map((y, i) => Math.abs(y - yb[i]!))) / scale;
}

describe("every pass keeps the meaning of random graphs", () => {
  const seeds = Array.from({ length: 250 }, (_, seed) => seed);
  it.each([
    ["prune", prune],
    ["fold", fold],
    ["fuse", fuse],
    ["optimize", optimize],
  ])("%s", (_name, pass) => {
    let changed = 0;
    for (const seed of seeds) {
      const graph = randomGraph(seededRandom(seed));
      checkGraph(graph);
      const after = pass(graph);
      checkGraph(after);
      // Folded weights are rounded to float32.
      expect(difference(graph, after, seed + 1), `seed ${seed}`).toBeLessThan(2e-5);
      if (after.nodes.length < graph.nodes.length) changed++;
    }
    if (pass !== prune) expect(changed).toBeGreaterThan(40);
  });
  it("the random graphs cover every op and every activation", () => {
    const seen = new Set<string>();
    const kinds = new Set<string>();
    for (const seed of seeds) {
      for (const node of randomGraph(seededRandom(seed)).nodes) {
        seen.add(node.op);
        if (node.activation) kinds.add(node.activation.kind);
      }
    }
    expect(seen.size).toBe(18);
    expect(kinds.size).toBe(activationKinds.length);
  });
});

describe("fold", () => {
  it("computes what does not depend on the row, once", () => {
    const graph = build([2], (b, x) => {
      const sum = b.node({
        op: "add",
        name: "sum",
        inputs: [b.constant("p", [2], f32(1, 2)), b.constant("q", [], f32(10))],
      });
      return b.node({ op: "mul", name: "y", inputs: [x, sum] });
    });
    const folded = fold(graph);
    expect(ops(folded)).toEqual(["mul"]);
    expect([...interpret(folded, f32(1, 1), 1)]).toEqual([11, 12]);
  });

  it("puts a scale and a shift per channel into the convolution before them", () => {
    const graph = build([1, 1, 2], (b, x) => {
      const weight = b.constant("w", [2, 1, 1, 1], f32(1, 2));
      const conv = b.node({ op: "conv", name: "conv", inputs: [x, weight], ...plain });
      const scaled = b.node({
        op: "mul",
        name: "mul",
        inputs: [b.constant("s", [2, 1, 1], f32(3, 4)), conv],
      });
      return b.node({ op: "add", name: "add", inputs: [scaled, b.constant("t", [2, 1, 1], f32(5, 6))] });
    });
    const folded = fold(graph);
    expect(ops(folded)).toEqual(["conv"]);
    const [, weight, bias] = folded.nodes[0]!.inputs.map((id) => folded.values[id]!.constant);
    expect(weight).toEqual(f32(3, 8));
    expect(bias).toEqual(f32(5, 6));
  });

  it("knows the channel order of a grouped transposed convolution", () => {
    const graph = build([2, 1, 1], (b, x) => {
      const weight = b.constant("w", [2, 2, 1, 1], f32(1, 1, 1, 1));
      const bias = b.constant("b", [4], f32(1, 1, 1, 1));
      const y = b.node({
        op: "convTranspose",
        name: "up",
        inputs: [x, weight, bias],
        ...plain,
        groups: 2,
        outputPadding: [0, 0],
      });
      return b.node({ op: "sub", name: "sub", inputs: [b.constant("c", [4, 1, 1], f32(10, 20, 30, 40)), y] });
    });
    const folded = fold(graph);
    expect(ops(folded)).toEqual(["convTranspose"]);
    expect([...interpret(folded, f32(1, 2), 1)]).toEqual([8, 18, 27, 37]);
  });

  it("makes the sum after a linear layer its bias", () => {
    const graph = build([2], (b, x) => {
      const y = b.node({ op: "linear", name: "l", inputs: [x, b.constant("w", [1, 2], f32(1, 1))] });
      return b.node({ op: "add", name: "add", inputs: [y, b.constant("b", [1], f32(7))] });
    });
    expect(ops(fold(graph))).toEqual(["linear"]);
    expect([...interpret(fold(graph), f32(1, 2), 1)]).toEqual([10]);
  });

  it.each([
    ["infinite constants", Number.POSITIVE_INFINITY],
    ["NaN", Number.NaN],
  ])("leaves %s where they are", (_what, constant) => {
    const graph = build([1], (b, x) => {
      const y = b.node({ op: "linear", name: "l", inputs: [x, b.constant("w", [1, 1], f32(0))] });
      return b.node({ op: "mul", name: "mul", inputs: [y, b.constant("c", [1], f32(constant))] });
    });
    expect(ops(fold(graph))).toEqual(["linear", "mul"]);
  });

  it("keeps a constant output computed by a node", () => {
    const graph = build([1], (b) => {
      return b.node({
        op: "add",
        name: "c",
        inputs: [b.constant("p", [1], f32(1)), b.constant("q", [1], f32(2))],
      });
    });
    const after = optimize(graph);
    checkGraph(after);
    expect([...interpret(after, f32(5, 6), 2)]).toEqual([3, 3]);
  });
});

describe("fuse", () => {
  const conv = (b: GraphBuilder, x: ValueId, name: string) =>
    b.node({ op: "conv", name, inputs: [x, b.constant(`${name}.w`, [1, 1, 1, 1], f32(2))], ...plain });

  it("makes an activation the producer's epilogue, and a sum its residual", () => {
    const graph = build([1, 2, 2], (b, x) => {
      const sum = b.node({ op: "add", name: "sum", inputs: [x, conv(b, x, "conv")] });
      return b.node({ op: "activate", name: "relu", inputs: [sum], activation: relu });
    });
    const fused = fuse(graph);
    expect(ops(fused)).toEqual(["conv"]);
    expect(fused.nodes[0]).toMatchObject({ residual: fused.input, activation: relu });
    expect([...interpret(fused, f32(1, -1, 2, -2), 1)]).toEqual([3, 0, 6, 0]);
  });

  it("leaves a producer alone whose result is read twice", () => {
    const graph = build([1, 2, 2], (b, x) => {
      const y = conv(b, x, "conv");
      const active = b.node({ op: "activate", name: "relu", inputs: [y], activation: relu });
      return b.node({ op: "mul", name: "mul", inputs: [y, active] });
    });
    expect(ops(fuse(graph))).toEqual(["conv", "activate", "mul"]);
  });

  it("does not fuse across an activation that is already there", () => {
    const graph = build([1, 2, 2], (b, x) => {
      const once = b.node({ op: "activate", name: "relu", inputs: [conv(b, x, "conv")], activation: relu });
      const sum = b.node({ op: "add", name: "sum", inputs: [once, x] });
      return b.node({ op: "mul", name: "mul", inputs: [sum, b.constant("two", [1, 1, 1], f32(2))] });
    });
    expect(ops(optimize(graph))).toEqual(["conv", "add", "mul"]);
  });

  it("adds into the later of two convolutions", () => {
    const graph = build([1, 1, 1], (b, x) => {
      const first = conv(b, x, "first");
      const second = conv(b, x, "second");
      return b.node({ op: "add", name: "sum", inputs: [first, second] });
    });
    const fused = fuse(graph);
    checkGraph(fused);
    expect(fused.nodes.map((node) => [node.name, node.residual !== undefined])).toEqual([
      ["first", false],
      ["second", true],
    ]);
  });

  it("recognises x · sigmoid(x)", () => {
    const graph = build([1, 1, 1], (b, x) => {
      const y = conv(b, x, "conv");
      const gate = b.node({
        op: "activate",
        name: "gate",
        inputs: [y],
        activation: { kind: "sigmoid", alpha: 0, beta: 0 },
      });
      return b.node({ op: "mul", name: "mul", inputs: [gate, y] });
    });
    const fused = fuse(graph);
    expect(fused.nodes.map((node) => [node.op, node.activation?.kind])).toEqual([["conv", "silu"]]);
  });

  it("recognises group normalisation written as reshapes around an instance normalisation", () => {
    const graph = build([4, 2, 3], (b, x) => {
      const split = b.node({ op: "reshape", name: "split", inputs: [x] }, [2, 12]);
      const ones = b.constant("ones", [2], f32(1, 1));
      const zeros = b.constant("zeros", [2], f32(0, 0));
      const norm = b.node({
        op: "groupNorm",
        name: "norm",
        inputs: [split, ones, zeros],
        groups: 2,
        epsilon: 1e-5,
      });
      const back = b.node({ op: "reshape", name: "back", inputs: [norm] }, [4, 2, 3]);
      const scaled = b.node({
        op: "mul",
        name: "mul",
        inputs: [back, b.constant("s", [4, 1, 1], f32(1, 2, 3, 4))],
      });
      const shifted = b.node({
        op: "add",
        name: "add",
        inputs: [scaled, b.constant("t", [4, 1, 1], f32(5, 6, 7, 8))],
      });
      return b.node({ op: "activate", name: "relu", inputs: [shifted], activation: relu });
    });
    const after = optimize(graph);
    expect(ops(after)).toEqual(["groupNorm"]);
    expect(after.nodes[0]).toMatchObject({ groups: 2, activation: relu });
    const [, scale, bias] = after.nodes[0]!.inputs.map((id) => after.values[id]!.constant);
    expect([scale, bias]).toEqual([f32(1, 2, 3, 4), f32(5, 6, 7, 8)]);
    expect(difference(graph, after, 1)).toBeLessThan(1e-12);
  });

  it("drops what does nothing, except that one node remains", () => {
    const graph = build([2, 3], (b, x) => {
      const same = b.node({ op: "reshape", name: "r", inputs: [x] }, [2, 3]);
      const padded = b.node({
        op: "pad",
        name: "p",
        inputs: [same],
        before: [0, 0],
        after: [0, 0],
        mode: "constant",
        value: 0,
      });
      const turned = b.node({ op: "transpose", name: "t", inputs: [padded], permutation: [1, 0] });
      const back = b.node({ op: "transpose", name: "u", inputs: [turned], permutation: [1, 0] });
      const plus = b.node({ op: "add", name: "a", inputs: [back, b.constant("zero", [1], f32(0))] });
      return b.node({ op: "mul", name: "m", inputs: [plus, b.constant("one", [], f32(1))] });
    });
    const after = optimize(graph);
    expect(after.nodes).toHaveLength(1);
    expect([...interpret(after, f32(1, 2, 3, 4, 5, 6), 1)]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("joins reshapes", () => {
    const graph = build([2, 3], (b, x) => {
      const flat = b.node({ op: "reshape", name: "r", inputs: [x] }, [6]);
      return b.node({ op: "reshape", name: "s", inputs: [flat] }, [3, 2]);
    });
    expect(ops(fuse(graph))).toEqual(["reshape"]);
  });
});

describe("compose", () => {
  const dense = (name: string, from: Shape, to: Shape) => {
    const b = graphBuilder(name);
    const random = seededRandom(elements(from));
    const x = b.input(`${name}.in`, from);
    const flat = b.node({ op: "reshape", name: "flat", inputs: [x] }, [elements(from)]);
    const size = elements(from) * elements(to);
    const weight = b.constant("w", [elements(to), elements(from)], random.floats(size));
    const y = b.node({ op: "linear", name: "linear", inputs: [flat, weight] });
    return b.finish(x, b.node({ op: "reshape", name: "shape", inputs: [y] }, to));
  };

  it("is the encoder after the decoder", () => {
    const decoder = dense("decoder", [3], [1, 2, 2]);
    const encoder = dense("encoder", [1, 2, 2], [3]);
    const { graph, notes } = compose(decoder, encoder);
    checkGraph(graph);
    expect(notes).toEqual([]);
    const z = f32(1, -2, 3);
    const expected = interpret(encoder, interpret(decoder, z, 1), 1);
    expect([...interpret(graph, z, 1)]).toEqual([...expected]);
    expect(difference(graph, optimize(graph), 5)).toBeLessThan(1e-6);
  });

  it("joins shapes of equally many elements by a reshape, and says so", () => {
    const { graph, notes } = compose(dense("decoder", [3], [4]), dense("encoder", [1, 2, 2], [1, 3]));
    checkGraph(graph);
    expect(notes).toEqual([
      "the decoder's output (4) is reshaped to the encoder's input (1×2×2)",
      "the encoder's output (1×3) is reshaped to the decoder's input (3)",
    ]);
  });

  it("names both shapes where they do not meet, and a swap where it looks like one", () => {
    const wrong = () => compose(dense("decoder", [3], [4]), dense("encoder", [5], [3]));
    expect(wrong).toThrow(InputError);
    expect(wrong).toThrow("the decoder's output (4) does not fit the encoder's input (5)");
    expect(wrong).not.toThrow(/swapped/);
    expect(() => compose(dense("encoder", [1, 4, 4], [3]), dense("decoder", [2], [1, 4, 4]))).toThrow(
      /swapped/,
    );
    expect(lookSwapped(dense("encoder", [1, 4, 4], [3]), dense("decoder", [3], [1, 4, 4]))).toBe(true);
  });
});

describe("checkGraph", () => {
  const good = build([2], (b, x) => {
    const y = b.node({
      op: "linear",
      name: "first",
      inputs: [x, b.constant("w", [3, 2], f32(1, 2, 3, 4, 5, 6))],
    });
    return b.node({ op: "activate", name: "second", inputs: [y], activation: relu });
  });
  const edit = (change: (graph: { -readonly [K in keyof Graph]: Graph[K] }) => void): Graph => {
    const copy = structuredClone(good);
    change(copy);
    return copy;
  };
  it("accepts a good one", () => checkGraph(good));
  it.each<[string, Graph, RegExp]>([
    [
      "a value that does not exist",
      edit((g) => Object.assign(g.nodes[0]!, { inputs: [0, 9] })),
      /reads value 9/,
    ],
    ["the wrong order", edit((g) => (g.nodes as unknown[]).reverse()), /"second".*before it is computed/],
    ["two writers", edit((g) => Object.assign(g.nodes[1]!, { output: g.nodes[0]!.output })), /second time/],
    ["a wrong shape", edit((g) => Object.assign(g.values[2]!, { shape: [4] })), /gives 3, its value says 4/],
    [
      "a short constant",
      edit((g) => Object.assign(g.values[1]!, { constant: f32(1) })),
      /"w".*holds 1 elements/,
    ],
    ["a dimension of 0", edit((g) => Object.assign(g.values[0]!, { shape: [0] })), /at least 1/],
    ["too many elements", edit((g) => Object.assign(g.values[0]!, { shape: [2 ** 20, 2 ** 20] })), /2\^31/],
    [
      "an output nobody computes",
      edit((g) => Object.assign(g, { output: 0 })),
      /no node computes its output/,
    ],
    ["a constant input", edit((g) => Object.assign(g, { input: 1 })), /not a value that a row brings/],
    [
      "a residual where none can be",
      edit((g) => Object.assign(g.nodes[1]!, { residual: 2 })),
      /carry a residual/,
    ],
    [
      "weights of the wrong width",
      edit((g) => Object.assign(g.values[0]!, { shape: [5] })),
      /does not fit an input of 5/,
    ],
  ])("refuses %s", (_what, graph, message) => {
    expect(() => checkGraph(graph)).toThrow(InputError);
    expect(() => checkGraph(graph)).toThrow(message);
  });
  it("refuses weights that depend on the row", () => {
    const graph = build([2, 2], (b, x) => b.node({ op: "linear", name: "l", inputs: [x, x] }));
    expect(() => checkGraph(graph)).toThrow(/not a constant/);
  });
});

describe("lower", () => {
  it("names ops and attributes as graph.ts does, with numbers only", () => {
    const graph = build([1, 4, 4], (b, x) => {
      const weight = b.constant("w", [1, 1, 3, 3], new Float32Array(9));
      const y = b.node({
        op: "conv",
        name: "conv",
        inputs: [x, weight],
        ...plain,
        residual: undefined,
        activation: relu,
      });
      const p = b.node({
        op: "averagePool",
        name: "pool",
        inputs: [y],
        kernel: [2, 2],
        strides: [1, 1],
        pads: [0, 0, 0, 0],
        dilations: [1, 1],
        countIncludePad: true,
      });
      return b.node({
        op: "pad",
        name: "pad",
        inputs: [p],
        before: [0, 1, 0],
        after: [0, 0, 2],
        mode: "edge",
        value: 0,
      });
    });
    const native = lower(graph);
    expect(native.nodes.map(({ op, attributes }) => ({ op, attributes }))).toEqual([
      { op: "conv", attributes: { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1 } },
      {
        op: "averagePool",
        attributes: {
          kernel: [2, 2],
          strides: [1, 1],
          pads: [0, 0, 0, 0],
          dilations: [1, 1],
          countIncludePad: 1,
        },
      },
      { op: "pad", attributes: { before: [0, 1, 0], after: [0, 0, 2], mode: 2, value: 0 } },
    ]);
    expect(native.nodes[0]!.activation).toEqual(relu);
    expect(native.nodes[0]).not.toHaveProperty("residual");
    expect(native.values[graph.input]).toEqual({ shape: [1, 4, 4] });
    expect(native.values[1]!.constant).toBe(graph.values[1]!.constant);
  });
});
