/** Small random graphs, one operator at a time: what native plans are compared with the interpreter on. */
import { type GraphBuilder, graphBuilder } from "../../src/graph/builder.js";
import {
  type Activation,
  elements,
  type Graph,
  type Pads,
  type Pair,
  type Shape,
  type ValueId,
} from "../../src/graph/graph.js";
import type { Random } from "./random.js";
import { activationKinds, randomActivation } from "./randomGraph.js";

export interface Context {
  readonly random: Random;
  readonly graph: GraphBuilder;
  readonly x: ValueId;
  constant(shape: Shape, scale?: number): ValueId;
  /** Sometimes an activation, sometimes none. */
  epilogue(): { activation?: Activation };
}

export interface Case {
  input: (random: Random) => Shape;
  build: (context: Context) => ValueId;
  /** A derivative itself: it has none of its own. */
  derivative?: boolean;
}

const channels = [1, 2, 3, 5, 8, 16, 20, 37];
const image = (random: Random): Shape => [random.pick(channels), random.integer(1, 9), random.integer(1, 9)];
export const anyShape = (random: Random): Shape =>
  Array.from({ length: random.integer(1, 4) }, () => random.integer(1, 6));
const pair = (random: Random, low: number, high: number): Pair => [
  random.integer(low, high),
  random.integer(low, high),
];
const divisors = (n: number) => Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0);

function convolution(c: Context, transposed: boolean): ValueId {
  const { random, graph, x } = c;
  const [inChannels, height, width] = graph.shapeOf(x) as [number, number, number];
  const groups = random.uniform() < 0.6 ? 1 : random.pick(divisors(inChannels));
  const outChannels = groups * random.pick(groups === 1 ? channels : [1, 2, 3]);
  const kernel = pair(random, 1, 3);
  const dilations = pair(random, 1, 2);
  const strides = pair(random, 1, 3);
  const reach = kernel.map((k, i) => (k - 1) * dilations[i]! + 1) as [number, number];
  const most = reach.map((r) => Math.max(0, r - 1));
  const pads: Pads = [
    random.integer(0, most[0]!),
    random.integer(0, most[1]!),
    random.integer(0, most[0]!),
    random.integer(0, most[1]!),
  ];
  const bias = random.uniform() < 0.7 ? [c.constant([outChannels])] : [];
  const scale = 1 / Math.sqrt((inChannels / groups) * kernel[0] * kernel[1]);
  if (transposed) {
    // Padding may not eat the whole output.
    const smaller: Pads = [
      Math.min(pads[0], Math.floor(((height - 1) * strides[0] + reach[0] - 1) / 2)),
      Math.min(pads[1], Math.floor(((width - 1) * strides[1] + reach[1] - 1) / 2)),
      Math.min(pads[2], Math.floor(((height - 1) * strides[0] + reach[0] - 1) / 2)),
      Math.min(pads[3], Math.floor(((width - 1) * strides[1] + reach[1] - 1) / 2)),
    ];
    const weight = c.constant([inChannels, outChannels / groups, ...kernel], scale);
    return graph.node({
      op: "convTranspose",
      name: "up",
      inputs: [x, weight, ...bias],
      strides,
      pads: smaller,
      dilations,
      outputPadding: [random.integer(0, strides[0] - 1), random.integer(0, strides[1] - 1)],
      groups,
      ...c.epilogue(),
    });
  }
  const enough: Pads = [
    Math.max(pads[0], reach[0] - height),
    Math.max(pads[1], reach[1] - width),
    pads[2],
    pads[3],
  ];
  const weight = c.constant([outChannels, inChannels / groups, ...kernel], scale);
  return graph.node({
    op: "conv",
    name: "down",
    inputs: [x, weight, ...bias],
    strides,
    pads: enough,
    dilations,
    groups,
    ...c.epilogue(),
  });
}

/** A 1×1 convolution in front, so that the operator under test meets the order that convolutions leave. */
function afterConvolution(c: Context): ValueId {
  const shape = c.graph.shapeOf(c.x);
  if (shape.length !== 3 || c.random.uniform() < 0.4) return c.x;
  const n = shape[0]!;
  return c.graph.node({
    op: "conv",
    name: "before",
    inputs: [c.x, c.constant([n, n, 1, 1], 1 / Math.sqrt(n))],
    strides: [1, 1],
    pads: [0, 0, 0, 0],
    dilations: [1, 1],
    groups: 1,
  });
}

