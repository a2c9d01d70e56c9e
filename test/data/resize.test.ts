import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { resize } from "../../src/data/resize.js";
import { InputError } from "../../src/errors.js";

interface Cases {
  shape: [number, number];
  data: number[];
  cases: { size: [number, number]; resample: number; expected: number[] }[];
}
const pillow = JSON.parse(readFileSync(new URL("pillow-resize.json", import.meta.url), "utf8")) as {
  bytes: Cases;
  floats: Cases;
};

describe("resize, as Pillow does", () => {
  it.each(pillow.bytes.cases)(
    "bytes to $size with filter $resample: bit for bit",
    ({ size, resample, expected }) => {
      const { shape, data } = pillow.bytes;
      const out = resize({ shape: [1, ...shape], data: Uint8Array.from(data) }, size, resample);
      expect(out.shape).toEqual([1, ...size]);
      expect([...out.data]).toEqual(expected);
    },
  );

  it.each(pillow.floats.cases)("floats to $size with filter $resample", ({ size, resample, expected }) => {
    const { shape, data } = pillow.floats;
    const out = resize({ shape: [1, ...shape], data: Float32Array.from(data) }, size, resample);
    out.data.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 5);
    });
  });

  it("treats planes alike and leaves the right size alone", () => {
    const { shape, data } = pillow.bytes;
    const two = { shape: [2, ...shape], data: Uint8Array.from([...data, ...data]) };
    const out = resize(two, [4, 9], 3).data;
    expect(out.subarray(0, 36)).toEqual(out.subarray(36));
    expect(resize(two, shape, 3)).toBe(two);
  });

  it("refuses other filters", () => {
    expect(() => resize({ shape: [1, 2, 2], data: new Uint8Array(4) }, [4, 4], 1)).toThrow(InputError);
  });
});
