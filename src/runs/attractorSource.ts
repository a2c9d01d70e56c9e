/** Attractors that were found before: those of a finished run, or the rows of a file. */
import { readLatents } from "../data/latents.js";
import { type MeasureNote, notesOn } from "../dynamics/note.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { isRun, readChosenSet, storedFindings } from "./storedModel.js";

export interface FoundAttractors {
  /** [A, k], A ≥ 1 */
  readonly attractors: Matrix;
  /** What to know of the run they came from; none for a file. */
  readonly notes: readonly MeasureNote[];
}

/**
 * `RUN`, `RUN#SET` (a run folder, and which of its sets where there are several) or `FILE[#tensor]`.
 * Throws InputError where there is no such set, no attractor, or rows are not `k` wide.
 */
export async function readAttractors(spec: string, k: number): Promise<FoundAttractors> {
  const stored = (await isRun(spec)) ? await readChosenSet(spec) : null;
  const attractors = stored === null ? await readLatents(spec, k) : stored.set.attractors;
  if (attractors.columns !== k) {
    throw new InputError(
      `${spec}: its attractors have ${attractors.columns} elements a row, the model's latents have ${k}`,
    );
  }
  if (attractors.rows === 0) throw new InputError(`${spec}: holds no attractor, expected at least one`);
  return { attractors, notes: stored === null ? [] : notesOn(spec, storedFindings(stored)) };
}
