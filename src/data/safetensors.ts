/**
 * Reader and writer of safetensors files: an 8-byte little-endian header length, a JSON header that names every
 * tensor, its type, shape and byte range, and then the bytes. Nothing in it can execute, and Python reads it in
 * one line. Typed arrays are used in the machine's byte order, which is little-endian wherever Node 20 runs the
 * addon.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { InputError } from "../errors.js";

export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;

/** Types a file may hold. F16 and BF16 are widened to Float32Array on reading and are never written. */
export type TensorType =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

export interface Tensor {
  /** As the file says; F16 and BF16 tensors keep their name though their data is widened. */
  readonly dtype: TensorType;
  /** `[]` is a scalar; any dimension may be 0. */
  readonly shape: readonly number[];
  /** Row-major. */
  readonly data: TensorData;
}

/** What the writer takes: the type follows from the array, except that bytes are BOOL where `dtype` says so. */
export interface TensorToWrite {
  readonly dtype?: TensorType;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

export interface SafetensorsFile {
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Record<string, string>;
}

export type TensorsToWrite = ReadonlyMap<string, TensorToWrite> | Readonly<Record<string, TensorToWrite>>;

const bytesPerElement: Record<TensorType, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

/** The format's own limit on the header. */
const maximumHeaderBytes = 100_000_000;
/** The system takes at most 2 GiB in one read or write. */
const transferBytes = 2 ** 30;

interface Entry {
  readonly name: string;
  readonly dtype: TensorType;
  readonly shape: readonly number[];
  /** Byte range within the data section. */
  readonly begin: number;
  readonly end: number;
}

/**
 * Reads a safetensors file whole. Every size, offset and overlap is checked against the file before memory is
 * allocated for it. Throws InputError naming the file and the tensor.
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw new InputError(`${path}: cannot be opened (${reason(error)})`, { cause: error });
  }
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new InputError(`${path}: is not a file, expected a safetensors file`);
    const { entries, metadata, dataStart } = await readHeader(file, path, status.size);
    const tensors = new Map<string, Tensor>();
    for (const entry of entries) {
      const bytes = new Uint8Array(entry.end - entry.begin);
      await readExactly(file, path, bytes, dataStart + entry.begin);
      tensors.set(entry.name, {
        dtype: entry.dtype,
        shape: entry.shape,
        data: decode(entry.dtype, bytes.buffer),
      });
    }
    return { tensors, metadata };
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${path}: cannot be read (${reason(error)})`, { cause: error });
  } finally {
    await file.close();
  }
}

async function readHeader(file: FileHandle, path: string, size: number) {
  if (size < 8) {
    throw new InputError(`${path}: holds ${size} bytes, too few for a safetensors file (at least 8)`);
  }
  const prefix = new Uint8Array(8);
  await readExactly(file, path, prefix, 0);
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  if (length > size - 8 || length > maximumHeaderBytes) {
    throw new InputError(
      `${path}: says its safetensors header is ${length} bytes long, but the file holds ${size} bytes ` +
        `(and a header at most ${maximumHeaderBytes})`,
    );
  }
  const bytes = new Uint8Array(length);
  await readExactly(file, path, bytes, 8);
  const dataStart = 8 + length;
  return { ...parseHeader(bytes, path, size - dataStart), dataStart };
}

async function readExactly(file: FileHandle, path: string, into: Uint8Array, position: number) {
  let done = 0;
  while (done < into.length) {
    const length = Math.min(into.length - done, transferBytes);
    const { bytesRead } = await file.read(into, done, length, position + done);
    if (bytesRead === 0) throw new InputError(`${path}: ends at byte ${position + done}, expected more`);
    done += bytesRead;
  }
}

function parseHeader(bytes: Uint8Array, path: string, dataBytes: number) {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    throw new InputError(`${path}: its safetensors header is not valid JSON`, { cause: error });
  }
  if (!isRecord(header)) throw new InputError(`${path}: its safetensors header is not a JSON object`);
  const repeated = repeatedKey(text);
  if (repeated !== undefined) {
    throw new InputError(`${path}: its safetensors header names ${JSON.stringify(repeated)} twice`);
  }
  const entries: Entry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = parseMetadata(value, path);
    else entries.push(parseEntry(name, value, path, dataBytes));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== covered) {
      const what = begin < covered ? "overlaps the tensor before it" : "leaves a gap before it";
      throw new InputError(
        `${path}: tensor ${JSON.stringify(name)} begins at byte ${begin} of the data, expected ${covered}: it ${what}`,
      );
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    throw new InputError(
      `${path}: its tensors take ${covered} bytes, but ${dataBytes} bytes follow the header`,
    );
  }
  return { entries, metadata };
}

function parseMetadata(value: unknown, path: string): Record<string, string> {
  const metadata: Record<string, string> = {};
  if (!isRecord(value)) throw new InputError(`${path}: __metadata__ is not a JSON object`);
  for (const [key, item] of Object.entries(value)) {
    if (typeof item !== "string") {
      throw new InputError(`${path}: __metadata__ entry ${JSON.stringify(key)} is not a string`);
    }
    metadata[key] = item;
  }
  return metadata;
}

function parseEntry(name: string, value: unknown, path: string, dataBytes: number): Entry {
  const where = `${path}: tensor ${JSON.stringify(name)}`;
  if (!isRecord(value)) throw new InputError(`${where} is not described by a JSON object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isTensorType(dtype)) {
    const known = Object.keys(bytesPerElement).join(", ");
    throw new InputError(`${where} has dtype ${JSON.stringify(dtype)}, expected one of ${known}`);
  }
  if (!isCounts(shape)) throw new InputError(`${where} has no list of whole numbers as its shape`);
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw new InputError(`${where} has no pair of whole numbers as its data_offsets`);
  }
  const [begin, end] = offsets as [number, number];
  if (end < begin || end > dataBytes) {
    throw new InputError(`${where} lies at bytes ${begin} to ${end} of a data section of ${dataBytes} bytes`);
  }
  const needed = count(shape) * bytesPerElement[dtype];
  if (needed !== end - begin) {
    throw new InputError(
      `${where} of ${dtype} and shape [${shape.join(", ")}] needs ${needed} bytes, its data_offsets span ${end - begin}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

/**
 * The first key that stands twice in one object, or undefined. `text` is valid JSON. JSON.parse keeps the last of
 * two equal keys without a word, which would make the file mean different things to different readers.
 */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | null)[] = [];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(null);
    else if (token === "}" || token === "]") open.pop();
    else if (token.endsWith(":")) {
      const key = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

/** `buffer` holds whole elements and begins at its own byte 0, so that every view of it is aligned. */
function decode(dtype: TensorType, buffer: ArrayBuffer): TensorData {
  switch (dtype) {
    case "F64":
      return new Float64Array(buffer);
    case "F32":
      return new Float32Array(buffer);
    case "F16":
      return widenFloat16(new Uint16Array(buffer));
    case "BF16":
      return widenBfloat16(new Uint16Array(buffer));
    case "I64":
      return new BigInt64Array(buffer);
    case "I32":
      return new Int32Array(buffer);
    case "I16":
      return new Int16Array(buffer);
    case "I8":
      return new Int8Array(buffer);
    case "U32":
      return new Uint32Array(buffer);
    case "U16":
      return new Uint16Array(buffer);
    case "U8":
    case "BOOL":
      return new Uint8Array(buffer);
  }
}

/** IEEE 754 half precision, exactly; NaN stays NaN. */
export function widenFloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i]!;
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) out[i] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === 0) out[i] = sign * fraction * 2 ** -24;
    else out[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return out;
}

