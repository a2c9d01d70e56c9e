/** A folder with config.json and model.safetensors. */
import { basename, join, resolve } from "node:path";
import { readSafetensors } from "../data/safetensors.js";
import { autoencoderOf } from "./assemble.js";
import type { FolderFormat } from "./format.js";
import { hashOf } from "./hash.js";
import { readJsonObject } from "./json.js";
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
    const { encoder, decoder, notes } = safetensorsModel({ config, configPath, tensors, tensorsPath });
    const files = [configPath, tensorsPath];
    return autoencoderOf(
      { encoder, decoder },
      {
        name: basename(resolve(path)),
        path,
        format: "safetensors",
        hash: await hashOf(files),
        files,
        preprocessor: await readPreprocessor(path),
        notes,
      },
    );
  },
};
