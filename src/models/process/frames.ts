/**
 * Messages between this process and a child, as docs/engines.md specifies them: 16 bytes of header and a payload.
 * The header: "LDYN", then type, rows and length of the payload in bytes, each 32 bits, little endian.
 */

const MAGIC = Buffer.from("LDYN", "latin1");
const HEADER = 16;

export const FRAME = { hello: 0, apply: 1, encode: 2, decode: 3, error: 255 } as const;

export interface Frame {
  readonly type: number;
  readonly rows: number;
  readonly payload: Buffer;
}

/** Header and payload of a batch [rows, …]. */
export function batchFrame(type: number, rows: number, data: Float32Array): [Buffer, Buffer] {
  const header = Buffer.alloc(HEADER);
  MAGIC.copy(header);
  header.writeUInt32LE(type, 4);
  header.writeUInt32LE(rows, 8);
  header.writeUInt32LE(data.byteLength, 12);
  return [header, Buffer.from(data.buffer, data.byteOffset, data.byteLength)];
}

/** The floats of a payload, whose length is a multiple of 4. */
export function floatsOf(payload: Buffer): Float32Array {
  const data = new Float32Array(payload.length / 4);
  payload.copy(Buffer.from(data.buffer));
  return data;
}

export interface FrameReader {
  /**
   * The frames that `chunk` completes. Throws Error with a sentence's end ("wrote …") where the bytes are no frame, or
   * where `check` refuses a header, before its payload is waited for.
   */
  push(chunk: Buffer): Frame[];
}

export function frameReader(check: (header: Omit<Frame, "payload">, length: number) => void): FrameReader {
  let chunks: Buffer[] = [];
  let available = 0;
  let header: (Omit<Frame, "payload"> & { length: number }) | null = null;
  const take = (length: number): Buffer => {
    const all = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, available);
    chunks = length < all.length ? [all.subarray(length)] : [];
    available -= length;
    return all.subarray(0, length);
  };
  return {
    push(chunk) {
      const frames: Frame[] = [];
      chunks.push(chunk);
      available += chunk.length;
      for (;;) {
        if (header === null) {
          // What is no message should be told before sixteen bytes of it have come.
          const start = Buffer.concat(chunks, Math.min(available, HEADER));
          const known = Math.min(start.length, MAGIC.length);
          if (!start.subarray(0, known).equals(MAGIC.subarray(0, known))) {
            throw new Error(
              `wrote ${shown(Buffer.concat(chunks, available))} on its standard output, which is for messages alone`,
            );
          }
          if (available < HEADER) return frames;
          const bytes = take(HEADER);
          const next = { type: bytes.readUInt32LE(4), rows: bytes.readUInt32LE(8) };
          const length = bytes.readUInt32LE(12);
          check(next, length);
          header = { ...next, length };
        }
        if (available < header.length) return frames;
        const { type, rows, length } = header;
        header = null;
        frames.push({ type, rows, payload: length === 0 ? Buffer.alloc(0) : take(length) });
      }
    },
  };
}

/** The beginning of the first line, as JSON writes it. */
function shown(bytes: Buffer): string {
  const [line = ""] = bytes.subarray(0, 60).toString("latin1").split(/\r?\n/);
  return JSON.stringify(line);
}
