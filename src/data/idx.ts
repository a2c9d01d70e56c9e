/** The idx format of MNIST: two zero bytes, element type, number of dimensions, sizes, elements; big-endian. */
import { InputError } from "../errors.js";
import { readBytes } from "./bytes.js";
import {
  checkedProduct,
  type Dataset,
  denseDataset,
  type Elements,
  type ReadRowsOptions,
  rowsToRead,
} from "./dataset.js";

interface ElementType {
  readonly bytes: number;
  read(view: DataView, count: number): Elements;
}

const reader =
  (bytes: number, make: (count: number) => Elements, get: (view: DataView, offset: number) => number) =>
  (view: DataView, count: number): Elements => {
    const out = make(count);
    for (let i = 0; i < count; i++) out[i] = get(view, i * bytes);
    return out;
  };

const TYPES: Readonly<Record<number, ElementType>> = {
  8: { bytes: 1, read: (view, count) => new Uint8Array(view.buffer, view.byteOffset, count) },
  9: { bytes: 1, read: (view, count) => new Int8Array(view.buffer, view.byteOffset, count) },
  11: {
    bytes: 2,
    read: reader(
      2,
      (n) => new Int16Array(n),
      (v, o) => v.getInt16(o),
    ),
  },
  12: {
    bytes: 4,
    read: reader(
      4,
      (n) => new Int32Array(n),
      (v, o) => v.getInt32(o),
    ),
  },
  13: {
    bytes: 4,
    read: reader(
      4,
      (n) => new Float32Array(n),
      (v, o) => v.getFloat32(o),
    ),
  },
  14: {
    bytes: 8,
    read: reader(
      8,
      (n) => new Float64Array(n),
      (v, o) => v.getFloat64(o),
    ),
  },
};

/** Whether a file that starts with these bytes looks like idx. */
export function looksLikeIdx(head: Uint8Array): boolean {
  return head.length >= 4 && head[0] === 0 && head[1] === 0 && TYPES[head[2]] !== undefined && head[3] > 0;
}

/**
 * Reads an idx file, plain or gzip'd: [N, …], the first dimension counts rows.
 * Throws InputError where it is not idx, is truncated, holds more than its header says, or has too few rows.
 */
export async function readIdx(path: string, { count }: ReadRowsOptions = {}): Promise<Dataset> {
  let dimensions: number[] = [];
  let type: ElementType | undefined;
  let rows = 0;
  const { bytes } = await readBytes(path, (head) => {
    if (head.length < 4) return undefined;
    type = TYPES[head[2]];
    if (head[0] !== 0 || head[1] !== 0 || type === undefined || head[3] === 0) {
      throw new InputError(
        `${path}: is not an idx file: it starts with ${head.subarray(0, 4).toString("hex")}, expected 0000, an element type and a number of dimensions`,
      );
    }
    const header = 4 + 4 * head[3];
    if (head.length < header) return undefined;
    dimensions = Array.from({ length: head[3] }, (_, i) => head.readUInt32BE(4 + 4 * i));
    rows = rowsToRead(count, dimensions[0], path);
    const rowBytes = checkedProduct([...dimensions.slice(1), type.bytes], path);
    return {
      header,
      keep: checkedProduct([rows, rowBytes], path),
      total: header + checkedProduct([dimensions[0], rowBytes], path),
    };
  });
  const rowShape = dimensions.slice(1);
  const elements = rows * checkedProduct(rowShape, path);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = (type as unknown as ElementType).read(view, elements);
  return denseDataset("idx", { path, rowShape, rows, available: dimensions[0], data });
}
