/** Layers that join tensors. */
import type { Layer, LayerConverter } from "../layer.js";
import { imageValue, type LayerValue, plainValue } from "../value.js";

/** All inputs of one shape, in one order; images stay images. */
function aligned(layer: Layer): {
  ids: number[];
  wrap: (id: number) => LayerValue;
  order: LayerValue["order"];
} {
  const { inputs, builder } = layer;
  const [first] = inputs;
  if (first === undefined || inputs.length < 2)
    return layer.fail(`is called on ${inputs.length} tensors, expected two or more`);
  const asImages =
    inputs.every(({ shape }) => shape.length === 3) && inputs.some(({ order }) => order === "image");
  return {
    ids: inputs.map((value) => (asImages ? value.image() : value.plain())),
    wrap: (id) => (asImages ? imageValue(builder, id) : plainValue(builder, id, builder.shapeOf(id))),
    order: asImages ? "image" : "plain",
  };
}

/** tfjs lines up inputs of different rank at their first axis, the graph at the last: only equal ranks mean the same. */
function elementwise(op: "add" | "sub" | "mul", average = false): LayerConverter {
  return (layer) => {
    const { ids, wrap } = aligned(layer);
    if (layer.inputs.some(({ shape }) => shape.length !== layer.inputs[0]!.shape.length)) {
      return layer.unsupported("is called on tensors of different rank");
    }
    if (op === "sub" && ids.length !== 2)
      return layer.fail(`is called on ${ids.length} tensors, expected two`);
    const sum = ids.reduce((a, b) => layer.builder.node({ op, name: layer.name, inputs: [a, b] }));
    if (!average) return wrap(sum);
    const share = layer.constant("share", [1], Float32Array.of(1 / ids.length));
    return wrap(layer.builder.node({ op: "mul", name: `${layer.name}.share`, inputs: [sum, share] }));
  };
}

const concatenate: LayerConverter = (layer) => {
  const { ids, wrap, order } = aligned(layer);
  const rank = layer.inputs[0]!.shape.length;
  const given = layer.config.number("axis") ?? -1;
  // tfjs takes every negative axis for the last one; axis 0 is the batch.
  const axis = given === -1 ? rank - 1 : given - 1;
  if (!Number.isInteger(axis) || axis < 0 || axis >= rank) {
    return layer.unsupported(`joins along axis ${given}, expected -1 or 1 to ${rank}`);
  }
  const inImage = [1, 2, 0][axis];
  const node = { op: "concat", name: layer.name, inputs: ids } as const;
  return wrap(layer.builder.node({ ...node, axis: order === "image" ? inImage! : axis }));
};

export const mergeLayers: Readonly<Record<string, LayerConverter>> = {
  Add: elementwise("add"),
  Subtract: elementwise("sub"),
  Multiply: elementwise("mul"),
  Average: elementwise("add", true),
  Concatenate: concatenate,
};
