import { formatShape } from "../../../graph/graph.js";
import { maximumElements } from "../../../graph/shapes.js";
import type { OnnxNode, Operator } from "../node.js";
import { numbersOf } from "../operand.js";
import { fromImage, imageOf } from "./windows.js";

/**
 * Nearest-neighbour enlargement by whole numbers. Upsample, and Resize of opset 10, take element floor(i / scale);
 * later versions name their rule, which is accepted where it picks the same elements.
 */
const resize: Operator = (node) => {
  const mode = node.string("mode", "nearest");
  if (mode !== "nearest") return node.unsupported(`with mode "${mode}" is outside the native operator set`);
  const image = imageOf(node, 0);
  const { shape: full } = node.row(0);
  const scales = scalesOf(node, full);
  if (scales[0] !== 1) return node.unsupported("of the channels is outside the native operator set");
  const spatial = scales.slice(1);
  const named = node.op === "Resize" && node.opset >= 11;
  if (named) {
    spatial.forEach((scale, axis) => {
      checkRule(node, full[axis + 1]!, scale);
    });
  }
  const pair = image.spatialAxes === 2 ? ([spatial[0]!, spatial[1]!] as const) : ([1, spatial[0]!] as const);
  const result = node.builder.node({
    op: "resizeNearest",
    name: node.name,
    inputs: [image.id],
    scales: pair,
  });
  return node.result(fromImage(node, image, result));
};

/** Whole scales of the row's axes, from the attribute, the scales input or the sizes input of whichever version. */
function scalesOf(node: OnnxNode, shape: readonly number[]): number[] {
  const full = shape.length + 1;
  const axes = node.ints("axes") ?? Array.from({ length: full }, (_, axis) => axis);
  const result = new Array<number>(shape.length).fill(1);
  const fromInputs = node.op === "Resize" && node.opset >= 11;
  const sizes = fromInputs ? node.optional(3) : undefined;
  if (sizes !== undefined) {
    if (sizes.kind === "row") return node.unsupported("takes a size computed from the input");
    if (node.string("keep_aspect_ratio_policy", "stretch") !== "stretch") {
      return node.unsupported("with a keep_aspect_ratio_policy is outside the native operator set");
    }
    check(axes, sizes.data.length);
    axes.forEach((axis, i) => {
      const size = sizes.data[i]!;
      if (axis === 0) {
        if (size !== "batch" && size !== node.batchSize)
          node.mixesRows(`gives the batch axis the length ${size}`);
        return;
      }
      const length = size === "batch" ? node.mixesRows("gives an axis the length of the batch") : size;
      result[axis - 1] = wholeScale(length / shape[axis - 1]!, shape);
    });
    return result;
  }
  const scales = scaleValues(node, fromInputs ? 2 : 1);
  check(axes, scales.length);
  axes.forEach((axis, i) => {
    if (axis === 0 && scales[i] !== 1) node.mixesRows("resizes the batch axis");
    if (axis > 0) result[axis - 1] = wholeScale(scales[i]!, shape);
  });
  return result;

  function check(list: readonly number[], length: number) {
    const valid = list.length === length && list.every((axis) => axis >= 0 && axis < full);
    if (!valid) node.fail(`gives ${length} scales or sizes for a tensor of ${full} axes`);
  }
  function wholeScale(scale: number, of: readonly number[]): number {
    const whole = Math.round(scale);
    if (whole >= 1 && Math.abs(scale - whole) < 1e-6) return whole;
    return node.unsupported(`enlarges rows of ${formatShape(of)} by ${scale}, which is no whole number`);
  }
}

function scaleValues(node: OnnxNode, input: number): readonly number[] {
  const attribute = node.floats("scales");
  if (attribute !== undefined) return attribute;
  const operand = node.input(input);
  if (operand.kind === "row") return node.unsupported("takes scales computed from the input");
  const values = numbersOf(operand);
  return values === undefined ? node.mixesRows("scales by the batch size") : Array.from(values);
}

/** Compares, element by element, the named rule with floor(i / scale). */
function checkRule(node: OnnxNode, size: number, scale: number) {
  const transformation = node.string("coordinate_transformation_mode", "half_pixel");
  const rounding = node.string("nearest_mode", "round_prefer_floor");
  const length = size * scale;
  if (length > maximumElements) return node.fail(`enlarges an axis of ${size} to ${length}`);
  const place = placeOf(transformation, size, length);
  const round = roundings[rounding];
  const rule = `with ${transformation} coordinates and ${rounding}`;
  if (place === undefined || round === undefined)
    return node.unsupported(`${rule} is outside the native operator set`);
  for (let i = 0; i < length; i++) {
    const source = Math.min(size - 1, Math.max(0, round(place(i))));
    if (source !== Math.floor(i / scale)) {
      return node.unsupported(
        `${rule} does not repeat every element ${scale} times, which is outside the native operator set`,
      );
    }
  }
}

const roundings: Readonly<Record<string, (x: number) => number>> = {
  floor: Math.floor,
  ceil: Math.ceil,
  round_prefer_floor: (x) => Math.ceil(x - 0.5),
  round_prefer_ceil: (x) => Math.floor(x + 0.5),
};

/** Where element i of the output lies in the input, by the rule of that name. */
function placeOf(transformation: string, size: number, length: number): ((i: number) => number) | undefined {
  const scale = length / size;
  switch (transformation) {
    case "half_pixel":
    case "half_pixel_symmetric":
      return (i) => (i + 0.5) / scale - 0.5;
    case "pytorch_half_pixel":
      return (i) => (length > 1 ? (i + 0.5) / scale - 0.5 : 0);
    case "asymmetric":
      return (i) => i / scale;
    case "tf_half_pixel_for_nn":
      return (i) => (i + 0.5) / scale;
    case "align_corners":
      return (i) => (length > 1 ? (i * (size - 1)) / (length - 1) : 0);
    default:
      return undefined;
  }
}

export const resizeOperators: Readonly<Record<string, Operator>> = { Resize: resize, Upsample: resize };
