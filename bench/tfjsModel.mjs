/**
 * `node bench/tfjsModel.mjs MODEL OUT`: writes a conv-autoencoder (config.json and model.safetensors, in PyTorch's
 * layout) as the same model in tfjs' Layers format, OUT/encoder/model.json and OUT/decoder/model.json, for
 * `latdyn bench engines OUT`. tfjs itself is not needed.
 *
 * PyTorch pads its strided convolutions by one on every side, TensorFlow's "same" only at the end: here the padding is
 * a layer of its own. A transposed convolution's first row and column are cut off for the same reason.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { readSafetensors } from "../dist/index.js";

export async function writeTfjsModel(from, to) {
  const config = JSON.parse(readFileSync(join(from, "config.json"), "utf8"));
  const { tensors } = await readSafetensors(join(from, "model.safetensors"));
  const { channels, image_size: size, latent_dim: latent } = config;
  const hidden = activationOf(config.hidden_activation);
  const last = activationOf(config.output_activation);
  const tensor = (name) => tensors.get(name);
  let convolutions = 0;
  while (tensor(`encoder.${2 * convolutions}.weight`)?.shape.length === 4) convolutions++;
  const smallest = size / 2 ** convolutions;
  const top = tensor(`encoder.${2 * (convolutions - 1)}.weight`).shape[0];

  const encoder = layersModel("encoder", [size, size, channels]);
  for (let i = 0; i < convolutions; i++) {
    const { weight, bias } = pairAt(tensor, `encoder.${2 * i}`);
    encoder.add("ZeroPadding2D", {
      padding: [
        [1, 1],
        [1, 1],
      ],
      data_format: "channels_last",
    });
    const options = { filters: weight.shape[0], kernel_size: [3, 3], strides: [2, 2], padding: "valid" };
    const kernel = turned(weight, [2, 3, 1, 0]);
    encoder.add("Conv2D", { ...options, activation: hidden, use_bias: true }, { kernel, bias });
  }
  encoder.add("Flatten", {});
  const code = pairAt(tensor, `encoder.${2 * convolutions + 1}`);
  // PyTorch flattens [C, H, W], tfjs [H, W, C].
  const columns = { shape: [latent, top, smallest, smallest], data: code.weight.data };
  const kernel = { ...turned(columns, [2, 3, 1, 0]), shape: [smallest * smallest * top, latent] };
  encoder.add("Dense", { units: latent, activation: "linear", use_bias: true }, { kernel, bias: code.bias });

  const decoder = layersModel("decoder", [latent]);
  const wide = pairAt(tensor, "decoder.0");
  const rows = { shape: [top, smallest, smallest, latent], data: wide.weight.data };
  decoder.add(
    "Dense",
    { units: top * smallest * smallest, activation: hidden, use_bias: true },
    {
      kernel: { ...turned(rows, [3, 1, 2, 0]), shape: [latent, top * smallest * smallest] },
      bias: {
        ...turned({ shape: [top, smallest, smallest], data: wide.bias.data }, [1, 2, 0]),
        shape: wide.bias.shape,
      },
    },
  );
  decoder.add("Reshape", { target_shape: [smallest, smallest, top] });
  for (let i = 0; i < convolutions; i++) {
    const { weight, bias } = pairAt(tensor, `decoder.${2 * i + 3}`);
    const options = { filters: weight.shape[1], kernel_size: [3, 3], strides: [2, 2], padding: "valid" };
    const activation = i < convolutions - 1 ? hidden : last;
    const kernel = turned(weight, [2, 3, 1, 0]);
    decoder.add("Conv2DTranspose", { ...options, activation, use_bias: true }, { kernel, bias });
    decoder.add("Cropping2D", {
      cropping: [
        [1, 0],
        [1, 0],
      ],
      data_format: "channels_last",
    });
  }
  for (const model of [encoder, decoder]) model.save(to);
  const preprocessor = join(from, "preprocessor_config.json");
  if (existsSync(preprocessor)) copyFileSync(preprocessor, join(to, "preprocessor_config.json"));
}

function pairAt(tensor, name) {
  return { weight: tensor(`${name}.weight`), bias: tensor(`${name}.bias`) };
}

function activationOf(name) {
  if (name === "none") return "linear";
  if (["relu", "elu", "selu", "sigmoid", "tanh", "softplus", "gelu"].includes(name)) return name;
  throw new Error(`${name}: is no activation that tfjs has under this name`);
}

/** Axis i of the result is axis permutation[i] of the tensor. */
function turned({ shape, data }, permutation) {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((n, d) => n * d, 1));
  const out = permutation.map((axis) => shape[axis]);
  const result = new Float32Array(data.length);
  const index = out.map(() => 0);
  for (let to = 0; to < result.length; to++) {
    result[to] = data[permutation.reduce((sum, axis, i) => sum + index[i] * strides[axis], 0)];
    for (let i = index.length - 1; i >= 0 && ++index[i] === out[i]; i--) index[i] = 0;
  }
  return { shape: out, data: result };
}

/** A Sequential model, layer by layer. */
function layersModel(name, inputShape) {
  const layers = [];
  const weights = [];
  return {
    add(className, config, parameters = {}) {
      const layer = `${name}_${layers.length}`;
      const first = layers.length === 0 ? { batch_input_shape: [null, ...inputShape], dtype: "float32" } : {};
      layers.push({ class_name: className, config: { name: layer, trainable: true, ...config, ...first } });
      for (const [own, { shape, data }] of Object.entries(parameters)) {
        weights.push({ name: `${layer}/${own}`, shape: [...shape], data });
      }
    },
    save(folder) {
      const path = join(folder, name);
      mkdirSync(path, { recursive: true });
      const bytes = weights.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      writeFileSync(join(path, "weights.bin"), Buffer.concat(bytes));
      const specs = weights.map(({ name: weight, shape }) => ({ name: weight, shape, dtype: "float32" }));
      const json = {
        format: "layers-model",
        generatedBy: "latent-dynamics",
        modelTopology: {
          class_name: "Sequential",
          config: { name, layers },
          keras_version: "2.11.0",
          backend: "tensor_flow.js",
        },
        weightsManifest: [{ paths: ["weights.bin"], weights: specs }],
      };
      writeFileSync(join(path, "model.json"), JSON.stringify(json));
    },
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [from, to, ...rest] = process.argv.slice(2);
  if (from === undefined || to === undefined || rest.length > 0) {
    console.error("usage: node bench/tfjsModel.mjs MODEL OUT");
    process.exit(2);
  }
  await writeTfjsModel(from, to);
}
