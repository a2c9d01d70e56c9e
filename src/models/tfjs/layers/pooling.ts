import type { Layer, LayerConverter } from "../layer.js";
import { imageValue, plainValue } from "../value.js";
import { paddingOf, windowPads } from "./windows.js";

function pool(op: "maxPool" | "averagePool"): LayerConverter {
  return (layer) => {
    layer.channelsLast();
    const value = layer.imageInput();
    const kernel = layer.pair("pool_size", [2, 2]);
    const strides = layer.pair("strides", kernel);
    const dilations = [1, 1] as const;
    const pads = windowPads(value, paddingOf(layer), { kernel, strides, dilations });
    const window = { kernel, strides, dilations, pads, countIncludePad: false };
    const id = layer.builder.node({ op, name: layer.name, inputs: [value.image()], ...window });
    return imageValue(layer.builder, id);
  };
}

const globalAverage: LayerConverter = (layer) => {
  checkGlobal(layer);
  const value = layer.imageInput();
  const channels = value.shape[2]!;
  const inputs = [value.image()];
  const id = layer.builder.node({ op: "reduceMean", name: layer.name, inputs, axes: [1, 2] }, [channels]);
  return plainValue(layer.builder, id, [channels]);
};

const globalMax: LayerConverter = (layer) => {
  checkGlobal(layer);
  const value = layer.imageInput();
  const [height, width, channels] = value.shape as [number, number, number];
  const pooled = layer.builder.node({
    op: "maxPool",
    name: layer.name,
    inputs: [value.image()],
    kernel: [height, width],
    strides: [1, 1],
    dilations: [1, 1],
    pads: [0, 0, 0, 0],
    countIncludePad: false,
  });
  const flat = { op: "reshape", name: `${layer.name}.flat`, inputs: [pooled] } as const;
  return plainValue(layer.builder, layer.builder.node(flat, [channels]), [channels]);
};

function checkGlobal(layer: Layer): void {
  layer.channelsLast();
  layer.expect("keepdims", false);
}

export const poolingLayers: Readonly<Record<string, LayerConverter>> = {
  MaxPooling2D: pool("maxPool"),
  AveragePooling2D: pool("averagePool"),
  GlobalAveragePooling2D: globalAverage,
  GlobalMaxPooling2D: globalMax,
};