/** Windows that fit `shape`, and the shape that pooling with them gives. */
function windows(random: Random, shape: Shape) {
  const [n, height, width] = shape as [number, number, number];
  const kernel: Pair = [random.integer(1, Math.min(3, height)), random.integer(1, Math.min(3, width))];
  const strides = pair(random, 1, 3);
  const pads: Pads = [
    random.integer(0, kernel[0] - 1),
    random.integer(0, kernel[1] - 1),
    random.integer(0, kernel[0] - 1),
    random.integer(0, kernel[1] - 1),
  ];
  const size = (extent: number, d: 0 | 1) => {
    const room = extent + pads[d] + pads[d + 2]! - kernel[d];
    const floor = Math.floor(room / strides[d]) + 1;
    const ceil = Math.ceil(room / strides[d]) + 1;
    const fits = (ceil - 1) * strides[d] < extent + pads[d];
    return random.uniform() < 0.3 && fits ? ceil : floor;
  };
  const pooled: Shape = [n, size(height, 0), size(width, 1)];
  return { attributes: { kernel, strides, pads, dilations: [1, 1] as const }, pooled };
}

function pool(c: Context, op: "maxPool" | "averagePool"): ValueId {
  const x = afterConvolution(c);
  const { attributes, pooled } = windows(c.random, c.graph.shapeOf(x));
  const countIncludePad = c.random.uniform() < 0.5;
  return c.graph.node({ op, name: "pool", inputs: [x], ...attributes, countIncludePad }, pooled);
}

/** A second tensor of the row of the same shape as x, so that a derivative has something to act on. */
export function beside(c: Context, x: ValueId): ValueId {
  return c.graph.node({
    op: "mul",
    name: "tangent",
    inputs: [
      c.constant(c.graph.shapeOf(x)),
      c.graph.node({
        op: "activate",
        name: "beside",
        inputs: [x],
        activation: { kind: "softplus", alpha: 0, beta: 0 },
      }),
    ],
  });
}

function binary(c: Context, op: "add" | "sub" | "mul" | "div"): ValueId {
  const { random, graph } = c;
  const x = afterConvolution(c);
  const shape = graph.shapeOf(x);
  const other: ValueId = (() => {
    if (random.uniform() < 0.3) {
      return graph.node({
        op: "activate",
        name: "other",
        inputs: [x],
        activation: randomActivation(random, "softplus"),
      });
    }
    const kept = shape.map((d) => (random.uniform() < 0.5 ? 1 : d));
    const from = random.integer(0, kept.length - 1);
    const constantShape = kept.slice(random.uniform() < 0.4 ? from : 0);
    const data = random.floats(elements(constantShape)).map((v) => Math.abs(v) + 0.5);
    return graph.constant("c", constantShape, data);
  })();
  const swap = random.uniform() < 0.4 && op !== "div";
  return graph.node({ op, name: op, inputs: swap ? [other, x] : [x, other], ...c.epilogue() });
}

