import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encode } from "fast-png";
import { expect, it } from "vitest";
import { readLatents } from "../../src/data/latents.js";
import { writeNpy } from "../../src/data/npy.js";
import { openData } from "../../src/data/open.js";
import { writeSafetensors } from "../../src/data/safetensors.js";
import { InputError } from "../../src/errors.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

it("picks the reader by content, and by name where content cannot tell", async () => {
  const folder = temporaryFolder();
  const data = Float32Array.from([1, 2, 3, 4]);
  await writeNpy(join(folder, "renamed"), { shape: [2, 2], data });
  expect((await openData(join(folder, "renamed"))).format).toBe("npy");
  writeFileSync(join(folder, "x"), Buffer.from([0, 0, 8, 1, 0, 0, 0, 2, 7, 8]));
  expect((await openData(join(folder, "x"))).format).toBe("idx");
  writeFileSync(join(folder, "c.bin"), Buffer.alloc(3073));
  expect((await openData(join(folder, "c.bin"))).format).toBe("cifar");
  await writeSafetensors(join(folder, "s.safetensors"), {
    a: { shape: [2, 2], data },
    b: { shape: [1, 4], data },
  });
  const b = await openData(`${join(folder, "s.safetensors")}#b`);
  expect([b.format, b.rows]).toEqual(["safetensors", 1]);
  await expect(openData(join(folder, "s.safetensors"))).rejects.toThrow("a, b");
  await expect(openData(`${join(folder, "s.safetensors")}#c`)).rejects.toThrow('no tensor "c"');
  writeFileSync(join(folder, "t.txt"), "hello");
  await expect(openData(join(folder, "t.txt"))).rejects.toThrow("is neither idx");
  writeFileSync(join(folder, "empty"), "");
  await expect(openData(join(folder, "empty"))).rejects.toThrow(InputError);
  await expect(openData(join(folder, "missing"))).rejects.toThrow("no such file");
  await expect(openData(join(folder, "t.txt"), { count: -1 })).rejects.toThrow(InputError);
});

it("reads a folder of PNG images in the order of their paths", async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "b"));
  mkdirSync(join(folder, ".hidden"));
  const grey = encode({ width: 2, height: 1, channels: 1, depth: 8, data: Uint8Array.from([9, 200]) });
  const rgba = encode({
    width: 2,
    height: 1,
    channels: 4,
    depth: 8,
    data: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
  });
  const deep = encode({ width: 2, height: 1, channels: 1, depth: 16, data: Uint16Array.from([0, 65535]) });
  writeFileSync(join(folder, "b", "1.png"), rgba);
  writeFileSync(join(folder, "a.png"), grey);
  writeFileSync(join(folder, "c.PNG"), deep);
  writeFileSync(join(folder, ".hidden", "z.png"), "not read");
  writeFileSync(join(folder, "labels.txt"), "not an image");
  const data = await openData(folder);
  expect([data.format, data.rows]).toEqual(["image-folder", 3]);
  expect(await data.row(0)).toEqual({ shape: [1, 1, 2], data: Uint8Array.from([9, 200]) });
  expect(await data.row(1)).toEqual({ shape: [3, 1, 2], data: Uint8Array.from([1, 5, 2, 6, 3, 7]) });
  expect(await data.row(2)).toEqual({ shape: [1, 1, 2], data: Uint8Array.from([0, 255]) });
  await expect(openData(folder, { count: 4 })).rejects.toThrow("holds 3");
});

it("spreads packed grey samples to bytes", async () => {
  const folder = temporaryFolder();
  // One bit per sample, ten samples: two bytes a row.
  const packed = encode({
    width: 10,
    height: 1,
    channels: 1,
    depth: 1,
    data: Uint8Array.from([0b10100000, 0b01000000]),
  });
  writeFileSync(join(folder, "a.png"), packed);
  expect([...(await (await openData(folder)).row(0)).data]).toEqual([255, 0, 255, 0, 0, 0, 0, 0, 0, 255]);
});

it("says what is wrong with images", async () => {
  const folder = temporaryFolder();
  await expect(openData(folder)).rejects.toThrow("holds no image");
  const png = encode({ width: 2, height: 1, channels: 1, depth: 8, data: Uint8Array.from([9, 200]) });
  writeFileSync(join(folder, "1.png"), png.subarray(0, -20));
  writeFileSync(join(folder, "2.png"), "garbage, and long enough to be taken for a header");
  const huge = Buffer.from(png);
  huge.writeUInt32BE(60000, 16);
  huge.writeUInt32BE(60000, 20);
  writeFileSync(join(folder, "3.png"), huge);
  writeFileSync(join(folder, "4.jpg"), "jpeg");
  const data = await openData(folder);
  await expect(data.row(0)).rejects.toThrow(/1\.png: cannot be decoded/);
  await expect(data.row(1)).rejects.toThrow(/2\.png: is not a PNG/);
  await expect(data.row(2)).rejects.toThrow("60000×60000");
  await expect(data.row(3)).rejects.toThrow(InputError);
});

it("reads latents and checks their width and their numbers", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "z.npy");
  await writeNpy(path, { shape: [2, 3, 1], data: Float64Array.from([1, 2, 3, 4, 5, 6]) });
  expect(await readLatents(path, 3)).toEqual({
    data: Float32Array.from([1, 2, 3, 4, 5, 6]),
    rows: 2,
    columns: 3,
  });
  expect((await readLatents(path, 3, { count: 1 })).rows).toBe(1);
  await expect(readLatents(path, 4)).rejects.toThrow(
    "rows have 3 elements (3×1), the model's latents have 4",
  );
  await expect(readLatents(path, 3, { count: 3 })).rejects.toThrow("holds 2");
  await expect(readLatents(path, 3, { count: -3 })).rejects.toThrow(InputError);
  const tensors = join(folder, "z.safetensors");
  await writeSafetensors(tensors, { z: { shape: [2, 2], data: Float32Array.from([1, 2, 3, Number.NaN]) } });
  await expect(readLatents(tensors, 2)).rejects.toThrow("row 1 holds NaN at column 1");
  expect((await readLatents(`${tensors}#z`, 2, { count: 1 })).rows).toBe(1);
  await writeNpy(path, { shape: [1, 2], data: Float64Array.from([1, 1e300]) });
  await expect(readLatents(path, 2)).rejects.toThrow("Infinity");
  writeFileSync(join(folder, "t.txt"), "hello");
  await expect(readLatents(join(folder, "t.txt"), 2)).rejects.toThrow("expected latents");
});
