/** One ONNX node as the operators see it: inputs, attributes, and the ways to say that it cannot be imported. */
import { InputError, UnsupportedOperatorError } from "../../errors.js";
import type { GraphBuilder } from "../../graph/builder.js";
import { elements, formatShape, type Shape, type ValueId } from "../../graph/graph.js";
import { type Constant, numbersOf, type Operand, type Row } from "./operand.js";
import { type AttributeProto, attributeTypes, type NodeProto } from "./schema.js";
import { type ExternalReader, readTensor } from "./tensorData.js";

/** What all nodes of one import share. */
export interface ImportContext {
  readonly file: string;
  readonly opset: number;
  readonly builder: GraphBuilder;
  /** Length of the batch axis, where the model was exported with a fixed one. */
  readonly batchSize: number | undefined;
  readonly readExternal: ExternalReader | undefined;
}

/** One output operand per output that the operator defines and this import needs. */
export type Operator = (node: OnnxNode) => Operand | readonly Operand[];

export interface OnnxNode {
  readonly op: string;
  /** The exporter's name for the node, or its first output's where it has none. */
  readonly name: string;
  readonly opset: number;
  readonly batchSize: number | undefined;
  readonly builder: GraphBuilder;
  /** Number of inputs, trailing empty ones included. */
  readonly arity: number;
  readonly outputs: readonly string[];

  /** An input that may be missing. */
  optional(index: number): Constant | Row | undefined;
  input(index: number): Constant | Row;
  /** An input whatever it is, for the operators that know about picked elements. */
  any(index: number): Operand;
  /** An input per row, with its row shape; the batch is its first axis. */
  row(index: number): { id: ValueId; shape: Shape };
  /** An input per row, with its row shape and the place of the batch. */
  placed(index: number): { id: ValueId; shape: Shape; batch: number };
  /** An input that must be a constant of floats without the batch in it; undefined where it is missing. */
  weights(index: number, what: string): { dims: readonly number[]; data: Float32Array } | undefined;
  /** An input that must be a constant list of whole numbers; undefined where it is missing. */
  wholes(index: number, what: string): readonly number[] | undefined;

  has(attribute: string): boolean;
  int(attribute: string, fallback: number): number;
  float(attribute: string, fallback: number): number;
  string(attribute: string, fallback: string): string;
  ints(attribute: string): readonly number[] | undefined;
  floats(attribute: string): readonly number[] | undefined;
  tensor(attribute: string): Constant | undefined;

  /** The value as an operand. */
  result(id: ValueId, batch?: number): Row;
  /** A constant of the row's shape as an operand that every row brings. */
  repeated(value: Constant, batch: number): Row;
  /** A graph constant. */
  constant(suffix: string, shape: Shape, data: Float32Array): ValueId;
  reshape(id: ValueId, shape: Shape): ValueId;
  /** ONNX axis (batch included, negative from the end) of a row tensor → axis of the row shape. */
  rowAxis(axis: number, rowRank: number, batch?: number): number;

  /** The model is wrong. */
  fail(message: string): never;
  /** The model would compute something across rows. */
  mixesRows(message: string): never;
  /** The model is right but outside what the native graph can express. */
  unsupported(message?: string): never;
}

/** A damaged file may hold a list of millions where a handful is meant: its beginning says enough. */
export function shortened(message: string): string {
  return message.replaceAll(/\[([^\]]{120})[^\]]+\]/g, "[$1…]");
}

