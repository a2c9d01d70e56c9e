/** What all measures over the addon's kernels share: options of a call, checks of rows, errors. */
import { availableParallelism } from "node:os";
import { checkNames } from "../check.js";
import type { AttractorProgress } from "../dynamics/options.js";
import type { CallOptions } from "../engines/engine.js";
import { run } from "../engines/native.js";
import { AbortedError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { NativeJob, Progress } from "../native.js";

/** How a measure is computed; everything is optional, threads are as many as the machine runs at once. */
export type MeasureOptions = Partial<CallOptions>;

export interface DeviceOptions extends MeasureOptions {
  /**
   * `cpu` (default), `cuda` or `cuda:INDEX`, or `auto`: the first CUDA device, the CPU where there is none. Results are
   * the same: indices exactly, values to 1e-12.
   */
  readonly device?: string;
}

/** Of a measure that takes several steps: its progress says which one is at hand. */
export interface StagedOptions extends Omit<MeasureOptions, "onProgress"> {
  /** Called at most 10 times a second. */
  readonly onProgress?: (progress: AttractorProgress) => void;
}

const CALL: readonly string[] = ["threads", "signal", "onProgress"] satisfies (keyof CallOptions)[];

/**
 * Every field of a call, with its default filled in; `own`: options of the measure itself, which it has taken out
 * already. Throws InputError for an option that is neither, and where threads is not 1 … 1024.
 */
export function callOf(options: MeasureOptions, own: readonly string[] = []): CallOptions {
  checkNames(options, [...own, ...CALL], "option");
  const { threads = availableParallelism(), signal, onProgress } = options;
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new InputError(`threads is ${threads}, expected a whole number from 1 to 1024`);
  }
  return { threads, signal, onProgress };
}

/**
 * A kernel's result. Throws AbortedError, whose message begins with `what`, where the signal fired, DeviceError where a
 * device failed.
 */
export async function runKernel<Result extends { aborted: boolean }>(
  what: string,
  call: CallOptions,
  start: (onProgress?: (progress: Progress) => void) => NativeJob<Result>,
): Promise<Result> {
  const result = await run(call, start);
  if (result.aborted) throw new AbortedError(`${what}: aborted`, undefined, { cause: call.signal?.reason });
  return result;
}

/** Throws InputError where rows of `a` and of `b` differ in width. */
export function checkWidths(what: string, a: Matrix, b: Matrix): void {
  if (a.columns !== b.columns) {
    throw new InputError(`${what}: rows of ${a.columns} and of ${b.columns} elements, expected equal widths`);
  }
}

/** Throws InputError where there is no row. */
export function checkRows(what: string, { rows }: Matrix): void {
  if (rows === 0) throw new InputError(`${what}: is empty, expected at least one row`);
}

/** Throws InputError naming the first row and column that hold a NaN or an infinity. */
export function checkFinite(what: string, { data, columns }: Matrix): void {
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `${what}: row ${Math.floor(bad / columns)} holds ${data[bad]} at column ${bad % columns}, expected finite numbers`,
    );
  }
}
