import type { Pair, ValueId } from "../../../graph/graph.js";
import type { OnnxNode, Operator } from "../node.js";
import {
  autoPadOf,
  explicitPads,
  fromImage,
  type Image,
  imageOf,
  imageWeight,
  pairOf,
  splitPads,
  windowPads,
} from "./windows.js";

const conv: Operator = (node) => {
  const image = imageOf(node, 0);
  const weight = imageWeight(node, 1, image);
  const kernel = weight.shape.slice(2) as [number, number];
  const strides = pairOf(node, image, "strides", 1);
  const dilations = pairOf(node, image, "dilations", 1);
  checkKernel(node, image, kernel);
  const result = node.builder.node({
    op: "conv",
    name: node.name,
    inputs: [image.id, weight.id, ...bias(node)],
    strides,
    dilations,
    pads: windowPads(node, image, { kernel, strides, dilations }),
    groups: node.int("group", 1),
  });
  return node.result(fromImage(node, image, result));
};

const convTranspose: Operator = (node) => {
  const image = imageOf(node, 0);
  const weight = imageWeight(node, 1, image);
  const kernel = weight.shape.slice(2) as [number, number];
  const strides = pairOf(node, image, "strides", 1);
  const dilations = pairOf(node, image, "dilations", 1);
  const outputPadding = pairOf(node, image, "output_padding", 0);
  checkKernel(node, image, kernel);
  const result = node.builder.node({
    op: "convTranspose",
    name: node.name,
    inputs: [image.id, weight.id, ...bias(node)],
    strides,
    dilations,
    groups: node.int("group", 1),
    ...transposePads(node, image, { kernel, strides, dilations, outputPadding }),
  });
  return node.result(fromImage(node, image, result));
};

/**
 * Pads either as given, or so that the output has the size that output_shape names or that SAME promises
 * (size · stride). Where even no padding leaves the output too small, the rest is output padding.
 */
function transposePads(
  node: OnnxNode,
  image: Image,
  window: { kernel: Pair; strides: Pair; dilations: Pair; outputPadding: Pair },
) {
  const mode = autoPadOf(node);
  const outputShape = node.ints("output_shape");
  const { kernel, strides, dilations, outputPadding } = window;
  if (outputShape === undefined && mode === "NOTSET")
    return { pads: explicitPads(node, image), outputPadding };
  if (outputShape === undefined && mode === "VALID") return { pads: [0, 0, 0, 0] as const, outputPadding };
  if (outputShape !== undefined && outputShape.length < image.spatialAxes) {
    return node.fail(`has ${outputShape.length} numbers as "output_shape", expected ${image.spatialAxes}`);
  }
  // Some exporters put batch and channels in front.
  const wanted = outputShape?.slice(-image.spatialAxes);
  const sizes = image.spatialAxes === 1 && wanted !== undefined ? [1, ...wanted] : wanted;
  const totals = [0, 1].map((axis) => {
    const size = image.shape[axis + 1]!;
    const full =
      (size - 1) * strides[axis]! + (kernel[axis]! - 1) * dilations[axis]! + 1 + outputPadding[axis]!;
    return full - (sizes?.[axis] ?? size * strides[axis]!);
  });
  return {
    pads: splitPads(
      totals.map((total) => Math.max(0, total)),
      mode === "SAME_UPPER" ? "end" : "start",
    ),
    outputPadding: outputPadding.map((own, axis) => own + Math.max(0, -totals[axis]!)) as [number, number],
  };
}

function checkKernel(node: OnnxNode, image: Image, kernel: Pair) {
  const given = node.ints("kernel_shape");
  if (given !== undefined && given.join() !== kernel.slice(-image.spatialAxes).join()) {
    node.fail(`has kernel_shape [${given.join(", ")}] but a weight of [${kernel.join(", ")}]`);
  }
}

function bias(node: OnnxNode): ValueId[] {
  const values = node.weights(2, "bias");
  return values === undefined ? [] : [node.constant("bias", values.dims, values.data)];
}

export const convolutionOperators: Readonly<Record<string, Operator>> = {
  Conv: conv,
  ConvTranspose: convTranspose,
};
