/** Arithmetic and activations. */
import { activationFunction } from "../../../graph/activation.js";
import type { Activation, ActivationKind, ValueId } from "../../../graph/graph.js";
import { evaluateBinary, evaluateUnary } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import type { Constant, Operand, Row } from "../operand.js";
import { frameOf, rowValue } from "./broadcast.js";

/** ONNX's defaults for Clip: the range of float32. */
const largest = 3.4028234663852886e38;

type BinaryOp = "add" | "sub" | "mul" | "div" | "greater";

function binary(op: BinaryOp): Operator {
  return (node) => {
    const [a, b] = [node.input(0), node.input(1)];
    if (a.kind === "constant" && b.kind === "constant") return evaluateBinary(node, a, b);
    return combine(node, op, a, b);
  };
}

/** a ∘ b, at least one of them a row. */
export function combine(node: OnnxNode, op: BinaryOp, a: Constant | Row, b: Constant | Row): Row {
  const frame = frameOf(node, [a, b]);
  const inputs = [rowValue(node, a, frame), rowValue(node, b, frame)];
  return node.result(node.builder.node({ op, name: node.name, inputs }), frame.batch);
}

/** Add of any number of tensors. */
const sum: Operator = (node) => {
  let total = node.input(0);
  for (let i = 1; i < node.arity; i++) {
    const next = node.input(i);
    if (total.kind === "constant" && next.kind === "constant")
      total = evaluateBinary(node, total, next, "Add");
    else total = combine(node, "add", total, next);
  }
  return total;
};

function activation(kind: ActivationKind, parameters?: (node: OnnxNode) => Partial<Activation>): Operator {
  return (node) => activate(node, { kind, alpha: 0, beta: 0, ...parameters?.(node) });
}

function activate(node: OnnxNode, f: Activation): Operand {
  const x = node.any(0);
  if (x.kind === "constant") return evaluateUnary(node, x, activationFunction(f));
  if (x.kind === "picked") {
    if (x.what === "indices") return node.unsupported("computes with the places of the largest elements");
    return { ...x, activations: [...x.activations, f] };
  }
  return node.result(activated(node, x.id, f), x.batch);
}

/** f(x) */
export function activated(node: OnnxNode, x: ValueId, f: Activation): ValueId {
  return node.builder.node({ op: "activate", name: node.name, inputs: [x], activation: f });
}

/** x ∘ c for one number c. */
export function withNumber(node: OnnxNode, op: BinaryOp, x: ValueId, c: number): ValueId {
  const number = node.constant("number", [], Float32Array.of(c));
  return node.builder.node({ op, name: node.name, inputs: [x, number] });
}

/** A constant that is one number, whatever its shape; undefined where it is not. */
function numberOf(operand: Operand): number | undefined {
  if (operand.kind !== "constant" || operand.data.length !== 1) return undefined;
  const [value] = operand.data;
  return value === "batch" ? undefined : value;
}

/** Bounds are attributes before opset 11 and inputs from then on. */
const clip: Operator = (node) => {
  const bound = (index: number, attribute: string, fallback: number) => {
    if (node.opset < 11) return node.float(attribute, fallback);
    const value = node.weights(index, `bound "${attribute}"`);
    if (value === undefined) return fallback;
    return value.data.length === 1
      ? value.data[0]!
      : node.fail(`has a bound "${attribute}" that is not one number`);
  };
  return activate(node, { kind: "clip", alpha: bound(1, "min", -largest), beta: bound(2, "max", largest) });
};

/** The larger or smaller of a row and one number. */
function bounded(side: "alpha" | "beta"): Operator {
  return (node) => {
    const [a, b] = [node.input(0), node.input(1)];
    if (node.arity !== 2)
      return node.unsupported(`of ${node.arity} tensors is outside the native operator set`);
    if (a.kind === "constant" && b.kind === "constant") return evaluateBinary(node, a, b);
    const number = numberOf(a) ?? numberOf(b);
    const x = a.kind === "row" ? a : b;
    if (number === undefined || x.kind !== "row") {
      return node.unsupported("of anything but a tensor and one number is outside the native operator set");
    }
    const f: Activation = { kind: "clip", alpha: -Infinity, beta: Infinity, [side]: number };
    return node.result(activated(node, x.id, f), x.batch);
  };
}

const gelu: Operator = (node) => {
  const approximate = node.string("approximate", "none");
  if (approximate !== "none" && approximate !== "tanh") {
    return node.fail(`has approximate "${approximate}", expected "none" or "tanh"`);
  }
  return activate(node, { kind: approximate === "tanh" ? "geluTanh" : "gelu", alpha: 0, beta: 0 });
};

/** A slope per channel is no activation of the graph; one slope for all is a leaky ReLU. */
const prelu: Operator = (node) => {
  const slope = node.weights(1, "slope");
  if (slope === undefined || slope.data.length === 0) return node.fail("has no slope");
  const alpha = slope.data[0]!;
  if (!slope.data.every((value) => value === alpha))
    return node.unsupported("has a slope per channel, which is outside the native operator set");
  return activate(node, { kind: "leakyRelu", alpha, beta: 0 });
};

