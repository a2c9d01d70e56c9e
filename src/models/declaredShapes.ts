/** The shapes that config.json says, for axes that a model's own files leave open. */
import { join } from "node:path";
import type { Shape } from "../graph/graph.js";
import type { LoadOptions } from "./format.js";
import { type JsonReader, jsonReader, readJsonObject } from "./json.js";

export interface Declared {
  readonly latentShape: Shape | undefined;
  readonly inputShape: Shape | undefined;
  /** Everything else that config.json says. */
  readonly config: JsonReader;
}

/** The shapes that config.json of the folder gives, under those that the caller gives. */
export async function declaredShapes(folder: string, options: LoadOptions): Promise<Declared> {
  const path = join(folder, "config.json");
  const config = jsonReader((await readJsonObject(path)) ?? {}, path);
  return {
    latentShape: options.latentShape ?? config.shape("latent_shape"),
    inputShape: options.inputShape ?? config.shape("input_shape"),
    config,
  };
}
