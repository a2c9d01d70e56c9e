/** The page on trajectories: how steps, distances and norms change along the paths, and what the paths look like. */

import type { Bands } from "../dynamics/bands.js";
import type { TrajectoryRun, TrajectorySet } from "../dynamics/trajectories.js";
import type { Shape } from "../graph/graph.js";
import { type Matrix, row } from "../matrix.js";
import { renderChart } from "./charts.js";
import { deviceText } from "./device.js";
import type { Finding } from "./findings.js";
import { count, countOf, duration, quantity } from "./format.js";
import { displayRange, imageShape, pngDataUri } from "./images.js";
import {
  EMPTY,
  facts,
  figure,
  type Html,
  html,
  notice,
  noticeOf,
  page,
  section,
  table,
  trusted,
} from "./page.js";
import { bandChart } from "./trajectoryCharts.js";

/** The first paths of a set, decoded: P paths at T of the stored steps. */
export interface DecodedPaths {
  /** [T] */
  readonly steps: readonly number[];
  /** [P·T, elements of the input shape], path by path. */
  readonly pixels: Matrix;
}

export interface TrajectoryReportInput {
  readonly run: TrajectoryRun;
  /** One input's shape. [1|3, H, W] is drawn as images; anything else, and null, is not drawn. */
  readonly imageShape: Shape | null;
  /** By name of set; sets that are not named are not drawn. */
  readonly decoded: Readonly<Record<string, DecodedPaths>>;
  /** Of this package. */
  readonly version: string;
}

/** Steps up to which a standstill counts as immediate. */
const HANDFUL = 12;
/** Median squared step, as a part of the squared norm, below which a path stands still in single precision. */
const STILL = 1e-10;
/** Last step over the first one, squared, above which paths have not begun to settle. */
const UNSETTLED = 0.5;
/** Growth of the median norm that counts as running away. */
const GROWTH = 100;

