/** The whole extraction, from a model's files to a run folder: what `latdyn attractors` does. */

import { join } from "node:path";
import { nearestInputs } from "../analysis/nearestInput.js";
import { pairwiseSimilarity } from "../analysis/similarity.js";
import { toPixels } from "../data/preprocess.js";
import { findAttractors } from "../dynamics/attractors.js";
import { type AttractorOptions, type ResolvedOptions, resolveOptions } from "../dynamics/options.js";
import type { AttractorRun, SetResult } from "../dynamics/result.js";
import { verificationIsCheap, verifyAttractors } from "../dynamics/verification.js";
import type { EngineOptions } from "../engines/choose.js";
import { engineOf } from "../engines/choose.js";
import type { CallOptions } from "../engines/engine.js";
import { AbortedError } from "../errors.js";
import { takeRows } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { loadAutoencoder } from "../models/load.js";
import type { AttractorPictures } from "../report/attractorReport.js";
import { differenceNotes } from "../report/device.js";
import { findingsOfSets } from "../report/findings.js";
import { imageShape } from "../report/images.js";
import { packageVersion } from "../version.js";
import { decodedBy, loadOptions } from "./compute.js";
import { checkRunFolder, writeRun } from "./run.js";

export interface ExtractOptions extends AttractorOptions {
  /** The run folder; null writes nothing. Default `runs/MODEL-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  /** Replace an existing run folder, once the new one is whole. Default false. */
  readonly overwrite?: boolean;
  /** Store the last iterate of every point. Default true. */
  readonly endpoints?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
  /**
   * Verify the attractors (Definition 2) and keep the spectra of their Jacobians. Default: where k is at most 256 and
   * attractors × k at most 65,536, which takes seconds.
   */
  readonly verify?: boolean;
}

export interface Extraction {
  readonly run: AttractorRun;
  /** Where the run was written; null where it was not. */
  readonly folder: string | null;
}

/** Attractors of one set that are decoded for the report, largest basins first. */
const PICTURES = 48;

/**
 * Loads the model at `path`, finds the attractors, compares the sets, and writes the run folder with its report.
 * Where the signal fires in the middle, what was finished is written and returned (`run.record.interrupted`).
 * Throws InputError before anything is computed where options, model or folder do not fit, and AbortedError where
 * the signal fires before a single set was begun; then nothing is written.
 */
export async function extractAttractors(path: string, options: ExtractOptions): Promise<Extraction> {
  const { out, overwrite = false, endpoints = true, report = true, verify, ...attractorOptions } = options;
  const resolved = resolveOptions(attractorOptions);
  if (typeof out === "string") await checkRunFolder(out, { overwrite });
  await using model = await loadAutoencoder(path, loadOptions(options));
  const folder = out === undefined ? defaultFolder(model.name, new Date()) : out;
  if (folder !== null) await checkRunFolder(folder, { overwrite });

  const { kernelDevice } = await engineOf(model, resolved);
  const found = await withSimilarity(await wholeOrPartial(model, attractorOptions), kernelDevice);
  const checked = await withVerification(model, found, verify, resolved);
  const notes = [...findingsOfSets(checked.sets), ...differenceNotes(checked.record.jacobians)];
  const run = { ...checked, record: { ...checked.record, notes } };
  if (folder !== null) {
    // Also of what an abort left: nothing below listens to the signal any more.
    const { threads, engine, device, layout, isa, precision } = resolved;
    const call = { threads, engine, device, layout, isa, precision };
    const page = report ? await reportOn(run, model, call) : null;
    await writeRun(folder, run, { overwrite, endpoints, report: page });
  }
  return { run, folder };
}

/** `runs/MODEL-20250131-235959`, local time. */
export function defaultFolder(modelName: string, now: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  return join("runs", `${modelName.replace(/[^\w.-]+/g, "_")}-${date}-${time}`);
}

async function wholeOrPartial(model: Autoencoder, options: AttractorOptions): Promise<AttractorRun> {
  try {
    return await findAttractors(model, options);
  } catch (error) {
    if (error instanceof AbortedError && error.partial !== undefined) return error.partial as AttractorRun;
    throw error;
  }
}

/** The run as it is where it was interrupted, in its iteration or here. */
async function withVerification(
  model: Autoencoder,
  run: AttractorRun,
  verify: boolean | undefined,
  options: ResolvedOptions,
): Promise<AttractorRun> {
  const { threads, signal, onProgress } = options;
  const attractors = run.sets.reduce((sum, set) => sum + set.attractors.rows, 0);
  const wanted = verify ?? verificationIsCheap(attractors, model.latentDimension);
  if (!wanted || run.record.interrupted) return run;
  try {
    return await verifyAttractors(model, run, {
      threads,
      signal,
      onProgress,
      engine: await engineOf(model, options),
    });
  } catch (error) {
    if (!(error instanceof AbortedError)) throw error;
    return { ...run, record: { ...run.record, interrupted: true } };
  }
}

async function withSimilarity(run: AttractorRun, device: string | undefined): Promise<AttractorRun> {
  if (run.sets.length < 2) return run;
  return { ...run, record: { ...run.record, similarity: await pairwiseSimilarity(run.sets, { device }) } };
}

/** The page on a run of `model`, with its attractors decoded. */
export async function reportOn(
  run: AttractorRun,
  model: Autoencoder,
  options: Omit<CallOptions, "onProgress"> & EngineOptions,
): Promise<string> {
  const shape = model.inputShape ?? model.latentShape;
  const pictures: Record<string, AttractorPictures> = {};
  if (imageShape(shape) !== null) {
    for (const set of run.sets) pictures[set.name] = await picturesOf(set, model, options);
  }
  // Loaded when it is needed: the charting libraries take longer to load than many a run takes.
  const { attractorReport } = await import("../report/attractorReport.js");
  return attractorReport({ run, imageShape: shape, pictures, version: packageVersion() });
}

async function picturesOf(
  set: SetResult,
  model: Autoencoder,
  options: Omit<CallOptions, "onProgress"> & EngineOptions,
): Promise<AttractorPictures> {
  const shape = model.inputShape ?? model.latentShape;
  const order = Int32Array.from(set.basinSize.keys())
    .sort((a, b) => set.basinSize[b] - set.basinSize[a] || a - b)
    .slice(0, PICTURES);
  const shown = takeRows(set.attractors, order);
  const decoded = await decodedBy(model, shown, options);
  const pixels = toPixels(decoded, shape, model.preprocessor);
  if (set.inputs === null || set.inputs.rows === 0) return { order, decoded: pixels, nearest: null };
  const { index, cosine } = await nearestInputs(decoded, set.inputs);
  const inputs = toPixels(takeRows(set.inputs, index), shape, model.preprocessor);
  return { order, decoded: pixels, nearest: { inputs, index, cosine } };
}
