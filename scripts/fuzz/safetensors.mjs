/** Mutated safetensors models: a folder of config.json and model.safetensors, read as the library reads it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAutoencoder } from "../../dist/models/load.js";
import { edgeNumber, mutateBytes, mutateValue } from "./random.mjs";

const ramp = (length) => Float32Array.from({ length }, (_, i) => ((i * 7) % 11) / 11 - 0.4);

/** A header and its data: tensors one after the other. */
function fileOf(shapes, dtype) {
  const width = { F32: 4, F16: 2, BF16: 2 }[dtype];
  const header = {};
  let end = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const begin = end;
    end += width * shape.reduce((product, n) => product * n, 1);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  return { header, data: new Uint8Array(ramp(Math.ceil(end / 4)).buffer, 0, end) };
}

const seeds = () => [
  {
    config: {
      architecture: "mlp",
      input_shape: [4],
      latent_dim: 2,
      hidden_activation: "relu",
      output_activation: "none",
    },
    ...fileOf(
      {
        "encoder.0.weight": [3, 4],
        "encoder.0.bias": [3],
        "encoder.2.weight": [2, 3],
        "encoder.2.bias": [2],
        "decoder.0.weight": [3, 2],
        "decoder.0.bias": [3],
        "decoder.2.weight": [4, 3],
        "decoder.2.bias": [4],
      },
      "F32",
    ),
  },
  {
    config: {
      architecture: "conv-autoencoder",
      latent_dim: 2,
      image_size: 4,
      channels: 1,
      width: 2,
      input_shape: [1, 4, 4],
      latent_shape: [2],
    },
    ...fileOf(
      {
        "encoder.0.weight": [2, 1, 3, 3],
        "encoder.0.bias": [2],
        "encoder.3.weight": [2, 8],
        "encoder.3.bias": [2],
        "decoder.0.weight": [8, 2],
        "decoder.0.bias": [8],
        "decoder.3.weight": [2, 1, 3, 3],
        "decoder.3.bias": [1],
      },
      "F16",
    ),
  },
];

function encode({ header, data }, claimed) {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(claimed ?? json.length)), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

const texts = ["F32", "F16", "F64", "I64", "BOOL", "U8", "mlp", "conv-autoencoder", "relu", "", "__proto__"];

export const safetensorsFormat = {
  async open() {
    const folder = mkdtempSync(join(tmpdir(), "latdyn-fuzz-"));
    const sound = seeds();
    const encoded = sound.map((seed) => encode(seed));
    const load = async ({ bytes, config }) => {
      writeFileSync(join(folder, "model.safetensors"), bytes);
      writeFileSync(join(folder, "config.json"), config);
      const model = await loadAutoencoder(folder);
      await model[Symbol.asyncDispose]();
    };
    for (const [i, seed] of sound.entries()) {
      await load({ bytes: encoded[i], config: JSON.stringify(seed.config) });
    }
    return {
      mutant(random) {
        const which = random.integer(0, sound.length - 1);
        const { config, header, data } = structuredClone(sound[which]);
        const where = random.uniform();
        let bytes = encoded[which];
        if (where < 0.4) bytes = mutateBytes(random, bytes, encoded);
        else if (where < 0.8) {
          for (let changes = random.integer(1, 3); changes > 0; changes--) mutateValue(random, header, texts);
          bytes = encode({ header, data }, random.uniform() < 0.1 ? edgeNumber(random) : undefined);
        } else mutateValue(random, config, texts);
        let text = JSON.stringify(config);
        if (where > 0.95) {
          text = new TextDecoder().decode(mutateBytes(random, new TextEncoder().encode(text), encoded));
        }
        return { bytes, config: text };
      },
      load,
      async close() {
        rmSync(folder, { recursive: true, force: true });
      },
    };
  },
};
