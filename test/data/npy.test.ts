import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readNpy, readNpyArray, writeNpy } from "../../src/data/npy.js";
import { InputError } from "../../src/errors.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

function npy(header: string, data: Uint8Array, version = 1): Buffer {
  const size = Buffer.alloc(version === 1 ? 2 : 4);
  if (version === 1) size.writeUInt16LE(header.length);
  else size.writeUInt32LE(header.length);
  return Buffer.concat([
    Buffer.from("\x93NUMPY", "latin1"),
    Buffer.from([version, 0]),
    size,
    Buffer.from(header),
    data,
  ]);
}

const header = (descr: string, shape: string, fortran = "False"): string =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;

function file(bytes: Uint8Array): string {
  const path = join(temporaryFolder(), "x.npy");
  writeFileSync(path, bytes);
  return path;
}

const bytesOf = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

it.each([
  ["<f4", new Float32Array([1.5, -2, 3, 4, 5, 6])],
  ["<f8", new Float64Array([1.5, -2, 3, 4, 5, 6])],
  ["|u1", new Uint8Array([1, 255, 3, 4, 5, 6])],
  ["|b1", new Uint8Array([1, 0, 1, 0, 0, 1])],
  ["|i1", new Int8Array([1, -2, 3, 4, 5, 6])],
  ["<i2", new Int16Array([1, -2, 3, 4, 5, 6])],
  ["<u2", new Uint16Array([1, 2, 3, 4, 5, 65535])],
  ["<i4", new Int32Array([1, -2, 3, 4, 5, 6])],
  ["<u4", new Uint32Array([1, 2, 3, 4, 5, 2 ** 32 - 1])],
  ["<i8", BigInt64Array.from([1n, -2n, 3n, 4n, 5n, 6n])],
])("reads %s in every version", async (descr, values) => {
  for (const version of [1, 2, 3]) {
    const path = file(npy(header(descr, "(3, 2)"), bytesOf(values), version));
    const all = await readNpyArray(path);
    expect(all.shape).toEqual([3, 2]);
    expect([...all.data]).toEqual(Array.from<number | bigint>(values).map(Number));
    const first = await readNpy(path, { count: 1 });
    expect([first.rows, first.available]).toEqual([1, 3]);
    expect([...(await first.row(0)).data]).toEqual(
      Array.from<number | bigint>(values).slice(0, 2).map(Number),
    );
  }
});

it("writes what it reads, whole or not at all", async () => {
  const folder = temporaryFolder();
  const data = Float32Array.from({ length: 12 }, (_, i) => i / 3);
  await writeNpy(join(folder, "a.npy"), { shape: [2, 3, 2], data });
  expect(await readNpyArray(join(folder, "a.npy"))).toMatchObject({ shape: [2, 3, 2], data });
  await writeNpy(join(folder, "b.npy"), { shape: [12], data });
  expect((await readNpyArray(join(folder, "b.npy"))).shape).toEqual([12]);
  await writeNpy(join(folder, "c.npy"), { shape: [0, 4], data: new Int32Array(0) });
  expect((await readNpy(join(folder, "c.npy"))).rows).toBe(0);
  await expect(writeNpy(join(folder, "d.npy"), { shape: [5], data })).rejects.toThrow(InputError);
  await expect(writeNpy(join(folder, "none", "d.npy"), { shape: [12], data })).rejects.toThrow(InputError);
  expect(readdirSync(folder).sort()).toEqual(["a.npy", "b.npy", "c.npy"]);
});

it.each([
  ["nothing", Buffer.alloc(0), "is not a .npy"],
  ["garbage", Buffer.from("hello hello hello"), "is not a .npy"],
  ["a signature alone", Buffer.from("\x93NUMPY\x01", "latin1"), "header"],
  ["a header longer than the file", npy(header("<f4", "(3,)"), Buffer.alloc(0)).subarray(0, 40), "header"],
  ["a truncated body", npy(header("<f4", "(3,)"), Buffer.alloc(11)), "truncated"],
  ["a body that is too long", npy(header("<f4", "(3,)"), Buffer.alloc(13)), "too long"],
  ["a shape that lies", npy(header("<f4", "(1000000000, 1000000)"), Buffer.alloc(12)), "truncated"],
  [
    "a shape beyond all numbers",
    npy(header("<f4", "(99999999999, 99999999999)"), Buffer.alloc(12)),
    "more than any",
  ],
  ["big-endian", npy(header(">f4", "(3,)"), Buffer.alloc(12)), '">f4"'],
  ["objects", npy(header("|O", "(3,)"), Buffer.alloc(12)), '"|O"'],
  ["Fortran order", npy(header("<f4", "(3, 1)", "True"), Buffer.alloc(12)), "Fortran"],
  ["version 4", npy(header("<f4", "(3,)"), Buffer.alloc(12), 4), "version 4"],
  ["no dictionary", npy("hello\n", Buffer.alloc(12)), "lacks"],
  ["a scalar", npy(header("<f4", "()"), Buffer.alloc(4)), "scalar"],
])("refuses %s", async (_, bytes, message) => {
  const path = file(bytes);
  await expect(readNpy(path)).rejects.toThrow(InputError);
  await expect(readNpy(path)).rejects.toThrow(message);
});

it("refuses more rows than there are", async () => {
  await expect(readNpy(file(npy(header("|u1", "(3,)"), Buffer.alloc(3))), { count: 5 })).rejects.toThrow(
    "holds 3",
  );
});
