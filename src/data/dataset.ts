/** Rows of a file before preprocessing: images or plain vectors, whatever the format they came from. */
import { InputError } from "../errors.js";

export type Elements =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** One row: elements row-major in `shape`, as stored (bytes stay 0–255). Images are [H,W], [C,H,W] or [H,W,C]. */
export interface DataRow {
  readonly shape: readonly number[];
  readonly data: Elements;
}

export interface Dataset {
  /** The file or folder, for messages. */
  readonly path: string;
  readonly format: "idx" | "cifar" | "npy" | "safetensors" | "image-folder";
  /** Rows that were asked for. */
  readonly rows: number;
  /** Rows there are. */
  readonly available: number;
  /** Row `index` of 0 … rows − 1. Views where the format allows it, decoded on demand where it does not. */
  row(index: number): DataRow | Promise<DataRow>;
}

export interface ReadRowsOptions {
  /** Only the first `count` rows; default: all. */
  readonly count?: number;
}

/** Rows of one shape that lie one after another in `data`, [rows, ...rowShape]. */
export interface DenseRows {
  readonly path: string;
  readonly rowShape: readonly number[];
  readonly rows: number;
  readonly available: number;
  readonly data: Elements;
}

export function denseDataset(format: Dataset["format"], dense: DenseRows): Dataset {
  const size = dense.rowShape.reduce((product, d) => product * d, 1);
  return {
    path: dense.path,
    format,
    rows: dense.rows,
    available: dense.available,
    row: (index) => ({
      shape: dense.rowShape,
      data: dense.data.subarray(index * size, (index + 1) * size),
    }),
  };
}

/** Throws InputError unless `count` is a whole number of at least 0 (or undefined). */
export function checkCount(count: number | undefined, path: string): void {
  if (count !== undefined && (!Number.isInteger(count) || count < 0)) {
    throw new InputError(`${path}: ${count} rows were asked for, expected a whole number of at least 0`);
  }
}

/** How many rows to read of `available`. Throws InputError where there are fewer than `count`. */
export function rowsToRead(count: number | undefined, available: number, path: string): number {
  checkCount(count, path);
  if (count !== undefined && count > available) {
    throw new InputError(`${path}: ${count} rows were asked for, the file holds ${available}`);
  }
  return count ?? available;
}

/** Product of `dimensions`, or InputError where it is too large to be a size. */
export function checkedProduct(dimensions: readonly number[], path: string): number {
  let product = 1;
  for (const d of dimensions) {
    product *= d;
    if (!Number.isSafeInteger(product)) {
      throw new InputError(
        `${path}: its header claims a shape of ${dimensions.join("×")}, more than any file can hold`,
      );
    }
  }
  return product;
}