export const operatorCases: Record<string, Case> = {
  conv: { input: image, build: (c) => convolution(c, false) },
  convTranspose: { input: image, build: (c) => convolution(c, true) },
  linear: {
    input: (random) => [...anyShape(random).slice(1), random.pick([1, 3, 16, 50])],
    build: (c) => {
      const inputs = c.graph.shapeOf(c.x).at(-1)!;
      const outputs = c.random.pick([1, 2, 7, 16, 33]);
      const bias = c.random.uniform() < 0.7 ? [c.constant([outputs])] : [];
      const weight = c.constant([outputs, inputs], 1 / Math.sqrt(inputs));
      return c.graph.node({ op: "linear", name: "linear", inputs: [c.x, weight, ...bias], ...c.epilogue() });
    },
  },
  matmul: {
    input: (random) => [random.integer(1, 3), random.integer(1, 9), random.integer(1, 9)],
    build: (c) => {
      const [batch, m, inner] = c.graph.shapeOf(c.x) as [number, number, number];
      if (c.random.uniform() < 0.5) {
        const other = c.constant([inner, c.random.integer(1, 9)]);
        return c.graph.node({ op: "matmul", name: "matmul", inputs: [c.x, other], ...c.epilogue() });
      }
      const transposed = c.graph.node({
        op: "transpose",
        name: "transpose",
        inputs: [c.x],
        permutation: [0, 2, 1],
      });
      if (batch === 0 || m === 0) throw new Error("an empty shape");
      return c.graph.node({ op: "matmul", name: "matmul", inputs: [c.x, transposed], ...c.epilogue() });
    },
  },
  add: { input: anyOrImage, build: (c) => binary(c, "add") },
  sub: { input: anyOrImage, build: (c) => binary(c, "sub") },
  mul: { input: anyOrImage, build: (c) => binary(c, "mul") },
  div: { input: anyOrImage, build: (c) => binary(c, "div") },
  residual: {
    input: image,
    build: (c) => {
      const shape = c.graph.shapeOf(c.x);
      const n = shape[0]!;
      const first = afterConvolution(c);
      return c.graph.node({
        op: "conv",
        name: "block",
        inputs: [first, c.constant([n, n, 3, 3], 1 / Math.sqrt(9 * n))],
        strides: [1, 1],
        pads: [1, 1, 1, 1],
        dilations: [1, 1],
        groups: 1,
        residual: first,
        ...c.epilogue(),
      });
    },
  },
  groupNorm: {
    input: (random) => [random.pick([4, 6, 16, 64]), random.integer(1, 6), random.integer(1, 6)],
    build: (c) => {
      const x = afterConvolution(c);
      const n = c.graph.shapeOf(x)[0]!;
      return c.graph.node({
        op: "groupNorm",
        name: "norm",
        inputs: [x, c.constant([n]), c.constant([n])],
        groups: c.random.pick(divisors(n)),
        epsilon: 1e-5,
        ...c.epilogue(),
      });
    },
  },
  resizeNearest: {
    input: image,
    build: (c) =>
      c.graph.node({
        op: "resizeNearest",
        name: "resize",
        inputs: [afterConvolution(c)],
        scales: pair(c.random, 1, 3),
      }),
  },
  maxPool: { input: image, build: (c) => pool(c, "maxPool") },
  averagePool: { input: image, build: (c) => pool(c, "averagePool") },
  reduceMean: {
    input: anyOrImage,
    build: (c) => {
      const x = afterConvolution(c);
      const shape = c.graph.shapeOf(x);
      const axes = shape.map((_, i) => i).filter(() => c.random.uniform() < 0.5);
      if (axes.length === 0) axes.push(shape.length - 1);
      const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
      const dropped = shape.filter((_, i) => !axes.includes(i));
      const result = c.random.uniform() < 0.5 ? kept : dropped;
      return c.graph.node({ op: "reduceMean", name: "mean", inputs: [x], axes }, result);
    },
  },
  pad: {
    input: (random) => image(random).map((d) => Math.max(d, 2)),
    build: (c) => {
      const x = afterConvolution(c);
      const shape = c.graph.shapeOf(x);
      const mode = c.random.pick(["constant", "reflect", "edge"] as const);
      const least = (d: number) => (mode === "constant" && d > 2 ? -1 : 0);
      const amount = (d: number) => c.random.integer(least(d), Math.min(2, d - 1));
      return c.graph.node({
        op: "pad",
        name: "pad",
        inputs: [x],
        before: shape.map(amount),
        after: shape.map((d) => Math.max(0, amount(d))),
        mode,
        value: 0.25,
      });
    },
  },
  reshape: {
    input: image,
    build: (c) => {
      const x = afterConvolution(c);
      const [a, b, d] = c.graph.shapeOf(x) as [number, number, number];
      const shape = c.random.pick<Shape>([[a * b * d], [b, a, d], [a, b * d], [a * b, d], [1, a, b, d]]);
      return c.graph.node({ op: "reshape", name: "reshape", inputs: [x] }, shape);
    },
  },
  transpose: {
    input: anyOrImage,
    build: (c) => {
      const x = afterConvolution(c);
      const permutation = c.graph.shapeOf(x).map((_, i) => i);
      for (let i = permutation.length - 1; i > 0; i--) {
        const j = c.random.integer(0, i);
        [permutation[i], permutation[j]] = [permutation[j]!, permutation[i]!];
      }
      return c.graph.node({ op: "transpose", name: "transpose", inputs: [x], permutation });
    },
  },
  concat: {
    input: anyOrImage,
    build: (c) => {
      const x = afterConvolution(c);
      const shape = c.graph.shapeOf(x);
      const axis = c.random.integer(0, shape.length - 1);
      const extra = shape.map((d, i) => (i === axis ? c.random.integer(1, 4) : d));
      const other = c.graph.node({
        op: "activate",
        name: "o",
        inputs: [x],
        activation: randomActivation(c.random, "tanh"),
      });
      return c.graph.node({ op: "concat", name: "concat", inputs: [x, c.constant(extra), other], axis });
    },
  },
  chain: {
    input: (random) => [random.pick([3, 16]), 6, 6],
    build: (c) => {
      const up = convolution(c, true);
      const [n, height, width] = c.graph.shapeOf(up) as [number, number, number];
      const flat = c.graph.node({ op: "reshape", name: "flat", inputs: [up] }, [n * height * width]);
      const size = n * height * width;
      return c.graph.node({
        op: "linear",
        name: "out",
        inputs: [flat, c.constant([5, size], 1 / Math.sqrt(size)), c.constant([5])],
        ...c.epilogue(),
      });
    },
  },
};

