/** A Graph model written by hand in the form of tfjs' converter, and the same function in tfjs' own operations. */
import { join } from "node:path";
import type { TfTensor } from "../../src/models/tfjs/tf.js";
import type { Random } from "./random.js";
import { tf, writeArtifacts } from "./tfjs.js";

interface Constant {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: "float32" | "int32";
  readonly data: Float32Array | Int32Array;
}

const float = { type: "DT_FLOAT" };
const text = (s: string) => ({ s: Buffer.from(s).toString("base64") });
const numbers = (...list: number[]) => ({ list: { i: list.map(String) } });
const dims = (...list: number[]) => ({ dim: list.map((size) => ({ size: String(size) })) });

/** TensorFlow's operations that tests need, beyond what the library uses. */
interface GraphTf {
  conv2d(x: TfTensor, filter: TfTensor, strides: number, pad: "same"): TfTensor;
  add(a: TfTensor, b: TfTensor): TfTensor;
  relu(x: TfTensor): TfTensor;
  tanh(x: TfTensor): TfTensor;
  matMul(a: TfTensor, b: TfTensor): TfTensor;
}

export interface GraphPair {
  /** Of the folder that holds both. */
  readonly folder: string;
  encode(images: TfTensor): TfTensor;
  decode(latents: TfTensor): TfTensor;
}

/** 4×4×2 images, k = 3: a convolution, a dense layer and back by a dense layer; the encoder gives a mean and a variance. */
export function writeGraphPair(folder: string, random: Random): GraphPair {
  const floats = (name: string, ...shape: number[]): Constant => ({
    name,
    shape,
    dtype: "float32",
    data: random.floats(
      shape.reduce((n, d) => n * d, 1),
      0.4,
    ),
  });
  const shapeOf = (name: string, ...shape: number[]): Constant => ({
    name,
    shape: [shape.length],
    dtype: "int32",
    data: Int32Array.from(shape),
  });
  const filter = floats("filter", 3, 3, 2, 4);
  const bias = floats("bias", 4);
  const mean = floats("mean/kernel", 16, 3);
  const variance = floats("variance/kernel", 16, 3);
  const wide = floats("wide", 3, 32);
  const encoder = [
    node("image", "Placeholder", [], { dtype: float, shape: { shape: dims(-1, 4, 4, 2) } }),
    ...[filter, bias, mean, variance].map(constantNode),
    constantNode(shapeOf("flat", -1, 16)),
    node("conv", "Conv2D", ["image", "filter"], {
      T: float,
      strides: numbers(1, 2, 2, 1),
      padding: text("SAME"),
      data_format: text("NHWC"),
      dilations: numbers(1, 1, 1, 1),
    }),
    node("biased", "BiasAdd", ["conv", "bias"], { T: float, data_format: text("NHWC") }),
    node("relu", "Relu", ["biased"], { T: float }),
    node("flattened", "Reshape", ["relu", "flat"], { T: float, Tshape: { type: "DT_INT32" } }),
    node("z_log_var", "MatMul", ["flattened", "variance/kernel"], matMul),
    node("z_mean", "MatMul", ["flattened", "mean/kernel"], matMul),
  ];
  const decoder = [
    node("latent", "Placeholder", [], { dtype: float, shape: { shape: dims(-1, 3) } }),
    constantNode(wide),
    constantNode(shapeOf("image_shape", -1, 4, 4, 2)),
    node("product", "MatMul", ["latent", "wide"], matMul),
    node("tanh", "Tanh", ["product"], { T: float }),
    node("picture", "Reshape", ["tanh", "image_shape"], { T: float, Tshape: { type: "DT_INT32" } }),
  ];
  write(join(folder, "encoder"), encoder, [filter, bias, mean, variance, shapeOf("flat", -1, 16)], {
    inputs: { image: { name: "image:0", dtype: "DT_FLOAT", tensorShape: dims(-1, 4, 4, 2) } },
    outputs: {
      z_log_var: { name: "z_log_var:0", dtype: "DT_FLOAT", tensorShape: dims(-1, 3) },
      z_mean: { name: "z_mean:0", dtype: "DT_FLOAT", tensorShape: dims(-1, 3) },
    },
  });
  // Without a signature, as older converters leave it: placeholders and what nothing reads are the ends.
  write(join(folder, "decoder"), decoder, [wide, shapeOf("image_shape", -1, 4, 4, 2)], undefined);

  const ops = tf as unknown as GraphTf;
  const tensor = ({ data, shape }: Constant) => tf.tensor(data as Float32Array, shape, "float32");
  return {
    folder,
    encode: (images) => {
      const convolved = ops.relu(ops.add(ops.conv2d(images, tensor(filter), 2, "same"), tensor(bias)));
      return ops.matMul(convolved.reshape([-1, 16]), tensor(mean));
    },
    decode: (latents) => ops.tanh(ops.matMul(latents, tensor(wide))).reshape([-1, 4, 4, 2]),
  };
}

const matMul = { T: float, transpose_a: { b: false }, transpose_b: { b: false } };

function node(name: string, op: string, input: readonly string[], attr: object): object {
  return { name, op, ...(input.length === 0 ? {} : { input }), attr };
}

function constantNode({ name, shape, dtype }: Constant): object {
  const type = { type: dtype === "float32" ? "DT_FLOAT" : "DT_INT32" };
  return node(name, "Const", [], {
    dtype: type,
    value: { tensor: { dtype: type.type, tensorShape: dims(...shape) } },
  });
}

function write(
  folder: string,
  nodes: readonly object[],
  constants: readonly Constant[],
  signature: object | undefined,
) {
  const weightData = Buffer.concat(constants.map(({ data }) => new Uint8Array(data.buffer)));
  writeArtifacts(
    folder,
    {
      modelTopology: { node: nodes, library: {}, versions: { producer: 808, minConsumer: 12 } },
      weightSpecs: constants.map(({ name, shape, dtype }) => ({ name, shape, dtype })),
      weightData: weightData.buffer.slice(
        weightData.byteOffset,
        weightData.byteOffset + weightData.length,
      ) as ArrayBuffer,
      ...(signature === undefined ? {} : { signature }),
    },
    { format: "graph-model" },
  );
}
