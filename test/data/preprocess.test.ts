import { expect, it } from "vitest";
import { type DataRow, type Dataset, denseDataset } from "../../src/data/dataset.js";
import { DEFAULT_PREPROCESSOR, prepareInputs, toPixels } from "../../src/data/preprocess.js";
import { InputError } from "../../src/errors.js";

function dataset(row: DataRow): Dataset {
  return denseDataset("npy", { path: "x.npy", rowShape: row.shape, rows: 1, available: 1, data: row.data });
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

it("scales bytes to [0, 1] without a configuration", async () => {
  const x = await prepareInputs(dataset({ shape: [1, 2], data: bytes(0, 255) }), {
    preprocessor: null,
    inputShape: [1, 1, 2],
  });
  expect([x.rows, x.columns, ...x.data]).toEqual([1, 2, 0, 1]);
});

it("pads zeros equally on both sides, an odd one at the bottom and right", async () => {
  const run = async (size: [number, number]): Promise<number[]> => {
    const preprocessor = { ...DEFAULT_PREPROCESSOR, doPad: true, padSize: size };
    return [
      ...(
        await prepareInputs(dataset({ shape: [1, 1], data: bytes(255) }), {
          preprocessor,
          inputShape: [1, ...size],
        })
      ).data,
    ];
  };
  expect(await run([3, 3])).toEqual([0, 0, 0, 0, 1, 0, 0, 0, 0]);
  expect(await run([2, 2])).toEqual([1, 0, 0, 0]);
});

it("pads MNIST's 28×28 by 2 on every side", async () => {
  const data = new Uint8Array(28 * 28).fill(255);
  const preprocessor = { ...DEFAULT_PREPROCESSOR, doPad: true, padSize: [32, 32] as const };
  const { data: x } = await prepareInputs(dataset({ shape: [28, 28], data }), {
    preprocessor,
    inputShape: [1, 32, 32],
  });
  for (let y = 0; y < 32; y++) {
    for (let c = 0; c < 32; c++) {
      expect(x[y * 32 + c]).toBe(y >= 2 && y < 30 && c >= 2 && c < 30 ? 1 : 0);
    }
  }
});

it("normalises per channel after rescaling, and toPixels undoes it", async () => {
  const preprocessor = {
    ...DEFAULT_PREPROCESSOR,
    doNormalize: true,
    imageMean: [0.5, 0, 1],
    imageStd: [0.5, 1, 2],
  };
  const row = { shape: [3, 1, 1], data: bytes(255, 255, 255) };
  const x = await prepareInputs(dataset(row), { preprocessor, inputShape: [3, 1, 1] });
  expect([...x.data]).toEqual([1, 1, 0]);
  expect([...toPixels(x, [3, 1, 1], preprocessor).data]).toEqual([1, 1, 1]);
});

it("takes images with channels first or last, and vectors", async () => {
  const first = { shape: [3, 1, 2], data: bytes(0, 1, 2, 3, 4, 5) };
  const last = { shape: [1, 2, 3], data: bytes(0, 2, 4, 1, 3, 5) };
  const flat = { shape: [6], data: bytes(0, 1, 2, 3, 4, 5) };
  const preprocessor = { ...DEFAULT_PREPROCESSOR, doRescale: false };
  for (const row of [first, last, flat]) {
    const x = await prepareInputs(dataset(row), { preprocessor, inputShape: [3, 1, 2] });
    expect([...x.data]).toEqual([0, 1, 2, 3, 4, 5]);
  }
  const image = { shape: [2, 3], data: bytes(0, 1, 2, 3, 4, 5) };
  expect([...(await prepareInputs(dataset(image), { preprocessor, inputShape: [6] })).data]).toEqual([
    0, 1, 2, 3, 4, 5,
  ]);
});

it("leaves floating-point data as they are and refuses bytes in disguise", async () => {
  const good = dataset({ shape: [1, 2], data: Float32Array.from([0.25, 1]) });
  expect([...(await prepareInputs(good, { preprocessor: null, inputShape: [1, 1, 2] })).data]).toEqual([
    0.25, 1,
  ]);
  const bad = dataset({ shape: [1, 2], data: Float32Array.from([0, 255]) });
  await expect(prepareInputs(bad, { preprocessor: null, inputShape: [1, 1, 2] })).rejects.toThrow("255");
});

it("resizes before rescaling", async () => {
  const preprocessor = { ...DEFAULT_PREPROCESSOR, doResize: true, size: [2, 2] as const, resample: 0 };
  const x = await prepareInputs(dataset({ shape: [1, 1], data: bytes(51) }), {
    preprocessor,
    inputShape: [1, 2, 2],
  });
  expect([...x.data]).toEqual([...new Float32Array(4).fill(0.2)]);
});

it.each<[string, DataRow, number[], RegExp]>([
  ["another size", { shape: [28, 28], data: new Uint8Array(784) }, [1, 32, 32], /28×28.*32×32/],
  ["grey for RGB", { shape: [32, 32], data: new Uint8Array(1024) }, [3, 32, 32], /grey.*RGB/],
  ["RGB for grey", { shape: [3, 32, 32], data: new Uint8Array(3072) }, [1, 32, 32], /RGB.*grey/],
  ["another length", { shape: [5], data: new Uint8Array(5) }, [6], /5 elements.*6/],
  ["four dimensions", { shape: [1, 1, 2, 3], data: new Uint8Array(6) }, [1, 2, 3], /1×1×2×3/],
])("refuses %s, naming both", async (_, row, inputShape, message) => {
  const prepared = prepareInputs(dataset(row), { preprocessor: null, inputShape });
  await expect(prepared).rejects.toThrow(InputError);
  await expect(prepared).rejects.toThrow(message);
});

it("refuses to pad to less", async () => {
  const preprocessor = { ...DEFAULT_PREPROCESSOR, doPad: true, padSize: [1, 1] as const };
  const prepared = prepareInputs(dataset({ shape: [2, 2], data: new Uint8Array(4) }), {
    preprocessor,
    inputShape: [1, 1, 1],
  });
  await expect(prepared).rejects.toThrow("2×2");
});
