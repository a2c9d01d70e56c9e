/** The page on convergence speed: predicted against true iterations, for each rate a prediction can start from. */

import type { TopLevelSpec } from "vega-lite";
import { type Agreement, RATES, type Rate, type Speed, type SpeedSet } from "../dynamics/speed.js";
import { along, FRAME, renderChart, roundTicks } from "./charts.js";
import { deviceText } from "./device.js";
import { type Finding, findings } from "./findings.js";
import { count, countOf, duration, quantity, share } from "./format.js";
import { facts, figure, type Html, html, notice, page, section, table, trusted } from "./page.js";
import { colour } from "./palette.js";
import { spread } from "./series.js";

/** Points that a scatter plot draws at most. */
const MOST_POINTS = 1500;

const NAMES: Record<Rate, { label: string; meaning: string }> = {
  spectralNorm: {
    label: "spectral norm",
    meaning:
      "The largest singular value of the Jacobian at the attractor: the proposition’s own bound, which most attractors of ordinary models do not meet, because it is 1 or more there.",
  },
  spectralRadius: {
    label: "spectral radius",
    meaning:
      "The largest modulus of an eigenvalue of the Jacobian at the attractor: the rate of the slowest direction once f is nearly linear.",
  },
  observedRate: {
    label: "observed rate",
    meaning:
      "How much shorter each of the last steps of the point’s own path was than the one before: no derivative needed, but the path has to be walked first.",
  },
};

