/** The page on the rank of decoded attractors: the spectrum, and how much of it is most of it. */
import type { RankRecord } from "../analysis/rank.js";
import { renderChart } from "./charts.js";
import { count, countOf, duration, quantity, share } from "./format.js";
import { spectrumChart } from "./measureCharts.js";
import { facts, figure, type Html, html, noticeOf, page, section, table, trusted } from "./page.js";

/** Singular values that get a line of their own. */
const MOST_ROWS = 20;

/** The report as one HTML document: no script, no request, the chart inside. `version` is this package's. */
export async function rankReport(record: RankRecord, version: string): Promise<string> {
  const { model, run, attractors, elements, centred, rank90, notes, timing } = record;
  const title = `Rank of the attractors of ${model.name}`;
  const matrix = `the matrix of ${countOf(attractors, "decoded attractor")}${centred ? ", less their mean," : ""}`;
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
<p class="lead">How many directions the decoded attractors take up: it needs ${countOf(rank90, "singular value")} of ${matrix} for their squares to sum to at least 90 % of all.</p>
</header>
${notes.map(noticeOf)}
${facts([
  [
    "Model",
    html`${model.name}, <span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`,
    "line",
  ],
  ["Run", `${run.folder}, set ${run.set}`],
  ["Attractors", count(attractors)],
  ["Elements of an input", count(elements)],
  ["Mean subtracted", centred ? "yes" : "no"],
  ["Rank", count(rank90)],
  ["Time", duration(timing.seconds)],
  ["Version", version],
])}
${section("spectrum", "Spectrum", await spectrum(record))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

async function spectrum({ spectrum: values, rank90 }: RankRecord): Promise<Html> {
  if (rank90 === 0) {
    return html`<p>Every singular value is zero: the attractors decode to one and the same input.</p>`;
  }
  const total = values.reduce((sum, value) => sum + value * value, 0);
  let sum = 0;
  const rows = values.slice(0, MOST_ROWS).map((value, i) => {
    sum += value * value;
    return [count(i + 1), quantity(value), share(value * value, total), share(sum, total)];
  });
  const left = values.length - rows.length;
  const chart = await renderChart(
    spectrumChart(values, rank90),
    `Singular values by rank on a logarithmic scale: ${count(rank90)} of ${count(values.length)} hold 90 % of the squares.`,
  );
  return html`<div class="grid">
${figure({
  title: "Singular values",
  body: trusted(chart),
  caption:
    "Filled: those that are needed for 90 % of the squares, left of the dashed line. Values below a ten-thousandth of the largest lie on the lower edge.",
})}
${figure({
  title: "Share of the squares",
  body: table(
    "Singular values and their shares",
    [
      { heading: "rank", numeric: true },
      { heading: "value", numeric: true },
      { heading: "share", numeric: true },
      { heading: "together", numeric: true },
    ],
    rows,
  ),
  caption: left > 0 ? `${count(left)} more are in rank.json.` : "",
})}
</div>`;
}
