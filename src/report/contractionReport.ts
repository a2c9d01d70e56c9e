/** The page on contraction: how noise fares in the untrained network, and how the trained map stretches space. */

import type { Contraction, Distribution } from "../analysis/contraction.js";
import { renderChart } from "./charts.js";
import { DIFFERENCES, deviceText } from "./device.js";
import { count, countOf, duration, quantity, share } from "./format.js";
import { type DistributionOptions, distributionChart, type Group, groupKey } from "./measureCharts.js";
import { EMPTY, facts, figure, type Html, html, notice, page, section, table, trusted } from "./page.js";

/** The report as one HTML document: no script, no request. `version` is this package's. */
export async function contractionReport(result: Contraction, version: string): Promise<string> {
  const { model, summary } = result.record;
  const title = `Contraction of ${model.name}`;
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
<p class="lead">A map that contracts brings points closer together, and has an attractor. This page looks at it twice: at the network before it has learned anything, with its weights drawn at random, and at the derivatives of the map as it is now.</p>
</header>
${factsOf(result, version)}
${section("initialisation", "At initialisation", await initialisationBody(result))}
${
  result.local.length === 0
    ? EMPTY
    : section("local", "The trained map, place by place", await localBody(result, summary.local))
}
${section("options", "Options", options(result))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

function factsOf({ record }: Contraction, version: string): Html {
  const { model, timing } = record;
  const hash = html`<span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`;
  return facts([
    ["Model", html`${model.name}, ${model.format}, ${hash}`, "line"],
    [html`Latent dimensions <var>k</var>`, count(model.latentDimension)],
    ["Device", deviceText(record)],
    ["Time", duration(timing.seconds)],
    ["Version", version],
  ]);
}

const PART: Record<string, string> = { map: "whole map f", encoder: "encoder", decoder: "decoder" };

async function initialisationBody({ initialisation, record }: Contraction): Promise<Html> {
  if (initialisation.length === 0) {
    return notice(
      "note",
      "The engine keeps the model’s weights to itself, so they could not be drawn again.",
    );
  }
  const { options: given, summary } = record;
  const part = PART[String(given.part)] ?? String(given.part);
  // Schemes differ by orders of magnitude: only their logarithms fit in one picture.
  const groups = initialisation.map(({ scheme, ratio }) => ({
    name: scheme,
    values: finite(ratio.map(Math.log10)),
  }));
  return html`<div class="grid">${await histogramFigure(groups, {
    title: "σ of the output over σ of the input",
    axis: "log₁₀ of σ out / σ in",
    rule: 0,
    bins: 40,
    caption: `${countOf(Number(given.inputs), "input")} from N(0, I) went through the ${part} with ${countOf(Number(given.seeds), "random initialisation")} of each scheme. σ² is the variance over the inputs, averaged over the coordinates. Below 1 (0 on the axis) the differences between inputs shrink, and what f makes of them lies close together.`,
  })}</div>
${distributionTable(
  "σ out / σ in by scheme",
  "scheme",
  initialisation.flatMap(({ scheme }) => {
    const found = summary.initialisation[scheme];
    return found === undefined ? [] : [[scheme, found] as const];
  }),
)}<p class="meaning">Normalisations start with scale 1 and shift 0; a batch normalisation that was folded into the layer before it is the identity at initialisation. What is added or multiplied element by element stays as it is in the model.</p>`;
}

async function localBody(
  { local }: Contraction,
  summary: Contraction["record"]["summary"]["local"],
): Promise<Html> {
  const notFinite = Object.values(summary).reduce((sum, set) => sum + set.spectralNorm.notFinite, 0);
  const differences = Object.values(summary).some(({ method }) => method === "central differences");
  const figures: Html[] = [];
  for (const [key, name, meaning] of [
    [
      "spectralNorm",
      "spectral norm",
      "The largest singular value of the Jacobian: the most that f stretches a small step there. Below 1 it brings all close points closer.",
    ],
    [
      "spectralRadius",
      "spectral radius",
      "The largest modulus of an eigenvalue of the Jacobian. Below 1 repeated application would shrink every step in the end, were f linear with this Jacobian.",
    ],
  ] as const) {
    const groups = local.map((set) => ({ name: set.name, values: finite(set[key]) }));
    figures.push(
      await histogramFigure(groups, {
        title: `Distribution of the ${name}`,
        axis: name,
        rule: 1,
        caption: `${meaning} The dashed rule is 1.`,
      }),
    );
  }
  return html`${
    notFinite > 0
      ? notice(
          "note",
          `${countOf(notFinite, "Jacobian")} held values that are not finite, or could not be taken apart, and ${notFinite === 1 ? "is" : "are"} left out.`,
        )
      : EMPTY
  }${differences ? notice("note", DIFFERENCES) : EMPTY}
<div class="grid">${figures}</div>
${distributionTable(
  "Spectral norm of the Jacobian by set of points",
  "spectral norm",
  local.map(({ name }) => [name, summary[name].spectralNorm] as const),
)}
${distributionTable(
  "Spectral radius of the Jacobian by set of points",
  "spectral radius",
  local.map(({ name }) => [name, summary[name].spectralRadius] as const),
)}`;
}

async function histogramFigure(
  groups: readonly Group[],
  {
    title,
    axis,
    caption,
    ...chart
  }: { title: string; axis: string; caption: string } & Pick<DistributionOptions, "rule" | "bins">,
): Promise<Html> {
  const drawn = groups.filter(({ values }) => values.length > 0);
  if (drawn.length === 0) return figure({ title, body: html`<p>No value is finite.</p>`, caption });
  const words = `${title}: ${drawn.map(({ name, values }) => `${name} with ${countOf(values.length, "value")}`).join(", ")}.`;
  return figure({
    title,
    body: html`${groupKey(drawn.map(({ name }) => name))}${trusted(await renderChart(distributionChart(drawn, { title: axis, ...chart }), words))}`,
    caption,
  });
}

function distributionTable(
  label: string,
  heading: string,
  rows: readonly (readonly [string, Distribution])[],
): Html {
  const cell = (value: number | null) => (value === null ? "–" : quantity(value));
  return table(
    label,
    [
      { heading },
      { heading: "values", numeric: true },
      { heading: "mean", numeric: true },
      { heading: "std", numeric: true },
      { heading: "least", numeric: true },
      { heading: "median", numeric: true },
      { heading: "greatest", numeric: true },
      { heading: "below 1", numeric: true },
    ],
    rows.map(([name, found]) => [
      name,
      count(found.count),
      cell(found.mean),
      cell(found.std),
      cell(found.min),
      cell(found.median),
      cell(found.max),
      share(found.belowOne, found.count),
    ]),
  );
}

function finite(values: Float64Array): Float64Array {
  return values.filter(Number.isFinite);
}

/** Everything needed to measure again. */
function options({ record: { model, device, options: given } }: Contraction): Html {
  const text = JSON.stringify({ model, device, options: given }, null, 2);
  return html`<details><summary>Model, device and options as recorded</summary><pre>${text}</pre></details>`;
}