/** The report as one HTML document: no script, no request. */
export async function trajectoryReport(input: TrajectoryReportInput): Promise<string> {
  const { run, version } = input;
  const title = `Trajectories of ${run.record.model.name}`;
  const sections: Html[] = [];
  for (const [i, set] of run.sets.entries()) {
    sections.push(section(`set-${i + 1}`, `Points: ${set.name}`, await setBody(set, input)));
  }
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
${lead(run)}
</header>
${(run.record.notes ?? []).filter(({ set }) => set === run.record.options.attractorsFrom).map(noticeOf)}
${factsOf(run, version)}
${section("result", "Result", overview(run))}
${sections}
${section("options", "Options", options(run))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

/** Sentences on one set of paths, most important first; none where there is nothing to warn of. */
export function trajectoryFindings({ summary, bands }: TrajectorySet): Finding[] {
  const { points, steps, nonFinite, residual, norm } = summary;
  if (points === 0) return [{ kind: "note", text: "This set holds no points, so there is nothing to show." }];
  const found: Finding[] = [];
  const still = firstStill(bands.residual, bands.norm);
  if (nonFinite === points) {
    found.push({
      kind: "warning",
      text: "Every path became NaN or infinite. The model overflows, or its weights are damaged; there is no dynamics to read here.",
    });
    return found;
  }
  if (nonFinite > 0) {
    found.push({
      kind: "note",
      text: `${countOf(nonFinite, "path")} of ${count(points)} became NaN or infinite; ${nonFinite === 1 ? "it has" : "they have"} no score, and curves are those of what was finite.`,
    });
  }
  if (still === 1 && residual.first === 0) {
    found.push({
      kind: "warning",
      text: "Most points do not move at all: f(z) = z where they start. They are fixed points already, or the model is the identity here.",
    });
  } else if (still !== null && still <= HANDFUL) {
    found.push({
      kind: "warning",
      text: `Most paths stand still after a handful of steps (the median by step ${still}). This is usually not a finding about the data: it is what a nearly constant field does, as after too brief a training or under strong contraction, and also what happens when all points start deep inside one basin.`,
    });
  }
  if (norm.first !== null && norm.last !== null && norm.last > GROWTH * Math.max(1, norm.first)) {
    found.push({
      kind: "warning",
      text: `Paths run away: the median norm grows from ${quantity(norm.first)} to ${quantity(norm.last)}. Outside the region it was trained on a network may expand without limit; points closer to the data may still have attractors.`,
    });
  } else if (
    residual.first !== null &&
    residual.last !== null &&
    residual.last > UNSETTLED * residual.first &&
    residual.first > 0
  ) {
    found.push({
      kind: "warning",
      text: `Paths do not settle: after ${countOf(steps, "step")} the median squared step is still ${quantity(residual.last)}, against ${quantity(residual.first)} at the start. Contraction near 1 needs many more steps than these; a rotation or a cycle never comes to rest.`,
    });
  }
  return found;
}

/** The first step whose median is nothing beside the norm; null where there is none. */
function firstStill(residual: Bands, norm: Bands): number | null {
  const width = 5;
  for (let t = 0; t * width < residual.values.length; t++) {
    const [step, size] = [residual.values[t * width + 2], norm.values[(t + 1) * width + 2]];
    if (Number.isFinite(step) && step <= STILL * Math.max(size * size, Number.MIN_VALUE)) return t + 1;
  }
  return null;
}

function lead({ record, sets }: TrajectoryRun): Html {
  const points = sets.reduce((sum, set) => sum + set.initial.rows, 0);
  const steps = Number(record.options.steps);
  const map =
    record.model.format === "square-map"
      ? html`The map <var>f</var>`
      : html`The latent map <var>f</var> = <var>E</var>∘<var>D</var>`;
  const attractors = record.options.attractors;
  const scored =
    typeof attractors === "number"
      ? html` The score of a path is its mean distance to the nearest of ${countOf(attractors, "attractor")}, both ends included.`
      : EMPTY;
  return html`<p class="lead">${map} was applied ${count(steps)} ${steps === 1 ? "time" : "times"} to each of ${countOf(points, "initial point")}, whether or not it had come to rest.${scored}</p>`;
}

function factsOf({ record }: TrajectoryRun, version: string): Html {
  const { model, device, timing, options } = record;
  const hash = html`<span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`;
  return facts([
    ["Model", html`${model.name}, ${model.format}, ${hash}`, "line"],
    [html`Latent dimensions <var>k</var>`, count(model.latentDimension)],
    ["Steps", count(Number(options.steps))],
    [
      "Attractors",
      typeof options.attractors === "number"
        ? `${count(options.attractors)}${typeof options.attractorsFrom === "string" ? `, ${options.attractorsFrom}` : ""}`
        : "none given",
    ],
    ["Device", deviceText(record)],
    ["Threads", device.threads],
    ["Time", duration(timing.seconds)],
    ["Paths per second", quantity(timing.rowsPerSecond)],
    [html`Applications of <var>f</var>`, count(timing.mapEvaluations)],
    ["Version", version],
  ]);
}

/** One line per set, linked to its section. */
function overview({ sets }: TrajectoryRun): Html {
  const value = (number: number | null | undefined) => quantity(number ?? Number.NaN);
  return html`${table(
    "Result for every set of paths",
    [
      { heading: "set" },
      { heading: "paths", numeric: true },
      { heading: "not finite", numeric: true },
      { heading: "score, mean", numeric: true },
      { heading: "score, std", numeric: true },
      { heading: "first step²", numeric: true },
      { heading: "last step²", numeric: true },
      { heading: "last distance", numeric: true },
    ],
    sets.map(({ name, summary }, i) => [
      html`<a href="#set-${i + 1}">${name}</a>`,
      count(summary.points),
      count(summary.nonFinite),
      value(summary.score?.mean),
      value(summary.score?.std),
      value(summary.residual.first),
      value(summary.residual.last),
      value(summary.distance?.last),
    ]),
  )}<p class="meaning">Scores are over all paths; steps and distances are medians over the paths with curves.</p>`;
}

async function setBody(
  set: TrajectorySet,
  { imageShape: shape, decoded }: TrajectoryReportInput,
): Promise<Html> {
  const notices = trajectoryFindings(set).map(({ kind, text }) => notice(kind, text));
  if (set.curves.length === 0) {
    return html`${notices}${set.initial.rows > 0 ? html`<p>No curves were kept.</p>` : EMPTY}`;
  }
  const drawn = Object.hasOwn(decoded, set.name) ? decoded[set.name] : null;
  const over = `over ${countOf(set.curves.length, "path")}${set.curves.length < set.initial.rows ? ` of ${count(set.initial.rows)}` : ""}`;
  const words = `Median ${over}, the middle half and the middle nine tenths.`;
  return html`${notices}
<div class="grid">
${await bandFigure(set.bands.residual, {
  title: "Length of the steps",
  axis: "squared step",
  scale: "log",
  caption: html`Residual ‖<var>z</var><sub>t</sub> − <var>z</var><sub>t−1</sub>‖² after each step. ${words} A straight fall is convergence at a constant rate; the lower end may be nothing but rounding.`,
})}
${
  set.bands.distance === null
    ? EMPTY
    : await bandFigure(set.bands.distance, {
        title: "Distance to the nearest attractor",
        axis: "distance",
        scale: "log",
        caption: html`Euclidean distance from <var>z</var><sub>t</sub> to the nearest given attractor. ${words} Its mean over a path is the score.`,
      })
}
${await bandFigure(set.bands.norm, {
  title: "Norm along the way",
  axis: "norm",
  scale: normScale(set.bands.norm),
  caption: html`‖<var>z</var><sub>t</sub>‖. ${words}`,
})}
${drawn === null ? EMPTY : pathFigure(drawn, shape)}
</div>`;
}

/** log where paths run away. */
function normScale({ values }: Bands): "linear" | "log" {
  const finite = values.filter((value) => Number.isFinite(value) && value > 0);
  return finite.length > 0 && Math.max(...finite) > 1e3 * Math.min(...finite) ? "log" : "linear";
}

interface BandFigure {
  readonly title: string;
  readonly axis: string;
  readonly scale: "linear" | "log";
  readonly caption: Html;
}

async function bandFigure(bands: Bands, { title, axis, scale, caption }: BandFigure): Promise<Html> {
  const median = (t: number) => quantity(bands.values[t * 5 + 2]);
  const last = bands.values.length / 5 - 1;
  const alternative = `${title}: the median goes from ${median(0)} to ${median(last)} in ${countOf(last + bands.first, "step")}.`;
  return figure({
    title,
    body: trusted(await renderChart(bandChart({ bands, title: axis, scale }), alternative)),
    caption,
  });
}

/** A line of pictures for each path. */
function pathFigure({ steps, pixels }: DecodedPaths, shape: Shape | null): Html {
  const image = imageShape(shape);
  if (image === null || steps.length === 0 || pixels.rows === 0) return EMPTY;
  const range = displayRange(pixels);
  const [, height, width] = image;
  const paths = pixels.rows / steps.length;
  const rows = Array.from({ length: paths }, (_, p) => [
    String(p + 1),
    ...steps.map((step, s) => {
      const uri = pngDataUri(row(pixels, p * steps.length + s), image, range);
      return html`<div class="pictures" style="width:64px;--ratio:${width}/${height}"><img src="${uri}" width="${width}" height="${height}" alt="${`Path ${p + 1} after ${countOf(step, "step")}, decoded`}"></div>`;
    }),
  ]);
  return figure({
    title: "Paths, decoded",
    wide: true,
    body: table(
      "The first paths, decoded",
      [{ heading: "path" }, ...steps.map((step) => ({ heading: `t = ${count(step)}` }))],
      rows,
    ),
    caption: `The first ${countOf(paths, "path")} at stored steps, decoded.`,
  });
}

/** Everything needed to make the paths again. */
function options({ record: { model, device, options: given } }: TrajectoryRun): Html {
  const text = JSON.stringify({ model, device, options: given }, null, 2);
  return html`<details><summary>Model, device and options as recorded</summary><pre>${text}</pre></details>`;
}
