/** Arithmetic and activations. */
import { activationFunction } from "../../../graph/activation.js";
import type { Activation, ActivationKind, Shape, ValueId } from "../../../graph/graph.js";
import { evaluateBinary, evaluateUnary } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { numbersOf, type Operand } from "../operand.js";

/** ONNX's defaults for Clip: the range of float32. */
const largest = 3.4028234663852886e38;

/**
 * The operand as a graph value that broadcasts against row tensors of `rowRank` axes. A constant may have a leading
 * batch axis of length 1, which is dropped; one that is longer there differs from row to row.
 */
export function rowValue(node: OnnxNode, operand: Operand, rowRank: number): ValueId {
  const { builder } = node;
  if (operand.kind === "row") {
    const { length } = builder.shapeOf(operand.id);
    if (length === rowRank) return operand.id;
    return node.mixesRows(`combines tensors of ${length + 1} and ${rowRank + 1} axes`);
  }
  const data = numbersOf(operand);
  if (data === undefined) return node.mixesRows("computes with the batch size");
  let shape: Shape = operand.dims;
  if (shape.length > rowRank) {
    const leading = shape.slice(0, shape.length - rowRank);
    if (leading.length > 1 || leading[0] !== 1) {
      return node.mixesRows(`combines its rows with a constant of shape [${shape.join(", ")}]`);
    }
    shape = shape.slice(1);
  }
  return builder.constant(operand.name, shape, data instanceof Float32Array ? data : Float32Array.from(data));
}

function binary(op: "add" | "sub" | "mul" | "div"): Operator {
  return (node) => {
    const [a, b] = [node.input(0), node.input(1)];
    if (a.kind === "constant" && b.kind === "constant") return evaluateBinary(node, a, b);
    return node.result(combine(node, op, a, b));
  };
}

function combine(node: OnnxNode, op: "add" | "sub" | "mul" | "div", a: Operand, b: Operand): ValueId {
  const rank = Math.max(...[a, b].map((o) => (o.kind === "row" ? node.builder.shapeOf(o.id).length : 0)));
  const inputs = [rowValue(node, a, rank), rowValue(node, b, rank)];
  return node.builder.node({ op, name: node.name, inputs });
}

/** Add of any number of tensors. */
const sum: Operator = (node) => {
  let total = node.input(0);
  for (let i = 1; i < node.arity; i++) {
    const next = node.input(i);
    if (total.kind === "constant" && next.kind === "constant") return node.unsupported("adds constants only");
    total = node.result(combine(node, "add", total, next));
  }
  return total;
};

function activation(kind: ActivationKind, parameters?: (node: OnnxNode) => Partial<Activation>): Operator {
  return (node) => activate(node, { kind, alpha: 0, beta: 0, ...parameters?.(node) });
}

function activate(node: OnnxNode, f: Activation): Operand {
  const x = node.input(0);
  if (x.kind === "constant") return evaluateUnary(node, x, activationFunction(f));
  return node.result(node.builder.node({ op: "activate", name: node.name, inputs: [x.id], activation: f }));
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

const negate: Operator = (node) => {
  const x = node.input(0);
  if (x.kind === "constant") return evaluateUnary(node, x, (value) => -value);
  const minusOne = node.constant("minusOne", [], Float32Array.of(-1));
  return node.result(node.builder.node({ op: "mul", name: node.name, inputs: [x.id, minusOne] }));
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
  Sum: sum,
  Neg: negate,
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
  Floor: onConstants(Math.floor, true),
  Ceil: onConstants(Math.ceil, true),
  Sqrt: onConstants(Math.sqrt),
};
