/** Scores that tell out-of-distribution inputs from in-distribution ones, each with its detection rates. */
import { wholeNumber } from "../check.js";
import { type MeasureNote, noteThat } from "../dynamics/note.js";
import { phaseProgress } from "../dynamics/progress.js";
import type { RunRecord } from "../dynamics/result.js";
import type { Engine } from "../engines/engine.js";
import { AbortedError, InputError } from "../errors.js";
import { type Matrix, row } from "../matrix.js";
import { callOf, checkFinite, checkRows, checkWidths, type StagedOptions } from "./kernel.js";
import { checkKnn, type KnnRule, knnScore } from "./knn.js";
import { mahalanobis } from "./mahalanobis.js";
import { squaredDistance } from "./prototypes.js";
import { type Detection, detection } from "./roc.js";
import type { Spread } from "./statistics.js";

/** Lower means more in-distribution, for all of them. */
export const SCORES = ["trajectory", "knn", "mahalanobis", "reconstruction"] as const;
export type ScoreName = (typeof SCORES)[number];

/** Inputs of one set, and their codes. */
export interface OodSet {
  /** [N, E]; null for a square map, which reconstructs nothing. */
  readonly inputs: Matrix | null;
  /** [N, k] */
  readonly latents: Matrix;
}

export interface OodInput {
  /** [T, k]: training latents, for KNN and Mahalanobis. */
  readonly train: Matrix;
  /** [A, k], at least one row: what trajectories are measured against. */
  readonly attractors: Matrix;
  readonly id: OodSet;
  /** At least one, by name. */
  readonly ood: Readonly<Record<string, OodSet>>;
}

export interface OodOptions extends StagedOptions {
  /** Applications of f in a trajectory, at least 0: it has one point more. Default 100. */
  readonly steps?: number;
  /** K of the KNN score. Default 2000; all training latents where there are fewer. */
  readonly neighbours?: number;
  readonly knnRule?: KnnRule;
  /** KNN on latents of unit length. Default false. */
  readonly normalise?: boolean;
}

export interface OodScores {
  /** By set, ID under "id": [N]. NaN where a path left what is finite. */
  readonly scores: Readonly<Record<string, Readonly<Partial<Record<ScoreName, Float64Array>>>>>;
  /** By OOD set. */
  readonly detections: Record<string, Partial<Record<ScoreName, Detection>>>;
  /** K as it was used. */
  readonly neighbours: number;
  readonly shrinkage: number;
  /** Paths, over all sets, on which a point was not finite. They count as the most out-of-distribution of all. */
  readonly nonFinitePaths: number;
  readonly notes: readonly MeasureNote[];
}

/** What `--json` prints and ood.json holds. */
export interface OodRecord {
  model: { name: string; path: string; hash: string; latentDimension: number };
  options: {
    train: string;
    id: string;
    ood: Record<string, string>;
    /** Where the attractors were read from; null where the training inputs led to them here. */
    attractors: string | null;
    steps: number;
    /** K as it was used. */
    neighbours: number;
    knnRule: KnnRule;
    normalise: boolean;
    /** Of the covariance of the training latents, found by Ledoit and Wolf's formula. */
    shrinkage: number;
    engine: string;
  };
  device: RunRecord["device"];
  attractors: number;
  training: number;
  /** By set, ID under "id", and score: over the scores that are finite. */
  sets: Record<string, Partial<Record<ScoreName, Spread>>>;
  /** By OOD set and score. */
  detection: Record<string, Partial<Record<ScoreName, Detection>>>;
  notes: MeasureNote[];
  timing: { seconds: number };
}

/**
 * Trajectory score (mean over a path of the distance to the nearest attractor), KNN score, Mahalanobis distance and
 * reconstruction error (mean square per element) of every input, and how well each separates every OOD set from ID.
 * Throws InputError where a set is empty, widths differ, a set has the very latents of ID, or a score cannot be
 * computed; AbortedError where the signal fires.
 * Source: Fumero et al., section on out-of-distribution detection; FPR95 as in `detection`.
 */
