/** Reads latents: [N, k], or [N, …] whose row has k elements. */
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { peek } from "./bytes.js";
import { checkCount, type DenseRows, type ReadRowsOptions } from "./dataset.js";
import { looksLikeNpy, readNpyArray } from "./npy.js";
import { readTensorRows, splitTensor } from "./tensorRows.js";

/**
 * Reads `FILE.npy` or `FILE.safetensors[#tensor]` as float32 rows of `k` elements. Throws InputError where rows
 * are not k wide or hold a NaN or an infinity (naming the row), or the file cannot be read.
 */
export async function readLatents(spec: string, k: number, { count }: ReadRowsOptions = {}): Promise<Matrix> {
  checkCount(count, spec);
  const { path, rowShape, rows, data } = await readRows(spec, count);
  const width = rowShape.reduce((product, d) => product * d, 1);
  if (width !== k) {
    throw new InputError(
      `${path}: rows have ${width} elements (${rowShape.join("×") || 1}), the model's latents have ${k}`,
    );
  }
  const out = Float32Array.from(data);
  const bad = out.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `${path}: row ${Math.floor(bad / k)} holds ${out[bad]} at column ${bad % k}, expected finite numbers`,
    );
  }
  return { data: out, rows, columns: k };
}

async function readRows(spec: string, count: number | undefined): Promise<DenseRows> {
  const { path, tensor } = splitTensor(spec);
  if (tensor === null && looksLikeNpy(await peek(path, 6))) {
    const { shape, data, available } = await readNpyArray(path, { count });
    if (shape.length === 0) throw new InputError(`${path}: holds a scalar, expected rows`);
    return { path, rowShape: shape.slice(1), rows: shape[0], available, data };
  }
  if (tensor === null && !path.endsWith(".safetensors")) {
    throw new InputError(`${path}: is neither an .npy nor a .safetensors file, expected latents`);
  }
  return readTensorRows(path, tensor, { count });
}
