/** Truth values: numbers 0 and 1 in the graph. What they select is a sum of products. */
import type { ValueId } from "../../../graph/graph.js";
import { evaluateBinary, evaluateUnary, evaluateWhere } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { type Constant, constant, numbersOf, type Row } from "../operand.js";
import { frameOf, rowOf, rowValue } from "./broadcast.js";
import { combine } from "./elementwise.js";

/** 1 − x */
function not(node: OnnxNode, x: Row): Row {
  return combine(node, "sub", constant(node.name, "float", [], Float32Array.of(1)), x);
}

/** Comparisons as `greater`, turned round or negated. Negated, a NaN on either side is a yes: it spreads anyhow. */
function comparison(turned: boolean, negated: boolean): Operator {
  return (node) => {
    const [a, b] = [node.input(0), node.input(1)];
    if (a.kind === "constant" && b.kind === "constant") return evaluateBinary(node, a, b);
    const result = turned ? combine(node, "greater", b, a) : combine(node, "greater", a, b);
    return negated ? not(node, result) : result;
  };
}

const and: Operator = (node) => {
  const [a, b] = [node.input(0), node.input(1)];
  if (a.kind === "constant" && b.kind === "constant") return evaluateBinary(node, a, b);
  return combine(node, "mul", a, b);
};

const or: Operator = (node) => {
  const [a, b] = [node.input(0), node.input(1)];
  if (a.kind === "constant" && b.kind === "constant") return evaluateBinary(node, a, b);
  // a + b − a·b
  return combine(node, "sub", combine(node, "add", a, b), combine(node, "mul", a, b));
};

const negation: Operator = (node) => {
  const x = node.input(0);
  if (x.kind === "constant")
    return evaluateUnary(node, x, (value) => (value === 0 ? 1 : 0), { type: "bool" });
  return not(node, x);
};

const onConstants: Operator = (node) => {
  const [a, b] = [node.input(0), node.input(1)];
  return a.kind === "constant" && b.kind === "constant" ? evaluateBinary(node, a, b) : node.unsupported();
};

/**
 * c·a + (1 − c)·b. Where the condition is a constant and so is one side, what is not selected is left out of the
 * constant, so that an infinity there stays where it is meant to be: masks of attention hold −∞.
 */
const where: Operator = (node) => {
  const [condition, a, b] = [node.input(0), node.input(1), node.input(2)] as const;
  if (condition.kind === "constant" && a.kind === "constant" && b.kind === "constant") {
    return evaluateWhere(node, condition, a, b);
  }
  const frame = frameOf(node, [condition, a, b]);
  const { builder, name } = node;
  const [p, q] = [rowValue(node, a, frame), rowValue(node, b, frame)];
  const binary = (op: "add" | "sub" | "mul", x: ValueId, y: ValueId) =>
    builder.node({ op, name, inputs: [x, y] });
  if (condition.kind === "constant") {
    const { shape, data } = rowOf(node, condition, frame);
    const mask = (holds: boolean) =>
      builder.constant(
        condition.name,
        shape,
        data.map((c) => ((c !== 0) === holds ? 1 : 0)),
      );
    const selected = (id: ValueId, holds: boolean): ValueId => {
      const values = builder.constantOf(id);
      if (values === undefined) return binary("mul", id, mask(holds));
      return chosen(node, { shape, data }, id, holds);
    };
    const kept = selected(q, false);
    const hidden = builder.constantOf(p) === undefined && hides(builder.constantOf(q), data);
    return node.result(binary("add", hidden ? p : selected(p, true), kept), frame.batch);
  }
  const isZero = (operand: Constant | Row) =>
    operand.kind === "constant" && (numbersOf(operand)?.every((value) => value === 0) ?? false);
  const c = condition.id;
  const otherwise = () => binary("sub", node.constant("one", [], Float32Array.of(1)), c);
  if (isZero(b)) return node.result(binary("mul", p, c), frame.batch);
  if (isZero(a)) return node.result(binary("mul", q, otherwise()), frame.batch);
  return node.result(binary("add", binary("mul", p, c), binary("mul", q, otherwise())), frame.batch);
};

/** Whether the constant is so far below zero wherever the condition fails that nothing added to it matters. */
function hides(values: Float32Array | undefined, condition: Float32Array): boolean {
  if (values === undefined || (values.length !== 1 && values.length !== condition.length)) return false;
  return condition.every((c, i) => c !== 0 || values[values.length === 1 ? 0 : i]! < -1e30);
}

/** The constant where the condition is `holds`, and 0 elsewhere. */
function chosen(
  node: OnnxNode,
  condition: { shape: readonly number[]; data: Float32Array },
  id: ValueId,
  holds: boolean,
): ValueId {
  const values = constant(node.name, "float", node.builder.shapeOf(id), node.builder.constantOf(id)!);
  const zero = constant(node.name, "float", [], Float32Array.of(0));
  const whether = constant(node.name, "float", condition.shape, condition.data);
  const result = evaluateWhere(node, whether, holds ? values : zero, holds ? zero : values);
  return node.builder.constant(node.name, result.dims, Float32Array.from(result.data as Float32Array));
}

export const logicOperators: Readonly<Record<string, Operator>> = {
  Less: comparison(true, false),
  GreaterOrEqual: comparison(true, true),
  LessOrEqual: comparison(false, true),
  Equal: onConstants,
  Xor: onConstants,
  Mod: onConstants,
  And: and,
  Or: or,
  Not: negation,
  Where: where,
};
