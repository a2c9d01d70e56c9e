import { describe, expect, it } from "vitest";
import { type GraphBuilder, graphBuilder } from "../../src/graph/builder.js";
import { elements, type Graph, type Shape, type ValueId } from "../../src/graph/graph.js";
import { optimize } from "../../src/graph/optimize.js";
import { interpret } from "../../src/graph/reference.js";
import { type Random, seededRandom } from "../support/random.js";

const tanh = { kind: "tanh", alpha: 0, beta: 0 } as const;

function build(shape: Shape, body: (b: GraphBuilder, x: ValueId) => ValueId): Graph {
  const builder = graphBuilder("test");
  const x = builder.input("x", shape);
  return builder.finish(x, body(builder, x));
}

function linear(b: GraphBuilder, x: ValueId, outs: number, random: Random, name = "linear"): ValueId {
  const ins = b.shapeOf(x)[0]!;
  const weight = b.constant(`${name}.w`, [outs, ins], random.floats(outs * ins));
  return b.node({
    op: "linear",
    name,
    inputs: [x, weight, b.constant(`${name}.b`, [outs], random.floats(outs))],
  });
}

const transpose = (b: GraphBuilder, x: ValueId, permutation: readonly number[]) =>
  b.node({ op: "transpose", name: "turn", inputs: [x], permutation });
const reshape = (b: GraphBuilder, x: ValueId, shape: Shape) =>
  b.node({ op: "reshape", name: "reshape", inputs: [x] }, shape);
const activate = (b: GraphBuilder, x: ValueId) =>
  b.node({ op: "activate", name: "tanh", inputs: [x], activation: tanh });

/** The graph after all passes, which has to compute what it did before. */
function optimised(graph: Graph): Graph {
  const after = optimize(graph);
  const rows = seededRandom(9).floats(4 * elements(graph.values[graph.input]!.shape));
  const expected = interpret(graph, rows, 4);
  const found = interpret(after, rows, 4);
  expect(found.length).toBe(expected.length);
  for (const [i, y] of found.entries()) expect(y).toBeCloseTo(expected[i]!, 9);
  return after;
}
const ops = (graph: Graph) => graph.nodes.map(({ op }) => op);

describe("transposes between images and vectors", () => {
  const shapes: Shape[] = [
    [2, 3, 4],
    [3, 1, 5],
    [2, 2, 2],
  ];
  const permutations = [
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
    [0, 2, 1],
  ];

  it("go into the weights of the linear layer that follows", () => {
    for (const shape of shapes) {
      for (const permutation of permutations) {
        const random = seededRandom(1);
        const graph = build(shape, (b, x) => {
          const vector = reshape(b, transpose(b, x, permutation), [elements(shape)]);
          return linear(b, activate(b, vector), 4, random);
        });
        expect(ops(optimised(graph))).not.toContain("transpose");
      }
    }
  });

  it("go into the weights of the linear layer before", () => {
    for (const shape of shapes) {
      for (const permutation of permutations) {
        const random = seededRandom(2);
        const graph = build([3], (b, x) => {
          const vector = activate(b, linear(b, x, elements(shape), random));
          return transpose(b, reshape(b, vector, shape), permutation);
        });
        expect(ops(optimised(graph))).toEqual(["linear", "reshape"]);
      }
    }
  });

  it("go on both sides of one layer", () => {
    const random = seededRandom(3);
    const graph = build([2, 3, 4], (b, x) => {
      const vector = reshape(b, transpose(b, x, [1, 2, 0]), [24]);
      return transpose(b, reshape(b, linear(b, vector, 24, random), [3, 4, 2]), [2, 0, 1]);
    });
    expect(ops(optimised(graph))).toEqual(["reshape", "linear", "reshape"]);
  });

  it("stay where something else reads the vector in its old order", () => {
    const random = seededRandom(4);
    const before = build([2, 3, 4], (b, x) => {
      const vector = reshape(b, transpose(b, x, [1, 2, 0]), [24]);
      return b.node({ op: "add", name: "sum", inputs: [linear(b, vector, 24, random), vector] });
    });
    expect(ops(optimised(before))).toContain("transpose");
    const after = build([3], (b, x) => {
      const vector = linear(b, x, 24, random);
      const turned = transpose(b, reshape(b, vector, [2, 3, 4]), [1, 2, 0]);
      return b.node({ op: "add", name: "sum", inputs: [turned, reshape(b, vector, [3, 4, 2])] });
    });
    expect(ops(optimised(after))).toContain("transpose");
  });

  it("leave alone a weight that another layer shares", () => {
    const random = seededRandom(5);
    const graph = build([2, 3, 4], (b, x) => {
      const shared = b.constant("w", [24, 24], random.floats(576, 0.2));
      const layer = (from: ValueId, name: string) => b.node({ op: "linear", name, inputs: [from, shared] });
      const once = layer(reshape(b, transpose(b, x, [1, 2, 0]), [24]), "once");
      return layer(once, "twice");
    });
    expect(ops(optimised(graph))).toEqual(["reshape", "linear", "linear"]);
  });

  it("are reshapes where they move only axes of length 1", () => {
    const graph = build([1, 4, 5], (b, x) => activate(b, transpose(b, x, [1, 2, 0])));
    expect(ops(optimised(graph))).toEqual(["reshape", "activate"]);
  });
});

