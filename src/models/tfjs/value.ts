/** What a layer's result is while a model is converted. */
import type { GraphBuilder } from "../../graph/builder.js";
import { elements, type Shape, type ValueId } from "../../graph/graph.js";
import { sameShape } from "../../graph/shapes.js";

/**
 * A tensor of one row. tfjs keeps images as [H, W, C], the graph as [C, H, W]: a value remembers in which of the two
 * orders it stands, and is turned around only where a layer needs the other one.
 */
export interface LayerValue {
  /** As tfjs has it, without the batch: [H, W, C] for an image. */
  readonly shape: Shape;
  /** The value in the order of `shape`. */
  plain(): ValueId;
  /** The same elements as [C, H, W]; only where `shape` has three axes. */
  image(): ValueId;
  /** The order that it stands in already. */
  readonly order: "plain" | "image";
}

/** The graph's value `id`, which stands in the order of `shape`. */
export function plainValue(builder: GraphBuilder, id: ValueId, shape: Shape): LayerValue {
  let turned: ValueId | undefined;
  return {
    shape,
    order: "plain",
    plain: () => id,
    image() {
      turned ??= transpose(builder, id, [2, 0, 1]);
      return turned;
    },
  };
}

/** The graph's value `id` of shape [C, H, W]. */
export function imageValue(builder: GraphBuilder, id: ValueId): LayerValue {
  const [channels, height, width] = builder.shapeOf(id) as [number, number, number];
  let turned: ValueId | undefined;
  return {
    shape: [height, width, channels],
    order: "image",
    plain() {
      turned ??= transpose(builder, id, [1, 2, 0]);
      return turned;
    },
    image: () => id,
  };
}

/** A value of which `id` is the element-wise successor: same shape, same order. */
export function likeValue(builder: GraphBuilder, value: LayerValue, id: ValueId): LayerValue {
  return value.order === "image" ? imageValue(builder, id) : plainValue(builder, id, value.shape);
}

/** The value's id in the order that it stands in. */
export function asItIs(value: LayerValue): ValueId {
  return value.order === "image" ? value.image() : value.plain();
}

function transpose(builder: GraphBuilder, id: ValueId, permutation: readonly number[]): ValueId {
  return builder.node({ op: "transpose", name: "layout", inputs: [id], permutation });
}

/** `value` with other axes over the same elements. */
export function reshapeValue(
  builder: GraphBuilder,
  value: LayerValue,
  name: string,
  shape: Shape,
): LayerValue | undefined {
  if (sameShape(value.shape, shape)) return value;
  if (elements(value.shape) !== elements(shape)) return undefined;
  return plainValue(builder, builder.node({ op: "reshape", name, inputs: [value.plain()] }, shape), shape);
}
