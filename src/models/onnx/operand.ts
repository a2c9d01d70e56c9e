/** What an ONNX value is while a model is imported. */
import type { Activation, ValueId } from "../../graph/graph.js";

/** A number, or the length of the batch axis, which no number stands for. */
export type Dimension = number | "batch";

/**
 * A tensor that is the same for every row. Unlike the graph's constants it has ONNX's full shape, and integers may
 * be lengths of axes: exporters write shape arithmetic into the model, and the batch is carried through it.
 */
export interface Constant {
  readonly kind: "constant";
  readonly name: string;
  readonly type: "float" | "int" | "bool";
  readonly dims: readonly number[];
  readonly data: Float32Array | readonly Dimension[];
}

/** A tensor computed per row; its ONNX shape is the row's shape with the batch put in as axis `batch`. */
export interface Row {
  readonly kind: "row";
  readonly id: ValueId;
  /** 0, but for a while where exporters move the batch aside to split what lies side by side. */
  readonly batch: number;
  /** What every row holds where that is known: a constant spread over the batch. Its shape is the row's. */
  readonly same?: Constant;
}

/**
 * The k largest elements along an axis of a row, or their places. Both exist only until they are scattered back to
 * where they came from: the graph marks the k largest and never sorts.
 */
export interface Picked {
  readonly kind: "picked";
  readonly what: "values" | "indices";
  readonly source: Row;
  /** Axis of the row's shape. */
  readonly axis: number;
  readonly k: number;
  /** Functions applied to the values since. */
  readonly activations: readonly Activation[];
}

export type Operand = Constant | Row | Picked;

export function constant(
  name: string,
  type: Constant["type"],
  dims: readonly number[],
  data: Constant["data"],
): Constant {
  return { kind: "constant", name, type, dims, data };
}

export function isInteger({ type }: Constant): boolean {
  return type !== "float";
}

/** The constant's elements as numbers, or undefined where one is the batch. */
export function numbersOf({ data }: Constant): readonly number[] | Float32Array | undefined {
  if (data instanceof Float32Array) return data;
  return data.every((item) => item !== "batch") ? (data as readonly number[]) : undefined;
}

/** The shape of a row's tensor with the batch in its place. */
export function fullShape(shape: readonly number[], batch: number): Dimension[] {
  return [...shape.slice(0, batch), "batch", ...shape.slice(batch)];
}
