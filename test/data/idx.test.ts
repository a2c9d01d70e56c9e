import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { readIdx } from "../../src/data/idx.js";
import { InputError } from "../../src/errors.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

function idx(type: number, dimensions: number[], elements: Buffer): Buffer {
  const header = Buffer.alloc(4 + 4 * dimensions.length);
  header[2] = type;
  header[3] = dimensions.length;
  dimensions.forEach((d, i) => {
    header.writeUInt32BE(d, 4 + 4 * i);
  });
  return Buffer.concat([header, elements]);
}

function file(bytes: Uint8Array): string {
  const path = join(temporaryFolder(), "x-idx3-ubyte");
  writeFileSync(path, bytes);
  return path;
}

const pictures = idx(8, [3, 2, 2], Buffer.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]));

it.each([
  ["plain", pictures],
  ["gzip'd", gzipSync(pictures)],
])("reads bytes, %s, all rows or the first", async (_, bytes) => {
  const all = await readIdx(file(bytes));
  expect([all.rows, all.available]).toEqual([3, 3]);
  expect(await all.row(2)).toEqual({ shape: [2, 2], data: new Uint8Array([8, 9, 10, 255]) });
  const two = await readIdx(file(bytes), { count: 2 });
  expect([two.rows, two.available]).toEqual([2, 3]);
  expect([...(await two.row(1)).data]).toEqual([4, 5, 6, 7]);
  expect((await readIdx(file(bytes), { count: 0 })).rows).toBe(0);
});

it("reads every element type, big-endian", async () => {
  const values = [1, -2];
  const make = (size: number, write: (b: Buffer, v: number, o: number) => void): Buffer => {
    const b = Buffer.alloc(2 * size);
    values.forEach((v, i) => {
      write(b, v, i * size);
    });
    return b;
  };
  const files: [number, Buffer][] = [
    [9, make(1, (b, v, o) => b.writeInt8(v, o))],
    [11, make(2, (b, v, o) => b.writeInt16BE(v, o))],
    [12, make(4, (b, v, o) => b.writeInt32BE(v, o))],
    [13, make(4, (b, v, o) => b.writeFloatBE(v, o))],
    [14, make(8, (b, v, o) => b.writeDoubleBE(v, o))],
  ];
  for (const [type, elements] of files) {
    const read = await readIdx(file(idx(type, [1, 2], elements)));
    expect([...(await read.row(0)).data]).toEqual(values);
  }
});

it.each([
  ["nothing", Buffer.alloc(0), "header"],
  ["half a header", pictures.subarray(0, 9), "header"],
  ["truncated", pictures.subarray(0, -1), "truncated"],
  ["truncated inside gzip", gzipSync(pictures.subarray(0, -1)), "truncated"],
  ["gzip cut off", gzipSync(pictures).subarray(0, -9), "gzip data is truncated"],
  ["damaged gzip", Buffer.concat([gzipSync(pictures).subarray(0, 10), Buffer.alloc(20, 0xff)]), "damaged"],
  ["too long", Buffer.concat([pictures, Buffer.from([1])]), "more than"],
  ["not idx", Buffer.from("hello world"), "is not an idx file"],
  ["unknown type", idx(10, [1], Buffer.alloc(1)), "is not an idx file"],
  ["no dimensions", idx(8, [], Buffer.alloc(1)), "is not an idx file"],
  ["a header that lies", idx(8, [2 ** 32 - 1, 2 ** 16], Buffer.alloc(4)), "truncated"],
  [
    "a header beyond all numbers",
    idx(14, [2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1], Buffer.alloc(4)),
    "more than any file",
  ],
])("refuses %s", async (_, bytes, message) => {
  const path = file(bytes);
  await expect(readIdx(path)).rejects.toThrow(InputError);
  await expect(readIdx(path)).rejects.toThrow(message);
  await expect(readIdx(path)).rejects.toThrow(path);
});

it("stops inflating a bomb at the size its header promises", async () => {
  const bomb = gzipSync(Buffer.concat([idx(8, [1, 4], Buffer.alloc(4)), Buffer.alloc(200e6)]), { level: 9 });
  const before = process.memoryUsage().arrayBuffers;
  await expect(readIdx(file(bomb))).rejects.toThrow("more than the 16 bytes");
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20e6);
});

it("refuses counts that are not there", async () => {
  const path = file(pictures);
  await expect(readIdx(path, { count: 4 })).rejects.toThrow("4 rows were asked for, the file holds 3");
  await expect(readIdx(path, { count: -1 })).rejects.toThrow(InputError);
  await expect(readIdx(path, { count: 1.5 })).rejects.toThrow(InputError);
  await expect(readIdx(join(temporaryFolder(), "none"))).rejects.toThrow("no such file");
});
