/** Convergence speed from a model's files to a folder with its page: what `latdyn speed` does. */

import type { TensorToWrite } from "../data/safetensors.js";
import { notesOn } from "../dynamics/note.js";
import { convergenceSpeed, type Speed, type SpeedOptions } from "../dynamics/speed.js";
import { loadAutoencoder } from "../models/load.js";
import { differenceNotes } from "../report/device.js";
import { packageVersion } from "../version.js";
import { loadOptions } from "./compute.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";

export interface SpeedRunOptions extends SpeedOptions {
  /** The folder; null writes nothing. Default `runs/MODEL-speed-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

const FILES = measureFiles("speed", { tensors: ["speed"] });

/**
 * Loads the model at `path`, measures its convergence speed, and writes speed.json, speed.safetensors (per point
 * [N]: iterations, status, label, distance, and rate.R and predicted.R for R of spectral_norm, spectral_radius and
 * observed_rate, NaN where there is none; prefixed NAME. where there are several sets) and report.html.
 * Throws InputError before anything is computed where options, model or folder do not fit, and AbortedError where the
 * signal fires; then nothing is written.
 */
export async function runSpeed(
  path: string,
  options: SpeedRunOptions,
): Promise<{ speed: Speed; folder: string | null }> {
  const { out, overwrite = false, report = true, ...speedOptions } = options;
  const check = { overwrite, files: FILES };
  if (typeof out === "string") await checkMeasureFolder(out, check);
  await using model = await loadAutoencoder(path, loadOptions(options));
  const folder = out === undefined ? defaultFolder(`${model.name}-speed`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);
  const found = await convergenceSpeed(model, speedOptions);
  const { speedFindings, speedReport } = await import("../report/speedReport.js");
  const notes = [
    ...found.sets.flatMap((set) => notesOn(set.set.name, speedFindings(set))),
    ...differenceNotes(found.record.jacobians),
  ];
  const speed = { ...found, record: { ...found.record, notes } };
  if (folder !== null) {
    const page = report ? await speedReport(speed, packageVersion()) : null;
    await writeMeasure(
      folder,
      { name: "speed", record: speed.record, tensors: { speed: tensorsOf(speed) }, report: page },
      check,
    );
  }
  return { speed, folder };
}

function tensorsOf({ sets }: Speed): Map<string, TensorToWrite> {
  const tensors = new Map<string, TensorToWrite>();
  for (const { set, distance, rate, predicted } of sets) {
    const prefix = sets.length > 1 ? `${set.name}.` : "";
    const shape = [set.status.length];
    const put = (name: string, data: TensorToWrite["data"]) => tensors.set(prefix + name, { shape, data });
    const float32 = (values: Float64Array) => Float32Array.from(values);
    put("iterations", set.iterations);
    put("status", set.status);
    put("label", set.label);
    put("distance", float32(distance));
    put("rate.spectral_norm", float32(rate.spectralNorm));
    put("rate.spectral_radius", float32(rate.spectralRadius));
    put("rate.observed_rate", float32(rate.observedRate));
    put("predicted.spectral_norm", float32(predicted.spectralNorm));
    put("predicted.spectral_radius", float32(predicted.spectralRadius));
    put("predicted.observed_rate", float32(predicted.observedRate));
  }
  return tensors;
}
