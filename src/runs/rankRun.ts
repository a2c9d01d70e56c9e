/** Rank of the decoded attractors of a finished run, in a folder with its page: what `latdyn rank RUN` does. */

import { callOf, type StagedOptions } from "../analysis/kernel.js";
import { type RankRecord, rank } from "../analysis/rank.js";
import type { MeasureNote } from "../dynamics/note.js";
import { computeOptions } from "../dynamics/options.js";
import { phaseProgress } from "../dynamics/progress.js";
import { InputError } from "../errors.js";
import { countOf } from "../report/format.js";
import { packageVersion } from "../version.js";
import { decodedBy } from "./compute.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";
import { modelOf, readChosenSet, storedFindings } from "./storedModel.js";

export interface RankRunOptions extends StagedOptions {
  /** Subtract the mean of the decoded attractors first. Default false, as in the paper. */
  readonly centred?: boolean;
  /** Where the run's model is now. Default: where it was. */
  readonly model?: string;
  /** What decodes, and where. Default `auto`. */
  readonly engine?: string;
  readonly device?: string;
  /** The folder; null writes nothing. Default `runs/MODEL-rank-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

const FILES = measureFiles("rank", { tensors: ["rank"] });

/**
 * `source` is RUN or RUN#SET. Writes rank.json, rank.safetensors (spectrum [min(attractors, elements)]) and
 * report.html. Throws InputError where the run, its model or the folder do not fit, or the set has no attractor;
 * AbortedError where the signal fires; then nothing is written.
 */
export async function runRank(
  source: string,
  {
    centred = false,
    model: path,
    out,
    overwrite = false,
    report = true,
    onProgress,
    ...options
  }: RankRunOptions = {},
): Promise<{ record: RankRecord; folder: string | null }> {
  const check = { overwrite, files: FILES };
  const start = performance.now();
  const given = computeOptions(options);
  const call = callOf(options, ["centred", "model", "engine", "device", "out", "overwrite", "report"]);
  const progress = phaseProgress(onProgress, start);
  if (typeof out === "string") await checkMeasureFolder(out, check);
  const { run, set, folder: runFolder } = await readChosenSet(source);
  await using model = await modelOf(run, path, given);
  const folder = out === undefined ? defaultFolder(`${model.name}-rank`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);
  if (set.attractors.rows === 0) {
    throw new InputError(`${source}: none of its points converged, so there is no attractor to decode`);
  }
  const decoded = await decodedBy(model, set.attractors, {
    ...call,
    ...given,
    onProgress: progress("decode", "attractors"),
  });
  const { rank90, spectrum } = await rank(decoded, {
    centred,
    ...call,
    onProgress: progress("decompose", "decoded attractors"),
  });
  const notes: MeasureNote[] = storedFindings({ run, set });
  const most = centred
    ? Math.min(decoded.rows - 1, decoded.columns)
    : Math.min(decoded.rows, decoded.columns);
  if (most < 10) {
    notes.push({
      kind: "note",
      text: `With ${countOf(decoded.rows, "attractor")} the rank can be ${most} at most, whatever the model knows.`,
    });
  }
  const record: RankRecord = {
    model: { name: model.name, path: model.path, hash: model.hash, latentDimension: model.latentDimension },
    run: { folder: runFolder, set: set.name },
    attractors: decoded.rows,
    elements: decoded.columns,
    centred,
    rank90,
    spectrum: Array.from(spectrum),
    notes,
    timing: { seconds: (performance.now() - start) / 1000 },
  };
  if (folder !== null) {
    const { rankReport } = await import("../report/rankReport.js");
    const page = report ? await rankReport(record, packageVersion()) : null;
    const tensors = { rank: { spectrum: { shape: [spectrum.length], data: spectrum } } };
    await writeMeasure(folder, { name: "rank", record, tensors, report: page }, check);
  }
  return { record, folder };
}
