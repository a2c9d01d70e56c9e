/** Trajectories from a model's files to a folder with their page: what `latdyn trajectories` does. */

import { toPixels } from "../data/preprocess.js";
import type { TensorToWrite } from "../data/safetensors.js";
import { notesOn } from "../dynamics/note.js";
import { computeOptions } from "../dynamics/options.js";
import {
  type TrajectoryOptions,
  type TrajectoryRun,
  type TrajectorySet,
  trajectories,
} from "../dynamics/trajectories.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { loadAutoencoder } from "../models/load.js";
import { imageShape } from "../report/images.js";
import type { DecodedPaths } from "../report/trajectoryReport.js";
import { packageVersion } from "../version.js";
import { type FoundAttractors, readAttractors } from "./attractorSource.js";
import { type DecodeOptions, decodedBy, loadOptions } from "./compute.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";

export interface TrajectoryRunOptions extends Omit<TrajectoryOptions, "attractors"> {
  /** [A, k], or where to read them: `RUN`, `RUN#SET` or `FILE[#tensor]`. */
  readonly attractors?: Matrix | string;
  /** The folder; null writes nothing. Default `runs/MODEL-trajectories-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

const FILES = measureFiles("trajectories", { tensors: ["trajectories"] });

/** Paths and steps that are decoded for the page. */
const PATHS = 6;
const STEPS = 10;

/**
 * Loads the model at `path`, walks the paths, and writes trajectories.json, trajectories.safetensors (paths [N, S, k],
 * steps [S] i32, score [N] f64; curve_rows [C] i32 and the curves residual [C, T], norm and distance [C, T + 1]; with
 * several sets NAME.paths, …) and report.html.
 * Throws InputError before anything is computed where options, model or folder do not fit, and AbortedError where the
 * signal fires; then nothing is written.
 */
export async function runTrajectories(
  path: string,
  options: TrajectoryRunOptions,
): Promise<{ run: TrajectoryRun; folder: string | null }> {
  const { out, overwrite = false, report = true, attractors: source, ...rest } = options;
  const check = { overwrite, files: FILES };
  if (typeof out === "string") await checkMeasureFolder(out, check);
  await using model = await loadAutoencoder(path, loadOptions(options));
  const folder = out === undefined ? defaultFolder(`${model.name}-trajectories`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);
  const given: FoundAttractors | null =
    typeof source === "string"
      ? await readAttractors(source, model.latentDimension)
      : source === undefined
        ? null
        : { attractors: source, notes: [] };
  const walked = await trajectories(model, {
    ...rest,
    ...(given === null ? {} : { attractors: given.attractors }),
  });
  const { trajectoryFindings } = await import("../report/trajectoryReport.js");
  // The record says where the attractors came from, not only how many there are.
  const from = typeof source === "string" ? { attractorsFrom: source } : {};
  const run: TrajectoryRun = {
    ...walked,
    record: {
      ...walked.record,
      options: { ...walked.record.options, ...from },
      notes: [
        ...(given?.notes ?? []),
        ...walked.sets.flatMap((set) => notesOn(set.name, trajectoryFindings(set))),
      ],
    },
  };
  if (folder !== null) {
    const { threads } = run.record.device;
    await writeMeasure(
      folder,
      {
        name: "trajectories",
        record: run.record,
        tensors: { trajectories: tensorsOf(run) },
        report: report
          ? await reportOn(run, model, { ...computeOptions(options), threads, signal: options.signal })
          : null,
      },
      check,
    );
  }
  return { run, folder };
}

async function reportOn(run: TrajectoryRun, model: Autoencoder, call: DecodeOptions): Promise<string> {
  const shape = model.inputShape ?? model.latentShape;
  const decoded: Record<string, DecodedPaths> = {};
  if (imageShape(shape) !== null) {
    for (const set of run.sets) decoded[set.name] = await decodedPaths(set, model, call);
  }
  const { trajectoryReport } = await import("../report/trajectoryReport.js");
  return trajectoryReport({ run, imageShape: shape, decoded, version: packageVersion() });
}

async function decodedPaths(
  set: TrajectorySet,
  model: Autoencoder,
  call: DecodeOptions,
): Promise<DecodedPaths> {
  const k = model.latentDimension;
  const stored = set.steps.length;
  const shown = Math.min(stored, STEPS);
  // Evenly among those that are stored, the first and the last included.
  const places = Array.from({ length: shown }, (_, i) =>
    shown === 1 ? stored - 1 : Math.round((i * (stored - 1)) / (shown - 1)),
  );
  const paths = Math.min(set.initial.rows, PATHS);
  const latents = new Float32Array(paths * shown * k);
  for (let p = 0; p < paths; p++) {
    places.forEach((place, s) => {
      const at = (p * stored + place) * k;
      latents.set(set.paths.subarray(at, at + k), (p * shown + s) * k);
    });
  }
  const rows: Matrix = { data: latents, rows: paths * shown, columns: k };
  const decoded = await decodedBy(model, rows, call);
  return {
    steps: places.map((place) => set.steps[place]),
    pixels: toPixels(decoded, model.inputShape ?? model.latentShape, model.preprocessor),
  };
}

function tensorsOf({ sets }: TrajectoryRun): Map<string, TensorToWrite> {
  const found = new Map<string, TensorToWrite>();
  for (const { name, initial, steps, paths, score, curveRows, curves } of sets) {
    const prefix = sets.length > 1 ? `${name}.` : "";
    const add = (key: string, shape: number[], data: TensorToWrite["data"]) => {
      found.set(prefix + key, { shape, data });
    };
    add("paths", [initial.rows, steps.length, initial.columns], paths);
    add("steps", [steps.length], steps);
    if (score !== null) add("score", [initial.rows], score);
    add("curve_rows", [curveRows.length], curveRows);
    for (const key of ["residual", "norm", "distance"] as const) {
      // Without attractors there is no distance to tell.
      if (key === "distance" && score === null) continue;
      const length = curves[0]?.[key].length ?? 0;
      const joined = new Float32Array(curves.length * length);
      curves.forEach((curve, i) => {
        joined.set(curve[key], i * length);
      });
      add(key, [curves.length, length], joined);
    }
  }
  return found;
}
