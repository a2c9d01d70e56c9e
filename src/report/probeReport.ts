/** The page on a probe: how well attractors of noise rebuild the codes of data, beside a random orthonormal basis. */

import type { Probe, ProbeAt, ProbeSet } from "../analysis/probing.js";
import type { Shape } from "../graph/graph.js";
import { type Matrix, row } from "../matrix.js";
import { renderChart } from "./charts.js";
import { deviceText } from "./device.js";
import { type Finding, findings } from "./findings.js";
import { count, countOf, duration, quantity, share } from "./format.js";
import { type DisplayRange, displayRange, type ImageShape, imageShape, pngDataUri } from "./images.js";
import { EMPTY, facts, figure, type Html, html, notice, page, section, table, trusted } from "./page.js";
import { DICTIONARIES, describeCurves, type ErrorCurves, errorChart } from "./probeCharts.js";
import { spread } from "./series.js";

/** Sparsities whose reconstructions are shown, spread over those that were computed. */
const SHOWN_SPARSITIES = 4;
/** Share of signals that stopped early from which on a sparsity says little. */
const MANY_STOPS = 0.5;

export interface ProbeReportInput {
  readonly probe: Probe;
  /** One input's shape. [1|3, H, W] is drawn as images; anything else, and null, is not drawn. */
  readonly imageShape: Shape | null;
  /** From the model's units to what a picture shows. */
  readonly toPixels: (decoded: Matrix) => Matrix;
  /** Of this package. */
  readonly version: string;
}

