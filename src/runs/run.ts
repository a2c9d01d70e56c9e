/** A run on disk: DESIGN's run folder, written and read. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileError } from "../data/bytes.js";
import {
  readSafetensors,
  type SafetensorsFile,
  type TensorToWrite,
  writeSafetensors,
} from "../data/safetensors.js";
import type { AttractorRun, RunRecord, SetResult } from "../dynamics/result.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { packageVersion } from "../version.js";
import { checkFolder, writeFolder } from "./folder.js";

const FILES = {
  record: "run.json",
  points: "points.safetensors",
  attractors: "attractors.safetensors",
  report: "report.html",
} as const;

export interface WriteRunOptions {
  /** Replace an existing run folder, once the new one is whole. */
  readonly overwrite?: boolean;
  /** Store the last iterate of every point. Default true. */
  readonly endpoints?: boolean;
  /** The page; null leaves report.html out. */
  readonly report: string | null;
}

/** A set of points as it lies on disk. N points, A attractors, k dimensions. */
export interface StoredSet {
  readonly name: string;
  /** [N]: attractor joined, −1 for none. */
  readonly label: Int32Array;
  /** [N] */
  readonly iterations: Int32Array;
  /** [N] */
  readonly residual: Float32Array;
  /** [N]: STATUS code. */
  readonly status: Uint8Array;
  /** [N] */
  readonly period: Uint8Array;
  /** [N, k]; null where the run was written without. */
  readonly endpoints: Matrix | null;
  /** [A, k] */
  readonly attractors: Matrix;
  /** [A] */
  readonly basinSize: Int32Array;
  /** [A] */
  readonly attractorResidual: Float32Array;
  /** [A] */
  readonly representative: Int32Array;
  /** [A], NaN where it is not known; null where the run was written without. */
  readonly spectralRadius: Float32Array | null;
  /** As spectralRadius. */
  readonly spectralNorm: Float32Array | null;
}

export interface StoredRun {
  readonly record: RunRecord;
  readonly sets: readonly StoredSet[];
}

/** Throws InputError where `folder` exists (unless `overwrite`), holds anything but a run, or cannot be created. */
export function checkRunFolder(
  folder: string,
  { overwrite = false }: { overwrite?: boolean } = {},
): Promise<void> {
  return checkFolder(folder, { overwrite, replaceable: Object.values(FILES) });
}

/**
 * Writes `folder` with run.json, points.safetensors, attractors.safetensors and, where given, report.html.
 * With one set tensors are called label, …; with several NAME.label, …. The folder appears whole or not at all.
 * Throws InputError where it exists, holds anything but a run, cannot be written, or the disk is full.
 */
export function writeRun(
  folder: string,
  run: AttractorRun,
  { overwrite = false, endpoints = true, report }: WriteRunOptions,
): Promise<void> {
  const metadata = { producer: `latent-dynamics ${packageVersion()}` };
  return writeFolder(folder, { overwrite, replaceable: Object.values(FILES) }, async (temporary) => {
    await writeFile(join(temporary, FILES.record), `${JSON.stringify(run.record, null, 2)}\n`);
    await writeSafetensors(
      join(temporary, FILES.points),
      prefixed(run.sets, (set) => pointTensors(set, endpoints)),
      metadata,
    );
    await writeSafetensors(join(temporary, FILES.attractors), prefixed(run.sets, attractorTensors), metadata);
    if (report !== null) await writeFile(join(temporary, FILES.report), report);
  });
}