export function onnxNode(
  proto: NodeProto,
  inputs: readonly (Operand | undefined)[],
  context: ImportContext,
): OnnxNode {
  const { builder, file, opset } = context;
  const op = proto.opType ?? "";
  const name = proto.name || proto.output[0] || op;
  const where = `${file}: node "${name}" (${op})`;
  const fail = (message: string): never => {
    throw new InputError(`${where} ${shortened(message)}`);
  };
  const mixesRows = (message: string): never => {
    throw new InputError(`${where} ${shortened(message)}: rows of a batch would depend on one another`);
  };
  const unsupported = (message = "is outside the native operator set"): never => {
    throw new UnsupportedOperatorError(
      `${file}: operator ${op} (node "${name}") ${shortened(message)}; run it with --engine onnxruntime instead`,
      op,
      name,
    );
  };
  const attributes = new Map(proto.attribute.map((attribute) => [attribute.name ?? "", attribute]));
  const attribute = (key: string, type: keyof typeof attributeTypes): AttributeProto | undefined => {
    const found = attributes.get(key);
    // Files older than the type field leave it at 0.
    if (found?.type && found.type !== attributeTypes[type]) {
      return fail(
        `has an attribute "${key}" of type ${found.type}, expected ${attributeTypes[type]} (${type})`,
      );
    }
    return found;
  };
  // The ends of int64 stand for "as far as it goes".
  const whole = (value: number, what: string) =>
    Number.isInteger(value) && Math.abs(value) <= 2 ** 63
      ? Math.min(Math.max(value, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER)
      : fail(`has ${what} ${value}, expected a whole number`);

  const node: OnnxNode = {
    op,
    name,
    opset,
    batchSize: context.batchSize,
    builder,
    arity: inputs.length,
    outputs: proto.output,

    optional: (index) => (inputs[index] === undefined ? undefined : node.input(index)),
    input(index) {
      const operand = node.any(index);
      if (operand.kind !== "picked") return operand;
      return unsupported("takes the largest elements or their places, which can only be scattered back");
    },
    any: (index) => inputs[index] ?? fail(`has no input ${index}`),
    row(index) {
      const { id, shape, batch } = node.placed(index);
      if (batch !== 0) return unsupported(`takes a tensor whose batch is axis ${batch}`);
      return { id, shape };
    },
    placed(index) {
      const operand = node.input(index);
      if (operand.kind === "row") {
        return { id: operand.id, shape: builder.shapeOf(operand.id), batch: operand.batch };
      }
      // One row that is the same for all: positions, say, on their way through a layer.
      const { dims, type } = operand;
      if (dims[0] !== 1 || type !== "float") return unsupported(`has a constant as its input ${index}`);
      const { id } = node.repeated({ ...operand, dims: dims.slice(1) }, 0);
      return { id, shape: dims.slice(1), batch: 0 };
    },
    weights(index, what) {
      const operand = node.optional(index);
      if (operand === undefined) return undefined;
      if (operand.kind === "row") return unsupported(`has a ${what} that is computed from the input`);
      if (operand.data.length === 0) return fail(`has an empty ${what}`);
      const data = numbersOf(operand);
      if (data === undefined) return mixesRows(`has a ${what} that holds the batch size`);
      return { dims: operand.dims, data: data instanceof Float32Array ? data : Float32Array.from(data) };
    },
    wholes(index, what) {
      const operand = node.optional(index);
      if (operand === undefined) return undefined;
      if (operand.kind === "row") return unsupported(`has ${what} that are computed from the input`);
      const data = numbersOf(operand);
      if (data === undefined) return mixesRows(`has the batch size among its ${what}`);
      return Array.from(data, (value) => whole(value, what));
    },

    has: (key) => attributes.has(key),
    // Some writers leave a zero or an empty text out: an attribute that is there without a value has that value.
    int(key, fallback) {
      const found = attribute(key, "int");
      return found === undefined ? fallback : whole(found.i ?? 0, `attribute "${key}"`);
    },
    float(key, fallback) {
      const found = attribute(key, "float");
      return found === undefined ? fallback : (found.f ?? 0);
    },
    string(key, fallback) {
      const found = attribute(key, "string");
      return found === undefined ? fallback : new TextDecoder().decode(found.s ?? new Uint8Array(0));
    },
    ints: (key) => attribute(key, "ints")?.ints.map((value) => whole(value, `attribute "${key}"`)),
    floats: (key) => attribute(key, "floats")?.floats,
    tensor(key) {
      const tensor = attribute(key, "tensor")?.t;
      return tensor && readTensor(tensor, tensor.name || name, file, context.readExternal);
    },

    result: (id, batch = 0) => ({ kind: "row", id, batch }),
    repeated(value, batch) {
      const data = numbersOf(value);
      if (data === undefined) return mixesRows("spreads the batch size over the batch");
      const id = builder.constant(value.name, value.dims, Float32Array.from(data));
      return { kind: "row", id, batch, same: value };
    },
    constant: (suffix, shape, data) => builder.constant(`${name}.${suffix}`, shape, data),
    reshape(id, shape) {
      const from = builder.shapeOf(id);
      if (elements(from) !== elements(shape)) {
        return fail(`cannot make ${formatShape(shape)} of ${formatShape(from)}`);
      }
      return builder.node({ op: "reshape", name, inputs: [id] }, shape);
    },
    rowAxis(axis, rowRank, batch = 0) {
      const full = rowRank + 1;
      if (!Number.isSafeInteger(axis) || axis < -full || axis >= full) {
        return fail(`has axis ${axis}, expected one of a tensor of ${full} axes`);
      }
      const positive = axis < 0 ? axis + full : axis;
      if (positive === batch) return mixesRows("works along the batch axis");
      return positive < batch ? positive : positive - 1;
    },
    fail,
    mixesRows,
    unsupported,
  };
  return node;
}
