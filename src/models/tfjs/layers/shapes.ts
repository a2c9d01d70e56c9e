/** Layers that move elements. */
import { elements, formatShape } from "../../../graph/graph.js";
import type { LayerConverter } from "../layer.js";
import { imageValue, plainValue, reshapeValue } from "../value.js";
import { sidesOf } from "./windows.js";

const flatten: LayerConverter = (layer) => {
  layer.channelsLast();
  const value = layer.input();
  return reshapeValue(layer.builder, value, layer.name, [elements(value.shape)])!;
};

function isAxes(shape: readonly unknown[]): shape is readonly number[] {
  return shape.every((d) => Number.isSafeInteger(d) && (d as number) >= 1);
}

/** One axis may be −1 or open: whatever is left. */
const reshape: LayerConverter = (layer) => {
  const value = layer.input();
  const target: readonly unknown[] = Array.isArray(layer.settings.target_shape)
    ? layer.settings.target_shape
    : [];
  const isOpen = (d: unknown) => d === null || (typeof d === "number" && d < 0);
  const known = elements(target.filter((d): d is number => typeof d === "number" && d >= 0));
  const shape = target.map((d) => (isOpen(d) ? elements(value.shape) / known : d));
  if (target.filter(isOpen).length > 1 || shape.length === 0 || !isAxes(shape)) {
    return layer.config.fail("target_shape", `the axes of ${elements(value.shape)} elements`);
  }
  return (
    reshapeValue(layer.builder, value, layer.name, shape) ??
    layer.fail(`cannot make ${formatShape(shape)} of ${formatShape(value.shape)}`)
  );
};

/** Axes are counted from 1. */
const permute: LayerConverter = (layer) => {
  const value = layer.input();
  const dims = layer.config.numbers("dims") ?? layer.config.fail("dims", "a list of axes, counted from 1");
  const inputs = [value.plain()];
  const permutation = dims.map((d) => d - 1);
  const id = layer.builder.node({ op: "transpose", name: layer.name, inputs, permutation });
  return plainValue(layer.builder, id, layer.builder.shapeOf(id));
};

const repeatNothing: LayerConverter = (layer) => layer.input();

const upSampling2d: LayerConverter = (layer) => {
  layer.channelsLast();
  layer.expect("interpolation", "nearest");
  const inputs = [layer.imageInput().image()];
  const scales = layer.pair("size", [2, 2]);
  return imageValue(
    layer.builder,
    layer.builder.node({ op: "resizeNearest", name: layer.name, inputs, scales }),
  );
};

/** Adds zeros around an image (sign 1), or takes rows and columns away (−1). */
function border(key: string, sign: 1 | -1, fallback: number): LayerConverter {
  return (layer) => {
    layer.channelsLast();
    const inputs = [layer.imageInput().image()];
    const [top, left, bottom, right] = sidesOf(layer, key, layer.settings[key] ?? fallback);
    return imageValue(
      layer.builder,
      layer.builder.node({
        op: "pad",
        name: layer.name,
        inputs,
        before: [0, sign * top, sign * left],
        after: [0, sign * bottom, sign * right],
        mode: "constant",
        value: 0,
      }),
    );
  };
}

export const shapeLayers: Readonly<Record<string, LayerConverter>> = {
  Flatten: flatten,
  Reshape: reshape,
  Permute: permute,
  UpSampling2D: upSampling2d,
  ZeroPadding2D: border("padding", 1, 1),
  Cropping2D: border("cropping", -1, 0),
  // Layers that act in training only.
  Dropout: repeatNothing,
  SpatialDropout2D: repeatNothing,
  GaussianNoise: repeatNothing,
  GaussianDropout: repeatNothing,
  AlphaDropout: repeatNothing,
  ActivityRegularization: repeatNothing,
};
