/** What exporters write in parts: recognised where it is the function, left alone where it only looks like it. */
import { describe, expect, it } from "vitest";
import { type GraphBuilder, graphBuilder } from "../../src/graph/builder.js";
import { checkGraph } from "../../src/graph/check.js";
import { recognise } from "../../src/graph/fuse.js";
import {
  type ActivationKind,
  elements,
  type Graph,
  type Shape,
  type ValueId,
} from "../../src/graph/graph.js";
import { optimize } from "../../src/graph/optimize.js";
import { interpret } from "../../src/graph/reference.js";
import { seededRandom } from "../support/random.js";

interface Pen {
  readonly x: ValueId;
  add(a: ValueId, b: ValueId): ValueId;
  sub(a: ValueId, b: ValueId): ValueId;
  mul(a: ValueId, b: ValueId): ValueId;
  div(a: ValueId, b: ValueId): ValueId;
  apply(kind: ActivationKind, a: ValueId, alpha?: number): ValueId;
  mean(a: ValueId, ...axes: number[]): ValueId;
  reshape(a: ValueId, ...shape: number[]): ValueId;
  transpose(a: ValueId, ...permutation: number[]): ValueId;
  matmul(a: ValueId, b: ValueId): ValueId;
  softmax(a: ValueId): ValueId;
  linear(a: ValueId, ins: number, outs: number): ValueId;
  crop(a: ValueId, axis: number, start: number, length: number): ValueId;
  /** Constants: one number, and random ones. */
  c(value: number): ValueId;
  random(...shape: number[]): ValueId;
  readonly graph: GraphBuilder;
}

function build(shape: Shape, draw: (pen: Pen) => ValueId): Graph {
  const graph = graphBuilder("pattern");
  const x = graph.input("x", shape);
  const random = seededRandom(13);
  const binary = (op: "add" | "sub" | "mul" | "div") => (a: ValueId, b: ValueId) =>
    graph.node({ op, name: op, inputs: [a, b] });
  const constant = (dims: number[], data: Float32Array) => graph.constant("c", dims, data);
  const pen: Pen = {
    x,
    graph,
    add: binary("add"),
    sub: binary("sub"),
    mul: binary("mul"),
    div: binary("div"),
    apply: (kind, a, alpha = 0) =>
      graph.node({ op: "activate", name: kind, inputs: [a], activation: { kind, alpha, beta: 0 } }),
    mean(a, ...axes) {
      const kept = graph.shapeOf(a).map((n, i) => (axes.includes(i) ? 1 : n));
      return graph.node({ op: "reduceMean", name: "mean", inputs: [a], axes }, kept);
    },
    reshape: (a, ...to) => graph.node({ op: "reshape", name: "reshape", inputs: [a] }, to),
    transpose: (a, ...permutation) =>
      graph.node({ op: "transpose", name: "transpose", inputs: [a], permutation }),
    matmul: (a, b) => graph.node({ op: "matmul", name: "matmul", inputs: [a, b] }),
    softmax: (a) => graph.node({ op: "softmax", name: "softmax", inputs: [a] }),
    linear(a, ins, outs) {
      const inputs = [a, pen.random(outs, ins), pen.random(outs)];
      return graph.node({ op: "linear", name: "linear", inputs });
    },
    crop(a, axis, start, length) {
      const from = graph.shapeOf(a);
      const before = from.map((_, i) => (i === axis && start > 0 ? -start : 0));
      const after = from.map((n, i) => (i === axis && start + length < n ? start + length - n : 0));
      return graph.node({ op: "pad", name: "crop", inputs: [a], before, after, mode: "constant", value: 0 });
    },
    c: (value) => constant([], Float32Array.of(value)),
    random: (...dims) => constant(dims, random.floats(elements(dims), 0.5)),
  };
  return graph.finish(x, draw(pen));
}

const ops = (graph: Graph) => graph.nodes.map(({ op }) => op);

