/** Reads latents: [N, k], or [N, …] whose row has k elements. */
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { ReadRowsOptions } from "./dataset.js";
import { finiteRows, readDenseRows, widthOf } from "./matrixFile.js";

/**
 * Reads `FILE.npy` or `FILE.safetensors[#tensor]` as float32 rows of `k` elements. Throws InputError where rows
 * are not k wide or hold a NaN or an infinity (naming the row), or the file cannot be read.
 */
export async function readLatents(spec: string, k: number, options: ReadRowsOptions = {}): Promise<Matrix> {
  const dense = await readDenseRows(spec, options, "latents");
  const width = widthOf(dense);
  if (width !== k) {
    throw new InputError(
      `${dense.path}: rows have ${width} elements (${dense.rowShape.join("×") || 1}), the model's latents have ${k}`,
    );
  }
  return finiteRows(dense);
}