describe("zeros around images", () => {
  const plain = { dilations: [1, 1], groups: 1 } as const;
  const pad = (b: GraphBuilder, x: ValueId, [top, left, bottom, right]: readonly number[], value = 0) =>
    b.node({
      op: "pad",
      name: "pad",
      inputs: [x],
      before: [0, top!, left!],
      after: [0, bottom!, right!],
      mode: "constant",
      value,
    });
  const conv = (b: GraphBuilder, x: ValueId, pads: readonly [number, number, number, number]) =>
    b.node({
      op: "conv",
      name: "conv",
      inputs: [x, b.constant("w", [3, 2, 3, 3], seededRandom(1).floats(54))],
      strides: [2, 2],
      pads,
      ...plain,
    });
  const transposed = (b: GraphBuilder, x: ValueId, outputPadding: readonly [number, number]) =>
    b.node({
      op: "convTranspose",
      name: "deconv",
      inputs: [x, b.constant("w", [2, 3, 3, 3], seededRandom(2).floats(54))],
      strides: [2, 2],
      pads: [0, 0, 0, 0],
      outputPadding,
      ...plain,
    });

  it("become the padding of the convolution that follows", () => {
    const graph = build([2, 5, 6], (b, x) => conv(b, pad(b, x, [1, 0, 1, 2]), [0, 1, 0, 0]));
    const after = optimised(graph);
    expect(ops(after)).toEqual(["conv"]);
    expect(after.nodes[0]).toMatchObject({ pads: [1, 1, 1, 2] });
  });

  it("and what is cut off becomes that of the transposed convolution before", () => {
    const graph = build([2, 4, 5], (b, x) => pad(b, activate(b, transposed(b, x, [1, 0])), [-1, 0, 0, -2]));
    const after = optimised(graph);
    expect(ops(after)).toEqual(["convTranspose"]);
    expect(after.nodes[0]).toMatchObject({ pads: [1, 0, 0, 2], outputPadding: [1, 0] });
  });

  it("stay where they are not zeros, wider than the kernel, or of channels", () => {
    const other = (body: (b: GraphBuilder, x: ValueId) => ValueId) => ops(optimised(build([2, 5, 6], body)));
    expect(other((b, x) => conv(b, pad(b, x, [1, 1, 1, 1], 0.5), [0, 0, 0, 0]))).toContain("pad");
    expect(other((b, x) => conv(b, pad(b, x, [3, 1, 1, 1]), [0, 0, 0, 0]))).toContain("pad");
    expect(other((b, x) => conv(b, pad(b, x, [-1, 0, 0, 0]), [0, 0, 0, 0]))).toContain("pad");
    expect(other((b, x) => pad(b, transposed(b, x, [0, 0]), [-3, 0, 0, 0]))).toContain("pad");
    expect(other((b, x) => pad(b, transposed(b, x, [0, 0]), [-1, 1, 0, 0]))).toContain("pad");
  });
});
