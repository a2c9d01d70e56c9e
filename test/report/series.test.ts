import { describe, expect, it } from "vitest";
import { histogram, largestFirst, ranking, spread, thinTrace, traceScale } from "../../src/report/series.js";

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe("histogram", () => {
  it("gives every whole number a bin of its own where they fit", () => {
    expect(histogram([7, 5, 7, 8])).toEqual({
      edges: [5, 6, 7, 8, 9],
      counts: [1, 0, 2, 1],
      scale: "linear",
      median: 7,
    });
  });

  it("takes round bins where they do not", () => {
    const { edges, counts } = histogram(Int32Array.from({ length: 100 }, (_, i) => i + 1));
    expect(edges.slice(0, 3)).toEqual([0, 5, 10]);
    expect(counts[0]).toBe(4);
    expect(counts[1]).toBe(5);
    expect(sum(counts)).toBe(100);
  });

  it("lets bins grow with a long tail, and loses nobody", () => {
    const values = Int32Array.from({ length: 1000 }, (_, i) => (i < 990 ? 8 + (i % 5) : 3000 - i));
    const { edges, counts, scale } = histogram(values);
    expect(scale).toBe("log");
    expect(sum(counts)).toBe(1000);
    expect(edges[0]).toBe(8);
    expect(counts.length).toBeLessThanOrEqual(32);
    for (let i = 1; i < edges.length; i++) expect(edges[i]).toBeGreaterThan(edges[i - 1]);
  });

  it.each([1, 2, 3, 9, 10, 31, 32, 33, 64, 65, 99, 1000, 2999])("covers 1 … %i exactly once", (most) => {
    const { edges, counts } = histogram(Int32Array.from({ length: most }, (_, i) => i + 1));
    expect(sum(counts)).toBe(most);
    expect(counts.length).toBeLessThanOrEqual(32);
    expect(edges).toHaveLength(counts.length + 1);
  });

  it("has nothing to say of nothing", () => {
    expect(histogram([])).toEqual({ edges: [], counts: [], scale: "linear", median: null });
  });

  it("counts zeros, which have no logarithm", () => {
    const { scale, counts } = histogram([0, 0, 0, 5000]);
    expect(scale).toBe("linear");
    expect(sum(counts)).toBe(4);
  });

  it("takes the mean of the two middle values as the median", () => {
    expect(histogram([1, 2, 3, 10]).median).toBe(2.5);
  });
});

describe("thinTrace", () => {
  it("leaves short paths alone and counts iterations from 1", () => {
    expect(thinTrace([4, 2, 1], "linear")).toEqual([
      { t: 1, residual: 4 },
      { t: 2, residual: 2 },
      { t: 3, residual: 1 },
    ]);
  });

  it("drops what is not finite and keeps zeros", () => {
    expect(thinTrace([4, Number.NaN, 0, Number.POSITIVE_INFINITY], "linear")).toEqual([
      { t: 1, residual: 4 },
      { t: 3, residual: 0 },
    ]);
  });

  it.each(["linear", "log"] as const)("keeps both ends and every spike of a long path (%s)", (scale) => {
    const residual = Float64Array.from({ length: 3000 }, (_, i) => 1 / (i + 1));
    residual[1234] = 50;
    residual[77] = 1e-12;
    const points = thinTrace(residual, scale);
    expect(points.length).toBeLessThanOrEqual(98);
    expect(points[0].t).toBe(1);
    expect(points[points.length - 1].t).toBe(3000);
    expect(points).toContainEqual({ t: 1235, residual: 50 });
    expect(points).toContainEqual({ t: 78, residual: 1e-12 });
    for (let i = 1; i < points.length; i++) expect(points[i].t).toBeGreaterThan(points[i - 1].t);
  });
});

describe("traceScale", () => {
  it("turns logarithmic for one path much longer than the others", () => {
    expect(traceScale([10, 12, 11, 3000])).toBe("log");
    expect(traceScale([10, 12, 11, 30])).toBe("linear");
    expect(traceScale([])).toBe("linear");
  });
});

describe("spread", () => {
  it("gives all of few and evenly spaced ones of many", () => {
    expect(spread(3, 5)).toEqual([0, 1, 2]);
    expect(spread(10, 5)).toEqual([0, 2, 4, 6, 8]);
    expect(spread(0, 5)).toEqual([]);
  });
});

describe("ranking", () => {
  it("sorts, and says what is left out", () => {
    expect(ranking([1, 5, 3, 2], 2)).toEqual({ sizes: [5, 3], restCount: 2, restPoints: 3, scale: "linear" });
  });

  it("turns logarithmic where the largest dwarfs the others", () => {
    expect(ranking([1000, 3, 2, 1, 1]).scale).toBe("log");
    expect(ranking([1000, 900]).scale).toBe("linear");
    expect(ranking([]).scale).toBe("linear");
  });
});

describe("largestFirst", () => {
  it("orders indices by size, ties by index", () => {
    expect([...largestFirst([2, 9, 2, 10])]).toEqual([3, 1, 0, 2]);
  });
});