/** The upper half of a single precision number, exactly. */
export function widenBfloat16(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16;
  return new Float32Array(out.buffer);
}

/** The bytes of a safetensors file. Throws InputError where a tensor's shape does not fit its data. */
export function encodeSafetensors(
  tensors: TensorsToWrite,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const parts = layOut(tensors, metadata);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

/**
 * Writes a safetensors file under a temporary name in the same folder, flushes it to the disk and renames it, so
 * that a reader sees the whole file or none. Throws InputError with the path where that fails (no such folder, no
 * permission, a full disk); the temporary file is then gone and an older file of that name untouched.
 */
export async function writeSafetensors(
  path: string,
  tensors: TensorsToWrite,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const parts = layOut(tensors, metadata);
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  let created = false;
  try {
    const file = await open(temporary, "wx");
    created = true;
    try {
      for (const part of parts) await writeExactly(file, part);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    if (created) await removeIfThere(temporary);
    throw new InputError(`${path}: cannot be written (${reason(error)})`, { cause: error });
  }
}

async function writeExactly(file: FileHandle, bytes: Uint8Array) {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, transferBytes);
    const { bytesWritten } = await file.write(bytes, done, length);
    done += bytesWritten;
  }
}

async function removeIfThere(path: string) {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** Header and tensors as byte ranges in the order in which they stand in the file; the tensors are not copied. */
function layOut(tensors: TensorsToWrite, metadata: Readonly<Record<string, string>>): Uint8Array[] {
  const list = [...(tensors instanceof Map ? tensors : Object.entries(tensors))].map(
    ([name, tensor]: [string, TensorToWrite]) => ({ name, tensor, dtype: typeToWrite(name, tensor) }),
  );
  // Wide types first: with a header that is a multiple of 8 long, every tensor is then aligned in the file.
  list.sort((a, b) => bytesPerElement[b.dtype] - bytesPerElement[a.dtype]);
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set("__metadata__", metadata);
  const parts: Uint8Array[] = [];
  let position = 0;
  for (const { name, tensor, dtype } of list) {
    const { data, shape } = tensor;
    header.set(name, { dtype, shape: [...shape], data_offsets: [position, position + data.byteLength] });
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    position += data.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const length = Math.ceil(json.length / 8) * 8;
  const prefix = new Uint8Array(8 + length).fill(0x20);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(length), true);
  prefix.set(json, 8);
  return [prefix, ...parts];
}

function typeToWrite(name: string, { dtype, shape, data }: TensorToWrite): TensorType {
  const where = `tensor ${JSON.stringify(name)}`;
  if (name === "__metadata__")
    throw new InputError(`${where} cannot be written: the format reserves that name`);
  const natural = typeOf(data);
  if (dtype !== undefined && dtype !== natural && !(dtype === "BOOL" && natural === "U8")) {
    throw new InputError(`${where} cannot be written as ${dtype}: its elements are ${natural}`);
  }
  if (!isCounts(shape) || count(shape) !== data.length) {
    throw new InputError(`${where} has shape [${shape.join(", ")}] but ${data.length} elements`);
  }
  return dtype ?? natural;
}

function typeOf(data: TensorData): TensorType {
  if (data instanceof Float32Array) return "F32";
  if (data instanceof Float64Array) return "F64";
  if (data instanceof Int32Array) return "I32";
  if (data instanceof BigInt64Array) return "I64";
  if (data instanceof Uint8Array) return "U8";
  if (data instanceof Int8Array) return "I8";
  if (data instanceof Int16Array) return "I16";
  if (data instanceof Uint16Array) return "U16";
  return "U32";
}

function isTensorType(value: unknown): value is TensorType {
  return typeof value === "string" && Object.hasOwn(bytesPerElement, value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function count(shape: readonly number[]): number {
  return shape.reduce((n, dimension) => n * dimension, 1);
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const known: Record<string, string> = {
    ENOENT: "no such file or folder",
    EACCES: "permission denied",
    EISDIR: "it is a folder",
    ENOTDIR: "a part of the path is not a folder",
    ENOSPC: "no space left on the disk",
    EROFS: "the file system is read-only",
  };
  return known[code ?? ""] ?? message;
}