/** The pattern and what became of it, on random rows: their largest difference relative to the largest result. */
function difference(graph: Graph, changed: Graph): number {
  const rows = seededRandom(4).floats(2 * elements(graph.values[graph.input].shape));
  const [a, b] = [interpret(graph, rows, 2), interpret(changed, rows, 2)];
  expect(b.length).toBe(a.length);
  const size = Math.max(...a.map(Math.abs));
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]))) / size;
}

const centred = (p: Pen, axis = 1) => p.sub(p.x, p.mean(p.x, axis));
const variance = (p: Pen, d: ValueId, axis = 1) => p.mean(p.apply("pow", d, 2), axis);
const SLOPE = Math.sqrt(2 / Math.PI);

describe("recognised", () => {
  it.each<[string, Shape, (p: Pen) => ValueId, string[]]>([
    [
      "layer norm",
      [3, 8],
      (p) => {
        const d = centred(p);
        return p.div(d, p.apply("sqrt", p.add(variance(p, d), p.c(0.01))));
      },
      ["layerNorm"],
    ],
    [
      "layer norm with the difference written twice",
      [3, 8],
      (p) => {
        const root = p.apply("pow", p.add(p.c(0.01), variance(p, centred(p))), 0.5);
        return p.div(centred(p), root);
      },
      ["layerNorm"],
    ],
    [
      "layer norm by a reciprocal root",
      [3, 8],
      (p) => {
        const d = centred(p);
        const root = p.apply("sqrt", p.add(p.mean(p.mul(d, d), 1), p.c(0.01)));
        return p.mul(p.apply("reciprocal", root), d);
      },
      ["layerNorm"],
    ],
    [
      "layer norm by a power and by a quotient",
      [3, 8],
      (p) => {
        const d = centred(p);
        const inner = p.add(variance(p, d), p.c(0.01));
        return p.add(p.mul(d, p.apply("pow", inner, -0.5)), p.mul(d, p.div(p.c(1), p.apply("sqrt", inner))));
      },
      ["layerNorm", "layerNorm", "add"],
    ],
    [
      "layer norm of two dimensions",
      [2, 3, 4],
      (p) => {
        const d = p.sub(p.x, p.mean(p.x, 1, 2));
        return p.div(d, p.apply("sqrt", p.add(p.mean(p.apply("pow", d, 2), 1, 2), p.c(0.01))));
      },
      ["layerNorm"],
    ],
    [
      "group norm of means",
      [6, 4],
      (p) => {
        const g = p.reshape(p.x, 3, 8);
        const d = p.sub(g, p.mean(g, 1));
        const norm = p.div(d, p.apply("sqrt", p.add(p.mean(p.apply("pow", d, 2), 1), p.c(0.01))));
        return p.reshape(norm, 6, 4);
      },
      ["groupNorm"],
    ],
    [
      "group norm whose input had another shape",
      [6, 2, 2],
      (p) => {
        const ones = p.graph.constant("one", [3], new Float32Array(3).fill(1));
        const zeros = p.graph.constant("zero", [3], new Float32Array(3));
        const inputs = [p.reshape(p.x, 3, 8), ones, zeros];
        const norm = p.graph.node({ op: "groupNorm", name: "norm", inputs, groups: 3, epsilon: 0.01 });
        return p.reshape(norm, 6, 4);
      },
      ["reshape", "groupNorm"],
    ],
    ["silu", [5], (p) => p.mul(p.x, p.apply("sigmoid", p.x)), ["activate"]],
    [
      "attention with the scale on the scores",
      [2, 4, 6],
      (p) => {
        const scores = p.mul(p.matmul(p.x, p.transpose(p.random(2, 5, 6), 0, 2, 1)), p.c(0.3));
        return p.matmul(p.softmax(scores), p.random(2, 5, 3));
      },
      ["attention"],
    ],
    [
      "attention with a root of it on either side, and a mask",
      [2, 4, 6],
      (p) => {
        const keys = p.transpose(p.mul(p.linear(p.x, 6, 6), p.c(0.7)), 0, 2, 1);
        const scores = p.add(p.random(4, 4), p.matmul(p.mul(p.x, p.c(0.7)), keys));
        return p.matmul(p.softmax(scores), p.x);
      },
      ["linear", "attention"],
    ],
    [
      "attention with the scale divided out before the transpose",
      [4, 6],
      (p) => {
        const q = p.transpose(p.reshape(p.div(p.x, p.c(1.7)), 4, 2, 3), 1, 0, 2);
        const k = p.transpose(p.reshape(p.linear(p.x, 6, 6), 4, 2, 3), 1, 2, 0);
        const v = p.transpose(p.reshape(p.linear(p.x, 6, 6), 4, 2, 3), 1, 0, 2);
        return p.matmul(p.softmax(p.matmul(q, k)), v);
      },
      [
        "reshape",
        "transpose",
        "linear",
        "reshape",
        "transpose",
        "linear",
        "reshape",
        "transpose",
        "attention",
      ],
    ],
    [
      "a projection taken apart",
      [4, 6],
      (p) => {
        const all = p.transpose(p.reshape(p.linear(p.x, 6, 12), 4, 3, 4), 1, 0, 2);
        const part = (i: number) => p.reshape(p.crop(all, 0, i, 1), 4, 4);
        return p.sub(p.mul(part(0), part(1)), part(2));
      },
      ["linear", "linear", "linear", "mul", "sub"],
    ],
    [
      "channels that nobody reads",
      [3, 4, 4],
      (p) => {
        const conv = p.graph.node({
          op: "conv",
          name: "conv",
          inputs: [p.x, p.random(6, 3, 3, 3), p.random(6)],
          strides: [1, 1],
          pads: [1, 1, 1, 1],
          dilations: [1, 1],
          groups: 1,
        });
        return p.crop(conv, 0, 2, 2);
      },
      ["conv"],
    ],
  ])("%s", (_what, shape, draw, expected) => {
    const graph = build(shape, draw);
    const changed = recognise(graph);
    checkGraph(changed);
    expect(ops(changed).toSorted()).toEqual(expected.toSorted());
    expect(difference(graph, changed)).toBeLessThan(1e-10);
    // Folding rounds weights to float32.
    expect(difference(graph, optimize(graph))).toBeLessThan(1e-6);
  });

  it.each<[string, (p: Pen) => ValueId, string]>([
    [
      "½·(x·(1 + erf(x/√2)))",
      (p) => {
        const gate = p.add(p.apply("erf", p.div(p.x, p.c(Math.SQRT2))), p.c(1));
        return p.mul(p.mul(p.x, gate), p.c(0.5));
      },
      "gelu",
    ],
    [
      "(x/2)·(1 + erf(x·√½))",
      (p) => {
        const gate = p.add(p.c(1), p.apply("erf", p.mul(p.c(Math.SQRT1_2), p.x)));
        return p.mul(p.div(p.x, p.c(2)), gate);
      },
      "gelu",
    ],
    [
      "x·(½·(1 + erf(x/√2)))",
      (p) => {
        const gate = p.add(p.apply("erf", p.div(p.x, p.c(Math.SQRT2))), p.c(1));
        return p.mul(p.x, p.mul(gate, p.c(0.5)));
      },
      "gelu",
    ],
    [
      "½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))",
      (p) => {
        const inner = p.add(p.x, p.mul(p.c(0.044715), p.apply("pow", p.x, 3)));
        return p.mul(p.mul(p.c(0.5), p.x), p.add(p.c(1), p.apply("tanh", p.mul(p.c(SLOPE), inner))));
      },
      "geluTanh",
    ],
    [
      "½·x·(1 + tanh(√(2/π)·x·(1 + 0.044715·x·x)))",
      (p) => {
        const square = p.add(p.mul(p.mul(p.x, p.x), p.c(0.044715)), p.c(1));
        const inner = p.mul(p.mul(p.x, p.c(SLOPE)), square);
        return p.mul(p.c(0.5), p.mul(p.x, p.add(p.apply("tanh", inner), p.c(1))));
      },
      "geluTanh",
    ],
  ])("GELU as %s", (_what, draw, kind) => {
    const graph = build([9], draw);
    const changed = recognise(graph);
    expect(changed.nodes).toMatchObject([{ op: "activate", activation: { kind } }]);
    // The file's constants are float32; the function has its own.
    expect(difference(graph, changed)).toBeLessThan(1e-7);
  });
});

