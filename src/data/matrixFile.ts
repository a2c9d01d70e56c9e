/** Plain matrices on disk: rows of numbers in an .npy or a safetensors file, for latents and for other tools. */
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { peek } from "./bytes.js";
import { checkCount, type DenseRows, type ReadRowsOptions } from "./dataset.js";
import { looksLikeNpy, readNpyArray } from "./npy.js";
import { readTensorRows, splitTensor } from "./tensorRows.js";

/**
 * Reads `FILE.npy` or `FILE.safetensors[#tensor]` as float32 rows: [N, columns], [N, …] with every row flattened, or
 * [N] as N rows of one element. Throws InputError where the file cannot be read, a row has no elements, or a value is
 * not finite in float32 (naming row and column).
 */
export async function readMatrix(spec: string, options: ReadRowsOptions = {}): Promise<Matrix> {
  const dense = await readDenseRows(spec, options);
  const width = widthOf(dense);
  if (width === 0) {
    throw new InputError(`${dense.path}: its rows have no elements (${dense.rowShape.join("×")})`);
  }
  return finiteRows(dense);
}

/**
 * The rows as stored, whatever their element type. Throws InputError, which calls them `what`, where the file is of
 * neither format.
 */
export async function readDenseRows(
  spec: string,
  { count }: ReadRowsOptions = {},
  what = "rows of numbers",
): Promise<DenseRows> {
  checkCount(count, spec);
  const { path, tensor } = splitTensor(spec);
  if (tensor === null && looksLikeNpy(await peek(path, 6))) {
    const { shape, data, available } = await readNpyArray(path, { count });
    if (shape.length === 0) throw new InputError(`${path}: holds a scalar, expected rows`);
    return { path, rowShape: shape.slice(1), rows: shape[0], available, data };
  }
  if (tensor === null && !path.endsWith(".safetensors")) {
    throw new InputError(`${path}: is neither an .npy nor a .safetensors file, expected ${what}`);
  }
  return readTensorRows(path, tensor, { count });
}

/** Elements of one row. */
export function widthOf({ rowShape }: DenseRows): number {
  return rowShape.reduce((product, d) => product * d, 1);
}

/** The rows in float32. Throws InputError naming the first row and column that hold a NaN or an infinity. */
export function finiteRows(dense: DenseRows): Matrix {
  const columns = widthOf(dense);
  const data = Float32Array.from(dense.data);
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    const stored = dense.data[bad];
    const found = Number.isFinite(stored) ? `${stored} (${data[bad]} in single precision)` : stored;
    throw new InputError(
      `${dense.path}: row ${Math.floor(bad / columns)} holds ${found} at column ${bad % columns}, expected finite numbers`,
    );
  }
  return { data, rows: dense.rows, columns };
}
