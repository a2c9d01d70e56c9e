/** How a measure runs from the command line: progress, Ctrl-C, and one result on stdout. */
import { join } from "node:path";
import { interruptSignal } from "./interrupt.js";
import type { OutputFlags } from "./modelOptions.js";
import { progressLine, type ShownProgress } from "./progress.js";

export interface Measured {
  readonly record: unknown;
  /** The record in words. */
  readonly text: string;
  readonly folder: string | null;
}

export async function runMeasure(
  { json = false, report }: Pick<OutputFlags, "json" | "report">,
  measure: (call: {
    signal: AbortSignal;
    onProgress: (progress: ShownProgress) => void;
  }) => Promise<Measured>,
): Promise<void> {
  const progress = progressLine({ json });
  const { signal, release } = interruptSignal();
  try {
    const { record, text, folder } = await measure({ signal, onProgress: progress.update });
    progress.clear();
    if (json) {
      process.stdout.write(`${JSON.stringify(record, null, 2)}\n`);
      if (folder !== null) process.stderr.write(`${JSON.stringify({ out: folder })}\n`);
      return;
    }
    process.stdout.write(`${text}\n`);
    if (folder !== null) process.stdout.write(`folder  ${folder}\n`);
    if (folder !== null && report) process.stdout.write(`report  ${join(folder, "report.html")}\n`);
  } finally {
    progress.clear();
    release();
  }
}
