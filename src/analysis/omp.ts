/** Signals as combinations of few atoms: orthogonal matching pursuit on plain matrices. */
import { deviceNumber } from "../device.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native, type OmpSelection } from "../native.js";
import { callOf, checkFinite, checkRows, checkWidths, type DeviceOptions, runKernel } from "./kernel.js";

export interface PursuitOptions extends DeviceOptions {
  /** Numbers of atoms to choose, at least one, each from 1 to the number of atoms. */
  readonly sparsities: readonly number[];
  /** Bytes beside arguments and result, at least 1. Default 1 GiB. Of the CPU: a CUDA device gives what is free. */
  readonly memoryBudget?: number;
}

/**
 * dictionary [atoms, dimension], signals [S, dimension] → a selection for each sparsity, ascending, each once; all from
 * one pass. A step takes the atom whose unit-length form has the largest |correlation| with what is left, the first of
 * equals, and fits all chosen ones by least squares: scikit-learn's semantics. Atoms of length zero are never chosen;
 * a signal that nothing more can be done for stops early, and is counted.
 * Throws InputError where widths differ, there is no atom, a sparsity or a value does not fit; AbortedError where the
 * signal fires.
 */
export async function matchingPursuit(
  dictionary: Matrix,
  signals: Matrix,
  { sparsities, memoryBudget = 2 ** 30, ...options }: PursuitOptions,
): Promise<OmpSelection[]> {
  checkWidths("omp", dictionary, signals);
  checkRows("omp: the dictionary", dictionary);
  checkFinite("omp: the dictionary", dictionary);
  checkFinite("omp: the signals", signals);
  const wanted = checkSparsities(sparsities, dictionary.rows);
  if (!Number.isSafeInteger(memoryBudget) || memoryBudget < 1) {
    throw new InputError(`omp: memoryBudget is ${memoryBudget}, expected a whole number of bytes above 0`);
  }
  const call = callOf(options, ["sparsities", "memoryBudget", "device"]);
  const device = deviceNumber(options.device);
  const { bySparsity } = await runKernel("omp", call, (onProgress) =>
    native().omp(
      dictionary.data,
      signals.data,
      dictionary.columns,
      { sparsities: wanted, threads: call.threads, memoryBudget, device },
      onProgress,
    ),
  );
  return bySparsity;
}

function checkSparsities(sparsities: readonly number[], atoms: number): Int32Array {
  if (!Array.isArray(sparsities) || sparsities.length === 0) {
    throw new InputError("omp: sparsity is empty, expected at least one number of atoms");
  }
  for (const sparsity of sparsities) {
    if (!Number.isInteger(sparsity) || sparsity < 1 || sparsity > atoms) {
      throw new InputError(
        `omp: sparsity is ${sparsity}, expected a whole number from 1 to ${atoms}, the number of atoms`,
      );
    }
  }
  return Int32Array.from(new Set(sparsities)).sort();
}
