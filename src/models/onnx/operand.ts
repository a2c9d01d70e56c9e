/** What an ONNX value is while a model is imported. */
import { elements, type ValueId } from "../../graph/graph.js";

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

/** A tensor computed per row; its ONNX shape is the batch followed by the row's shape. */
export interface Row {
  readonly kind: "row";
  readonly id: ValueId;
}

export type Operand = Constant | Row;

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

export function sizeOf(c: Constant): number {
  return elements(c.dims);
}
