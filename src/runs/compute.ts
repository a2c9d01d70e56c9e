/** What a command's options say of engines, on its way to the model and to whoever decodes. */
import { type EngineOptions, engineOf } from "../engines/choose.js";
import type { CallOptions } from "../engines/engine.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import type { LoadOptions } from "../models/load.js";

export type DecodeOptions = CallOptions & EngineOptions;

/** An engine that was asked for by name may read what the native one cannot. */
export function loadOptions({ engine }: Pick<EngineOptions, "engine">): LoadOptions {
  return engine === undefined ? {} : { engine };
}

/** D of latents [N, k] as the options say: [N, elements of an input]. A square map's latents are its inputs. */
export async function decodedBy(
  model: Autoencoder,
  latents: Matrix,
  options: DecodeOptions,
): Promise<Matrix> {
  if (model.inputShape === null) return latents;
  return (await engineOf(model, options)).decode(latents, options);
}
