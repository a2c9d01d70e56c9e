import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { readCifar } from "../../src/data/cifar.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const records = Buffer.alloc(3 * 3073);
for (let i = 0; i < records.length; i++) records[i] = i % 251;

function file(bytes: Uint8Array): string {
  const path = join(temporaryFolder(), "batch.bin");
  writeFileSync(path, bytes);
  return path;
}

it.each([
  ["plain", records],
  ["gzip'd", gzipSync(records)],
])("reads records without their labels, %s", async (_, bytes) => {
  const data = await readCifar(file(bytes), { count: 2 });
  expect([data.rows, data.available]).toEqual([2, 3]);
  const row = await data.row(1);
  expect(row.shape).toEqual([3, 32, 32]);
  expect(row.data).toHaveLength(3072);
  expect(row.data[0]).toBe(3074 % 251);
  expect((await readCifar(file(bytes))).rows).toBe(3);
});

it("refuses a broken record, and more rows than there are", async () => {
  await expect(readCifar(file(records.subarray(0, -1)))).rejects.toThrow("9218 bytes are not a whole number");
  await expect(readCifar(file(gzipSync(records.subarray(0, -1))))).rejects.toThrow("whole number");
  await expect(readCifar(file(records), { count: 4 })).rejects.toThrow("holds 3");
  await expect(readCifar(file(records), { count: -4 })).rejects.toThrow("-4 rows");
});
