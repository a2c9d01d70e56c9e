/** Contraction from a model's files to a folder with its page: what `latdyn contraction` does. */

import { type Contraction, type ContractionOptions, contraction } from "../analysis/contraction.js";
import type { TensorToWrite } from "../data/safetensors.js";
import { loadAutoencoder } from "../models/load.js";
import { packageVersion } from "../version.js";
import { loadOptions } from "./compute.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";

export interface ContractionRunOptions extends ContractionOptions {
  /** The folder; null writes nothing. Default `runs/MODEL-contraction-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

const FILES = measureFiles("contraction", { tensors: ["contraction"] });

/**
 * Loads the model at `path`, measures its contraction, and writes contraction.json, contraction.safetensors (SCHEME.ratio
 * [seeds]; NAME.points [N, k], NAME.spectral_norm and NAME.spectral_radius [N]) and report.html. Throws InputError
 * before anything is computed where options, model or folder do not fit, and AbortedError where the signal fires; then
 * nothing is written.
 */
export async function runContraction(
  path: string,
  options: ContractionRunOptions = {},
): Promise<{ contraction: Contraction; folder: string | null }> {
  const { out, overwrite = false, report = true, ...measureOptions } = options;
  const check = { overwrite, files: FILES };
  if (typeof out === "string") await checkMeasureFolder(out, check);
  await using model = await loadAutoencoder(path, loadOptions(options));
  const folder = out === undefined ? defaultFolder(`${model.name}-contraction`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);
  const found = await contraction(model, measureOptions);
  if (folder !== null) {
    const { contractionReport } = await import("../report/contractionReport.js");
    const page = report ? await contractionReport(found, packageVersion()) : null;
    await writeMeasure(
      folder,
      { name: "contraction", record: found.record, tensors: { contraction: tensorsOf(found) }, report: page },
      check,
    );
  }
  return { contraction: found, folder };
}

function tensorsOf({ initialisation, local }: Contraction): Map<string, TensorToWrite> {
  const tensors = new Map<string, TensorToWrite>();
  const vector = (name: string, values: Float64Array) =>
    tensors.set(name, { shape: [values.length], data: Float32Array.from(values) });
  for (const { scheme, ratio } of initialisation) vector(`${scheme}.ratio`, ratio);
  for (const { name, points, spectralNorm, spectralRadius } of local) {
    tensors.set(`${name}.points`, { shape: [points.rows, points.columns], data: points.data });
    vector(`${name}.spectral_norm`, spectralNorm);
    vector(`${name}.spectral_radius`, spectralRadius);
  }
  return tensors;
}