/** The report as one HTML document: no script, no request. */
export async function probeReport(input: ProbeReportInput): Promise<string> {
  const { probe, version } = input;
  const title = `Probing ${probe.record.model.name}`;
  const sections: Html[] = [];
  for (const [i, set] of probe.sets.entries()) {
    sections.push(section(`set-${i + 1}`, `Signals: ${set.name}`, await setBody(set, input)));
  }
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
${lead(probe)}
</header>
${probeFindings(probe).map(({ kind, text }) => notice(kind, text))}
${factsOf(probe, version)}
${sections}
${section("options", "Options", options(probe))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

/** What a reader must know before taking the curves for a result. */
export function probeFindings({ noise, sets, record }: Probe): Finding[] {
  const found = findings(noise);
  const { points, converged, attractors, attractorsEuclidean, unusable } = record.dictionary;
  // What did not converge is an atom of its own; converged endpoints repeat their attractor up to the tolerance.
  const directions = Math.min(points, Math.max(attractors, attractorsEuclidean) + points - converged);
  const largest = Math.max(...sets.flatMap(({ bySparsity }) => bySparsity.map(({ sparsity }) => sparsity)));
  if (directions < largest) {
    found.push({
      kind: "warning",
      text: `The dictionary holds ${countOf(points, "atom")} but only about ${countOf(directions, "different endpoint")}: beyond that many, pursuit chooses copies of the same attractors and fits with the tiny differences that the tolerance left between them. What it gains there is not knowledge in the weights. Wider noise, or a model with more attractors, gives a dictionary worth the name.`,
    });
  }
  if (unusable > 0) {
    found.push({
      kind: "note",
      text: `${countOf(unusable, "endpoint")} of ${count(points)} cannot be an atom, being zero or not finite, and ${unusable === 1 ? "is" : "are"} never chosen.`,
    });
  }
  for (const { name, signals, bySparsity } of sets) {
    const first = bySparsity.find(({ attractors: { earlyStops } }) => earlyStops > MANY_STOPS * signals.rows);
    if (first !== undefined) {
      found.push({
        kind: "note",
        text: `From ${countOf(first.sparsity, "atom")} on, most signals of “${name}” stopped before that many (${share(first.attractors.earlyStops, signals.rows)}): they were fitted to rounding, or no atom was left that does not depend on the chosen ones.`,
      });
    }
  }
  return found;
}

function lead({ record, sets }: Probe): Html {
  const signals = sets.reduce((sum, set) => sum + set.signals.rows, 0);
  const decoded =
    record.model.format === "square-map"
      ? html`The map has no decoder, so errors are those of the points themselves.`
      : html`What was rebuilt is decoded and compared with the decoded latent and with the input.`;
  return html`<p class="lead">${countOf(record.dictionary.points, "draw")} of noise ${record.dictionary.points === 1 ? "was" : "were"} iterated to the end, and the endpoints taken as the atoms of a dictionary, without a look at any data. Matching pursuit then rebuilt the latents of ${countOf(signals, "signal")} from a few atoms each. Beside it stands the same number of terms of a random orthonormal basis. ${decoded}</p>`;
}

function factsOf({ record }: Probe, version: string): Html {
  const { model, timing, dictionary } = record;
  const hash = html`<span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`;
  return facts([
    ["Model", html`${model.name}, ${model.format}, ${hash}`, "line"],
    [html`Latent dimensions <var>k</var>`, count(model.latentDimension)],
    ["Atoms", count(dictionary.points)],
    ["Converged", share(dictionary.converged, dictionary.points)],
    ["Attractors among them", count(dictionary.attractors)],
    ["By distance", count(dictionary.attractorsEuclidean)],
    ["Mean iterations", dictionary.meanIterations === null ? "–" : dictionary.meanIterations.toFixed(1)],
    ["Device", deviceText(record)],
    ["Time", duration(timing.seconds)],
    ["Version", version],
  ]);
}

async function setBody(set: ProbeSet, input: ProbeReportInput): Promise<Html> {
  return html`<div class="key">${Object.values(DICTIONARIES).map(
    ({ label, colour }) =>
      html`<span class="status"><span class="swatch" style="background:${colour}"></span>${label}</span>`,
  )}</div>
<div class="grid">
${await curveFigure(set, "decoded")}
${set.reconstruction === null ? EMPTY : await curveFigure(set, "input")}
</div>
${pictures(set, input)}
${errorTable(set, input.probe.record.model.latentDimension)}`;
}

async function curveFigure(set: ProbeSet, against: "decoded" | "input"): Promise<Html> {
  const points = (kind: "attractors" | "orthonormal") =>
    set.bySparsity.map((at) => ({ sparsity: at.sparsity, error: at[kind][against] ?? 0 }));
  const curves: ErrorCurves = {
    attractors: points("attractors"),
    orthonormal: points("orthonormal"),
    limit:
      against === "input" && set.reconstruction !== null
        ? { name: "the autoencoder itself", error: set.reconstruction }
        : null,
    title: "mean squared error",
  };
  return figure({
    title: against === "decoded" ? "Against the decoded latent" : "Against the input",
    body: trusted(await renderChart(errorChart(curves), describeCurves(curves))),
    caption:
      against === "decoded"
        ? "Mean squared difference per element between the decoded rebuilt latent and the decoded latent, over all signals. What is zero up to rounding lies on the lower edge."
        : "The same against the input. The dotted rule is what the autoencoder reaches with the whole latent; a rebuilt latent seldom does better.",
  });
}

function errorTable({ bySparsity, signals, reconstruction }: ProbeSet, k: number): Html {
  const error = (value: number | null) => (value === null ? "–" : quantity(value));
  const inputs = reconstruction !== null;
  const cells = ({ sparsity, attractors, orthonormal }: ProbeAt) => [
    count(sparsity),
    share(sparsity, k),
    error(attractors.decoded),
    error(orthonormal.decoded),
    ...(inputs ? [error(attractors.input), error(orthonormal.input)] : []),
    count(attractors.earlyStops),
  ];
  return html`${table(
    "Errors by sparsity",
    [
      { heading: "atoms", numeric: true },
      { heading: "of k", numeric: true },
      { heading: "attractors, decoded", numeric: true },
      { heading: "orthonormal, decoded", numeric: true },
      ...(inputs
        ? [
            { heading: "attractors, input", numeric: true },
            { heading: "orthonormal, input", numeric: true },
          ]
        : []),
      { heading: "early stops", numeric: true },
    ],
    bySparsity.map(cells),
  )}<p class="meaning">${countOf(signals.rows, "signal")}. Early stops are signals that used fewer atoms, because they were fitted already or no independent atom was left.${inputs ? ` The autoencoder itself misses the input by ${error(reconstruction)}.` : ""}</p>`;
}

/** A line for every signal: input, decoded latent, and per sparsity the baseline beside the attractors. */
function pictures(set: ProbeSet, { imageShape: shape, toPixels }: ProbeReportInput): Html {
  const image = imageShape(shape);
  const shown = set.pictures.decoded.rows;
  if (image === null || shown === 0) return EMPTY;
  const chosen = spreadToLast(set.bySparsity.length, SHOWN_SPARSITIES);
  const input = set.pictures.input === null ? null : toPixels(set.pictures.input);
  const decoded = toPixels(set.pictures.decoded);
  const pairs = chosen.map((i) => ({
    sparsity: set.bySparsity[i].sparsity,
    orthonormal: toPixels(set.pictures.orthonormal[i]),
    attractors: toPixels(set.pictures.attractors[i]),
  }));
  // What the decoder shows sets the range: a bad reconstruction may be bright beyond measure.
  const range = displayRange(decoded, ...(input === null ? [] : [input]));
  const cell = (from: Matrix, i: number, words: string) =>
    thumbnail(row(from, i), image, range, `${words} of signal ${i + 1}`);
  const rows = Array.from({ length: shown }, (_, i) => [
    String(i + 1),
    ...(input === null ? [] : [cell(input, i, "Input")]),
    cell(decoded, i, "Decoded latent"),
    ...pairs.flatMap(({ sparsity, orthonormal, attractors }) => [
      cell(orthonormal, i, `Orthonormal reconstruction with ${sparsity} terms`),
      cell(attractors, i, `Attractor reconstruction with ${sparsity} atoms`),
    ]),
  ]);
  return figure({
    title: "Reconstructions",
    wide: true,
    body: table(
      `Reconstructions of the first signals of ${set.name}`,
      [
        { heading: "signal" },
        ...(input === null ? [] : [{ heading: "input" }]),
        { heading: "decoded latent" },
        ...pairs.flatMap(({ sparsity }) => [
          { heading: `${count(sparsity)} orthonormal` },
          { heading: `${countOf(sparsity, "attractor")}` },
        ]),
      ],
      rows,
    ),
    caption: `The first ${countOf(shown, "signal")}, decoded: with all of the latent, and with as many terms of the random basis and attractors of noise as each column says.`,
  });
}

function thumbnail(pixels: Float32Array, image: ImageShape, range: DisplayRange, words: string): Html {
  const [, height, width] = image;
  return html`<div class="pictures" style="width:64px;--ratio:${width}/${height}"><img src="${pngDataUri(pixels, image, range)}" width="${width}" height="${height}" alt="${words}"></div>`;
}

/** At most `most` of 0…n−1, evenly spread and with the last one. */
function spreadToLast(n: number, most: number): number[] {
  return spread(n, most).map((_, i, all) => n - 1 - Math.floor(((all.length - 1 - i) * n) / all.length));
}

/** Everything needed to make the probe again. */
function options({ record: { model, device, options: given } }: Probe): Html {
  const text = JSON.stringify({ model, device, options: given }, null, 2);
  return html`<details><summary>Model, device and options as recorded</summary><pre>${text}</pre></details>`;
}
