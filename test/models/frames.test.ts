import { describe, expect, it } from "vitest";
import { batchFrame, FRAME, type Frame, floatsOf, frameReader } from "../../src/models/process/frames.js";
import { seededRandom } from "../support/random.js";

const anything = (): void => undefined;

/** The bytes in pieces whose ends fall anywhere. */
function pieces(bytes: Buffer, seed: number): Buffer[] {
  const random = seededRandom(seed);
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = random.pick([1, 2, 3, 7, 15, 16, 17, 100]);
    out.push(bytes.subarray(at, at + length));
    at += length;
  }
  return out;
}

describe("frames", () => {
  it("are header and payload, little endian", () => {
    const [header, payload] = batchFrame(FRAME.decode, 2, Float32Array.from([1, -2]));
    expect(header.toString("hex")).toBe("4c44594e030000000200000008000000");
    expect(payload.toString("hex")).toBe("0000803f000000c0");
    expect([...floatsOf(payload)]).toEqual([1, -2]);
  });

  it("come out whole however they are cut", () => {
    const random = seededRandom(1);
    const sent = Array.from({ length: 12 }, (_, i) => ({
      type: i % 4,
      rows: i,
      data: random.floats(random.pick([0, 1, 5, 40])),
    }));
    const bytes = Buffer.concat(sent.flatMap(({ type, rows, data }) => batchFrame(type, rows, data)));
    for (let seed = 0; seed < 30; seed++) {
      const reader = frameReader(anything);
      const found: Frame[] = pieces(bytes, seed).flatMap((piece) => reader.push(piece));
      expect(found.map(({ type, rows, payload }) => ({ type, rows, data: floatsOf(payload) }))).toEqual(sent);
    }
  });

  it("other bytes are told at once, before sixteen of them have come", () => {
    expect(() => frameReader(anything).push(Buffer.from("hi"))).toThrow('wrote "hi" on its standard output');
    expect(() => frameReader(anything).push(Buffer.from("LDXN"))).toThrow('wrote "LDXN"');
    expect(frameReader(anything).push(Buffer.from("LDY"))).toEqual([]);
    const second = frameReader(anything);
    expect(second.push(Buffer.concat(batchFrame(1, 0, new Float32Array(0))))).toHaveLength(1);
    expect(() => second.push(Buffer.from("\n"))).toThrow('wrote ""');
  });

  it("a header that is refused is refused before its payload is waited for", () => {
    const reader = frameReader((_, length) => {
      if (length > 8) throw new Error(`${length} bytes`);
    });
    expect(() => reader.push(Buffer.from("4c44594e0000000000000000ffffffff", "hex"))).toThrow(
      "4294967295 bytes",
    );
  });

  it("20,000 damaged streams end in an Error or wait for more", () => {
    const random = seededRandom(2);
    const good = Buffer.concat([1, 2, 3].flatMap((type) => batchFrame(type, 2, random.floats(6))));
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(good);
      for (let j = 0; j < 3; j++) bytes[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
      const reader = frameReader((_, length) => {
        if (length > 1000) throw new Error("too long");
      });
      try {
        for (const piece of pieces(bytes, i)) reader.push(piece);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        expect((error as Error).message).toMatch(/^(wrote|too long)/);
      }
    }
  });
});