/** A function on constants; on rows what `build` makes of it. */
function composed(
  f: (node: OnnxNode, x: number) => number,
  build: (node: OnnxNode, x: ValueId) => ValueId,
): Operator {
  return (node) => {
    const x = node.input(0);
    if (x.kind === "constant") return evaluateUnary(node, x, (value) => f(node, value));
    return node.result(build(node, x.id), x.batch);
  };
}

const sigmoid = activationFunction({ kind: "sigmoid", alpha: 0, beta: 0 });
const softplus = activationFunction({ kind: "softplus", alpha: 0, beta: 0 });

function times(node: OnnxNode, x: ValueId, y: ValueId): ValueId {
  return node.builder.node({ op: "mul", name: node.name, inputs: [x, y] });
}

/** x · clip(αx + β, 0, 1) without the factor x. */
function hardSigmoid(node: OnnxNode, x: ValueId, alpha: number, beta: number): ValueId {
  const line = withNumber(node, "add", withNumber(node, "mul", x, alpha), beta);
  return activated(node, line, { kind: "clip", alpha: 0, beta: 1 });
}

const hardSigmoidOf = (node: OnnxNode) => [node.float("alpha", 0.2), node.float("beta", 0.5)] as const;
const clipUnit = (x: number) => Math.min(1, Math.max(0, x));

/** x·sigmoid(αx) */
const swish = composed(
  (node, x) => x * sigmoid(node.float("alpha", 1) * x),
  (node, x) => {
    const alpha = node.float("alpha", 1);
    const inner = alpha === 1 ? x : withNumber(node, "mul", x, alpha);
    return times(node, x, activated(node, inner, { kind: "sigmoid", alpha: 0, beta: 0 }));
  },
);

/** A row to the power of one number. */
const pow: Operator = (node) => {
  const [x, exponent] = [node.input(0), node.input(1)];
  if (x.kind === "constant" && exponent.kind === "constant") return evaluateBinary(node, x, exponent);
  const alpha = numberOf(exponent);
  if (alpha === undefined || x.kind === "constant") {
    return node.unsupported("to anything but one number is outside the native operator set");
  }
  if (alpha === 1) return x;
  return node.result(activated(node, x.id, { kind: "pow", alpha, beta: 0 }), x.batch);
};

/** Functions that are only known on constants, where exporters use them to compute shapes and scales. */
function onConstants(f: (x: number) => number, keepsBatch = false): Operator {
  return (node) => {
    const x = node.input(0);
    return x.kind === "constant" ? evaluateUnary(node, x, f, { keepsBatch }) : node.unsupported();
  };
}

export const elementwiseOperators: Readonly<Record<string, Operator>> = {
  Add: binary("add"),
  Sub: binary("sub"),
  Mul: binary("mul"),
  Div: binary("div"),
  Greater: binary("greater"),
  Sum: sum,
  Max: bounded("alpha"),
  Min: bounded("beta"),
  Pow: pow,
  Neg: composed(
    (_, x) => -x,
    (node, x) => withNumber(node, "mul", x, -1),
  ),
  Relu: activation("relu"),
  LeakyRelu: activation("leakyRelu", (node) => ({ alpha: node.float("alpha", 0.01) })),
  PRelu: prelu,
  Elu: activation("elu", (node) => ({ alpha: node.float("alpha", 1) })),
  Selu: activation("selu", (node) => ({
    alpha: node.float("alpha", 1.6732631921768188),
    beta: node.float("gamma", 1.0507010221481323),
  })),
  Sigmoid: activation("sigmoid"),
  Tanh: activation("tanh"),
  Softplus: activation("softplus"),
  Gelu: gelu,
  Clip: clip,
  Erf: activation("erf"),
  Exp: activation("exp"),
  Log: activation("log"),
  Sqrt: activation("sqrt"),
  Reciprocal: activation("reciprocal"),
  Abs: activation("abs"),
  Swish: swish,
  HardSigmoid: composed(
    (node, x) => clipUnit(hardSigmoidOf(node)[0] * x + hardSigmoidOf(node)[1]),
    (node, x) => hardSigmoid(node, x, ...hardSigmoidOf(node)),
  ),
  HardSwish: composed(
    (_, x) => x * clipUnit(x / 6 + 0.5),
    (node, x) => times(node, x, hardSigmoid(node, x, 1 / 6, 0.5)),
  ),
  Mish: composed(
    (_, x) => x * Math.tanh(softplus(x)),
    (node, x) => {
      const inner = activated(node, x, { kind: "softplus", alpha: 0, beta: 0 });
      return times(node, x, activated(node, inner, { kind: "tanh", alpha: 0, beta: 0 }));
    },
  ),
  ThresholdedRelu: composed(
    (node, x) => (x > node.float("alpha", 1) ? x : 0),
    (node, x) => times(node, x, withNumber(node, "greater", x, node.float("alpha", 1))),
  ),
  Floor: onConstants(Math.floor, true),
  Ceil: onConstants(Math.ceil, true),
  Round: onConstants((x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)), true),
  Sign: onConstants(Math.sign),
  Cos: onConstants(Math.cos),
  Sin: onConstants(Math.sin),
};
