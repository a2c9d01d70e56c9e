/** As operatorGraphs.ts, for the operators of transformers and sparse autoencoders. */
import type { GraphBuilder } from "../../src/graph/builder.js";
import type { Activation, Shape, ValueId } from "../../src/graph/graph.js";
import { anyShape, beside, type Case, type Context, operatorGraph } from "./operatorGraphs.js";
import type { Random } from "./random.js";
import { randomActivation, steepKinds } from "./randomGraph.js";

const tokens = (random: Random): Shape => [
  ...(random.uniform() < 0.5 ? [random.integer(1, 3)] : []),
  random.pick([1, 2, 5, 17, 33]),
  random.pick([1, 3, 8, 16, 20]),
];

/** Another linear view of the same tokens, with `outputs` features. */
function projected(c: Context, outputs: number): ValueId {
  const inputs = c.graph.shapeOf(c.x).at(-1)!;
  const weight = c.constant([outputs, inputs], 1 / Math.sqrt(inputs));
  return c.graph.node({ op: "linear", name: "projected", inputs: [c.x, weight] });
}

function attention(c: Context): ValueId {
  const { random, graph } = c;
  const [targets, depth] = graph.shapeOf(c.x).slice(-2) as [number, number];
  const leading = graph.shapeOf(c.x).slice(0, -2);
  const start = random.integer(0, targets - 1);
  // Fewer sources than targets, so that nothing mistakes one for the other.
  const sources = (x: ValueId) =>
    graph.node({
      op: "pad",
      name: "sources",
      inputs: [x],
      before: [...leading.map(() => 0), start === 0 ? 0 : -start, 0],
      after: [...leading.map(() => 0), 0, 0],
      mode: "constant",
      value: 0,
    });
  const inputs = [c.x, sources(projected(c, depth)), sources(projected(c, random.pick([1, 4, 16, 19])))];
  if (random.uniform() < 0.5) {
    const whole = [...leading, targets, targets - start];
    const from = random.integer(0, whole.length - 1);
    inputs.push(c.constant(whole.map((n) => (random.uniform() < 0.4 ? 1 : n)).slice(from)));
  }
  return graph.node({ op: "attention", name: "attention", inputs, scale: 1 / Math.sqrt(depth) });
}

/** x·(x > threshold), the threshold a constant that broadcasts. */
function jumpRelu(c: Context): ValueId {
  const shape = c.graph.shapeOf(c.x);
  const kept = shape.map((n) => (c.random.uniform() < 0.5 ? 1 : n));
  const threshold = c.constant(kept.slice(c.random.integer(0, kept.length)), 0.5);
  const inputs = c.random.uniform() < 0.7 ? [c.x, threshold] : [threshold, c.x];
  const gate = c.graph.node({ op: "greater", name: "gate", inputs });
  return c.graph.node({ op: "mul", name: "jump", inputs: [c.x, gate] });
}

function picked(random: Random, size: number): number[] {
  return Array.from({ length: random.integer(1, 2 * size) }, () => random.integer(0, size - 1));
}

/** x made positive: where logarithms and roots are defined. */
function positive(graph: GraphBuilder, x: ValueId): ValueId {
  const activation: Activation = { kind: "softplus", alpha: 0, beta: 0 };
  const above = graph.node({ op: "activate", name: "positive", inputs: [x], activation });
  return graph.node({
    op: "add",
    name: "away from 0",
    inputs: [above, graph.constant("c", [], Float32Array.of(0.25))],
  });
}

export const sequenceCases: Record<string, Case> = {
  layerNorm: {
    input: (random) => [...anyShape(random), random.pick([2, 7, 16, 33])],
    build: (c) => {
      const shape = c.graph.shapeOf(c.x);
      const dimensions = c.random.integer(1, shape.length);
      const normalised = shape.slice(-dimensions);
      return c.graph.node({
        op: "layerNorm",
        name: "norm",
        inputs: [c.x, c.constant(normalised), c.constant(normalised)],
        dimensions,
        epsilon: 1e-3,
        ...c.epilogue(),
      });
    },
  },
  layerNormGrad: {
    input: (random) => [...anyShape(random), random.pick([2, 7, 16, 33])],
    build: (c) =>
      c.graph.node({
        op: "layerNormGrad",
        name: "norm",
        inputs: [c.x, beside(c, c.x)],
        dimensions: c.random.integer(1, c.graph.shapeOf(c.x).length),
        epsilon: 0.1,
      }),
    derivative: true,
  },
  softmax: {
    input: (random) => [...anyShape(random).slice(1), random.pick([1, 2, 9, 16, 37])],
    build: (c) => c.graph.node({ op: "softmax", name: "softmax", inputs: [c.x] }),
  },
  softmaxGrad: {
    input: (random) => [...anyShape(random).slice(1), random.pick([1, 2, 9, 16, 37])],
    build: (c) => {
      const s = c.graph.node({ op: "softmax", name: "softmax", inputs: [c.x] });
      return c.graph.node({ op: "softmaxGrad", name: "grad", inputs: [s, beside(c, c.x)] });
    },
    derivative: true,
  },
  attention: { input: tokens, build: attention },
  gather: {
    input: anyShape,
    build: (c) => {
      const shape = c.graph.shapeOf(c.x);
      const axis = c.random.integer(0, shape.length - 1);
      const indices = picked(c.random, shape[axis]!);
      return c.graph.node({ op: "gather", name: "gather", inputs: [c.x], axis, indices });
    },
  },
  scatterAdd: {
    input: anyShape,
    build: (c) => {
      const shape = c.graph.shapeOf(c.x);
      const axis = c.random.integer(0, shape.length - 1);
      const size = c.random.integer(1, 2 * shape[axis]!);
      const indices = Array.from({ length: shape[axis]! }, () => c.random.integer(0, size - 1));
      return c.graph.node({ op: "scatterAdd", name: "scatter", inputs: [c.x], axis, indices, size });
    },
  },
  topKMask: {
    input: (random) => [...anyShape(random).slice(1), random.pick([1, 5, 16, 40])],
    build: (c) => {
      const k = c.random.integer(1, c.graph.shapeOf(c.x).at(-1)!);
      const mask = c.graph.node({ op: "topKMask", name: "mask", inputs: [c.x], k });
      return c.graph.node({ op: "mul", name: "largest", inputs: [c.x, mask] });
    },
  },
  greater: { input: anyShape, build: jumpRelu },
};

for (const kind of steepKinds) {
  sequenceCases[kind] = {
    input: anyShape,
    build: (c) =>
      c.graph.node({
        op: "activate",
        name: kind,
        inputs: [positive(c.graph, c.x)],
        activation: randomActivation(c.random, kind),
      }),
  };
  sequenceCases[`${kind}Grad`] = {
    input: anyShape,
    build: (c) =>
      c.graph.node({
        op: "activateGrad",
        name: kind,
        inputs: [positive(c.graph, c.x), beside(c, c.x)],
        derivativeOf: randomActivation(c.random, kind),
      }),
    derivative: true,
  };
}

export function sequenceGraph(name: string, random: Random) {
  return operatorGraph(name, random, sequenceCases);
}
