/** How tensors of different shapes meet: aligned at their last axes, the batch among them. */
import { elements, type Shape, type ValueId } from "../../../graph/graph.js";
import type { OnnxNode } from "../node.js";
import { type Constant, numbersOf, type Row } from "../operand.js";

/** The ONNX rank of a result, and which of its axes is the batch. */
export interface Frame {
  readonly rank: number;
  readonly batch: number;
}

/** Where the operands meet, at least one of them a row. Rows whose batches lie at different places would mix. */
export function frameOf(node: OnnxNode, operands: readonly (Constant | Row)[]): Frame {
  const rankOf = (o: Constant | Row) =>
    o.kind === "constant" ? o.dims.length : node.builder.shapeOf(o.id).length + 1;
  const rank = Math.max(...operands.map(rankOf));
  const places = operands.flatMap((o) => (o.kind === "row" ? [rank - rankOf(o) + o.batch] : []));
  const [batch] = places as [number];
  if (places.some((place) => place !== batch)) {
    return node.mixesRows(`combines tensors of ${operands.map(rankOf).join(" and ")} axes`);
  }
  return { rank, batch };
}

/** The operand as a graph value that broadcasts against the rows of the frame. */
export function rowValue(node: OnnxNode, operand: Constant | Row, frame: Frame): ValueId {
  if (operand.kind === "row") return operand.id;
  const { shape, data } = rowOf(node, operand, frame);
  return node.builder.constant(operand.name, shape, data);
}

/**
 * What a constant brings to each row: the batch's axis is dropped, along which it may not change. A model exported
 * with a fixed batch may write it out there.
 */
export function rowOf(node: OnnxNode, operand: Constant, frame: Frame): { shape: Shape; data: Float32Array } {
  const { dims } = operand;
  const numbers = numbersOf(operand);
  if (numbers === undefined) return node.mixesRows("computes with the batch size");
  const data = numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
  const at = frame.batch - (frame.rank - dims.length);
  if (at < 0) return { shape: dims, data };
  const shape = dims.filter((_, axis) => axis !== at);
  if (dims[at] === 1) return { shape, data };
  const inner = elements(dims.slice(at + 1));
  const size = dims[at]! * inner;
  const first = (i: number) => Math.floor(i / size) * size + (i % inner);
  if (dims[at] !== node.batchSize || !data.every((value, i) => Object.is(value, data[first(i)]))) {
    return node.mixesRows(`combines its rows with a constant of shape [${dims.join(", ")}]`);
  }
  return { shape, data: data.filter((_, i) => Math.floor(i / inner) % dims[at]! === 0) };
}

/** x repeated to `shape`, as NumPy broadcasts. */
export function spread(node: OnnxNode, x: ValueId, shape: Shape): ValueId {
  const from = node.builder.shapeOf(x);
  const leading = new Array<number>(Math.max(0, shape.length - from.length)).fill(1);
  let id = leading.length === 0 ? x : node.reshape(x, [...leading, ...from]);
  shape.forEach((size, axis) => {
    if (node.builder.shapeOf(id)[axis] === size) return;
    const indices = new Array<number>(size).fill(0);
    id = node.builder.node({ op: "gather", name: node.name, inputs: [id], axis, indices });
  });
  return id;
}
