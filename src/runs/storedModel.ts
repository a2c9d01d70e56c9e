/** A finished run as the beginning of a measure: its model, and the initial points it started from. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { drawPoints, type InitialPoints } from "../dynamics/initial.js";
import type { MeasureNote } from "../dynamics/note.js";
import type { AttractorOptions } from "../dynamics/options.js";
import { data, latents, matched, noise, type PointSource } from "../dynamics/points.js";
import type { RunRecord } from "../dynamics/result.js";
import type { EngineOptions } from "../engines/choose.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { InputError } from "../errors.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { loadAutoencoder } from "../models/load.js";
import { findings } from "../report/findings.js";
import { loadOptions } from "./compute.js";
import { readRun, type StoredRun, type StoredSet } from "./run.js";

/** Whether `spec` is a run folder, or one with "#SET" behind it. */
export async function isRun(spec: string): Promise<boolean> {
  return (await splitRun(spec)) !== null;
}

export interface ChosenSet {
  readonly run: StoredRun;
  readonly set: StoredSet;
  readonly folder: string;
}

/** `RUN` or `RUN#SET`; a run with several sets needs the name. Throws InputError where there is no such run or set. */
export async function readChosenSet(spec: string): Promise<ChosenSet> {
  const parts = await splitRun(spec);
  if (parts === null) throw new InputError(`${spec}: is no run folder (run.json is not there)`);
  const { folder, name } = parts;
  const run = await readRun(folder);
  const names = run.sets.map((set) => set.name).join(", ");
  if (name === null && run.sets.length !== 1) {
    throw new InputError(
      `${folder}: holds ${run.sets.length} sets of points; pick one with "${folder}#NAME" (${names})`,
    );
  }
  const set = name === null ? run.sets[0] : run.sets.find((candidate) => candidate.name === name);
  if (set === undefined) {
    throw new InputError(`${folder}: has no set of points called "${name}" (it holds ${names})`);
  }
  return { run, set, folder };
}

/** What to know before taking a set's attractors for a result. */
export function storedFindings({ run, set }: Pick<ChosenSet, "run" | "set">): MeasureNote[] {
  return findings({ ...set, summary: run.record.summary[set.name] });
}

/** The folder and the set that a spec names; null where there is no run. */
export async function splitRun(spec: string): Promise<{ folder: string; name: string | null } | null> {
  if (await holdsRun(spec)) return { folder: spec, name: null };
  const at = spec.lastIndexOf("#");
  if (at < 0 || !(await holdsRun(spec.slice(0, at)))) return null;
  return { folder: spec.slice(0, at), name: spec.slice(at + 1) };
}

async function holdsRun(folder: string): Promise<boolean> {
  try {
    return (await stat(join(folder, "run.json"))).isFile();
  } catch {
    // What cannot be looked at is no run; whoever reads it as something else says why not.
    return false;
  }
}

/**
 * The model a run was made with, from where it was then, or from `path`. Throws InputError where it is not there or
 * its files are others. A command that a record names is not run: whoever wrote the folder need not be who reads it.
 */
export async function modelOf(
  { record }: StoredRun,
  path?: string,
  options: Pick<EngineOptions, "engine"> = {},
): Promise<Autoencoder> {
  const { path: recorded, name, format } = record.model;
  if (path === undefined && format === "process") {
    throw new InputError(
      `${name}: was computed by a process; say which to start with --model "${recorded}", if you trust it`,
    );
  }
  if (format === "function") {
    throw new InputError(`${name}: was computed by a function, which no record can bring back`);
  }
  const model = await loadAutoencoder(path ?? recorded, loadOptions(options));
  if (model.hash === record.model.hash) return model;
  await model[Symbol.asyncDispose]();
  throw new InputError(
    `${path ?? recorded}: is not the model of the run: its files have the hash ${model.hash.slice(0, 12)}…, the run's ${record.model.hash.slice(0, 12)}…`,
  );
}

/** What decides when a point has converged, and which endpoints are one attractor. */
const OF_THE_ITERATION = [
  "preset",
  "tolerance",
  "maxIterations",
  "criterion",
  "divergenceRatio",
  "precision",
  "threshold",
  "rule",
  "distance",
] as const satisfies readonly (keyof AttractorOptions)[];

/** Throws InputError naming the first option of an iteration that was given although nothing is iterated. */
export function refuseIteration(options: Omit<AttractorOptions, "from">, why: string): void {
  const name = OF_THE_ITERATION.find((option) => options[option] !== undefined);
  if (name !== undefined) throw new InputError(`${name} is ${options[name]}, but ${why}`);
}

/**
 * The initial points of one set of a run, drawn again from what its record keeps of their source; null where that was
 * a matrix of the caller's, which no record keeps. Throws InputError where files have gone or their rows are others in
 * number.
 */
export async function initialOf(
  { run, set, folder }: ChosenSet,
  model: Autoencoder,
  engine: Engine,
  call: CallOptions,
): Promise<InitialPoints | null> {
  const source = sourceOf(run.record, set.name);
  if (source === null) return null;
  const points = await drawPoints(source, { model, engine, call, drawn: new Map() });
  if (points.initial.rows !== set.label.length) {
    throw new InputError(
      `${folder}: set "${set.name}" has ${set.label.length} points, its source now has ${points.initial.rows}`,
    );
  }
  return points;
}

/** The source of a set as the record describes it; null where it cannot be had from the record. */
export function sourceOf({ options }: RunRecord, set: string): PointSource | null {
  const { from } = options;
  if (typeof from !== "object" || from === null) return null;
  return parseSource((from as Record<string, unknown>)[set]);
}

function parseSource(described: unknown): PointSource | null {
  if (typeof described !== "object" || described === null) return null;
  const { kind, points, randomSeed, scale, path, of } = described as Record<string, unknown>;
  const count = typeof points === "number" ? points : undefined;
  const seed = typeof randomSeed === "number" ? randomSeed : undefined;
  if (kind === "noise" && count !== undefined) {
    return noise(count, { randomSeed: seed, ...(typeof scale === "number" ? { scale } : {}) });
  }
  if (kind === "data" && typeof path === "string") return data(path, { count });
  if (kind === "latents" && typeof path === "string") return latents(path, { count });
  if (kind === "matched" && count !== undefined) {
    const base = parseSource(of);
    if (base?.kind === "data" || base?.kind === "latents") return matched(count, base, { randomSeed: seed });
  }
  return null;
}
