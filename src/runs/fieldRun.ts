/** A vector field from a model's files to a folder with its picture: what `latdyn field` does. */

import { type Field, type FieldOptions, type PlaneChoice, vectorField } from "../dynamics/field.js";
import { InputError } from "../errors.js";
import { takeRows } from "../matrix.js";
import { loadAutoencoder } from "../models/load.js";
import { fieldFindings, fieldReport } from "../report/fieldReport.js";
import { packageVersion } from "../version.js";
import { loadOptions } from "./compute.js";
import { defaultFolder } from "./extract.js";
import { checkMeasureFolder, measureFiles, writeMeasure } from "./measure.js";
import { isRun, readChosenSet } from "./storedModel.js";

export interface FieldRunOptions extends Omit<FieldOptions, "plane"> {
  /** As `vectorField` takes it, or a text as `readPlane` does. */
  readonly plane?: PlaneChoice | string;
  /** The folder; null writes nothing. Default `runs/MODEL-field-DATE-TIME` below the current folder. */
  readonly out?: string | null;
  readonly overwrite?: boolean;
  /** Write report.html. Default true. */
  readonly report?: boolean;
}

const FILES = measureFiles("field", { tensors: ["field", "attractors"], texts: ["field.svg"] });

/**
 * Loads the model at `path`, evaluates the field, and writes field.json, field.safetensors (x [n], y [m], displacement
 * [m, n, 2], norm [m, n], label [m, n], status [m, n]), attractors.safetensors, field.svg and report.html.
 * Throws InputError before anything is computed where options, model or folder do not fit, and AbortedError where the
 * signal fires; then nothing is written.
 */
export async function runField(
  path: string,
  options: FieldRunOptions = {},
): Promise<{ field: Field; folder: string | null }> {
  const { out, overwrite = false, report = true, plane, ...fieldOptions } = options;
  const check = { overwrite, files: FILES };
  if (typeof out === "string") await checkMeasureFolder(out, check);
  await using model = await loadAutoencoder(path, loadOptions(options));
  const folder = out === undefined ? defaultFolder(`${model.name}-field`, new Date()) : out;
  if (folder !== null) await checkMeasureFolder(folder, check);
  const choice = typeof plane === "string" ? await readPlane(plane, model.latentDimension) : plane;
  const found = await vectorField(model, {
    ...fieldOptions,
    ...(choice === undefined ? {} : { plane: choice }),
  });
  const field = { ...found, record: { ...found.record, notes: fieldFindings(found) } };
  if (folder !== null) {
    const { fieldPicture } = await import("../report/fieldPicture.js");
    await writeMeasure(
      folder,
      {
        name: "field",
        record: field.record,
        tensors: fieldTensors(field),
        texts: { "field.svg": `${fieldPicture(field, `Vector field of ${model.name}`)}\n` },
        report: report ? fieldReport(field, packageVersion()) : null,
      },
      check,
    );
  }
  return { field, folder };
}

/**
 * `attractors:i,j,k` and `points:i,j,k`: rows of what the field's own points gave; `RUN#i,j,k` and `RUN#SET:i,j,k`:
 * rows of the attractors of a finished run. Throws InputError quoting the text.
 */
export async function readPlane(text: string, k: number): Promise<PlaneChoice> {
  const parts = /^(.*?)[:#](\d+),(\d+),(\d+)$/s.exec(text);
  if (parts === null) {
    throw new InputError(
      `plane is "${text}", expected attractors:I,J,K or points:I,J,K or RUN#I,J,K or RUN#SET:I,J,K with rows from 0`,
    );
  }
  const rows = [Number(parts[2]), Number(parts[3]), Number(parts[4])] as const;
  if (parts[1] === "attractors") return { attractors: rows };
  if (parts[1] === "points") return { initial: rows };
  if (!(await isRun(parts[1]))) {
    throw new InputError(`plane is "${text}": there is no run folder ${parts[1]}`);
  }
  const { attractors } = (await readChosenSet(parts[1])).set;
  if (attractors.columns !== k) {
    throw new InputError(
      `${parts[1]}: its attractors have ${attractors.columns} elements a row, the model's latents have ${k}`,
    );
  }
  const missing = rows.find((row) => row >= attractors.rows);
  if (missing !== undefined) {
    throw new InputError(
      `plane is "${text}": row ${missing} was asked for, there are ${attractors.rows} attractors`,
    );
  }
  return { points: takeRows(attractors, rows) };
}

function fieldTensors(field: Field) {
  const shape = [field.y.length, field.x.length];
  const { attractors, basinSize, attractorResidual, label, status } = field.grid;
  return {
    field: {
      x: { shape: [field.x.length], data: field.x },
      y: { shape: [field.y.length], data: field.y },
      displacement: { shape: [...shape, 2], data: field.displacement },
      norm: { shape, data: field.norm },
      label: { shape, data: label },
      status: { shape, data: status },
    },
    attractors: {
      attractors: { shape: [attractors.rows, attractors.columns], data: attractors.data },
      basin_size: { shape: [attractors.rows], data: basinSize },
      residual: { shape: [attractors.rows], data: attractorResidual },
    },
  };
}
