/** Random small graphs over the whole op set, for tests that compare two ways of computing the same thing. */
import { graphBuilder } from "../../src/graph/builder.js";
import {
  ACTIVATION_KINDS,
  type Activation,
  type ActivationKind,
  elements,
  type Graph,
  type Shape,
  type ValueId,
} from "../../src/graph/graph.js";
import type { Random } from "./random.js";

/** Functions that are not defined everywhere, or grow so fast that chains of them overflow. */
export const steepKinds: readonly ActivationKind[] = [
  "erf",
  "exp",
  "log",
  "sqrt",
  "reciprocal",
  "abs",
  "pow",
];

export const activationKinds = ACTIVATION_KINDS.filter((kind) => !steepKinds.includes(kind));

export function randomActivation(
  random: Random,
  kind: ActivationKind = random.pick(activationKinds),
): Activation {
  switch (kind) {
    case "leakyRelu":
      return { kind, alpha: 0.125, beta: 0 };
    case "elu":
      return { kind, alpha: 0.75, beta: 0 };
    case "selu":
      return { kind, alpha: 1.625, beta: 1.0625 };
    case "clip":
      return { kind, alpha: -0.5, beta: 1.5 };
    case "pow":
      return { kind, alpha: random.pick([2, 3, 0.5, -1.5]), beta: 0 };
    default:
      return { kind, alpha: 0, beta: 0 };
  }
}

/** A chain of random ops from a random [C, H, W] input, with branches joined by additions and concatenations. */
export function randomGraph(random: Random, length = random.integer(2, 10)): Graph {
  const builder = graphBuilder("random");
  const input = builder.input("input", [random.integer(1, 4), random.integer(3, 7), random.integer(3, 7)]);
  const earlier: ValueId[] = [input];
  let x = input;
  for (let step = 0; step < length; step++) {
    x = randomStep(random, builder, x, earlier, `node${step}`);
    earlier.push(x);
  }
  return builder.finish(input, x);
}

type Builder = ReturnType<typeof graphBuilder>;

