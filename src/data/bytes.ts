/** Reads the beginning of a plain or gzip'd file without ever holding more than was asked for. */
import { constants } from "node:buffer";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { createGunzip } from "node:zlib";
import { InputError } from "../errors.js";

/** What a reader wants once it has seen the first bytes. */
export interface BytePlan {
  /** Bytes to skip at the start. */
  readonly header: number;
  /** Bytes to keep after the header. */
  readonly keep: number;
  /** Bytes the (decompressed) file must have in all; null where the format does not say. */
  readonly total: number | null;
}

export interface ReadBytes {
  /** The bytes after the header: `keep` of them, or fewer where the file has fewer. */
  readonly bytes: Uint8Array;
  /** Length of the (decompressed) file. */
  readonly total: number;
}

/** The sentence for a failed system call on `path`. */
export function fileError(error: unknown, path: string, doing = "read"): Error {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return new InputError(`${path}: no such file or folder`);
  if (code === "EISDIR") return new InputError(`${path}: is a folder, expected a file`);
  if (code === "ENOTDIR") return new InputError(`${path}: a part of this path is a file, expected a folder`);
  if (code === "EACCES" || code === "EPERM") return new InputError(`${path}: no permission to ${doing} it`);
  if (code === "EROFS") return new InputError(`${path}: cannot ${doing} it, the file system is read-only`);
  if (code === "ENOSPC" || code === "EDQUOT")
    return new InputError(`${path}: cannot ${doing} it, the disk is full`);
  if (code === "ENAMETOOLONG") return new InputError(`${path}: the name is too long`);
  return error instanceof Error ? error : new Error(String(error));
}

/** The first `length` bytes of a file (fewer where it is shorter), decompressed where it is gzip'd. */
export async function peek(path: string, length: number): Promise<Uint8Array> {
  const read = await readBytes(path, () => ({ header: 0, keep: length, total: null }), { stopEarly: true });
  return read.bytes;
}

/**
 * Streams `path` through gunzip where it is gzip'd, calls `plan` with the first bytes until it answers
 * (undefined asks for more), then keeps `keep` bytes and counts the rest. A file longer than `total` is
 * refused as soon as that is seen, so a lying header cannot make it allocate or inflate more.
 * Throws InputError: missing, truncated or corrupt file, header never complete, length other than `total`.
 */
export async function readBytes(
  path: string,
  plan: (head: Buffer) => BytePlan | undefined,
  { stopEarly = false }: { stopEarly?: boolean } = {},
): Promise<ReadBytes> {
  const { compressed, size } = await probe(path);
  let head: Buffer = Buffer.alloc(0);
  let answer: BytePlan | undefined;
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let total = 0;
  const keep = (chunk: Buffer, { keep: limit }: BytePlan): void => {
    const part = chunk.subarray(0, Math.min(chunk.length, limit - keptBytes));
    if (keptBytes + part.length > constants.MAX_LENGTH) {
      throw new InputError(`${path}: more than ${constants.MAX_LENGTH} bytes at once: ask for fewer rows`);
    }
    if (part.length > 0) kept.push(part);
    keptBytes += part.length;
  };
  const source = createReadStream(path);
  const stream = compressed ? source.pipe(createGunzip()) : source;
  // pipe() does not hand errors on.
  if (compressed) source.on("error", (error) => stream.destroy(error));
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      total += chunk.length;
      if (answer === undefined) {
        head = Buffer.concat([head, chunk]);
        answer = plan(head);
        if (answer === undefined) continue;
        if (!compressed && answer.total !== null) checkTotal(path, size, answer.total);
        keep(head.subarray(answer.header), answer);
      } else {
        keep(chunk, answer);
      }
      if (answer.total !== null && total > answer.total) checkTotal(path, total, answer.total);
      if (keptBytes === answer.keep && (stopEarly || !compressed)) break;
    }
  } catch (error) {
    throw gunzipError(error, path);
  } finally {
    source.destroy();
  }
  if (!compressed) total = size;
  if (answer === undefined && !stopEarly) {
    throw new InputError(`${path}: ends after ${total} bytes, in the middle of its header`);
  }
  if (answer !== undefined && answer.total !== null) checkTotal(path, total, answer.total);
  return { bytes: kept.length === 1 ? kept[0] : Buffer.concat(kept), total };
}

function checkTotal(path: string, found: number, expected: number): void {
  if (found > expected) {
    throw new InputError(`${path}: holds more than the ${expected} bytes its header promises`);
  }
  if (found < expected) {
    throw new InputError(`${path}: is truncated: its header promises ${expected} bytes, it holds ${found}`);
  }
}

async function probe(path: string): Promise<{ compressed: boolean; size: number }> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new InputError(`${path}: is not a file`);
    const file = await open(path, "r");
    try {
      const magic = Buffer.alloc(2);
      const { bytesRead } = await file.read(magic, 0, 2, 0);
      return { compressed: bytesRead === 2 && magic[0] === 0x1f && magic[1] === 0x8b, size: info.size };
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, path);
  }
}

function gunzipError(error: unknown, path: string): Error {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code === "Z_BUF_ERROR") return new InputError(`${path}: the gzip data is truncated`);
  if (code.startsWith("Z_"))
    return new InputError(`${path}: the gzip data is damaged (${(error as Error).message})`);
  return fileError(error, path);
}
