import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  basinChart,
  iterationChart,
  renderChart,
  type StatusCount,
  sparkline,
  statusChart,
  traceChart,
} from "../../src/report/charts.js";
import { STATUSES } from "../../src/report/palette.js";
import { histogram, ranking, thinTrace } from "../../src/report/series.js";

/** The elements of all marks of a layer, by its name. */
function marks(svg: string, name: string): string[] {
  const groups = svg.matchAll(
    new RegExp(`<g class="mark-[a-z]+ role-mark ${name}_marks"[^>]*>(.*?)</g>`, "g"),
  );
  return [...groups].flatMap(([, inside]) =>
    [...inside.matchAll(/<(?:path|line|text)[^>]*/g)].map(([tag]) => tag),
  );
}

/** Texts in the order in which they were drawn. */
function texts(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
}

/** [x, y, width, height] of a rectangle's path, "M0,10h20v30h-20Z". */
function rectangle(tag: string): number[] {
  const found = /d="M([-\d.]+),([-\d.]+)h([-\d.]+)v([-\d.]+)/.exec(tag);
  if (found === null) throw new Error(`no rectangle: ${tag}`);
  return found.slice(1).map(Number);
}

const status = (counts: Partial<Record<StatusCount["status"], number>>): StatusCount[] =>
  STATUSES.map(({ key }) => ({ status: key, points: counts[key] ?? 0 }));