function randomStep(
  random: Random,
  builder: Builder,
  x: ValueId,
  earlier: readonly ValueId[],
  name: string,
): ValueId {
  const shape = builder.shapeOf(x);
  const weights = (suffix: string, of: Shape) => {
    const fanIn = Math.max(1, elements(of.slice(1)));
    return builder.constant(`${name}.${suffix}`, of, random.floats(elements(of), 1 / Math.sqrt(fanIn)));
  };
  const same = earlier.filter((id) => id !== x && builder.shapeOf(id).join() === shape.join());
  const everywhere = [
    () => builder.node({ op: "activate", name, inputs: [x], activation: randomActivation(random) }),
    () => builder.node({ op: "reshape", name, inputs: [x] }, random.pick([shape, [elements(shape)]])),
    () => {
      const gate = builder.node({
        op: "activate",
        name: `${name}.gate`,
        inputs: [x],
        activation: { kind: "sigmoid", alpha: 0, beta: 0 },
      });
      return builder.node({
        op: "mul",
        name,
        inputs: random.pick([
          [x, gate],
          [gate, x],
        ]),
      });
    },
    () => {
      const op = random.pick(["add", "sub", "mul"] as const);
      const constant = weights(
        "constant",
        random.pick([[1], [...shape.slice(0, 1), ...shape.slice(1).map(() => 1)], shape]),
      );
      return builder.node({
        op,
        name,
        inputs: random.pick([
          [x, constant],
          [constant, x],
        ]),
      });
    },
    () => {
      const divisor = builder.constant(`${name}.divisor`, [], Float32Array.of(random.pick([1, -2, 0.75])));
      return builder.node({ op: "div", name, inputs: [x, divisor] });
    },
    () =>
      builder.node({
        op: "mul",
        name,
        inputs: [x, builder.constant(`${name}.one`, [1], Float32Array.of(1))],
      }),
    () => {
      const other = same.length > 0 ? random.pick(same) : x;
      return builder.node({
        op: "add",
        name,
        inputs: random.pick([
          [x, other],
          [other, x],
        ]),
      });
    },
    () => builder.node({ op: "concat", name, inputs: [x, x], axis: random.integer(0, shape.length - 1) }),
    () => {
      const constant = builder.node({
        op: "add",
        name: `${name}.constant`,
        inputs: [weights("a", [1]), weights("b", shape)],
      });
      return builder.node({ op: "add", name, inputs: [x, constant] });
    },
    () => {
      const permutation = shape.map((_, axis) => axis).sort(() => random.uniform() - 0.5);
      return builder.node({ op: "transpose", name, inputs: [x], permutation });
    },
    () => {
      const before = shape.map(() => random.integer(0, 1));
      const after = shape.map(() => random.integer(0, 1));
      return builder.node({ op: "pad", name, inputs: [x], before, after, mode: "edge", value: 0 });
    },
    () => {
      const before = shape.map((n) => random.integer(n > 2 ? -1 : 0, 2));
      const after = shape.map((n) => random.integer(n > 2 ? -1 : 0, 2));
      return builder.node({
        op: "pad",
        name,
        inputs: [x],
        before,
        after,
        mode: "constant",
        value: random.pick([0, 1.5]),
      });
    },
    () => {
      const axes = [random.integer(0, shape.length - 1)];
      return builder.node(
        { op: "reduceMean", name, inputs: [x], axes },
        shape.map((n, axis) => (axes.includes(axis) ? 1 : n)),
      );
    },
    () => {
      const groups = random.pick([1, shape[0]!]);
      const inputs = [x, weights("scale", [shape[0]!]), weights("bias", [shape[0]!])];
      return builder.node({ op: "groupNorm", name, inputs, groups, epsilon: 1e-3 });
    },
    () => {
      const outs = random.integer(1, 6);
      const inputs = [x, weights("weight", [outs, shape.at(-1)!])];
      if (random.uniform() < 0.5) inputs.push(weights("bias", [outs]));
      return builder.node({ op: "linear", name, inputs });
    },
  ];
  if (shape.length < 3) return random.pick(everywhere)();
  const images = [
    ...[1, 2].map((groups) => () => {
      const perGroup = shape[0]! % groups === 0 ? groups : 1;
      const outs = perGroup * random.integer(1, 3);
      const kernel = [random.integer(1, Math.min(3, shape[1]!)), random.integer(1, Math.min(3, shape[2]!))];
      const inputs = [x, weights("weight", [outs, shape[0]! / perGroup, ...kernel])];
      if (random.uniform() < 0.5) inputs.push(weights("bias", [outs]));
      return builder.node({
        op: "conv",
        name,
        inputs,
        strides: [random.integer(1, 2), random.integer(1, 2)],
        pads: [random.integer(0, 1), random.integer(0, 1), random.integer(0, 1), random.integer(0, 1)],
        dilations: [kernel[0]! < 3 ? 1 : random.integer(1, shape[1]! >= 5 ? 2 : 1), 1],
        groups: perGroup,
      });
    }),
    ...[1, 2].map((groups) => () => {
      const perGroup = shape[0]! % groups === 0 ? groups : 1;
      const outs = random.integer(1, 3);
      const inputs = [x, weights("weight", [shape[0]!, outs, 3, 2])];
      if (random.uniform() < 0.5) inputs.push(weights("bias", [outs * perGroup]));
      return builder.node({
        op: "convTranspose",
        name,
        inputs,
        strides: [random.integer(1, 2), 1],
        pads: [random.integer(0, 1), 0, random.integer(0, 1), 0],
        dilations: [1, random.integer(1, 2)],
        outputPadding: [random.integer(0, 1), 0],
        groups: perGroup,
      });
    }),
    () =>
      builder.node({
        op: "resizeNearest",
        name,
        inputs: [x],
        scales: random.pick([
          [1, 1],
          [2, 1],
          [1, 3],
        ] as const),
      }),
    () => {
      const kernel = [Math.min(2, shape[1]!), Math.min(2, shape[2]!)] as const;
      return builder.node({
        op: random.pick(["maxPool", "averagePool"] as const),
        name,
        inputs: [x],
        kernel,
        strides: [random.integer(1, 2), 1],
        pads: kernel[0] > 1 ? [1, 0, 0, 0] : [0, 0, 0, 0],
        dilations: [1, 1],
        countIncludePad: random.uniform() < 0.5,
      });
    },
    () => {
      const weight = weights("weight", [shape[2]!, random.integer(1, 4)]);
      return builder.node({ op: "matmul", name, inputs: [x, weight] });
    },
    () => {
      const channels = shape[0]!;
      const groups = channels % 2 === 0 ? 2 : channels;
      const split = builder.node({ op: "reshape", name: `${name}.split`, inputs: [x] }, [
        groups,
        elements(shape) / groups,
      ]);
      const norm = builder.node({
        op: "groupNorm",
        name,
        inputs: [split, weights("scale", [groups]), weights("bias", [groups])],
        groups,
        epsilon: 1e-3,
      });
      const back = builder.node({ op: "reshape", name: `${name}.back`, inputs: [norm] }, shape);
      const scaled = builder.node({
        op: "mul",
        name: `${name}.mul`,
        inputs: [back, weights("gamma", [channels, 1, 1])],
      });
      return builder.node({
        op: "add",
        name: `${name}.add`,
        inputs: [weights("beta", [channels, 1, 1]), scaled],
      });
    },
  ];
  return random.pick(random.uniform() < 0.6 ? images : everywhere)();
}
