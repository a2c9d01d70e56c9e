/** Constants, and operators that hand their input on. */
import { evaluateUnary } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import { constant, type Operand } from "../operand.js";
import { dataTypes } from "../schema.js";
import { isFloatType, isIntegerType } from "../tensorData.js";

const constantOperator: Operator = (node) => {
  const tensor = node.tensor("value");
  if (tensor !== undefined) return tensor;
  if (node.has("value_float"))
    return constant(node.name, "float", [], Float32Array.of(node.float("value_float", 0)));
  if (node.has("value_int")) return constant(node.name, "int", [], [node.int("value_int", 0)]);
  const floats = node.floats("value_floats");
  if (floats !== undefined) return constant(node.name, "float", [floats.length], Float32Array.from(floats));
  const ints = node.ints("value_ints");
  if (ints !== undefined) return constant(node.name, "int", [ints.length], ints);
  return node.unsupported("holds a text or a sparse tensor, which is outside the native operator set");
};

const identity: Operator = (node) => node.any(0);

const dropout: Operator = (node) => {
  const mode = node.optional(2);
  if (mode !== undefined && (mode.kind === "row" || mode.data[0] !== 0)) {
    return node.unsupported("in training mode is outside the native operator set");
  }
  return node.input(0);
};

/** Rows stay floating point; their width is float32 whatever the model says. */
const cast: Operator = (node) => {
  return castTo(node, node.int("to", 0));
};

function castTo(node: OnnxNode, to: number): Operand {
  const x = node.any(0);
  if (x.kind === "picked") return x;
  if (x.kind === "row") {
    if (isFloatType(to) || x.same !== undefined) return x;
    return node.unsupported("to whole numbers is outside the native operator set");
  }
  if (isFloatType(to)) return evaluateUnary(node, x, (value) => value, { type: "float", keepsBatch: true });
  if (isIntegerType(to)) return evaluateUnary(node, x, Math.trunc, { type: "int", keepsBatch: true });
  return node.unsupported(`to data type ${to} is outside the native operator set`);
}

/** To the type of another tensor, which is a type of floats wherever rows are concerned. */
const castLike: Operator = (node) => {
  const like = node.input(1);
  if (like.kind === "row" || like.type === "float") return castTo(node, dataTypes.float);
  return castTo(node, like.type === "int" ? dataTypes.int64 : dataTypes.bool);
};

export const valueOperators: Readonly<Record<string, Operator>> = {
  Constant: constantOperator,
  Identity: identity,
  Dropout: dropout,
  Cast: cast,
  CastLike: castLike,
};