export async function oodScores(
  engine: Engine,
  { train, attractors, id, ood }: OodInput,
  {
    steps = 100,
    neighbours = 2000,
    knnRule = "mean",
    normalise = false,
    onProgress,
    ...options
  }: OodOptions = {},
): Promise<OodScores> {
  checkOod({ steps, neighbours, knnRule });
  const call = callOf(options, ["steps", "neighbours", "knnRule", "normalise"]);
  if (attractors.rows === 0) {
    throw new InputError("ood: there is no attractor for trajectories to come near to");
  }
  checkOodSets({ train, id, ood });
  const names = Object.keys(ood);
  const sets: [string, OodSet][] = [["id", id], ...Object.entries(ood)];
  const progress = phaseProgress(onProgress);
  const everySet = sets.map(([name]) => name).join(", ");
  const notes: MeasureNote[] = [];
  // All sets at once: what is made of the training latents is made once.
  const all = stacked(sets.map(([, { latents }]) => latents));
  const path = await engine.walk(all, attractors, {
    ...call,
    onProgress: progress("walk", everySet),
    steps,
    storeSteps: new Int32Array(0),
    curveRows: new Int32Array(0),
  });
  if (path.aborted) throw new AbortedError("ood: aborted", undefined, { cause: call.signal?.reason });
  const knn = await knnScore(train, all, {
    neighbours,
    rule: knnRule,
    normalise,
    ...call,
    device: engine.kernelDevice,
    onProgress: progress("neighbours", everySet),
  });
  const distance = await mahalanobis(train, all, { ...call, onProgress: progress("mahalanobis", everySet) });
  const scores: Record<string, Partial<Record<ScoreName, Float64Array>>> = {};
  let first = 0;
  for (const [name, { inputs, latents }] of sets) {
    const end = first + latents.rows;
    scores[name] = {
      trajectory: path.score.slice(first, end),
      knn: knn.score.slice(first, end),
      mahalanobis: distance.score.slice(first, end),
      ...(inputs === null
        ? {}
        : {
            reconstruction: await reconstructionErrors(engine, inputs, latents, {
              ...call,
              onProgress: progress("decode", name),
            }),
          }),
    };
    first = end;
  }
  const used = knn.neighbours;
  if (attractors.rows === 1) {
    notes.push(
      noteThat(
        "There is one attractor: the trajectory score is the mean distance of a path to that single point.",
      ),
    );
  }
  const nonFinitePaths = path.score.filter(Number.isNaN).length;
  if (used < neighbours) {
    notes.push({
      kind: "note",
      text: `There are ${train.rows} training latents, so K is ${used} instead of ${neighbours}: the whole set.`,
    });
  }
  if (nonFinitePaths > 0) {
    notes.push({
      kind: "note",
      text: `On ${nonFinitePaths} paths a point became NaN or infinite; their trajectory scores count as above all others.`,
    });
  }
  const detections = Object.fromEntries(
    names.map((name) => [name, detectionsOf(scores.id, scores[name])] as const),
  );
  return { scores, detections, neighbours: used, shrinkage: distance.shrinkage, nonFinitePaths, notes };
}

/**
 * What `oodScores` refuses of its sets: throws InputError where there is none, one is empty or not finite, widths
 * differ, or a set has the very inputs of ID.
 */
export function checkOodSets({ train, id, ood }: Pick<OodInput, "train" | "id" | "ood">): void {
  if (Object.keys(ood).length === 0) {
    throw new InputError("ood: there is no OOD set, expected at least one");
  }
  checkRows("ood: the training latents", train);
  checkFinite("ood: the training latents", train);
  for (const [name, set] of [["id", id] as const, ...Object.entries(ood)]) {
    checkWidths(`ood: ${name}`, set.latents, train);
    checkRows(`ood: set "${name}"`, set.latents);
    checkFinite(`ood: set "${name}"`, set.latents);
    if (name !== "id" && sameInputs(set, id)) {
      throw new InputError(
        `ood: set "${name}" holds the very inputs of ID: nothing can tell them apart, expected another set`,
      );
    }
  }
}

/** Throws InputError where an option of the scores does not fit. */
export function checkOod({
  steps = 100,
  neighbours = 2000,
  knnRule = "mean",
}: Pick<OodOptions, "steps" | "neighbours" | "knnRule">): void {
  wholeNumber("steps", steps, 0, 2 ** 20);
  checkKnn(neighbours, knnRule);
}

function detectionsOf(
  id: Partial<Record<ScoreName, Float64Array>>,
  ood: Partial<Record<ScoreName, Float64Array>>,
): Partial<Record<ScoreName, Detection>> {
  const found: Partial<Record<ScoreName, Detection>> = {};
  for (const name of SCORES) {
    const [x, y] = [id[name], ood[name]];
    if (x === undefined || y === undefined) continue;
    // Ranks are all that counts, so any number above the others stands for what is not finite.
    found[name] = detection(finite(x), finite(y));
  }
  return found;
}

function finite(scores: Float64Array): Float64Array {
  return scores.map((score) => (Number.isFinite(score) ? score : Number.MAX_VALUE));
}

/** Mean over the elements of (x − D(E(x)))², [N]. */
async function reconstructionErrors(
  engine: Engine,
  inputs: Matrix,
  latents: Matrix,
  call: ReturnType<typeof callOf>,
): Promise<Float64Array> {
  const decoded = await engine.decode(latents, call);
  return Float64Array.from(
    { length: inputs.rows },
    (_, i) => squaredDistance(row(inputs, i), row(decoded, i)) / inputs.columns,
  );
}

/**
 * Whether the smaller set is the beginning of the larger: the same file, whatever part of it was taken. Codes are looked
 * at where there is nothing else: an encoder may give one code to all inputs.
 */
function sameInputs(first: OodSet, second: OodSet): boolean {
  const known = first.inputs !== null && second.inputs !== null;
  const [a, b] = [known ? first.inputs : first.latents, known ? second.inputs : second.latents];
  const length = Math.min(a.data.length, b.data.length);
  return a.data.subarray(0, length).every((value, i) => value === b.data[i]);
}

function stacked(sets: readonly Matrix[]): Matrix {
  const rows = sets.reduce((sum, set) => sum + set.rows, 0);
  const { columns } = sets[0];
  const data = new Float32Array(rows * columns);
  let end = 0;
  for (const set of sets) {
    data.set(set.data, end);
    end += set.data.length;
  }
  return { data, rows, columns };
}
