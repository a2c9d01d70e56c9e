/** Two finished runs compared set by set, in a folder with a page: what `latdyn similarity RUN_A RUN_B` does. */
import { basename } from "node:path";
import { type BasinOptions, basinAgreement } from "../analysis/basins.js";
import type {
  ComparedSet,
  ComparisonRecord,
  SetComparison,
  SimilarityValues,
} from "../analysis/comparison.js";
import { callOf, type MeasureOptions, type StagedOptions } from "../analysis/kernel.js";
import { type BestMatches, bestMatches, type Similarity, similarityOf } from "../analysis/similarity.js";
import type { TensorToWrite } from "../data/safetensors.js";
import { type MeasureNote, noteThat } from "../dynamics/note.js";
import { phaseProgress } from "../dynamics/progress.js";
import { AbortedError, InputError } from "../errors.js";
import { packageVersion } from "../version.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";
import { readRun, type StoredRun, type StoredSet } from "./run.js";
import { splitRun, storedFindings } from "./storedModel.js";

export interface ComparisonRunOptions extends StagedOptions, BasinOptions {
  /** The initial points are the same although the records do not show it. Default false. */
  readonly samePoints?: boolean;
  /** The folder; null writes nothing. Default `runs/A-B-similarity-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

const FILES = measureFiles("similarity", { tensors: ["similarity"] });

interface Chosen {
  readonly folder: string;
  readonly run: StoredRun;
  readonly set: StoredSet;
}

/**
 * `first` and `second` are RUN or RUN#SET. Without a set, sets of the same name are compared; where each run has one,
 * those are. Basins are compared where both sets started from the same points: sources that the records describe
 * alike, noise in latent spaces of one width. Writes similarity.json, similarity.safetensors (for each pair NAME and
 * metric M, cosine or euclidean: NAME.M_a [A], the best match of each attractor of A, and NAME.M_match_a, which one of B
 * it is; NAME.M_b and NAME.M_match_b [B] likewise; NAME.label_a, NAME.label_b [N] where the basins were compared) and
 * report.html.
 * Throws InputError where runs, sets or the folder do not fit; AbortedError where the signal fires; then nothing is
 * written.
 */
export async function runComparison(
  first: string,
  second: string,
  options: ComparisonRunOptions = {},
): Promise<{ record: ComparisonRecord; folder: string | null }> {
  const {
    samePoints = false,
    out,
    overwrite = false,
    report = true,
    randomSeed,
    permutations,
    onProgress,
    ...rest
  } = options;
  const check = { overwrite, files: FILES };
  const start = performance.now();
  const call = callOf(rest, ["samePoints", "out", "overwrite", "report", "randomSeed", "permutations"]);
  const progress = phaseProgress(onProgress, start);
  if (typeof out === "string") await checkMeasureFolder(out, check);
  const pairs = pair(await read(first), await read(second));
  const name = `${basename(first)}-${basename(second)}-similarity`;
  const folder = out === undefined ? defaultFolder(name, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);

  const sets: Record<string, SetComparison> = {};
  const tensors = new Map<string, TensorToWrite>();
  const matches = new Map<string, BestMatches>();
  for (const [a, b] of pairs) {
    if (call.signal?.aborted) {
      throw new AbortedError("similarity: aborted", undefined, { cause: call.signal.reason });
    }
    const key = a.set.name === b.set.name ? a.set.name : `${a.set.name}~${b.set.name}`;
    const notes: MeasureNote[] = [];
    const best = await matchesOf(a, b, { ...call, onProgress: progress("compare", key) }, notes);
    if (best !== null) {
      matches.set(key, best);
      for (const metric of ["cosine", "euclidean"] as const) {
        const { aIndex, aValue, bIndex, bValue } = best[metric];
        tensors.set(`${key}.${metric}_a`, { shape: [aValue.length], data: Float32Array.from(aValue) });
        tensors.set(`${key}.${metric}_b`, { shape: [bValue.length], data: Float32Array.from(bValue) });
        tensors.set(`${key}.${metric}_match_a`, { shape: [aIndex.length], data: aIndex });
        tensors.set(`${key}.${metric}_match_b`, { shape: [bIndex.length], data: bIndex });
      }
    }
    const same = samePoints || startAlike(a, b, notes);
    const basins = same ? basinAgreement(a.set.label, b.set.label, { randomSeed, permutations }) : null;
    if (basins !== null) {
      tensors.set(`${key}.label_a`, { shape: [a.set.label.length], data: a.set.label });
      tensors.set(`${key}.label_b`, { shape: [b.set.label.length], data: b.set.label });
    }
    for (const [letter, chosen] of [["A", a] as const, ["B", b] as const]) {
      notes.push(...storedFindings(chosen).map(({ kind, text }) => ({ kind, text: `${letter}: ${text}` })));
    }
    if (basins !== null && basins.compared > 0 && basins.basins[0] === 1 && basins.basins[1] === 1) {
      notes.push(
        noteThat(
          "Neither run divides the compared points: with one basin each, agreement is 1 whatever they hold.",
        ),
      );
    }
    const alike = best === null ? null : flat(similarityOf(best));
    sets[key] = { first: describe(a), second: describe(b), similarity: alike, basins, notes };
  }
  const record: ComparisonRecord = { sets, timing: { seconds: (performance.now() - start) / 1000 } };
  if (folder !== null) {
    const { comparisonReport } = await import("../report/comparisonReport.js");
    const page = report ? await comparisonReport(record, matches, packageVersion()) : null;
    await writeMeasure(
      folder,
      { name: "similarity", record, tensors: { similarity: tensors }, report: page },
      check,
    );
  }
  return { record, folder };
}

async function read(spec: string): Promise<Chosen[]> {
  const parts = await splitRun(spec);
  if (parts === null) throw new InputError(`${spec}: is no run folder (run.json is not there)`);
  const { folder, name } = parts;
  const run = await readRun(folder);
  const sets = name === null ? run.sets : run.sets.filter((set) => set.name === name);
  if (sets.length === 0) {
    const names = run.sets.map((set) => set.name).join(", ");
    throw new InputError(`${folder}: has no set of points called "${name}" (it holds ${names || "none"})`);
  }
  return sets.map((set) => ({ folder, run, set }));
}

function pair(first: readonly Chosen[], second: readonly Chosen[]): [Chosen, Chosen][] {
  if (first.length === 1 && second.length === 1) return [[first[0], second[0]]];
  const pairs = first.flatMap((a) =>
    second.filter((b) => b.set.name === a.set.name).map((b): [Chosen, Chosen] => [a, b]),
  );
  if (pairs.length > 0) return pairs;
  const names = (sets: readonly Chosen[]) => sets.map(({ set }) => set.name).join(", ");
  throw new InputError(
    `the runs have no set of the same name (${names(first)} and ${names(second)}): pick one of each with RUN#SET`,
  );
}

async function matchesOf(
  { set: a, run: runA }: Chosen,
  { set: b, run: runB }: Chosen,
  call: MeasureOptions,
  notes: MeasureNote[],
): Promise<BestMatches | null> {
  if (a.attractors.columns !== b.attractors.columns) {
    notes.push(
      noteThat(
        `The latents have ${a.attractors.columns} and ${b.attractors.columns} dimensions, so that their attractors cannot be compared by place.`,
      ),
    );
    return null;
  }
  const found = await bestMatches(a.attractors, b.attractors, call);
  if (found === null) {
    notes.push(noteThat("One of the two has no attractor, so there is no similarity."));
    return null;
  }
  if (runA.record.model.hash !== runB.record.model.hash) {
    notes.push({
      kind: "warning",
      text: "The runs are of different models. Two models share no coordinates, even where they are trained alike: similarity by place says little here, agreement of basins does.",
    });
  }
  return found;
}

/** The six numbers of a similarity by the names that the command line prints. */
export function flat({ cosine, euclidean }: Similarity): SimilarityValues {
  return {
    cosine: cosine.value,
    cosineAToB: cosine.aToB,
    cosineBToA: cosine.bToA,
    euclidean: euclidean.value,
    euclideanAToB: euclidean.aToB,
    euclideanBToA: euclidean.bToA,
  };
}

/** Whether the records describe the same points; a note where not. */
function startAlike(
  { set: a, run: runA }: Chosen,
  { set: b, run: runB }: Chosen,
  notes: MeasureNote[],
): boolean {
  const no = (why: string): boolean => {
    notes.push(noteThat(`Basins are not compared: ${why}`));
    return false;
  };
  if (a.label.length !== b.label.length) {
    return no(`the sets have ${a.label.length} and ${b.label.length} points.`);
  }
  const [from, to] = [sourceText(runA, a), sourceText(runB, b)];
  if (from === null || to === null) {
    return no("a record does not say where its points came from; --same-points says that they are the same.");
  }
  if (from !== to) {
    return no(`the points came from ${from} and ${to}; --same-points says that they are the same.`);
  }
  const [k, other] = [runA.record.model.latentDimension, runB.record.model.latentDimension];
  if (k !== other && !from.includes('"kind":"data"')) {
    return no(`points of ${k} and of ${other} dimensions are not the same.`);
  }
  return true;
}

/** The source of a set as the record keeps it; null where that was a matrix. */
function sourceText({ record }: StoredRun, { name }: StoredSet): string | null {
  const { from } = record.options;
  if (typeof from !== "object" || from === null) return null;
  const source = (from as Record<string, unknown>)[name];
  if (source === undefined) return null;
  const text = JSON.stringify(source);
  return text.includes('"path":null') || text.includes('"of":"matrix"') ? null : text;
}

function describe({ folder, run, set }: Chosen): ComparedSet {
  const { name, latentDimension } = run.record.model;
  return {
    run: folder,
    set: set.name,
    model: name,
    latentDimension,
    points: set.label.length,
    attractors: set.attractors.rows,
  };
}
