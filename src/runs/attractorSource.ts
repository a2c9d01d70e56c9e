/** Attractors that were found before: those of a finished run, or the rows of a file. */
import { stat } from "node:fs/promises";
import { readLatents } from "../data/latents.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { readRun, type StoredSet } from "./run.js";

/**
 * `RUN`, `RUN#SET` (a run folder, and which of its sets where there are several) or `FILE[#tensor]` → [A, k], A ≥ 1.
 * Throws InputError where there is no such set, no attractor, or rows are not `k` wide.
 */
export async function readAttractors(spec: string, k: number): Promise<Matrix> {
  const set = await readSet(spec);
  if (set !== null && set.attractors.columns !== k) {
    throw new InputError(
      `${spec}: its attractors have ${set.attractors.columns} elements a row, the model's latents have ${k}`,
    );
  }
  const attractors = set === null ? await readLatents(spec, k) : set.attractors;
  if (attractors.rows === 0) throw new InputError(`${spec}: holds no attractor, expected at least one`);
  return attractors;
}

/** The set of a run that `RUN` or `RUN#SET` names; null where it names no folder. Throws InputError as above. */
export async function readSet(spec: string): Promise<StoredSet | null> {
  const at = spec.lastIndexOf("#");
  const whole = await isFolder(spec);
  if (!whole && (at < 0 || !(await isFolder(spec.slice(0, at))))) return null;
  const [folder, name] = whole ? [spec, undefined] : [spec.slice(0, at), spec.slice(at + 1)];
  const { sets } = await readRun(folder);
  const names = sets.map((set) => set.name).join(", ");
  if (name === undefined && sets.length !== 1) {
    throw new InputError(`${folder}: holds ${sets.length} sets; pick one with "${folder}#NAME" (${names})`);
  }
  const found = name === undefined ? sets[0] : sets.find((set) => set.name === name);
  if (found === undefined) {
    throw new InputError(`${folder}: has no set of points called "${name}" (it holds ${names})`);
  }
  return found;
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    // Whatever cannot be looked at is reported by whoever reads it as a file.
    return false;
  }
}