/** The report as one HTML document: no script, no request. `version` is this package's. */
export async function speedReport(speed: Speed, version: string): Promise<string> {
  const { model } = speed.record;
  const title = `Convergence speed of ${model.name}`;
  const sections: Html[] = [];
  for (const [i, set] of speed.sets.entries()) {
    sections.push(section(`set-${i + 1}`, `Points: ${set.set.name}`, await setBody(set)));
  }
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
<p class="lead">Near an attractor every step is about <var>ρ</var> times as long as the one before, so a point at distance ‖<var>e</var>₀‖ needs about log(ε/‖<var>e</var>₀‖)/log <var>ρ</var> applications of <var>f</var> to come within ε, the square root of the tolerance. Each dot compares that with the applications it took.</p>
</header>
${factsOf(speed, version)}
${sections}
${section("options", "Options", options(speed))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

function factsOf({ record }: Speed, version: string): Html {
  const { model, timing, options: given } = record;
  const hash = html`<span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`;
  return facts([
    ["Model", html`${model.name}, ${model.format}, ${hash}`, "line"],
    [html`Latent dimensions <var>k</var>`, count(model.latentDimension)],
    ["Tolerance", typeof given.tolerance === "number" ? quantity(given.tolerance) : "–"],
    ["Device", deviceText(record)],
    ["Time", duration(timing.seconds)],
    [html`Applications of <var>f</var>`, count(timing.mapEvaluations)],
    ["Version", version],
  ]);
}

/** What a reader must know before taking the correlations for a result. */
export function speedFindings({ set, agreement }: SpeedSet): Finding[] {
  const found = findings(set);
  const { converged } = set.summary;
  const { atLeastOne } = agreement.spectralNorm;
  if (atLeastOne > 0) {
    found.push({
      kind: "note",
      text: `At the attractors of ${countOf(atLeastOne, "point")} (${share(atLeastOne, converged)} of those that converged) the spectral norm is at least 1, and the formula has no value with it. Its correlation speaks for the others alone.`,
    });
  }
  return found;
}

async function setBody(speed: SpeedSet): Promise<Html> {
  const notices = speedFindings(speed).map(({ kind, text }) => notice(kind, text));
  const figures: Html[] = [];
  for (const rate of RATES) {
    if (speed.agreement[rate].used > 0) figures.push(await scatterFigure(speed, rate));
  }
  const correlation = (value: number | null) => (value === null ? "–" : value.toFixed(3));
  const cell = (value: number | null) => (value === null ? "–" : value.toFixed(1));
  const rows = RATES.map((rate) => {
    const a: Agreement = speed.agreement[rate];
    return [
      NAMES[rate].label,
      count(a.used),
      count(a.atLeastOne),
      count(a.unknown),
      cell(a.meanPredicted),
      cell(a.meanIterations),
      correlation(a.pearson),
      correlation(a.spearman),
    ];
  });
  return html`${notices}
<div class="grid">${figures}</div>
${table(
  "Predicted and true iterations",
  [
    { heading: "rate" },
    { heading: "points", numeric: true },
    { heading: "rate ≥ 1", numeric: true },
    { heading: "not known", numeric: true },
    { heading: "mean predicted", numeric: true },
    { heading: "mean true", numeric: true },
    { heading: "Pearson", numeric: true },
    { heading: "Spearman", numeric: true },
  ],
  rows,
)}<p class="meaning">Correlations of the predicted with the true counts over the points that have a prediction; “–” where fewer than two have one, or all counts are equal.</p>`;
}

async function scatterFigure({ set, predicted, agreement }: SpeedSet, rate: Rate): Promise<Html> {
  const { used, pearson } = agreement[rate];
  const indices = [...predicted[rate].keys()].filter((i) => !Number.isNaN(predicted[rate][i]));
  const shown = spread(indices.length, MOST_POINTS).map((i) => indices[i]);
  const points = shown.map((i) => ({ predicted: predicted[rate][i], iterations: set.iterations[i] }));
  const { label, meaning } = NAMES[rate];
  const words = `Predicted against true iterations of ${countOf(used, "point")}, from the ${label}: Pearson correlation ${pearson === null ? "undefined" : pearson.toFixed(3)}.`;
  return figure({
    title: `From the ${label}`,
    body: trusted(await renderChart(scatterChart(points), words)),
    caption: `${meaning} On the line prediction and truth agree.${shown.length < used ? ` ${count(shown.length)} of ${countOf(used, "point")} are drawn.` : ""}`,
  });
}

/** Both axes logarithmic over one range, with the line of equality. Predictions below all that is drawn lie on the lower edge. */
export function scatterChart(
  points: readonly { readonly predicted: number; readonly iterations: number }[],
): TopLevelSpec {
  const positive = points
    .flatMap(({ predicted, iterations }) => [predicted, iterations])
    .filter((n) => n >= 1);
  const least = positive.reduce((low, value) => Math.min(low, value), Number.POSITIVE_INFINITY);
  const most = positive.reduce((high, value) => Math.max(high, value), least);
  // Three times between the ends at least: a narrower range makes noise look like a trend.
  const domain: [number, number] = [least * 0.9, Math.max(most, least * 3) * 1.1];
  const axis = (title: string) =>
    along({ title, scale: "log", domain, ticks: roundTicks(...domain), format: ",d" });
  const x = axis("predicted iterations, log scale");
  const y = axis("true iterations, log scale");
  const values = points.map(({ predicted, iterations }) => ({
    predicted: Math.max(predicted, domain[0]),
    iterations,
  }));
  return {
    ...FRAME,
    layer: [
      {
        data: {
          values: [
            { predicted: domain[0], iterations: domain[0] },
            { predicted: domain[1], iterations: domain[1] },
          ],
        },
        mark: { type: "line", stroke: colour("ink"), strokeDash: [4, 3], strokeWidth: 1 },
        encoding: { x: { field: "predicted", ...x }, y: { field: "iterations", ...y } },
      },
      {
        name: "points",
        data: { values },
        mark: { type: "point", filled: true, fill: colour("converged"), size: 14, opacity: 0.5 },
        encoding: { x: { field: "predicted", ...x }, y: { field: "iterations", ...y } },
      },
    ],
  };
}

/** Everything needed to measure again. */
function options({ record: { model, device, options: given } }: Speed): Html {
  const text = JSON.stringify({ model, device, options: given }, null, 2);
  return html`<details><summary>Model, device and options as recorded</summary><pre>${text}</pre></details>`;
}
