/** A probe from a model's files to a folder with its page: what `latdyn probe` does. */

import { type Probe, type ProbeOptions, probe } from "../analysis/probing.js";
import { toPixels } from "../data/preprocess.js";
import type { TensorToWrite } from "../data/safetensors.js";
import { loadAutoencoder } from "../models/load.js";
import { packageVersion } from "../version.js";
import { loadOptions } from "./compute.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";

export interface ProbeRunOptions extends ProbeOptions {
  /** The folder; null writes nothing. Default `runs/MODEL-probe-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

const FILES = measureFiles("probe", { tensors: ["dictionary", "probe"] });

/**
 * Loads the model at `path`, probes it, and writes probe.json, dictionary.safetensors (atoms [N, k], status [N]),
 * probe.safetensors (for set NAME and sparsity S: NAME.signals [n, k], NAME.KS.support, NAME.KS.coefficients [n, S] and
 * NAME.KS.residual_norm [n]; without NAME. where there is one set) and report.html.
 * Throws InputError before anything is computed where options, model or folder do not fit, and AbortedError where the
 * signal fires; then nothing is written.
 */
export async function runProbe(
  path: string,
  options: ProbeRunOptions,
): Promise<{ probe: Probe; folder: string | null }> {
  const { out, overwrite = false, report = true, ...probeOptions } = options;
  const check = { overwrite, files: FILES };
  if (typeof out === "string") await checkMeasureFolder(out, check);
  await using model = await loadAutoencoder(path, loadOptions(options));
  const folder = out === undefined ? defaultFolder(`${model.name}-probe`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);
  const found = await probe(model, probeOptions);
  const { probeFindings, probeReport } = await import("../report/probeReport.js");
  const probed = { ...found, record: { ...found.record, notes: probeFindings(found) } };
  if (folder !== null) {
    const shape = model.inputShape ?? model.latentShape;
    const page = report
      ? await probeReport({
          probe: probed,
          imageShape: shape,
          toPixels: (decoded) => toPixels(decoded, shape, model.preprocessor),
          version: packageVersion(),
        })
      : null;
    await writeMeasure(
      folder,
      { name: "probe", record: probed.record, tensors: tensorsOf(probed), report: page },
      check,
    );
  }
  return { probe: probed, folder };
}

function tensorsOf({ atoms, noise, sets }: Probe) {
  const found = new Map<string, TensorToWrite>();
  for (const { name, signals, selections } of sets) {
    const prefix = sets.length > 1 ? `${name}.` : "";
    found.set(`${prefix}signals`, { shape: [signals.rows, signals.columns], data: signals.data });
    for (const { sparsity, support, coefficients, residualNorm } of selections) {
      const shape = [signals.rows, sparsity];
      found.set(`${prefix}K${sparsity}.support`, { shape, data: support });
      found.set(`${prefix}K${sparsity}.coefficients`, { shape, data: coefficients });
      found.set(`${prefix}K${sparsity}.residual_norm`, { shape: [signals.rows], data: residualNorm });
    }
  }
  return {
    dictionary: {
      atoms: { shape: [atoms.rows, atoms.columns], data: atoms.data },
      status: { shape: [atoms.rows], data: noise.status },
    },
    probe: found,
  };
}
