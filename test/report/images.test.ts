import { decode } from "fast-png";
import { describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.js";
import { displayRange, imageShape, pngDataUri } from "../../src/report/images.js";
import { filled } from "./synthetic.js";

const UNIT = { low: 0, high: 1, rule: "unit" } as const;

function decoded(uri: string) {
  const prefix = "data:image/png;base64,";
  expect(uri.startsWith(prefix)).toBe(true);
  return decode(Buffer.from(uri.slice(prefix.length), "base64"));
}

describe("imageShape", () => {
  it.each([
    [[1, 28, 28], true],
    [[3, 64, 48], true],
    [[4, 8, 8], false],
    [[32, 8, 8], false],
    [[16], false],
    [[28, 28], false],
    [[3, 1, 16], false],
    [[], false],
  ])("takes %j for an image: %s", (shape, expected) => {
    expect(imageShape(shape) !== null).toBe(expected);
  });

  it("takes no shape for no image", () => {
    expect(imageShape(null)).toBeNull();
  });
});

describe("pngDataUri", () => {
  it("maps [0, 1] to 0 … 255 and clips the rest", () => {
    const png = decoded(pngDataUri(Float32Array.from([0, 1, 0.5, -3, 9, 0.2]), [1, 2, 3], UNIT));
    expect([png.width, png.height, png.channels, png.depth]).toEqual([3, 2, 1, 8]);
    expect([...png.data]).toEqual([0, 255, 128, 0, 255, 51]);
  });

  it("interleaves the planes of an RGB tensor", () => {
    const red = [1, 0, 0, 0];
    const green = [0, 1, 0, 0];
    const blue = [0, 0, 1, 0];
    const png = decoded(pngDataUri(Float32Array.from([...red, ...green, ...blue]), [3, 2, 2], UNIT));
    expect([png.width, png.height, png.channels]).toEqual([2, 2, 3]);
    expect([...png.data]).toEqual([255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0]);
  });

  it("maps a range of its own", () => {
    const range = { low: -1, high: 1, rule: "robust" } as const;
    const png = decoded(pngDataUri(Float32Array.from([-1, 0, 1, -0.5]), [1, 2, 2], range));
    expect([...png.data]).toEqual([0, 128, 255, 64]);
  });

  it("draws NaN black, clips infinities, and gives a range without extent the middle", () => {
    const odd = Float32Array.from([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1]);
    expect([...decoded(pngDataUri(odd, [1, 2, 2], UNIT)).data]).toEqual([0, 255, 0, 255]);
    const flat = { low: 3, high: 3, rule: "robust" } as const;
    expect([...decoded(pngDataUri(new Float32Array(4).fill(3), [1, 2, 2], flat)).data]).toEqual([
      128, 128, 128, 128,
    ]);
  });

  it("averages large images down by a whole factor, with a part of a block at the edge", () => {
    const width = 257;
    const pixels = Float32Array.from({ length: 2 * width }, (_, i) =>
      i % width === width - 1 ? 1 : i % 3 === 0 ? 0.5 : 0,
    );
    const png = decoded(pngDataUri(pixels, [1, 2, width], UNIT));
    expect([png.width, png.height]).toEqual([86, 1]);
    expect(png.data[85]).toBeGreaterThan(100);
    const even = decoded(
      pngDataUri(
        Float32Array.from({ length: 256 * 256 }, (_, i) => i % 2),
        [1, 256, 256],
        UNIT,
      ),
    );
    expect([even.width, even.height]).toEqual([128, 128]);
    expect(new Set(even.data)).toEqual(new Set([128]));
  });

  it("refuses the wrong number of pixels, naming both", () => {
    const wrong = () => pngDataUri(new Float32Array(5), [1, 2, 3], UNIT);
    expect(wrong).toThrow(InputError);
    expect(wrong).toThrow("found 5 values, expected 6 (1×2×3)");
  });
});

describe("displayRange", () => {
  it("is [0, 1] for a model that draws there, a little overshoot included", () => {
    const values = filled(10, 100, (_, i) => (i < 3 ? 1.6 : i / 100));
    expect(displayRange(values)).toEqual(UNIT);
  });

  it("is the values' own where they clearly leave [0, 1], whatever a few outliers do", () => {
    const values = filled(100, 100, (row, i) => (row === 0 && i === 0 ? 1000 : -1 + (2 * i) / 99));
    const range = displayRange(values);
    expect(range.rule).toBe("robust");
    expect(range.low).toBeCloseTo(-1, 5);
    expect(range.high).toBeCloseTo(1, 5);
  });

  it("looks at all that is shown together", () => {
    const small = filled(1, 10, () => 0.5);
    const large = filled(1, 10, (_, i) => 25 * i);
    expect(displayRange(small, large).high).toBe(225);
  });

  it("has a range for nothing and for nothing finite", () => {
    expect(displayRange()).toEqual(UNIT);
    expect(displayRange(filled(2, 2, () => Number.NaN))).toEqual(UNIT);
  });
});
