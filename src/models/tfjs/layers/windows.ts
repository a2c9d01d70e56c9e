/** What convolutions and poolings share: padding as TensorFlow works it out. */
import type { Pads, Pair } from "../../../graph/graph.js";
import { isObject } from "../../json.js";
import type { Layer } from "../layer.js";
import type { LayerValue } from "../value.js";

export type Padding = "same" | "valid";

export function paddingOf(layer: Layer): Padding {
  const padding = layer.config.text("padding") ?? "valid";
  if (padding !== "same" && padding !== "valid") return layer.unsupported(`has padding "${padding}"`);
  return padding;
}

/** "same" gives ⌈size / stride⌉ positions; an odd row or column of zeros goes to the end. */
export function windowPads(
  value: LayerValue,
  padding: Padding,
  window: { kernel: Pair; strides: Pair; dilations: Pair },
): Pads {
  if (padding === "valid") return [0, 0, 0, 0];
  return halved(
    [0, 1].map((axis) => {
      const size = value.shape[axis]!;
      const stride = window.strides[axis]!;
      const extent = (window.kernel[axis]! - 1) * window.dilations[axis]! + 1;
      return Math.max(0, (Math.ceil(size / stride) - 1) * stride + extent - size);
    }),
  );
}

/** The smaller half of each total before, the rest after. */
export function halved(totals: readonly number[]): Pads {
  const [top, left] = totals.map((total) => Math.floor(total / 2)) as [number, number];
  return [top, left, totals[0]! - top, totals[1]! - left];
}

/** A number for all sides, [vertical, horizontal], or [[top, bottom], [left, right]], as [top, left, bottom, right]. */
export function sidesOf(layer: Layer, key: string, value: unknown): Pads {
  const whole = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  const sides = Array.isArray(value) ? value : [value, value];
  const pairs = sides.map((side: unknown) => (Array.isArray(side) ? side : [side, side]));
  if (
    pairs.length !== 2 ||
    isObject(value) ||
    !pairs.every((pair) => pair.length === 2 && pair.every(whole))
  ) {
    return layer.config.fail(
      key,
      "whole numbers: one, [vertical, horizontal] or [[top, bottom], [left, right]]",
    );
  }
  const [[top, bottom], [left, right]] = pairs as [[number, number], [number, number]];
  return [top, left, bottom, right];
}
