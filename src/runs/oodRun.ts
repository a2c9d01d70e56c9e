/** Out-of-distribution detection from a model's files to a folder with its page: what `latdyn ood` does. */

import { callOf } from "../analysis/kernel.js";
import type { KnnRule } from "../analysis/knn.js";
import {
  checkOod,
  checkOodSets,
  type OodRecord,
  type OodScores,
  type OodSet,
  oodScores,
  type ScoreName,
} from "../analysis/ood.js";
import { spreadOf } from "../analysis/statistics.js";
import type { TensorToWrite } from "../data/safetensors.js";
import { findAttractors } from "../dynamics/attractors.js";
import { type AttractorOptions, resolveOptions } from "../dynamics/options.js";
import { type DataSource, isSetName, latents } from "../dynamics/points.js";
import { countedFrom, phaseProgress } from "../dynamics/progress.js";
import { engineOf } from "../engines/choose.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { loadAutoencoder } from "../models/load.js";
import { findings } from "../report/findings.js";
import { packageVersion } from "../version.js";
import { type FoundAttractors, readAttractors } from "./attractorSource.js";
import { loadOptions } from "./compute.js";
import { dataSource, encodedInputs } from "./encodedInputs.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";
import { refuseIteration } from "./storedModel.js";

export interface OodRunOptions extends Omit<AttractorOptions, "from"> {
  /** Training inputs, `PATH[:N]`: latents for KNN and Mahalanobis, and attractors where none are given. */
  readonly train: string;
  /** In-distribution inputs that the model was not trained on. */
  readonly id: string;
  /** Out-of-distribution inputs by name, at least one. */
  readonly ood: Readonly<Record<string, string>>;
  /** `RUN`, `RUN#SET` or `FILE[#tensor]`. Default: the attractors that the training inputs lead to. */
  readonly attractors?: string;
  /** Applications of f in a trajectory. Default 100. */
  readonly steps?: number;
  /** K. Default 2000. */
  readonly neighbours?: number;
  readonly knnRule?: KnnRule;
  readonly normalise?: boolean;
  /** The folder; null writes nothing. Default `runs/MODEL-ood-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

export interface OodResult {
  readonly record: OodRecord;
  readonly scores: OodScores["scores"];
}

const FILES = measureFiles("ood", { tensors: ["ood"] });

/**
 * Loads the model at `path`, scores all sets, and writes ood.json, ood.safetensors (SET.SCORE [N]) and report.html.
 * Throws InputError before anything is computed where options or folder do not fit, and where files do not;
 * AbortedError where the signal fires; then nothing is written.
 */
export async function runOod(
  path: string,
  options: OodRunOptions,
): Promise<{ result: OodResult; folder: string | null }> {
  const { train, id, ood, attractors: given, steps = 100, neighbours = 2000 } = options;
  const { knnRule = "mean", normalise = false, out, overwrite = false, report = true } = options;
  const check = { overwrite, files: FILES };
  const sources = sourcesOf(options);
  checkOod({ steps, neighbours, knnRule });
  const iteration = iterationOf(options);
  resolveOptions({ ...iteration, from: { train: sources.train } });
  if (given !== undefined) refuseIteration(iteration, "with attractors given, none are computed");
  const start = performance.now();
  if (typeof out === "string") await checkMeasureFolder(out, check);
  await using model = await loadAutoencoder(path, loadOptions(options));
  const folder = out === undefined ? defaultFolder(`${model.name}-ood`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);

  const call = callOf({ threads: options.threads, signal: options.signal });
  const engine = await engineOf(model, options);
  const onProgress = countedFrom(start, options.onProgress);
  const progress = phaseProgress(onProgress, start);
  const encoded = new Map<string, OodSet>();
  for (const [name, source] of Object.entries(sources)) {
    const encoding = { ...call, onProgress: progress("encode", name) };
    const { inputs, latents } = await encodedInputs(source, model, engine, encoding);
    encoded.set(name, { inputs: model.inputShape === null ? null : inputs, latents });
  }
  const setOf = (name: string): OodSet => {
    const set = encoded.get(name);
    if (set === undefined) throw new InputError(`ood: there is no set "${name}"`);
    return set;
  };
  const training = setOf("train").latents;
  const oodSets = Object.fromEntries(Object.keys(ood).map((name) => [name, setOf(name)]));
  checkOodSets({ train: training, id: setOf("id"), ood: oodSets });
  const { attractors, notes } =
    given === undefined
      ? await trainingAttractors(model, training, { ...iteration, onProgress })
      : await readAttractors(given, model.latentDimension);
  const found = await oodScores(
    engine,
    {
      train: training,
      attractors,
      id: setOf("id"),
      ood: oodSets,
    },
    {
      steps,
      neighbours,
      knnRule,
      normalise,
      threads: call.threads,
      signal: call.signal,
      onProgress,
    },
  );
  const record: OodRecord = {
    model: { name: model.name, path: model.path, hash: model.hash, latentDimension: model.latentDimension },
    options: {
      train,
      id,
      ood: { ...ood },
      attractors: given ?? null,
      steps,
      neighbours: found.neighbours,
      knnRule,
      normalise,
      shrinkage: found.shrinkage,
      engine: engine.name,
    },
    device: { ...engine.info().device, threads: call.threads },
    attractors: attractors.rows,
    training: training.rows,
    sets: Object.fromEntries(
      Object.entries(found.scores).map(([name, scores]) => [name, spreadsOf(scores)] as const),
    ),
    detection: found.detections,
    notes: [...notes, ...found.notes],
    timing: { seconds: (performance.now() - start) / 1000 },
  };
  const result = { record, scores: found.scores };
  if (folder !== null) {
    const { oodReport } = await import("../report/oodReport.js");
    const page = report ? await oodReport({ ...result, version: packageVersion() }) : null;
    await writeMeasure(
      folder,
      { name: "ood", record, tensors: { ood: tensorsOf(found.scores) }, report: page },
      check,
    );
  }
  return { result, folder };
}

/** "train", "id" and the OOD sets by name. Throws InputError where a name cannot be one, or two specs are one. */
function sourcesOf({ train, id, ood }: OodRunOptions): Record<string, DataSource> {
  const names = Object.keys(ood);
  if (names.length === 0) throw new InputError("ood: there is no OOD set, expected at least one NAME=DATA");
  for (const name of names) {
    if (!isSetName(name) || name === "id" || name === "train") {
      throw new InputError(
        `an OOD set is called "${name}", expected a letter and then letters, digits, "_" or "-", and not id or train`,
      );
    }
    if (ood[name] === id) {
      throw new InputError(`ood: ID and OOD set "${name}" are the same data (${id}), expected another set`);
    }
  }
  const all: [string, string][] = [["train", train], ["id", id], ...Object.entries(ood)];
  return Object.fromEntries(all.map(([name, spec]) => [name, dataSource(spec)]));
}

/** The options of `findAttractors` among those of the measure; what else there is goes with them, to be refused. */
function iterationOf({
  train: _train,
  id: _id,
  ood: _ood,
  attractors: _attractors,
  steps: _steps,
  neighbours: _neighbours,
  knnRule: _knnRule,
  normalise: _normalise,
  out: _out,
  overwrite: _overwrite,
  report: _report,
  ...iteration
}: OodRunOptions): Omit<AttractorOptions, "from"> {
  return iteration;
}

async function trainingAttractors(
  model: Autoencoder,
  training: Matrix,
  iteration: Omit<AttractorOptions, "from">,
): Promise<FoundAttractors> {
  const [set] = (await findAttractors(model, { ...iteration, from: { train: latents(training) } })).sets;
  if (set.attractors.rows === 0) {
    throw new InputError(
      `${model.name}: none of the ${training.rows} training points converged, so there is no attractor to come near to; give some with --attractors`,
    );
  }
  return { attractors: set.attractors, notes: findings(set) };
}

function spreadsOf(scores: Partial<Record<ScoreName, Float64Array>>): OodRecord["sets"][string] {
  const found: OodRecord["sets"][string] = {};
  for (const [name, values] of Object.entries(scores)) {
    found[name as ScoreName] = spreadOf(values.filter(Number.isFinite));
  }
  return found;
}

function tensorsOf(scores: OodScores["scores"]) {
  const found = new Map<string, TensorToWrite>();
  for (const [set, byScore] of Object.entries(scores)) {
    for (const [score, values] of Object.entries(byScore)) {
      found.set(`${set}.${score}`, { shape: [values.length], data: Float32Array.from(values) });
    }
  }
  return found;
}
