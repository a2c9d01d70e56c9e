/** What convolutions and poolings share: window attributes, automatic padding, and one-dimensional signals. */
import type { Pads, Pair, Shape, ValueId } from "../../../graph/graph.js";
import type { OnnxNode } from "../node.js";

/** A [C, L] signal is computed as a [C, 1, L] image. */
export interface Image {
  readonly id: ValueId;
  /** [C, H, W] */
  readonly shape: readonly [number, number, number];
  /** 1 where height was added, 2 for a real image. */
  readonly spatialAxes: 1 | 2;
}

export function imageOf(node: OnnxNode, index: number): Image {
  const { id, shape } = node.row(index);
  if (shape.length === 3) return { id, shape: shape as readonly [number, number, number], spatialAxes: 2 };
  if (shape.length === 2) {
    const [channels, length] = shape as [number, number];
    return { id: node.reshape(id, [channels, 1, length]), shape: [channels, 1, length], spatialAxes: 1 };
  }
  if (shape.length > 3)
    return node.unsupported(`on ${shape.length - 1} spatial axes is outside the native operator set`);
  return node.fail(`takes a batch of [channels, …], found rows of ${shape.length} axes`);
}

/** Undoes what `imageOf` did. */
export function fromImage(node: OnnxNode, image: Image, id: ValueId): ValueId {
  if (image.spatialAxes === 2) return id;
  const [channels, , length] = node.builder.shapeOf(id) as [number, number, number];
  return node.reshape(id, [channels, length]);
}

/** A weight [O, I, K] of a one-dimensional operator as [O, I, 1, K]. */
export function imageWeight(node: OnnxNode, index: number, image: Image): { id: ValueId; shape: Shape } {
  const weight = node.weights(index, "weight") ?? node.fail("has no weight");
  if (weight.dims.length !== image.spatialAxes + 2) {
    return node.fail(
      `has a weight of shape [${weight.dims.join(", ")}], expected ${image.spatialAxes + 2} axes`,
    );
  }
  const shape = image.spatialAxes === 2 ? weight.dims : [...weight.dims.slice(0, 2), 1, weight.dims[2]!];
  return { id: node.constant("weight", shape, weight.data), shape };
}

/** Whole numbers of one attribute, per spatial axis, as [height, width]. */
export function pairOf(node: OnnxNode, image: Image, attribute: string, fallback: number): Pair {
  const values = node.ints(attribute) ?? new Array<number>(image.spatialAxes).fill(fallback);
  if (values.length !== image.spatialAxes) {
    return node.fail(`has ${values.length} numbers as "${attribute}", expected ${image.spatialAxes}`);
  }
  // The added height is one element: nothing strides, dilates or grows along it.
  return image.spatialAxes === 2
    ? [values[0]!, values[1]!]
    : [attribute === "output_padding" ? 0 : 1, values[0]!];
}

/** The pads attribute, [top, left, bottom, right]. */
export function explicitPads(node: OnnxNode, image: Image): Pads {
  const pads = node.ints("pads") ?? new Array<number>(2 * image.spatialAxes).fill(0);
  if (pads.length !== 2 * image.spatialAxes) {
    return node.fail(`has ${pads.length} numbers as "pads", expected ${2 * image.spatialAxes}`);
  }
  return image.spatialAxes === 2 ? (pads as [number, number, number, number]) : [0, pads[0]!, 0, pads[1]!];
}

export type AutoPad = "NOTSET" | "VALID" | "SAME_UPPER" | "SAME_LOWER";

export function autoPadOf(node: OnnxNode): AutoPad {
  const mode = node.string("auto_pad", "NOTSET");
  if (mode === "NOTSET" || mode === "VALID" || mode === "SAME_UPPER" || mode === "SAME_LOWER") return mode;
  return node.fail(`has auto_pad "${mode}", expected NOTSET, VALID, SAME_UPPER or SAME_LOWER`);
}

/** Pads of a convolution or pooling, worked out where auto_pad asks for it: SAME gives ⌈size / stride⌉ positions. */
export function windowPads(
  node: OnnxNode,
  image: Image,
  window: { kernel: Pair; strides: Pair; dilations: Pair },
): Pads {
  const mode = autoPadOf(node);
  if (mode === "NOTSET") return explicitPads(node, image);
  if (mode === "VALID") return [0, 0, 0, 0];
  const totals = [0, 1].map((axis) => {
    const size = image.shape[axis + 1]!;
    const extent = (window.kernel[axis]! - 1) * window.dilations[axis]! + 1;
    return Math.max(0, (Math.ceil(size / window.strides[axis]!) - 1) * window.strides[axis]! + extent - size);
  });
  return splitPads(totals, mode === "SAME_UPPER" ? "end" : "start");
}

/** Halves the totals; an odd one out goes to the start or the end. */
export function splitPads(totals: readonly number[], oddAt: "start" | "end"): Pads {
  const round = oddAt === "end" ? Math.floor : Math.ceil;
  const [top, left] = totals.map((total) => round(total / 2)) as [number, number];
  return [top, left, totals[0]! - top, totals[1]! - left];
}
