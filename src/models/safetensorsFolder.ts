/** A folder with config.json and model.safetensors. */
import { basename, join, resolve } from "node:path";
import { readSafetensors } from "../data/safetensors.js";
import { InputError } from "../errors.js";
import { inputShape } from "../graph/compose.js";
import { elements } from "../graph/graph.js";
import { autoencoderOf } from "./assemble.js";
import type { Encoder } from "./autoencoder.js";
import type { FolderFormat } from "./format.js";
import { hashOf } from "./hash.js";
import { type JsonObject, jsonReader, readJsonObject } from "./json.js";
import { loadEncoder } from "./onnxModel.js";
import { readPreprocessor } from "./preprocessor.js";
import { safetensorsModel } from "./safetensorsModel.js";

export const safetensorsFolder: FolderFormat = {
  files: "config.json and model.safetensors",
  isIn: async (_, names) => names.has("config.json") && names.has("model.safetensors"),
  async load(path) {
    const configPath = join(path, "config.json");
    const tensorsPath = join(path, "model.safetensors");
    const config = (await readJsonObject(configPath)) ?? {};
    const { tensors } = await readSafetensors(tensorsPath);
    const features = await featuresOf(path, config, configPath);
    const { encoder, decoder, notes } = safetensorsModel({ config, configPath, tensors, tensorsPath });
    if (features !== null && features.latentDimension !== elements(inputShape(encoder))) {
      throw new InputError(
        `${path}: takes ${elements(inputShape(encoder))} features, its encoder ${features.path} gives ` +
          `${features.latentDimension}`,
      );
    }
    const files = [configPath, tensorsPath, ...(features?.files ?? [])];
    return autoencoderOf(
      { encoder, decoder },
      {
        name: basename(resolve(path)),
        path,
        format: "safetensors",
        hash: await hashOf(files),
        files,
        preprocessor: await readPreprocessor(path),
        notes: [...notes, ...(features?.notes ?? [])],
        features,
      },
    );
  },
};

/** The encoder of a surrogate: a folder in the model's own, which config.json names. */
async function featuresOf(path: string, config: JsonObject, configPath: string): Promise<Encoder | null> {
  const read = jsonReader(config, configPath);
  const name = read.text("features");
  if (name === undefined) return null;
  if (!/^[\w.-]+$/.test(name) || name.startsWith(".")) {
    return read.fail("features", "the name of a folder beside config.json");
  }
  return loadEncoder(join(path, name));
}
