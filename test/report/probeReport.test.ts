import { describe, expect, it } from "vitest";
import { type ProbeOptions, probe } from "../../src/analysis/probing.js";
import { latents } from "../../src/dynamics/points.js";
import { matrix } from "../../src/matrix.js";
import { renderChart } from "../../src/report/charts.js";
import { errorChart } from "../../src/report/probeCharts.js";
import { probeFindings, probeReport } from "../../src/report/probeReport.js";
import { flat, scaling } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const codes = (k: number) => latents(matrix(seededRandom(2).floats(6 * k), k));

async function pageOf(options: ProbeOptions, k: number, constant = false) {
  const model = constant ? flat("constant", new Array(k).fill(1)) : scaling("identity <b>", k, 1);
  const probed = await probe(model, options);
  const page = await probeReport({
    probe: probed,
    imageShape: k === 16 ? [1, 4, 4] : null,
    toPixels: (decoded) => decoded,
    version: "1.2.3",
  });
  return { probed, page };
}

describe("the page on a probe", () => {
  it("has a section for every set, one picture a cell, and no script", async () => {
    const { page } = await pageOf(
      { data: { one: codes(16), two: codes(16) }, atoms: 30, sparsity: [1, 4, 16], pictures: 2 },
      16,
    );
    expect(page).toContain("Signals: one");
    expect(page).toContain("Signals: two");
    expect(page).not.toMatch(/<script/i);
    // Per set: 2 signals of a square map, as a decoded latent and 3 sparsities of each dictionary.
    expect(page.match(/<img /g)).toHaveLength(2 * 2 * (1 + 6));
    expect(page).toContain("Probing identity &lt;b&gt;");
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
  });

  it("shows no picture of what is no image", async () => {
    const { page } = await pageOf({ data: { one: codes(3) }, atoms: 5 }, 3);
    expect(page).not.toContain("Reconstructions");
    expect(page).not.toContain("<img ");
  });

  it("says that one attractor is no dictionary", async () => {
    const { probed, page } = await pageOf({ data: { one: codes(4) }, atoms: 30 }, 4, true);
    const texts = probeFindings(probed).map(({ text }) => text);
    expect(texts.some((text) => text.includes("went to one attractor within a handful of steps"))).toBe(true);
    expect(texts.some((text) => text.includes("30 atoms but only about 1 different endpoint:"))).toBe(true);
    expect(texts.some((text) => text.includes("From 2 atoms on, most signals of “one” stopped"))).toBe(true);
    expect(page).toContain("Read with care.");
  });

  it("has nothing to warn of where atoms differ", async () => {
    const { probed } = await pageOf(
      { data: { one: codes(4) }, atoms: 8, tolerance: 1e-12, sparsity: [1, 2] },
      4,
    );
    const texts = probeFindings(probed).map(({ text }) => text);
    expect(texts.filter((text) => text.includes("different endpoint"))).toEqual([]);
  });
});

describe("the chart of errors", () => {
  it("draws zeros on the lower edge and a single sparsity as a point", async () => {
    const svg = await renderChart(
      errorChart({
        attractors: [{ sparsity: 4, error: 0.5 }],
        orthonormal: [{ sparsity: 4, error: 0 }],
        limit: { name: "limit", error: 0.1 },
        title: "error",
      }),
      "words",
    );
    expect(svg).toContain("limit");
    expect(svg).not.toMatch(/NaN|Infinity/);
  });

  it("stands where every error is zero", async () => {
    const points = [
      { sparsity: 1, error: 0 },
      { sparsity: 2, error: 0 },
    ];
    const chart = errorChart({ attractors: points, orthonormal: points, limit: null, title: "error" });
    expect(await renderChart(chart, "words")).not.toMatch(/NaN|Infinity/);
  });
});
