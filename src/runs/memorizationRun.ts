/** Memorization from a model's files, or a finished run, to a folder with its page: what `latdyn memorization` does. */

import { callOf } from "../analysis/kernel.js";
import {
  type Coefficients,
  MEMORIZATION_RULES,
  type MemorizationRecord,
  type MemorizationRule,
  memorization,
} from "../analysis/memorization.js";
import { type PrototypeErrors, prototypeErrors } from "../analysis/prototypes.js";
import { oneOf } from "../check.js";
import { toPixels } from "../data/preprocess.js";
import type { TensorToWrite } from "../data/safetensors.js";
import { findAttractors } from "../dynamics/attractors.js";
import { type MeasureNote, noteThat } from "../dynamics/note.js";
import { type AttractorOptions, type AttractorProgress, resolveOptions } from "../dynamics/options.js";
import { latents, type PointSource } from "../dynamics/points.js";
import { countedFrom, phaseProgress } from "../dynamics/progress.js";
import type { SetSummary } from "../dynamics/result.js";
import { engineOf } from "../engines/choose.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { InputError } from "../errors.js";
import { type Matrix, takeRows } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { loadAutoencoder } from "../models/load.js";
import { findings } from "../report/findings.js";
import { largestFirst } from "../report/series.js";
import { packageVersion } from "../version.js";
import { loadOptions } from "./compute.js";
import { dataSource, type EncodedInputs, encodedInputs } from "./encodedInputs.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";
import { initialOf, isRun, modelOf, readChosenSet, refuseIteration, storedFindings } from "./storedModel.js";

