import { InputError } from "./errors.js";

/** Row vectors, row-major: element (i, j) is `data[i * columns + j]`. `data.length === rows * columns`. */
export interface Matrix {
  readonly data: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** Wraps `data` as rows of `columns` elements. Throws InputError where the length is not a whole number of rows. */
export function matrix(data: Float32Array, columns: number): Matrix {
  if (!Number.isInteger(columns) || columns < 1) {
    throw new InputError(`matrix: columns is ${columns}, expected a whole number of at least 1`);
  }
  if (data.length % columns !== 0) {
    throw new InputError(`matrix: ${data.length} elements do not make rows of ${columns}`);
  }
  return { data, rows: data.length / columns, columns };
}

/** Row i as a view, not a copy. */
export function row(m: Matrix, i: number): Float32Array {
  return m.data.subarray(i * m.columns, (i + 1) * m.columns);
}

/** The named rows, copied, in the order given. */
export function takeRows(m: Matrix, indices: ArrayLike<number>): Matrix {
  const data = new Float32Array(indices.length * m.columns);
  for (let i = 0; i < indices.length; i++) data.set(row(m, indices[i]!), i * m.columns);
  return { data, rows: indices.length, columns: m.columns };
}