/** Reads a run folder back. Throws InputError where a file is missing, damaged, or does not fit the others. */
export async function readRun(folder: string): Promise<StoredRun> {
  const record = await readRecord(folder);
  const points = await readSafetensors(join(folder, FILES.points));
  const attractors = await readSafetensors(join(folder, FILES.attractors));
  const names = Object.keys(record.summary);
  const k = record.model.latentDimension;
  const sets = names.map((name) => {
    const prefix = names.length > 1 ? `${name}.` : "";
    const point = columnsOf(points, join(folder, FILES.points), prefix);
    const attractor = columnsOf(attractors, join(folder, FILES.attractors), prefix);
    const rows = record.summary[name].points;
    const count = record.summary[name].attractors;
    return {
      name,
      label: point("label", [rows], Int32Array),
      iterations: point("iterations", [rows], Int32Array),
      residual: point("residual", [rows], Float32Array),
      status: point("status", [rows], Uint8Array),
      period: point("period", [rows], Uint8Array),
      endpoints: points.tensors.has(`${prefix}endpoints`)
        ? { data: point("endpoints", [rows, k], Float32Array), rows, columns: k }
        : null,
      attractors: { data: attractor("attractors", [count, k], Float32Array), rows: count, columns: k },
      basinSize: attractor("basin_size", [count], Int32Array),
      attractorResidual: attractor("residual", [count], Float32Array),
      representative: attractor("representative", [count], Int32Array),
      spectralRadius: attractors.tensors.has(`${prefix}spectral_radius`)
        ? attractor("spectral_radius", [count], Float32Array)
        : null,
      spectralNorm: attractors.tensors.has(`${prefix}spectral_norm`)
        ? attractor("spectral_norm", [count], Float32Array)
        : null,
    };
  });
  return { record, sets };
}

function prefixed(
  sets: readonly SetResult[],
  tensors: (set: SetResult) => Record<string, TensorToWrite>,
): Map<string, TensorToWrite> {
  const all = new Map<string, TensorToWrite>();
  for (const set of sets) {
    const prefix = sets.length > 1 ? `${set.name}.` : "";
    for (const [key, tensor] of Object.entries(tensors(set))) all.set(prefix + key, tensor);
  }
  return all;
}

function pointTensors(set: SetResult, endpoints: boolean): Record<string, TensorToWrite> {
  const shape = [set.label.length];
  return {
    label: { shape, data: set.label },
    iterations: { shape, data: set.iterations },
    residual: { shape, data: set.residual },
    status: { shape, data: set.status },
    period: { shape, data: set.period },
    ...(endpoints ? { endpoints: matrixTensor(set.endpoints) } : {}),
  };
}

function attractorTensors(set: SetResult): Record<string, TensorToWrite> {
  const shape = [set.attractors.rows];
  return {
    attractors: matrixTensor(set.attractors),
    basin_size: { shape, data: set.basinSize },
    residual: { shape, data: set.attractorResidual },
    representative: { shape, data: set.representative },
    ...(set.verification === undefined
      ? {}
      : {
          spectral_radius: { shape, data: set.verification.spectralRadius },
          spectral_norm: { shape, data: set.verification.spectralNorm },
        }),
  };
}

function matrixTensor({ data, rows, columns }: Matrix): TensorToWrite {
  return { shape: [rows, columns], data };
}

async function readRecord(folder: string): Promise<RunRecord> {
  const path = join(folder, FILES.record);
  let text: string;
  try {
    if (!(await stat(folder)).isDirectory())
      throw new InputError(`${folder}: is a file, expected a run folder`);
    text = await readFile(path, "utf8");
  } catch (error) {
    throw fileError(error, path);
  }
  let record: RunRecord;
  try {
    record = JSON.parse(text) as RunRecord;
  } catch (error) {
    throw new InputError(`${path}: is not valid JSON (${(error as Error).message})`, { cause: error });
  }
  if (
    typeof record?.summary !== "object" ||
    record.summary === null ||
    !Number.isInteger(record.model?.latentDimension)
  ) {
    throw new InputError(`${path}: lacks "summary" or "model.latentDimension", expected the record of a run`);
  }
  return record;
}

type Elements = Int32Array | Float32Array | Uint8Array;

function columnsOf({ tensors }: SafetensorsFile, path: string, prefix: string) {
  return <T extends Elements>(key: string, shape: readonly number[], type: new (length: number) => T): T => {
    const tensor = tensors.get(prefix + key);
    if (tensor === undefined) throw new InputError(`${path}: has no tensor "${prefix}${key}"`);
    if (!(tensor.data instanceof type) || tensor.shape.join() !== shape.join()) {
      throw new InputError(
        `${path}: "${prefix}${key}" is ${tensor.dtype} [${tensor.shape.join(", ")}], run.json expects [${shape.join(", ")}]`,
      );
    }
    return tensor.data;
  };
}
