/** NumPy's .npy format, versions 1 to 3: little-endian, C order. */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { InputError } from "../errors.js";
import { fileError } from "./bytes.js";
import {
  checkedProduct,
  type Dataset,
  denseDataset,
  type Elements,
  type ReadRowsOptions,
  rowsToRead,
} from "./dataset.js";

const MAGIC = Buffer.from("\x93NUMPY", "latin1");

interface ElementType {
  readonly bytes: number;
  /** `buffer` is filled from the file, starts at 0 and has whole elements. */
  view(buffer: ArrayBuffer): Elements;
}

const TYPES: Readonly<Record<string, ElementType>> = {
  "<f4": { bytes: 4, view: (b) => new Float32Array(b) },
  "<f8": { bytes: 8, view: (b) => new Float64Array(b) },
  "|u1": { bytes: 1, view: (b) => new Uint8Array(b) },
  "|b1": { bytes: 1, view: (b) => new Uint8Array(b) },
  "|i1": { bytes: 1, view: (b) => new Int8Array(b) },
  "<u2": { bytes: 2, view: (b) => new Uint16Array(b) },
  "<i2": { bytes: 2, view: (b) => new Int16Array(b) },
  "<u4": { bytes: 4, view: (b) => new Uint32Array(b) },
  "<i4": { bytes: 4, view: (b) => new Int32Array(b) },
  // Exact up to 2^53; pixel values and labels are far below.
  "<u8": { bytes: 8, view: (b) => Float64Array.from(new BigUint64Array(b), Number) },
  "<i8": { bytes: 8, view: (b) => Float64Array.from(new BigInt64Array(b), Number) },
};

/** An array as .npy holds it; 64-bit whole numbers become Float64Array. */
export interface NpyArray {
  readonly path: string;
  /** [rows read, …]; [] for a scalar. */
  readonly shape: readonly number[];
  readonly data: Elements;
  /** Length of the first dimension in the file (1 for a scalar). */
  readonly available: number;
}

export function looksLikeNpy(head: Uint8Array): boolean {
  return head.length >= 6 && MAGIC.equals(head.subarray(0, 6));
}

/**
 * Reads a .npy array, or its first `count` rows only. Throws InputError where the file is not .npy, is
 * truncated or longer than its header says, is big-endian, in Fortran order, or of another element type.
 */
export async function readNpyArray(path: string, { count }: ReadRowsOptions = {}): Promise<NpyArray> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw fileError(error, path);
  }
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new InputError(`${path}: is not a file`);
    const { header, start } = await readHeader(file, info.size, path);
    const type = TYPES[header.descr];
    if (type === undefined) {
      throw new InputError(
        `${path}: elements are ${JSON.stringify(header.descr)}, expected one of ${Object.keys(TYPES).join(" ")} (convert with astype)`,
      );
    }
    if (header.fortran && header.shape.length > 1) {
      throw new InputError(
        `${path}: is in Fortran order, expected C order (save np.ascontiguousarray of it)`,
      );
    }
    const elements = checkedProduct(header.shape, path);
    const expected = start + checkedProduct([elements, type.bytes], path);
    if (info.size !== expected) {
      const fault = info.size < expected ? "is truncated" : "is too long";
      throw new InputError(`${path}: ${fault}: its header promises ${expected} bytes, it holds ${info.size}`);
    }
    const available = header.shape[0] ?? 1;
    const rows = rowsToRead(count, available, path);
    const shape = header.shape.length === 0 ? [] : [rows, ...header.shape.slice(1)];
    const wanted = checkedProduct(shape, path) * type.bytes;
    const buffer = new ArrayBuffer(wanted);
    await readFully(file, new Uint8Array(buffer), start, path);
    return { path, shape, data: type.view(buffer), available };
  } catch (error) {
    throw fileError(error, path);
  } finally {
    await file.close();
  }
}

