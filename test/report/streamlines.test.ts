import { describe, expect, it } from "vitest";
import { type Streamline, streamlines, type VectorGrid } from "../../src/report/streamlines.js";

function gridOf(n: number, field: (x: number, y: number) => [number, number]): VectorGrid {
  const vectors = new Float32Array(2 * n * n);
  for (let j = 0; j < n; j++) for (let i = 0; i < n; i++) vectors.set(field(i, j), 2 * (j * n + i));
  return { columns: n, rows: n, vectors };
}

const pointsOf = (line: Streamline) =>
  Array.from({ length: line.length / 2 }, (_, i) => [line[2 * i], line[2 * i + 1]] as const);

describe("stream lines", () => {
  it("of a uniform field are straight and run with it, whatever its length", () => {
    for (const strength of [1e-6, 1, 1e6]) {
      const lines = streamlines(
        gridOf(21, () => [strength, 0]),
        4,
      );
      // 20 cells high, 4 apart from the middle line on.
      expect(lines).toHaveLength(5);
      for (const line of lines) {
        const points = pointsOf(line);
        for (const [i, [x, y]] of points.entries()) {
          expect(y).toBeCloseTo(points[0][1], 9);
          if (i > 0) expect(x).toBeGreaterThan(points[i - 1][0]);
        }
        expect(points[points.length - 1][0] - points[0][0]).toBeGreaterThan(19);
      }
    }
  });

  it("keep their radius around a centre", () => {
    const lines = streamlines(
      gridOf(41, (x, y) => [-(y - 20), x - 20]),
      4,
    );
    expect(lines.length).toBeGreaterThan(3);
    for (const line of lines) {
      const radii = pointsOf(line).map(([x, y]) => Math.hypot(x - 20, y - 20));
      // Bilinear interpolation is exact here; what is left is the integrator's error.
      expect(Math.max(...radii) - Math.min(...radii)).toBeLessThan(0.02);
    }
  });

  it("end at a point of rest without crossing it", () => {
    const lines = streamlines(
      gridOf(41, (x, y) => [20.3 - x, 20.3 - y]),
      3,
    );
    for (const line of lines) {
      const points = pointsOf(line);
      const distances = points.map(([x, y]) => Math.hypot(x - 20.3, y - 20.3));
      for (let i = 1; i < distances.length; i++) expect(distances[i]).toBeLessThan(distances[i - 1] + 0.26);
      expect(points.length).toBeLessThan(400);
    }
  });

  it("stay apart, everywhere", () => {
    const separation = 4;
    const lines = streamlines(
      gridOf(41, (x, y) => [Math.sin(y / 6), Math.cos(x / 5)]),
      separation,
    );
    expect(lines.length).toBeGreaterThan(8);
    let closest = Number.POSITIVE_INFINITY;
    for (const [a, one] of lines.entries()) {
      for (const other of lines.slice(a + 1)) {
        for (let i = 0; i < one.length; i += 2) {
          for (let j = 0; j < other.length; j += 2) {
            closest = Math.min(closest, (one[i] - other[j]) ** 2 + (one[i + 1] - other[j + 1]) ** 2);
          }
        }
      }
    }
    expect(Math.sqrt(closest)).toBeGreaterThanOrEqual(0.55 * separation - 1e-9);
  });

  it("do not enter what is not finite, and are none where nothing moves", () => {
    const walled = gridOf(21, (x) => (x > 10 ? [Number.NaN, 0] : [1, 0.2]));
    for (const line of streamlines(walled, 3)) {
      for (const [x] of pointsOf(line)) expect(x).toBeLessThanOrEqual(10);
    }
    expect(
      streamlines(
        gridOf(9, () => [0, 0]),
        2,
      ),
    ).toEqual([]);
    expect(
      streamlines(
        gridOf(9, () => [Number.POSITIVE_INFINITY, 1]),
        2,
      ),
    ).toEqual([]);
  });
});
