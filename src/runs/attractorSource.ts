/** Attractors that were found before: those of a finished run, or the rows of a file. */
import { readLatents } from "../data/latents.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { isRun, readChosenSet } from "./storedModel.js";

/**
 * `RUN`, `RUN#SET` (a run folder, and which of its sets where there are several) or `FILE[#tensor]` → [A, k], A ≥ 1.
 * Throws InputError where there is no such set, no attractor, or rows are not `k` wide.
 */
export async function readAttractors(spec: string, k: number): Promise<Matrix> {
  const attractors = (await isRun(spec))
    ? (await readChosenSet(spec)).set.attractors
    : await readLatents(spec, k);
  if (attractors.columns !== k) {
    throw new InputError(
      `${spec}: its attractors have ${attractors.columns} elements a row, the model's latents have ${k}`,
    );
  }
  if (attractors.rows === 0) throw new InputError(`${spec}: holds no attractor, expected at least one`);
  return attractors;
}