export interface MemorizationRunOptions extends Omit<AttractorOptions, "from"> {
  /** Training inputs: `PATH[:N]`, as `openData` takes it. */
  readonly train: string;
  /** Inputs the model was not trained on, for the first null level. */
  readonly heldOut?: string;
  /** `max`, the default: cosine to the closest training input. `min`: to the farthest. */
  readonly memorizationRule?: MemorizationRule;
  /** Of a model: where the attractors come from. Default: the training inputs. Not for a run. */
  readonly from?: PointSource;
  /** Of a run: where its model is now. Default: where it was. */
  readonly model?: string;
  /** The folder; null writes nothing. Default `runs/MODEL-memorization-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

export interface MemorizationResult {
  readonly record: MemorizationRecord;
  readonly attractors: Coefficients;
  readonly heldOut: Coefficients | null;
  readonly initial: Coefficients | null;
  readonly basinSize: Int32Array;
  readonly errors: { readonly training: PrototypeErrors; readonly heldOut: PrototypeErrors | null } | null;
}

/** Attractors that are shown, largest basins first. */
const PICTURES = 48;
const FILES = measureFiles("memorization", { tensors: ["memorization"] });

interface Attractors {
  readonly attractors: Matrix;
  readonly basinSize: Int32Array;
  readonly summary: SetSummary;
  /** [N, k]; null where they cannot be had. */
  readonly initial: Matrix | null;
  readonly run: { folder: string; set: string } | null;
}

/**
 * `source` is a model, or a finished run (`RUN`, `RUN#SET`). Writes memorization.json, memorization.safetensors
 * (coefficient [A], training_row [A], basin_size [A], held_out.coefficient, initial.coefficient, and prototype and
 * coverage errors per input) and report.html. Throws InputError before anything is computed where options or folder do
 * not fit, and where files do not; AbortedError where the signal fires; then nothing is written.
 */
export async function runMemorization(
  source: string,
  options: MemorizationRunOptions,
): Promise<{ result: MemorizationResult; folder: string | null }> {
  const { train, heldOut, memorizationRule: rule = "max", from, model: modelPath } = options;
  const { out, overwrite = false, report = true } = options;
  const check = { overwrite, files: FILES };
  const training = dataSource(train);
  const heldOutSource = heldOut === undefined ? null : dataSource(heldOut);
  const iteration = attractorOptions(options);
  oneOf("rule", rule, MEMORIZATION_RULES);
  resolveOptions({ ...iteration, from: { points: training } });
  const start = performance.now();
  if (typeof out === "string") await checkMeasureFolder(out, check);
  const stored = (await isRun(source)) ? await readChosenSet(source) : null;
  if (stored !== null && from !== undefined) {
    throw new InputError(`${source}: is a finished run, whose points are known; --from goes with a model`);
  }
  if (stored !== null) refuseIteration(iteration, `${source} is a finished run`);
  if (stored === null && modelPath !== undefined) {
    throw new InputError(`${source}: is a model itself; --model goes with a finished run`);
  }
  await using model =
    stored === null
      ? await loadAutoencoder(source, loadOptions(options))
      : await modelOf(stored.run, modelPath, options);
  const folder = out === undefined ? defaultFolder(`${model.name}-memorization`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);

  const call = callOf({ threads: options.threads, signal: options.signal });
  const onProgress = countedFrom(start, options.onProgress);
  const progress = phaseProgress(onProgress, start);
  const during = (phase: AttractorProgress["phase"], set: string): CallOptions => ({
    ...call,
    onProgress: progress(phase, set),
  });
  const engine = await engineOf(model, options);
  const notes: MeasureNote[] = [];
  const known = await encodedInputs(training, model, engine, during("encode", "training inputs"));
  const found =
    stored === null
      ? await computed(model, from ?? latents(known.latents), { ...iteration, onProgress }, notes)
      : await restored(stored, model, engine, during("encode", "initial points"), notes);
  const unknown =
    heldOutSource === null
      ? null
      : await encodedInputs(heldOutSource, model, engine, during("encode", "held-out inputs"));
  const decoded = await decode(model, engine, found.attractors, during("decode", "attractors"));
  const measured = await memorization(
    {
      decoded,
      training: known.inputs,
      heldOut: unknown?.inputs ?? null,
      decodedInitial:
        found.initial === null
          ? null
          : await decode(model, engine, found.initial, during("decode", "initial points")),
    },
    {
      rule,
      device: engine.kernelDevice,
      threads: call.threads,
      signal: call.signal,
      onProgress,
    },
  );
  const errors =
    found.attractors.rows === 0 || model.inputShape === null
      ? null
      : {
          training: await errorsOf(engine, known, found.attractors, during("compare", "training inputs")),
          heldOut:
            unknown === null
              ? null
              : await errorsOf(engine, unknown, found.attractors, during("compare", "held-out inputs")),
        };
  if (found.attractors.rows === 0)
    notes.push(noteThat("No point converged, so there is no attractor to measure."));
  if (unknown === null) {
    notes.push(
      noteThat("Without held-out inputs one of the two levels to compare the coefficient with is missing."),
    );
  }
  const record: MemorizationRecord = {
    model: {
      name: model.name,
      path: model.path,
      hash: model.hash,
      latentDimension: model.latentDimension,
    },
    run: found.run,
    options: { train, heldOut: heldOut ?? null, rule, engine: engine.name },
    device: { ...engine.info().device, threads: call.threads },
    summary: found.summary,
    coefficient: {
      attractors: measured.attractors.spread,
      heldOut: measured.heldOut?.spread ?? null,
      initial: measured.initial?.spread ?? null,
    },
    errors:
      errors === null ? null : { training: errors.training.spread, heldOut: errors.heldOut?.spread ?? null },
    notes,
    timing: { seconds: (performance.now() - start) / 1000 },
  };
  const { attractors, heldOut: heldOutLevel, initial } = measured;
  const result = { record, attractors, heldOut: heldOutLevel, initial, basinSize: found.basinSize, errors };
  if (folder !== null) {
    const page = report ? await pageOf(result, model, decoded, known.inputs) : null;
    const content = {
      name: "memorization",
      record,
      tensors: { memorization: tensorsOf(result) },
      report: page,
    };
    await writeMeasure(folder, content, check);
  }
  return { result, folder };
}

/** The options of `findAttractors` among those of the measure; what else there is goes with them, to be refused. */
function attractorOptions({
  train: _train,
  heldOut: _heldOut,
  memorizationRule: _rule,
  from: _from,
  model: _model,
  out: _out,
  overwrite: _overwrite,
  report: _report,
  ...iteration
}: MemorizationRunOptions): Omit<AttractorOptions, "from"> {
  return iteration;
}

async function computed(
  model: Autoencoder,
  from: PointSource,
  options: Omit<AttractorOptions, "from">,
  notes: MeasureNote[],
): Promise<Attractors> {
  const [set] = (await findAttractors(model, { ...options, from: { points: from } })).sets;
  notes.push(...findings(set));
  return { ...set, run: null };
}

async function restored(
  stored: Awaited<ReturnType<typeof readChosenSet>>,
  model: Autoencoder,
  engine: Engine,
  call: CallOptions,
  notes: MeasureNote[],
): Promise<Attractors> {
  const { run, set, folder } = stored;
  const summary = run.record.summary[set.name];
  notes.push(...storedFindings(stored));
  const points = await initialOf(stored, model, engine, call);
  if (points === null) {
    notes.push(
      noteThat(
        "The run's record does not say where its initial points came from, so their level is missing.",
      ),
    );
  }
  return {
    attractors: set.attractors,
    basinSize: set.basinSize,
    summary,
    initial: points?.initial ?? null,
    run: { folder, set: set.name },
  };
}

/** A square map's latents are its inputs. */
async function decode(
  model: Autoencoder,
  engine: Engine,
  latents: Matrix,
  call: CallOptions,
): Promise<Matrix> {
  return model.inputShape === null ? latents : engine.decode(latents, call);
}

function errorsOf(engine: Engine, { inputs, latents }: EncodedInputs, attractors: Matrix, call: CallOptions) {
  return prototypeErrors(engine, { inputs, latents, attractors }, call);
}

async function pageOf(
  result: MemorizationResult,
  model: Autoencoder,
  decoded: Matrix,
  training: Matrix,
): Promise<string> {
  const shape = model.inputShape ?? model.latentShape;
  const order = largestFirst(result.basinSize).slice(0, PICTURES);
  const nearest = Int32Array.from(order, (attractor) => result.attractors.training[attractor]);
  const { memorizationReport } = await import("../report/memorizationReport.js");
  return memorizationReport({
    ...result,
    imageShape: shape,
    pictures: {
      order,
      decoded: toPixels(takeRows(decoded, order), shape, model.preprocessor),
      nearest: toPixels(takeRows(training, nearest), shape, model.preprocessor),
    },
    version: packageVersion(),
  });
}

function tensorsOf({ attractors, heldOut, initial, basinSize, errors }: MemorizationResult) {
  const found = new Map<string, TensorToWrite>();
  const add = (name: string, data: Int32Array | Float64Array): void => {
    const kept = data instanceof Int32Array ? data : Float32Array.from(data);
    found.set(name, { shape: [data.length], data: kept });
  };
  add("coefficient", attractors.cosine);
  add("training_row", attractors.training);
  add("basin_size", basinSize);
  if (heldOut !== null) add("held_out.coefficient", heldOut.cosine);
  if (initial !== null) add("initial.coefficient", initial.cosine);
  for (const [name, error] of [
    ["training", errors?.training],
    ["held_out", errors?.heldOut],
  ] as const) {
    if (error === undefined || error === null) continue;
    add(`${name}.attractor`, error.attractor);
    add(`${name}.prototype_error`, error.prototype);
    add(`${name}.coverage_error`, error.coverage);
  }
  return found;
}