describe("left alone", () => {
  it.each<[string, Shape, (p: Pen) => ValueId]>([
    [
      "a norm over leading axes",
      [3, 8],
      (p) => {
        const d = centred(p, 0);
        return p.div(d, p.apply("sqrt", p.add(variance(p, d, 0), p.c(0.01))));
      },
    ],
    [
      "a norm by the variance of something else",
      [3, 8],
      (p) => {
        const d = centred(p);
        const y = p.apply("tanh", p.x);
        const other = p.sub(y, p.mean(y, 1));
        return p.div(d, p.apply("sqrt", p.add(variance(p, other), p.c(0.01))));
      },
    ],
    [
      "a norm by a variance over another axis",
      [8, 8],
      (p) => {
        const d = centred(p);
        return p.div(d, p.apply("sqrt", p.add(variance(p, d, 0), p.c(0.01))));
      },
    ],
    [
      "a cube in the place of the square",
      [3, 8],
      (p) => {
        const d = centred(p);
        return p.div(d, p.apply("sqrt", p.add(p.mean(p.apply("pow", d, 4), 1), p.c(0.01))));
      },
    ],
    [
      "an ε for each element",
      [3, 8],
      (p) => {
        const d = centred(p);
        const epsilon = p.graph.constant("epsilon", [3, 1], Float32Array.of(0.1, 0.2, 0.3));
        return p.div(d, p.apply("sqrt", p.add(variance(p, d), epsilon)));
      },
    ],
    ["a gate of another value", [9], (p) => p.mul(p.x, p.apply("sigmoid", p.apply("tanh", p.x)))],
    [
      "another factor in GELU's gate",
      [9],
      (p) => {
        const gate = p.add(p.apply("erf", p.mul(p.x, p.c(0.71))), p.c(1));
        return p.mul(p.mul(p.x, gate), p.c(0.5));
      },
    ],
    [
      "another share of GELU",
      [9],
      (p) => {
        const gate = p.add(p.apply("erf", p.mul(p.x, p.c(Math.SQRT1_2))), p.c(1));
        return p.mul(p.mul(p.x, gate), p.c(0.51));
      },
    ],
    [
      "scores that are read elsewhere too",
      [4, 4],
      (p) => {
        const weights = p.softmax(p.matmul(p.x, p.transpose(p.x, 1, 0)));
        return p.add(p.matmul(weights, p.x), weights);
      },
    ],
    [
      "a mask that a row brings",
      [4, 4],
      (p) => {
        const scores = p.add(p.matmul(p.x, p.transpose(p.x, 1, 0)), p.apply("tanh", p.x));
        return p.matmul(p.softmax(scores), p.x);
      },
    ],
    [
      "values spread over the heads",
      [2, 4, 4],
      (p) => {
        const scores = p.matmul(p.x, p.transpose(p.x, 0, 2, 1));
        return p.matmul(p.softmax(scores), p.random(4, 3));
      },
    ],
    [
      "a projection that is read whole as well",
      [4, 6],
      (p) => {
        const all = p.linear(p.x, 6, 6);
        return p.add(p.crop(all, 1, 0, 3), p.crop(p.apply("tanh", all), 1, 3, 3));
      },
    ],
  ])("%s", (_what, shape, draw) => {
    const graph = build(shape, draw);
    const changed = recognise(graph);
    const fusedOps = new Set(["layerNorm", "groupNorm", "attention"]);
    expect(ops(changed).filter((op) => fusedOps.has(op))).toEqual([]);
    const kinds = changed.nodes.flatMap(({ activation }) => (activation ? [activation.kind] : []));
    expect(kinds.filter((kind) => ["gelu", "geluTanh", "silu"].includes(kind))).toEqual([]);
    expect(ops(changed).filter((op) => op === "linear").length).toBeLessThan(2);
    expect(difference(graph, changed)).toBeLessThan(1e-12);
  });
});
