/** Hands models that were read and checked to tfjs. */
import { InputError } from "../../errors.js";
import { isObject } from "../../models/json.js";
import { readTfjsModel, type TfjsModel } from "../../models/tfjs/file.js";
import type { TfjsSource, TfjsStage } from "../../models/tfjs/source.js";
import type { Tf, TfArtifacts, TfModel } from "../../models/tfjs/tf.js";
import { oneLine, type TfjsMaps, tfjsMaps } from "./maps.js";

export interface OpenMaps {
  readonly maps: TfjsMaps;
  /** Frees the weights. */
  dispose(): void;
}

/** Loads the models of `source` into `tf`. Throws InputError naming the file where tfjs refuses it. */
export async function openMaps(tf: Tf, source: TfjsSource): Promise<OpenMaps> {
  const decoder = await openStage(tf, source.decoder);
  const encoder = source.encoder === null ? null : await openStage(tf, source.encoder);
  return {
    maps: tfjsMaps(tf, source, { encoder, decoder }),
    dispose() {
      decoder.dispose();
      encoder?.dispose();
    },
  };
}

async function openStage(tf: Tf, { path }: TfjsStage): Promise<TfModel> {
  const model = await readTfjsModel(path);
  const handler = { load: async () => artifactsOf(model) };
  try {
    return await (model.kind === "layers" ? tf.loadLayersModel(handler) : tf.loadGraphModel(handler));
  } catch (error) {
    throw new InputError(`${path}: tfjs cannot open it (${oneLine(error)})`, { cause: error });
  }
}

/** Without what belongs to training: an optimizer is of no use here, and may be one that tfjs does not know. */
function artifactsOf({ kind, json, topology, weights, weightData }: TfjsModel): TfArtifacts {
  const weightSpecs = [...weights.values()].map(({ name, dtype, shape, quantization, group }) => ({
    name,
    dtype,
    shape: [...shape],
    ...(quantization === null ? {} : { quantization }),
    ...(group === null ? {} : { group }),
  }));
  const model = { modelTopology: topology, weightSpecs, weightData };
  if (kind === "layers") return model;
  const keys = ["signature", "userDefinedMetadata", "modelInitializer", "initializerSignature"];
  const extra = keys.filter((key) => isObject(json[key])).map((key) => [key, json[key]]);
  return { ...model, ...Object.fromEntries(extra) };
}
