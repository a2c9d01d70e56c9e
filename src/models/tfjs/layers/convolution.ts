import type { Pair, ValueId } from "../../../graph/graph.js";
import type { Layer, LayerConverter } from "../layer.js";
import { imageValue, type LayerValue } from "../value.js";
import { halved, paddingOf, windowPads } from "./windows.js";

interface Window {
  readonly kernel: Pair;
  readonly strides: Pair;
  readonly dilations: Pair;
}

function windowOf(layer: Layer): Window {
  layer.channelsLast();
  return {
    kernel: layer.pair("kernel_size", null),
    strides: layer.pair("strides", [1, 1]),
    dilations: layer.pair("dilation_rate", [1, 1]),
  };
}

type Kernel = readonly [number, number, number, number];

/** tfjs' [KH, KW, A, B] as `[…, KH, KW]` with the two others in the order that `at` gives them a place by. */
function turnedKernel(
  data: Float32Array,
  [height, width, a, b]: Kernel,
  at: (i: number, j: number) => number,
): Float32Array {
  const taps = height * width;
  const out = new Float32Array(data.length);
  for (let tap = 0, from = 0; tap < taps; tap++) {
    for (let i = 0; i < a; i++) {
      for (let j = 0; j < b; j++) out[at(i, j) * taps + tap] = data[from++]!;
    }
  }
  return out;
}

function biasOf(layer: Layer, channels: number): ValueId[] {
  if (layer.config.flag("use_bias") === false) return [];
  return [layer.constant("bias", [channels], layer.weight("bias", [channels]))];
}

/** kernel [KH, KW, in, out] → [out, in, KH, KW] */
const conv2d: LayerConverter = (layer) => {
  const value = layer.imageInput();
  const window = windowOf(layer);
  layer.expect("groups", 1);
  const filters =
    layer.config.whole("filters") ?? layer.config.fail("filters", "a whole number of at least 1");
  const id = fullConvolution(layer, value, value.image(), {
    ...window,
    filters,
    weight: "kernel",
    bias: true,
  });
  return layer.activated(imageValue(layer.builder, id));
};

function fullConvolution(
  layer: Layer,
  value: LayerValue,
  x: ValueId,
  options: Window & { filters: number; weight: string; bias: boolean },
): ValueId {
  const { kernel, strides, dilations, filters, weight, bias } = options;
  const channels = layer.builder.shapeOf(x)[0]!;
  const shape: Kernel = [...kernel, channels, filters];
  const data = turnedKernel(layer.weight(weight, shape), shape, (i, o) => o * channels + i);
  return layer.builder.node({
    op: "conv",
    name: layer.name,
    inputs: [
      x,
      layer.constant(weight, [filters, channels, ...kernel], data),
      ...(bias ? biasOf(layer, filters) : []),
    ],
    strides,
    dilations,
    pads: windowPads(value, paddingOf(layer), options),
    groups: 1,
  });
}

/** kernel [KH, KW, C, multiplier] → [C·multiplier, 1, KH, KW]; channel c of the input gives c·multiplier + m. */
function depthwise(layer: Layer, value: LayerValue, window: Window, withBias: boolean): ValueId {
  const { kernel, strides, dilations } = window;
  const channels = value.shape[2]!;
  const multiplier = layer.config.whole("depth_multiplier") ?? 1;
  const shape: Kernel = [...kernel, channels, multiplier];
  const data = turnedKernel(layer.weight("depthwise_kernel", shape), shape, (c, m) => c * multiplier + m);
  const out = channels * multiplier;
  return layer.builder.node({
    op: "conv",
    name: withBias ? layer.name : `${layer.name}.depthwise`,
    inputs: [
      value.image(),
      layer.constant("depthwise_kernel", [out, 1, ...kernel], data),
      ...(withBias ? biasOf(layer, out) : []),
    ],
    strides,
    dilations,
    pads: windowPads(value, paddingOf(layer), window),
    groups: channels,
  });
}

const depthwiseConv2d: LayerConverter = (layer) => {
  const id = depthwise(layer, layer.imageInput(), windowOf(layer), true);
  return layer.activated(imageValue(layer.builder, id));
};

/** A depthwise convolution, then one of 1×1 taps: [1, 1, C·multiplier, out]. */
const separableConv2d: LayerConverter = (layer) => {
  const filters =
    layer.config.whole("filters") ?? layer.config.fail("filters", "a whole number of at least 1");
  const between = depthwise(layer, layer.imageInput(), windowOf(layer), false);
  const once = { kernel: [1, 1], strides: [1, 1], dilations: [1, 1] } as const;
  const id = fullConvolution(layer, imageValue(layer.builder, between), between, {
    ...once,
    filters,
    weight: "pointwise_kernel",
    bias: true,
  });
  return layer.activated(imageValue(layer.builder, id));
};

/**
 * kernel [KH, KW, out, in] → [in, out, KH, KW]. "same" makes a side stride times as long, "valid" that and what the
 * kernel has over the stride.
 */
const conv2dTranspose: LayerConverter = (layer) => {
  const value = layer.imageInput();
  const { kernel, strides, dilations } = windowOf(layer);
  layer.expect("dilation_rate", 1, [1, 1]);
  layer.expect("output_padding");
  layer.expect("groups", 1);
  const channels = value.shape[2]!;
  const filters =
    layer.config.whole("filters") ?? layer.config.fail("filters", "a whole number of at least 1");
  const shape: Kernel = [...kernel, filters, channels];
  const data = turnedKernel(layer.weight("kernel", shape), shape, (o, i) => i * filters + o);
  const over = kernel.map((taps, axis) => taps - strides[axis]!);
  const same = paddingOf(layer) === "same";
  const id = layer.builder.node({
    op: "convTranspose",
    name: layer.name,
    inputs: [
      value.image(),
      layer.constant("kernel", [channels, filters, ...kernel], data),
      ...biasOf(layer, filters),
    ],
    strides,
    dilations,
    pads: same ? halved(over.map((n) => Math.max(0, n))) : [0, 0, 0, 0],
    outputPadding: [Math.max(0, -over[0]!), Math.max(0, -over[1]!)],
    groups: 1,
  });
  return layer.activated(imageValue(layer.builder, id));
};

export const convolutionLayers: Readonly<Record<string, LayerConverter>> = {
  Conv2D: conv2d,
  DepthwiseConv2D: depthwiseConv2d,
  SeparableConv2D: separableConv2d,
  Conv2DTranspose: conv2dTranspose,
};