/** A .npy file as rows. Throws as `readNpyArray`, and where the array is a scalar. */
export async function readNpy(path: string, options: ReadRowsOptions = {}): Promise<Dataset> {
  const { shape, data, available } = await readNpyArray(path, options);
  if (shape.length === 0) throw new InputError(`${path}: holds a scalar, expected rows`);
  return denseDataset("npy", { path, rowShape: shape.slice(1), rows: shape[0], available, data });
}

/** Writes `data`, row-major in `shape`, as .npy version 1. The file appears whole or not at all. */
export async function writeNpy(
  path: string,
  { shape, data }: { shape: readonly number[]; data: Float32Array | Float64Array | Int32Array | Uint8Array },
): Promise<void> {
  if (checkedProduct(shape, path) !== data.length) {
    throw new InputError(`${path}: ${data.length} elements do not fill the shape ${shape.join("×")}`);
  }
  const descr =
    data instanceof Float32Array
      ? "<f4"
      : data instanceof Float64Array
        ? "<f8"
        : data instanceof Int32Array
          ? "<i4"
          : "|u1";
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  // Magic, version and length take 10 bytes; the data start at a multiple of 64, as NumPy writes it.
  const padded = text.padEnd(Math.ceil((10 + text.length + 1) / 64) * 64 - 11, " ");
  const head = Buffer.concat([MAGIC, Buffer.from([1, 0, 0, 0]), Buffer.from(`${padded}\n`, "latin1")]);
  head.writeUInt16LE(head.length - 10, 8);
  const temporary = `${path}.${process.pid}.partial`;
  try {
    const file = await open(temporary, "wx");
    try {
      await file.writeFile(head);
      await file.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw fileError(error, path, "write");
  }
}

interface Header {
  readonly descr: string;
  readonly fortran: boolean;
  readonly shape: readonly number[];
}

async function readHeader(
  file: FileHandle,
  size: number,
  path: string,
): Promise<{ header: Header; start: number }> {
  const prefix = Buffer.alloc(Math.min(12, size));
  await readFully(file, prefix, 0, path);
  if (!looksLikeNpy(prefix))
    throw new InputError(`${path}: is not a .npy file: the signature \\x93NUMPY is missing`);
  if (prefix.length < 12)
    throw new InputError(`${path}: ends after ${size} bytes, in the middle of its header`);
  const version = prefix[6];
  if (version < 1 || version > 3)
    throw new InputError(`${path}: .npy version ${version}, expected 1, 2 or 3`);
  const lengthBytes = version === 1 ? 2 : 4;
  const length = version === 1 ? prefix.readUInt16LE(8) : prefix.readUInt32LE(8);
  const start = 8 + lengthBytes + length;
  if (start > size)
    throw new InputError(`${path}: ends after ${size} bytes, in the middle of its header of ${length}`);
  const text = Buffer.alloc(length);
  await readFully(file, text, start - length, path);
  return { header: parseHeader(text.toString(version === 3 ? "utf8" : "latin1"), path), start };
}

/** The header is a Python dictionary; only the three keys NumPy writes are understood. */
function parseHeader(text: string, path: string): Header {
  const descr = /['"]descr['"]\s*:\s*['"]([^'"]+)['"]/.exec(text)?.[1];
  const fortran = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(text)?.[1];
  const shape = /['"]shape['"]\s*:\s*\(([\d\s,]*)\)/.exec(text)?.[1];
  if (descr === undefined || fortran === undefined || shape === undefined) {
    throw new InputError(`${path}: the .npy header lacks a plain descr, fortran_order or shape`);
  }
  const dimensions = shape
    .split(",")
    .map((s) => s.trim())
    .filter((s) => s !== "")
    .map(Number);
  return { descr, fortran: fortran === "True", shape: dimensions };
}

async function readFully(file: FileHandle, into: Uint8Array, position: number, path: string): Promise<void> {
  // One read call takes at most 2^31 − 1 bytes.
  const step = 2 ** 30;
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file.read(into, done, Math.min(step, into.length - done), position + done);
    if (bytesRead === 0) throw new InputError(`${path}: became shorter while it was read`);
    done += bytesRead;
  }
}
