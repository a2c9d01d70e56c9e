import { describe, expect, it } from "vitest";
import { native } from "../../src/native.js";

const noise = (seed: number, first: number, rows: number, columns: number, scale = 1) =>
  native().noise(seed, first, rows, columns, scale);

/** The 32 bits of each number. */
const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);

// What the generator's integers and normals are worth is tested in native/test; this is the door to them.
describe("noise", () => {
  it("gives the recorded bits on every machine", () => {
    expect([...bits(noise(0, 0, 1, 5))]).toEqual([
      0x3f7dbb33, 0xbf6cb6b0, 0xbf1e1b9f, 0xbef6d1b2, 0xbe1d5357,
    ]);
    expect(bits(noise(42, 999999, 1, 128))[127]).toBe(0xbeb5b914);
    expect(bits(noise(42, 2 ** 32, 1, 6))[5]).toBe(0xbddda09e);
    expect(bits(noise(2 ** 32, 7, 1, 100001))[100000]).toBe(0x3f290d2b);
  });

  it("gives a row whatever the rows around it", () => {
    const whole = noise(5, 100, 9, 7);
    expect(noise(5, 103, 2, 7)).toEqual(whole.slice(21, 35));
    expect(noise(5, 100, 1, 3)).toEqual(whole.slice(0, 3));
    expect(noise(6, 100, 9, 7)).not.toEqual(whole);
  });

  it("is N(0, scale²)", () => {
    const n = 100_000;
    const x = noise(3, 0, n / 20, 20, 2.5);
    const mean = x.reduce((sum, v) => sum + v, 0) / n;
    const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n;
    // Five standard errors.
    expect(Math.abs(mean)).toBeLessThan((5 * 2.5) / Math.sqrt(n));
    expect(Math.abs(variance / 6.25 - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    // Scaling is one multiplication in float.
    expect(x).toEqual(noise(3, 0, n / 20, 20).map((v) => Math.fround(v * 2.5)));
  });

  it("takes no rows and a scale of 0, and refuses what is no whole number", () => {
    expect(noise(0, 0, 0, 16)).toHaveLength(0);
    expect(noise(1, 0, 2, 2, 0).every((v) => v === 0)).toBe(true);
    expect(() => noise(-1, 0, 1, 1)).toThrow(/randomSeed/);
    expect(() => noise(0, 0.5, 1, 1)).toThrow(/firstRow/);
    expect(() => noise(0, 0, -1, 1)).toThrow(/rows/);
    expect(() => noise(0, 0, 1, 1, Number.NaN)).toThrow(/scale/);
  });
});
