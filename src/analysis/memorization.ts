/** How close decoded attractors are to training inputs, beside what closeness means without any memory. */
import { oneOf } from "../check.js";
import type { MeasureNote } from "../dynamics/note.js";
import { phaseProgress } from "../dynamics/progress.js";
import type { RunRecord, SetSummary } from "../dynamics/result.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { callOf, checkWidths, type DeviceOptions, type StagedOptions } from "./kernel.js";
import { nearest } from "./nearest.js";
import { type Spread, spreadOf } from "./statistics.js";

/** `max`: cosine to the closest training input. `min`: to the farthest, as the paper prints it. */
export const MEMORIZATION_RULES = ["max", "min"] as const;
export type MemorizationRule = (typeof MEMORIZATION_RULES)[number];

export interface Coefficients {
  /** [N]: cosine of each row to the training input that the rule picks. */
  readonly cosine: Float64Array;
  /** [N]: row of that training input; the lowest of equals. */
  readonly training: Int32Array;
  readonly spread: Spread;
}

export interface MemorizationInput {
  /** [A, E]: the attractors, decoded. May be empty. */
  readonly decoded: Matrix;
  /** [T, E], at least one row. */
  readonly training: Matrix;
  /** [H, E]: inputs the model has not been trained on, for the first null level. */
  readonly heldOut?: Matrix | null;
  /** [P, E]: the initial points, decoded, for the second null level. */
  readonly decodedInitial?: Matrix | null;
}

export interface Memorization {
  readonly rule: MemorizationRule;
  /** The memorization coefficient of each attractor. */
  readonly attractors: Coefficients;
  /** The same number of held-out inputs: what an input that was never seen reaches. Null where none were given. */
  readonly heldOut: Coefficients | null;
  /** The same number of decoded initial points: what decoding alone reaches, before any iteration. */
  readonly initial: Coefficients | null;
}

/** What `--json` prints and memorization.json holds. */
export interface MemorizationRecord {
  model: { name: string; path: string; hash: string; latentDimension: number };
  /** The run's folder and set, or null where the attractors were computed here. */
  run: { folder: string; set: string } | null;
  options: { train: string; heldOut: string | null; rule: MemorizationRule; engine: string };
  device: RunRecord["device"];
  /** Of the set whose attractors these are. */
  summary: SetSummary;
  /** Coefficient of the attractors, and the two null levels; null where there is nothing to take them from. */
  coefficient: { attractors: Spread; heldOut: Spread | null; initial: Spread | null };
  /** Proposition 3.2; null where there is no attractor. */
  errors: {
    training: { prototype: Spread; coverage: Spread };
    heldOut: { prototype: Spread; coverage: Spread } | null;
  } | null;
  /** Sentences to know before taking the numbers for a result. */
  notes: MeasureNote[];
  timing: { seconds: number };
}

export interface MemorizationOptions extends StagedOptions, Pick<DeviceOptions, "device"> {
  /** Default `max`. */
  readonly rule?: MemorizationRule;
}

/**
 * Memorization coefficient of decoded attractors: cosine to the closest training input, and the same number for the
 * two sets that it has to be compared with. A zero vector has cosine 0 to every other and 1 to a zero vector.
 * Throws InputError where widths differ, there is no training input, or a value is not finite; AbortedError where the
 * signal fires. (A + H + P)·T·E multiply-adds.
 * Source: Fumero et al., section 4 (memorization); the paper prints a minimum, which is rule `min`.
 */
export async function memorization(
  { decoded, training, heldOut = null, decodedInitial = null }: MemorizationInput,
  { rule = "max", onProgress, ...options }: MemorizationOptions = {},
): Promise<Memorization> {
  oneOf("rule", rule, MEMORIZATION_RULES);
  callOf(options, ["rule", "device"]);
  if (training.rows === 0) throw new InputError("memorization: there are no training inputs");
  const progress = phaseProgress(onProgress);
  const of = (set: string, rows: Matrix) =>
    coefficients(rows, training, rule, { ...options, onProgress: progress("compare", set) });
  return {
    rule,
    attractors: await of("attractors", decoded),
    heldOut: heldOut === null ? null : await of("held-out inputs", heldOut),
    initial: decodedInitial === null ? null : await of("initial points", decodedInitial),
  };
}

async function coefficients(
  rows: Matrix,
  training: Matrix,
  rule: MemorizationRule,
  call: DeviceOptions,
): Promise<Coefficients> {
  checkWidths("memorization", rows, training);
  if (rows.rows === 0) {
    return { cosine: new Float64Array(0), training: new Int32Array(0), spread: spreadOf([]) };
  }
  // The smallest cosine of x is the largest of −x with its sign turned.
  const sought = rule === "max" ? rows : { ...rows, data: rows.data.map((value) => -value) };
  const { aIndex, aValue } = await nearest("memorization", sought, training, "cosine", call);
  const cosine = rule === "max" ? aValue : aValue.map((value) => 0 - value);
  if (rule === "min") settleZeroRows(rows, training, cosine, aIndex);
  return { cosine, training: aIndex, spread: spreadOf(cosine) };
}

/** −0 is 0: for a zero row the trick above found the zero training input (cosine 1) where any other is farther. */
function settleZeroRows(rows: Matrix, training: Matrix, cosine: Float64Array, index: Int32Array): void {
  const other = firstNonZeroRow(training);
  for (let i = 0; i < rows.rows; i++) {
    if (rows.data.subarray(i * rows.columns, (i + 1) * rows.columns).some((value) => value !== 0)) continue;
    cosine[i] = other === null ? 1 : 0;
    index[i] = other ?? 0;
  }
}

function firstNonZeroRow({ data, columns }: Matrix): number | null {
  const at = data.findIndex((value) => value !== 0);
  return at < 0 ? null : Math.floor(at / columns);
}
