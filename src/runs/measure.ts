/** What every measure on disk shares: a folder with a record, tensors and a page, whole or not there. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TensorsToWrite, writeSafetensors } from "../data/safetensors.js";
import { packageVersion } from "../version.js";
import { checkFolder, writeFolder } from "./folder.js";

export interface MeasureFolder {
  /** Called `${name}.json`; infinities and NaN must not be in it. */
  readonly name: string;
  readonly record: unknown;
  /** By file name, without ".safetensors". */
  readonly tensors: Readonly<Record<string, TensorsToWrite>>;
  /** By file name, with its ending. */
  readonly texts?: Readonly<Record<string, string>>;
  /** report.html; null leaves it out. */
  readonly report: string | null;
}

/** Files a measure of that name writes, and with that the only ones --overwrite replaces. */
export function measureFiles(
  name: string,
  { tensors, texts = [] }: { readonly tensors: readonly string[]; readonly texts?: readonly string[] },
): string[] {
  return [`${name}.json`, "report.html", ...tensors.map((file) => `${file}.safetensors`), ...texts];
}

/** Throws InputError where the folder cannot be written; to be called before the work. */
export function checkMeasureFolder(
  folder: string,
  { overwrite, files }: { readonly overwrite: boolean; readonly files: readonly string[] },
): Promise<void> {
  return checkFolder(folder, { overwrite, replaceable: files });
}

/** Writes the folder whole or not at all. Throws InputError as `writeFolder` does. */
export function writeMeasure(
  folder: string,
  { name, record, tensors, texts = {}, report }: MeasureFolder,
  { overwrite, files }: { readonly overwrite: boolean; readonly files: readonly string[] },
): Promise<void> {
  const metadata = { producer: `latent-dynamics ${packageVersion()}` };
  return writeFolder(folder, { overwrite, replaceable: files }, async (temporary) => {
    await writeFile(join(temporary, `${name}.json`), `${JSON.stringify(record, null, 2)}\n`);
    for (const [file, content] of Object.entries(tensors)) {
      await writeSafetensors(join(temporary, `${file}.safetensors`), content, metadata);
    }
    for (const [file, content] of Object.entries(texts)) await writeFile(join(temporary, file), content);
    if (report !== null) await writeFile(join(temporary, "report.html"), report);
  });
}
