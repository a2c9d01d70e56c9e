import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readMatrix } from "../../src/data/matrixFile.js";
import { writeNpy } from "../../src/data/npy.js";
import { writeSafetensors } from "../../src/data/safetensors.js";
import { InputError } from "../../src/errors.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const six = Float32Array.of(1, 2, 3, 4, 5, 6);

it("reads npy and safetensors, flattens rows, and takes a vector as rows of one element", async () => {
  await writeNpy(at("a.npy"), { shape: [2, 3], data: six });
  await writeNpy(at("b.npy"), { shape: [1, 2, 3], data: six });
  await writeNpy(at("c.npy"), { shape: [6], data: six });
  await writeNpy(at("d.npy"), { shape: [3, 2], data: Float64Array.from(six) });
  await writeSafetensors(at("e.safetensors"), {
    x: { shape: [2, 3], data: six },
    y: { shape: [6, 1], data: Int32Array.from(six) },
  });
  expect(await readMatrix(at("a.npy"))).toEqual({ data: six, rows: 2, columns: 3 });
  expect(await readMatrix(at("b.npy"))).toEqual({ data: six, rows: 1, columns: 6 });
  expect(await readMatrix(at("c.npy"))).toEqual({ data: six, rows: 6, columns: 1 });
  expect(await readMatrix(at("d.npy"), { count: 2 })).toEqual({ data: six.slice(0, 4), rows: 2, columns: 2 });
  expect(await readMatrix(`${at("e.safetensors")}#y`)).toEqual({ data: six, rows: 6, columns: 1 });
});

it("no rows are a matrix; rows without elements are none", async () => {
  await writeNpy(at("none.npy"), { shape: [0, 4], data: new Float32Array(0) });
  await writeNpy(at("thin.npy"), { shape: [3, 0], data: new Float32Array(0) });
  expect(await readMatrix(at("none.npy"))).toMatchObject({ rows: 0, columns: 4 });
  await expect(readMatrix(at("thin.npy"))).rejects.toThrow("its rows have no elements");
});

it("names what it cannot take", async () => {
  await writeNpy(at("nan.npy"), { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, Number.NaN, 6) });
  await writeNpy(at("huge.npy"), { shape: [1, 1], data: Float64Array.of(1e300) });
  await writeNpy(at("scalar.npy"), { shape: [], data: Float32Array.of(1) });
  writeFileSync(at("text.csv"), "1,2\n3\n");
  await expect(readMatrix(at("nan.npy"))).rejects.toThrow(
    "row 1 holds NaN at column 1, expected finite numbers",
  );
  await expect(readMatrix(at("huge.npy"))).rejects.toThrow(
    "row 0 holds 1e+300 (Infinity in single precision) at column 0",
  );
  await expect(readMatrix(at("scalar.npy"))).rejects.toThrow("holds a scalar, expected rows");
  await expect(readMatrix(at("text.csv"))).rejects.toThrow("neither an .npy nor a .safetensors file");
  await expect(readMatrix(at("e.safetensors"))).rejects.toThrow(/holds 2 tensors; pick one with .*#NAME/);
  await expect(readMatrix(`${at("e.safetensors")}#z`)).rejects.toThrow('has no tensor "z"');
  await expect(readMatrix(at("missing.npy"))).rejects.toThrow(InputError);
});