const derivatives: Record<string, Omit<Case, "derivative">> = {
  groupNormGrad: {
    input: (random) => [random.pick([4, 6, 16, 64]), random.integer(1, 6), random.integer(1, 6)],
    build: (c) => {
      const x = afterConvolution(c);
      const groups = c.random.pick(divisors(c.graph.shapeOf(x)[0]!));
      // A variance near ε would only measure how well it is conditioned.
      return c.graph.node({
        op: "groupNormGrad",
        name: "norm",
        inputs: [x, beside(c, x)],
        groups,
        epsilon: 0.1,
      });
    },
  },
  maxPoolGrad: {
    input: image,
    build: (c) => {
      const x = afterConvolution(c);
      const { attributes, pooled } = windows(c.random, c.graph.shapeOf(x));
      const inputs = [x, beside(c, x)];
      return c.graph.node({ op: "maxPoolGrad", name: "pool", inputs, ...attributes }, pooled);
    },
  },
  maxPoolAdjoint: {
    input: image,
    build: (c) => {
      const x = afterConvolution(c);
      const { attributes, pooled } = windows(c.random, c.graph.shapeOf(x));
      const countIncludePad = false;
      const u = c.graph.node(
        { op: "averagePool", name: "u", inputs: [x], ...attributes, countIncludePad },
        pooled,
      );
      return c.graph.node({ op: "maxPoolAdjoint", name: "pool", inputs: [x, u], ...attributes });
    },
  },
};

for (const kind of activationKinds) {
  derivatives[`${kind}Grad`] = {
    input: anyOrImage,
    build: (c) => {
      const x = afterConvolution(c);
      return c.graph.node({
        op: "activateGrad",
        name: kind,
        inputs: [x, beside(c, x)],
        derivativeOf: randomActivation(c.random, kind),
      });
    },
  };
}
for (const [name, graphCase] of Object.entries(derivatives)) {
  operatorCases[name] = { ...graphCase, derivative: true };
}

for (const kind of activationKinds) {
  operatorCases[kind] = {
    input: anyOrImage,
    build: (c) =>
      c.graph.node({
        op: "activate",
        name: kind,
        inputs: [afterConvolution(c)],
        activation: randomActivation(c.random, kind),
      }),
  };
}

function anyOrImage(random: Random): Shape {
  return random.uniform() < 0.5 ? image(random) : anyShape(random);
}

/** The named operator with random sizes, weights and attributes. */
export function operatorGraph(name: string, random: Random, cases = operatorCases): Graph {
  const { input, build } = cases[name]!;
  const graph = graphBuilder(name);
  const x = graph.input("x", input(random));
  const output = build({
    random,
    graph,
    x,
    constant: (shape, scale = 1) => graph.constant("c", shape, random.floats(elements(shape), scale)),
    epilogue: () => (random.uniform() < 0.4 ? {} : { activation: randomActivation(random) }),
  });
  return graph.finish(x, output);
}
