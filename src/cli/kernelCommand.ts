/** How a kernel on plain matrices runs from the command line: one JSON object on stdout, tensors to a file. */
import type { Command } from "commander";
import { checkRows, checkWidths } from "../analysis/kernel.js";
import { readMatrix } from "../data/matrixFile.js";
import { checkOutputFile } from "../data/outputFile.js";
import { type TensorsToWrite, writeSafetensors } from "../data/safetensors.js";
import type { Matrix } from "../matrix.js";
import type { Progress } from "../native.js";
import { packageVersion } from "../version.js";
import { given, number } from "./arguments.js";
import { interruptSignal } from "./interrupt.js";
import { progressLine } from "./progress.js";

export const MATRIX_HELP =
  "Matrices are FILE.npy or FILE.safetensors#tensor (#tensor where the file holds several); rows are vectors.";

export const DEVICE_HELP = "cpu, cuda, cuda:INDEX, or auto: CUDA where it can be used (default: cpu)";

/**
 * Two matrices that have to be of one width. Throws InputError naming the files where they are not, or the first has
 * no row.
 */
export async function readPair(first: string, second: string): Promise<readonly [Matrix, Matrix]> {
  const [a, b] = [await readMatrix(first), await readMatrix(second)];
  checkRows(first, a);
  checkWidths(`${first} and ${second}`, a, b);
  return [a, b];
}

export interface KernelFlags {
  threads?: number;
  device?: string;
  /** A file for the tensors of the result. */
  out?: string;
  json?: boolean;
}

export interface KernelCall {
  readonly threads?: number;
  readonly device?: string;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

export interface KernelOutcome {
  /** Printed as JSON; no NaN and no infinity in it. */
  readonly result: unknown;
  readonly tensors?: TensorsToWrite;
  /** For stderr: what was done otherwise than asked. */
  readonly note?: string;
}

/** --out, where the kernel has tensors to write; --threads; and --json, which is how these commands answer anyway. */
export function addKernelOptions(command: Command, tensors: string | null): Command {
  if (tensors !== null) {
    command.option("--out <file>", `safetensors file for ${tensors} (default: none)`);
  }
  return command
    .option("--threads <number>", "worker threads (default: all)", number)
    .option("--device <name>", DEVICE_HELP)
    .option("--json", "progress as one JSON line a second on stderr; the result is JSON in any case");
}

export async function runKernelCommand(
  name: string,
  { threads, device, out, json = false }: KernelFlags,
  kernel: (call: KernelCall) => Promise<KernelOutcome>,
): Promise<void> {
  if (out !== undefined) await checkOutputFile(out);
  const progress = progressLine({ json });
  const { signal, release } = interruptSignal();
  const onProgress = ({ finished, total, seconds }: Progress): void =>
    progress.update({
      phase: name,
      set: "",
      finished,
      total,
      rowsPerSecond: seconds > 0 ? finished / seconds : 0,
      seconds,
    });
  try {
    const call = { ...given({ threads, device }), signal, onProgress };
    const { result, tensors, note } = await kernel(call);
    if (out !== undefined && tensors !== undefined) {
      await writeSafetensors(out, tensors, { producer: `latent-dynamics ${packageVersion()}` });
    }
    progress.clear();
    if (note !== undefined) process.stderr.write(`latdyn: ${note}\n`);
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  } finally {
    progress.clear();
    release();
  }
}
