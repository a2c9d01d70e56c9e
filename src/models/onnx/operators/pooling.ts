import type { Pair } from "../../../graph/graph.js";
import { windowPositions } from "../../../graph/shapes.js";
import type { Operator } from "../node.js";
import { fromImage, imageOf, pairOf, windowPads } from "./windows.js";

function pool(op: "maxPool" | "averagePool"): Operator {
  return (node) => {
    const image = imageOf(node, 0);
    if (!node.has("kernel_shape")) return node.fail('has no attribute "kernel_shape"');
    const kernel = pairOf(node, image, "kernel_shape", 1);
    const strides = pairOf(node, image, "strides", 1);
    const dilations = pairOf(node, image, "dilations", 1);
    const pads = windowPads(node, image, { kernel, strides, dilations });
    const ceil = node.int("ceil_mode", 0) !== 0;
    const size = [0, 1].map((axis) =>
      windowPositions(image.shape[axis + 1]!, {
        kernel: kernel[axis]!,
        stride: strides[axis]!,
        dilation: dilations[axis]!,
        before: pads[axis]!,
        after: pads[axis + 2]!,
        ceil,
      }),
    );
    const countIncludePad = node.int("count_include_pad", 0) !== 0;
    const result = node.builder.node(
      { op, name: node.name, inputs: [image.id], kernel, strides, dilations, pads, countIncludePad },
      [image.shape[0], ...size],
    );
    return node.result(fromImage(node, image, result));
  };
}

/** Mean over all spatial axes, which stay as axes of length 1. */
const globalAveragePool: Operator = (node) => {
  const { id, shape } = node.row(0);
  if (shape.length < 2) return node.fail("takes a batch of [channels, …spatial]");
  const axes = shape.map((_, axis) => axis).slice(1);
  const kept = shape.map((n, axis) => (axis === 0 ? n : 1));
  return node.result(node.builder.node({ op: "reduceMean", name: node.name, inputs: [id], axes }, kept));
};

const globalMaxPool: Operator = (node) => {
  const image = imageOf(node, 0);
  const kernel = image.shape.slice(1) as unknown as Pair;
  const result = node.builder.node({
    op: "maxPool",
    name: node.name,
    inputs: [image.id],
    kernel,
    strides: [1, 1],
    dilations: [1, 1],
    pads: [0, 0, 0, 0],
    countIncludePad: false,
  });
  return node.result(fromImage(node, image, result));
};

export const poolingOperators: Readonly<Record<string, Operator>> = {
  MaxPool: pool("maxPool"),
  AveragePool: pool("averagePool"),
  GlobalAveragePool: globalAveragePool,
  GlobalMaxPool: globalMaxPool,
};