beforeEach(() => {
  vi.spyOn(console, "warn").mockImplementation((...words) => {
    throw new Error(`a chart warned: ${words.join(" ")}`);
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("renderChart", () => {
  it("gives an SVG with its words for those who do not see it, and nothing that runs, loads or collides", async () => {
    const svg = await renderChart(basinChart(ranking([5, 3])), 'two basins, "5" & <3>');
    expect(svg).toMatch(
      /^<svg xmlns="[^"]+" role="img" aria-label="two basins, &quot;5&quot; &amp; &lt;3&gt;"/,
    );
    expect(svg).toMatch(/width="460" height="250" viewBox="0 0 460 250"/);
    expect(svg).not.toMatch(/ id="|url\(|href=|<script|<style|<image|NaN|undefined|font-family/);
    expect(svg.match(/<g[ >]/g)?.length).toBe(svg.match(/<\/g>/g)?.length);
    expect(svg.endsWith("</svg>")).toBe(true);
  });

  it("gives the same SVG every time", async () => {
    const spec = () => iterationChart(histogram([3, 4, 4, 9]));
    expect(await renderChart(spec(), "again")).toBe(await renderChart(spec(), "again"));
  });

  it("writes no more than two decimals of a pixel", async () => {
    const svg = await renderChart(basinChart(ranking([7, 3, 2])), "thirds");
    expect(svg).not.toMatch(/\d\.\d{3}/);
  });
});

describe("statusChart", () => {
  it("divides the bar as the points are divided", async () => {
    const svg = await renderChart(statusChart(status({ converged: 75, diverged: 25 })), "three quarters");
    const [converged, diverged] = marks(svg, "segments").map(rectangle);
    expect([converged[0], converged[2]]).toEqual([0, 345]);
    expect([diverged[0], diverged[2]]).toEqual([345, 115]);
    expect(texts(svg)).toEqual(["converged 75.0 %", "diverged 25.0 %"]);
    expect(svg).toContain('fill="var(--diverged, ');
  });

  it("draws a single point among many wide enough to be seen, and unlabelled", async () => {
    const svg = await renderChart(statusChart(status({ converged: 99_999, nonFinite: 1 })), "one");
    const segments = marks(svg, "segments").map(rectangle);
    expect(segments).toHaveLength(2);
    expect(segments[1][2]).toBeGreaterThan(2);
    expect(texts(svg)).toEqual(["converged &gt; 99.9 %"]);
  });

  it("labels a narrow part with its share alone", async () => {
    const svg = await renderChart(statusChart(status({ converged: 85, maxIterations: 15 })), "narrow");
    expect(texts(svg)).toEqual(["converged 85.0 %", "15.0 %"]);
  });

  it("has room for all six", async () => {
    const all = status(Object.fromEntries(STATUSES.map(({ key }) => [key, 10])));
    expect(marks(await renderChart(statusChart(all), "six"), "segments")).toHaveLength(6);
  });
});

describe("iterationChart", () => {
  it("draws one bar for every bin that is not empty, as high as its count", async () => {
    const svg = await renderChart(iterationChart(histogram([5, 5, 5, 5, 7, 7, 8])), "bars");
    const heights = marks(svg, "bins").map((tag) => Math.abs(rectangle(tag)[3]));
    expect(heights).toHaveLength(3);
    expect(heights[1] / heights[0]).toBeCloseTo(0.5, 2);
    expect(heights[2] / heights[0]).toBeCloseTo(0.25, 2);
    expect(marks(svg, "median")).toHaveLength(1);
    expect(texts(svg)).toContain("median 5");
  });

  it("keeps bars apart over three decades", async () => {
    const values = Int32Array.from({ length: 500 }, (_, i) =>
      i < 480 ? 8 + (i % 7) : 100 + 140 * (i - 480),
    );
    const svg = await renderChart(iterationChart(histogram(values)), "long tail");
    expect(texts(svg).join(" ")).toMatch(/10 30 100 300 1,000 iterations, log scale/);
    const widths = marks(svg, "bins").map((tag) => Math.abs(rectangle(tag)[2]));
    expect(Math.min(...widths)).toBeGreaterThan(3);
  });

  it("draws a single value as one bar that does not fill the chart", async () => {
    const svg = await renderChart(iterationChart(histogram([1, 1, 1])), "ones");
    const [bar] = marks(svg, "bins").map(rectangle);
    expect(bar[2]).toBeLessThan(80);
  });
});

describe("traceChart", () => {
  const falling = (rate: number, length: number) =>
    thinTrace(
      Float64Array.from({ length }, (_, i) => rate ** i),
      "linear",
    );

  it("draws every path, coloured by its status, and the tolerance as a rule", async () => {
    const lines = [
      { status: "converged" as const, points: falling(0.5, 20) },
      { status: "converged" as const, points: falling(0.3, 12) },
      { status: "diverged" as const, points: falling(2, 15) },
    ];
    const svg = await renderChart(traceChart(lines, 1e-6, "linear"), "three");
    const paths = marks(svg, "traces");
    expect(paths).toHaveLength(3);
    expect(paths.filter((tag) => tag.includes("--converged"))).toHaveLength(2);
    expect(paths.filter((tag) => tag.includes("--diverged"))).toHaveLength(1);
    expect(marks(svg, "tolerance")).toHaveLength(1);
    expect(texts(svg)).toContain("tolerance 1e-6");
  });

  it("has no rule without a tolerance", async () => {
    const svg = await renderChart(
      traceChart([{ status: "converged", points: falling(0.5, 20) }], null, "linear"),
      "no rule",
    );
    expect(marks(svg, "tolerance")).toHaveLength(0);
    expect(texts(svg).join()).not.toContain("tolerance");
  });

  it("draws a straight line for convergence at a constant rate", async () => {
    const svg = await renderChart(
      traceChart([{ status: "converged", points: falling(0.5, 11) }], null, "linear"),
      "straight",
    );
    const [, path] = / d="M([^"]+)"/.exec(marks(svg, "traces")[0]) ?? [];
    const points = path.split("L").map((pair) => pair.split(",").map(Number));
    expect(points).toHaveLength(11);
    const slopes = points.slice(1).map(([x, y], i) => (y - points[i][1]) / (x - points[i][0]));
    for (const slope of slopes) expect(slope).toBeCloseTo(slopes[0], 1);
  });

  it("takes zeros, a path of one step, and no steps at all", async () => {
    const lines = [
      { status: "converged" as const, points: [{ t: 1, residual: 0 }] },
      { status: "converged" as const, points: thinTrace([1, 0, 0], "linear") },
      { status: "nonFinite" as const, points: [] },
    ];
    const svg = await renderChart(traceChart(lines, 1e-6, "log"), "zeros");
    expect(marks(svg, "single")).toHaveLength(1);
    expect(svg).not.toMatch(/NaN|Infinity/);
    const zeros = [{ status: "converged" as const, points: thinTrace([0, 0], "linear") }];
    expect(await renderChart(traceChart(zeros, null, "linear"), "only zeros")).not.toMatch(/NaN|Infinity/);
  });
});

describe("basinChart", () => {
  it("draws a bar per basin with its size, every rank labelled", async () => {
    const svg = await renderChart(basinChart(ranking([20, 5, 10])), "three");
    const heights = marks(svg, "basins").map((tag) => Math.abs(rectangle(tag)[3]));
    expect(heights[1] / heights[0]).toBeCloseTo(0.5, 1);
    expect(heights[2] / heights[0]).toBeCloseTo(0.25, 1);
    expect(texts(svg).slice(0, 3)).toEqual(["1", "2", "3"]);
    expect(texts(svg).slice(-3)).toEqual(["20", "10", "5"]);
  });

  it("says what it leaves out", async () => {
    const svg = await renderChart(basinChart(ranking(new Array(75).fill(4))), "many");
    expect(marks(svg, "basins")).toHaveLength(60);
    expect(texts(svg)).toContain("and 15 more, with 60 points together");
  });

  it("shows basins of one point beside one of thousands", async () => {
    const svg = await renderChart(basinChart(ranking([5000, 3, 1, 1, 1])), "skewed");
    const heights = marks(svg, "basins").map((tag) => Math.abs(rectangle(tag)[3]));
    expect(heights).toHaveLength(5);
    expect(Math.min(...heights)).toBeGreaterThan(3);
    expect(texts(svg)).toContain("points in the basin, log scale");
  });
});

describe("sparkline", () => {
  const bars = (svg: string) =>
    [...svg.matchAll(/M([\d.]+) ([\d.]+)h3V([\d.]+)h-3Z/g)].map((bar) => bar.slice(1).map(Number));

  it("stands positive coordinates on the middle and hangs negative ones from it", () => {
    expect(bars(sparkline([1, -0.5, 0], 1, "three"))).toEqual([
      [0.5, 0, 32],
      [4.5, 32, 48],
      [8.5, 32, 32.5],
    ]);
  });

  it("draws many coordinates in 64 groups, from least to greatest", () => {
    const values = Float32Array.from({ length: 640 }, (_, i) =>
      i % 10 === 3 ? 0.5 : i % 10 === 7 ? -0.25 : 0,
    );
    const drawn = bars(sparkline(values, 0.5, "many"));
    expect(drawn).toHaveLength(64);
    for (const [, top, bottom] of drawn) expect([top, bottom]).toEqual([0, 48]);
  });

  it("escapes its words", () => {
    expect(sparkline([1], 1, '"><script>')).toContain('aria-label="&quot;&gt;&lt;script&gt;"');
  });
});
