import { describe, expect, it } from "vitest";
import { count, countOf, duration, quantity, share } from "../../src/report/format.js";

describe("numbers in a report", () => {
  it("groups thousands", () => {
    expect(count(0)).toBe("0");
    expect(count(1234567)).toBe("1,234,567");
  });

  it("knows one from many", () => {
    expect(countOf(1, "point")).toBe("1 point");
    expect(countOf(0, "point")).toBe("0 points");
    expect(countOf(2000, "point")).toBe("2,000 points");
  });

  it.each([
    [0, 10, "0.0 %"],
    [10, 10, "100.0 %"],
    [1, 3, "33.3 %"],
    [1, 100_000, "< 0.1 %"],
    [99_999, 100_000, "> 99.9 %"],
    [0, 0, "–"],
  ])("writes %d of %d as %s", (part, whole, text) => {
    expect(share(part, whole)).toBe(text);
  });

  it.each([
    [0, "0"],
    [1e-6, "1e-6"],
    [2.5e-7, "2.5e-7"],
    [0.001, "0.001"],
    [0.123456, "0.1235"],
    [12.5, "12.5"],
    [1234.6, "1,235"],
    [-0.5, "−0.5"],
    [1e20, "1e20"],
    [Number.NaN, "–"],
    [Number.POSITIVE_INFINITY, "∞"],
    [Number.NEGATIVE_INFINITY, "−∞"],
  ])("writes %d as %s", (value, text) => {
    expect(quantity(value)).toBe(text);
  });

  it("writes wall time in seconds, then in minutes", () => {
    expect(duration(0.4217)).toBe("0.4217 s");
    expect(duration(200)).toBe("3 min 20 s");
    expect(duration(119.7)).toBe("2 min 0 s");
  });
});
