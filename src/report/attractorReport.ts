/** The page on one extraction of attractors: what was computed, and what came out for every set of points. */

import {
  type AttractorRun,
  type RunRecord,
  type SetResult,
  type SetSummary,
  STATUS,
  UNFINISHED,
} from "../dynamics/result.js";
import { InputError } from "../errors.js";
import { elements, formatShape, type Shape } from "../graph/graph.js";
import { type Matrix, row } from "../matrix.js";
import {
  basinChart,
  iterationChart,
  renderChart,
  type StatusCount,
  sparkline,
  statusChart,
  traceChart,
} from "./charts.js";
import { DIFFERENCES, deviceText, layoutText, precisionText } from "./device.js";
import { findings } from "./findings.js";
import { count, countOf, duration, quantity, share } from "./format.js";
import {
  type DisplayRange,
  displayRange,
  type ImageShape,
  imageShape,
  LARGEST_SIDE,
  pngDataUri,
} from "./images.js";
import {
  EMPTY,
  type Fact,
  facts,
  figure,
  type Html,
  html,
  notice,
  page,
  section,
  statusName,
  table,
  trusted,
} from "./page.js";
import { STATUSES, type StatusKey } from "./palette.js";
import { histogram, largestFirst, ranking, spread, thinTrace, traceScale } from "./series.js";

/** Attractors of one set that are drawn; and paths of residuals. */
const MOST_CARDS = 48;
const MOST_TRACES = 64;

/** What the attractors of one set look like. A attractors are shown; images have `imageShape`'s number of elements. */
export interface AttractorPictures {
  /** [A]: which attractors are shown, largest basin first. */
  readonly order: Int32Array;
  /** [A, elements of imageShape]: the shown attractors, decoded. Not read where the shape is no image. */
  readonly decoded: Matrix;
  /**
   * The given input nearest to each shown attractor: its elements ([A, elements of imageShape]), its cosine to the
   * decoded attractor, and its row in the set. Null where no inputs were given.
   */
  readonly nearest: {
    readonly inputs: Matrix;
    readonly cosine: Float32Array;
    readonly index: Int32Array;
  } | null;
}

export interface AttractorReportInput {
  readonly run: AttractorRun;
  /** One input's shape. [1|3, H, W] is drawn as images; anything else, and null, as coordinates of the latents. */
  readonly imageShape: Shape | null;
  /** By name of set. Sets that are not named are drawn as coordinates of their latents. */
  readonly pictures: Readonly<Record<string, AttractorPictures>>;
  /** Of this package. */
  readonly version: string;
}

/**
 * The report as one HTML document: no script, no request, charts and images inside. Throws InputError where pictures do
 * not fit the run's attractors or the image shape.
 */
export async function attractorReport({
  run,
  imageShape: shape,
  pictures,
  version,
}: AttractorReportInput): Promise<string> {
  const { record, sets } = run;
  const image = imageShape(shape);
  const sections: Html[] = [];
  for (const [i, set] of sets.entries()) {
    const shown = Object.hasOwn(pictures, set.name) ? pictures[set.name] : null;
    if (shown !== null) checkPictures(set, shown, image);
    sections.push(section(anchor(i), `Points: ${set.name}`, await setBody(set, record, shown, image)));
  }
  const title = `Attractors of ${record.model.name}`;
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
${lead(record)}
</header>
${record.interrupted ? notice("note", "This run was interrupted. What follows is what had been finished by then.") : EMPTY}
${factsOf(record, version)}
${section("result", "Result", overview(run))}
${sections}
${similarity(record)}
${section("options", "Options", options(record))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

function anchor(set: number): string {
  return `set-${set + 1}`;
}

/** An option's value where it is a number. */
function numericOption(record: RunRecord, name: string): number | null {
  const value = record.options[name];
  return typeof value === "number" ? value : null;
}

/** The tolerance where it is a bound on the residual itself, which can be drawn into a chart of residuals. */
function residualTolerance(record: RunRecord): number | null {
  const criterion = record.options.criterion ?? "residual";
  return criterion === "residual" ? numericOption(record, "tolerance") : null;
}

/** What was computed, in plain words. */
function lead({ model, options, summary }: RunRecord): Html {
  const points = Object.values(summary).reduce((sum, set) => sum + set.points, 0);
  const tolerance = typeof options.tolerance === "number" ? quantity(options.tolerance) : "the tolerance";
  const cap =
    typeof options.maxIterations === "number" ? countOf(options.maxIterations, "application") : "the limit";
  const criterion =
    options.criterion === "relative"
      ? html`its squared step ‖<var>z</var><sub>t+1</sub> − <var>z</var><sub>t</sub>‖² was at most ${tolerance} of its own squared length`
      : options.criterion === "error-bound"
        ? html`its estimated distance to the limit fell below ${tolerance}`
        : html`its squared step ‖<var>z</var><sub>t+1</sub> − <var>z</var><sub>t</sub>‖² fell below ${tolerance}`;
  const map =
    model.format === "square-map"
      ? html`The map <var>f</var>`
      : html`The latent map <var>f</var> = <var>E</var>∘<var>D</var> (decode a latent, encode the result again)`;
  return html`<p class="lead">${map} was applied over and over to ${countOf(points, "initial point")}, each until ${criterion} or ${cap} of <var>f</var> had been made. Points that came to rest at the same place share an attractor; together they are its basin.</p>`;
}

function factsOf(record: RunRecord, version: string): Html {
  const { model, device, versions, options, summary, timing } = record;
  const libraries = Object.entries({ "latent-dynamics": version, ...versions });
  const option = (name: string) => {
    const value = options[name];
    return typeof value === "number" ? quantity(value) : "–";
  };
  const hash = html`<span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`;
  return facts([
    ["Model", html`${model.name}, ${model.format}, ${hash}`, "line"],
    ["Latent", html`${formatShape(model.latentShape)} (<var>k</var> = ${model.latentDimension})`],
    ["Input", model.inputShape === null ? "none (square map)" : formatShape(model.inputShape)],
    ["Tolerance", option("tolerance")],
    ["Most iterations", option("maxIterations")],
    ["Device", deviceText(record)],
    ["Threads", device.threads],
    layoutFact(record),
    ["Time", duration(timing.seconds)],
    ["Points per second", quantity(timing.rowsPerSecond)],
    [html`Applications of <var>f</var>`, count(timing.mapEvaluations)],
    ["Verified attractors", verifiedOf(Object.values(summary))],
    ["Versions", libraries.map(([name, value]) => `${name} ${value}`).join(", "), "line"],
  ]);
}

/** How many attractors passed verification, of those that were tried. */
function verifiedOf(sets: readonly SetSummary[]): string {
  const tried = sets.filter(({ verified }) => verified !== undefined);
  if (tried.length === 0) return "not tried";
  const sum = (of: (set: SetSummary) => number) => tried.reduce((total, set) => total + of(set), 0);
  return `${count(sum(({ verified = 0 }) => verified))} of ${count(sum(({ attractors }) => attractors))}`;
}

/** One line per set, linked to its section. */
function overview({ record, sets }: AttractorRun): Html {
  if (sets.length === 0) return html`<p>The run had no points.</p>`;
  const rows = sets.map(({ name, summary }, i) => [
    html`<a href="#${anchor(i)}">${name}</a>`,
    count(summary.points),
    share(summary.converged, summary.points),
    meanIterations(summary.meanIterations),
    count(summary.attractors),
    count(summary.attractorsEuclidean),
    summary.verified === undefined ? "–" : count(summary.verified),
  ]);
  return html`${table(
    "Result for every set of points",
    [
      { heading: "set" },
      { heading: "points", numeric: true },
      { heading: "converged", numeric: true },
      { heading: "mean iterations", numeric: true },
      { heading: "attractors", numeric: true },
      { heading: "Euclidean", numeric: true },
      { heading: "verified", numeric: true },
    ],
    rows,
  )}<p class="meaning">Endpoints of converged points ${ruleText(record)} are one attractor. “Euclidean” counts them by distance instead, which also tells apart attractors that differ only in length. “verified” counts those at which one more application of f changes nothing and every eigenvalue of f’s Jacobian lies inside the unit circle; “–” where that was not tried.</p>${record.jacobians === "central differences" ? notice("note", DIFFERENCES) : EMPTY}`;
}

/** When two endpoints are one attractor; without numbers where the options do not hold them. */
function ruleText({ options }: RunRecord): string {
  const bound = (value: unknown, otherwise: string) =>
    typeof value === "number" ? quantity(value) : otherwise;
  switch (options.rule) {
    case "euclidean":
      return `closer together than ${bound(options.distance, "the chosen distance")}`;
    case "components":
      return `joined by a chain of cosines above ${bound(options.threshold, "the threshold")}`;
    default:
      return `whose cosine is above ${bound(options.threshold, "the threshold")}`;
  }
}

function meanIterations(mean: number | null): string {
  return mean === null ? "–" : mean.toFixed(1);
}

async function setBody(
  set: SetResult,
  record: RunRecord,
  pictures: AttractorPictures | null,
  image: ImageShape | null,
): Promise<Html> {
  const notices = findings(set).map(({ kind, text }) => notice(kind, text));
  if (set.summary.points === 0) return html`${notices}`;
  return html`${notices}
<div class="grid">
${await statusFigure(set)}
${set.summary.converged > 0 ? await iterationFigure(set) : EMPTY}
${await traceFigure(set, residualTolerance(record))}
${set.basinSize.length > 0 ? await basinFigure(set) : EMPTY}
${attractorFigure(set, pictures, image)}
</div>`;
}

/** Points by what became of them, in the order of the palette. `unfinished` is there only where there are such. */
function statusCounts({ summary }: SetResult): StatusCount[] {
  return STATUSES.filter(({ key }) => key !== "unfinished" || (summary.unfinished ?? 0) > 0).map(
    ({ key }) => ({
      status: key,
      points: summary[key] ?? 0,
    }),
  );
}

async function statusFigure(set: SetResult): Promise<Html> {
  const counts = statusCounts(set);
  const { points } = set.summary;
  const words = counts
    .filter((entry) => entry.points > 0)
    .map(
      (entry) => `${STATUSES.find(({ key }) => key === entry.status)?.label} ${share(entry.points, points)}`,
    );
  const chart = await renderChart(statusChart(counts), `Share of each status: ${words.join(", ")}.`);
  const meaning = (status: StatusKey) => STATUSES.find(({ key }) => key === status)?.meaning ?? "";
  return figure({
    title: "What became of the points",
    body: html`${trusted(chart)}
${table(
  "Points by status",
  [{ heading: "status" }, { heading: "points", numeric: true }, { heading: "share", numeric: true }],
  counts.map((entry) => [
    entry.points === 0
      ? statusName(entry.status)
      : html`${statusName(entry.status)}<br><span class="meaning">${meaning(entry.status)}</span>`,
    count(entry.points),
    share(entry.points, points),
  ]),
)}`,
    caption: `Every one of the ${countOf(points, "point")} is in exactly one row.`,
  });
}

/** For a set with converged points. */
async function iterationFigure(set: SetResult): Promise<Html> {
  const bins = histogram(set.iterations.filter((_, i) => set.status[i] === STATUS.converged));
  const median = quantity(bins.median ?? Number.NaN);
  const chart = await renderChart(
    iterationChart(bins),
    `Histogram of the iterations that the converged points took: median ${median}.`,
  );
  const scale =
    bins.scale === "log"
      ? " The axis is logarithmic and the bins grow with it: few points took far longer than most."
      : "";
  return figure({
    title: "How long convergence took",
    body: trusted(chart),
    caption: `Applications of f until convergence, for the ${countOf(set.summary.converged, "converged point")}: half of them needed at most ${median}.${scale}`,
  });
}

const STATUS_OF_CODE: ReadonlyMap<number, StatusKey> = new Map<number, StatusKey>([
  [STATUS.converged, "converged"],
  [STATUS.maxIterations, "maxIterations"],
  [STATUS.cycle, "cycle"],
  [STATUS.diverged, "diverged"],
  [STATUS.nonFinite, "nonFinite"],
  [UNFINISHED, "unfinished"],
]);

async function traceFigure(set: SetResult, tolerance: number | null): Promise<Html> {
  const title = "Residual along the way";
  const usable = set.traces.filter(({ residual }) => residual.some(Number.isFinite));
  if (usable.length === 0) {
    return figure({ title, body: html`<p>No residuals were recorded along the way.</p>`, caption: "" });
  }
  const scale = traceScale(usable.map(({ residual }) => residual.length));
  const lines = spread(usable.length, MOST_TRACES).map((i) => {
    const { row: point, residual } = usable[i];
    const status = STATUS_OF_CODE.get(set.status[point]);
    if (status === undefined) {
      throw new InputError(
        `report: set "${set.name}" has status ${set.status[point]} at point ${point}, expected 0…4 or ${UNFINISHED}`,
      );
    }
    return { status, points: thinTrace(residual, scale) };
  });
  const key = STATUSES.map((status) => ({
    status: status.key,
    paths: lines.filter((line) => line.status === status.key).length,
  })).filter(({ paths }) => paths > 0);
  const sampled = `${countOf(lines.length, "sampled point")} of ${count(set.summary.points)}`;
  const chart = await renderChart(
    traceChart(lines, tolerance, scale),
    `Residual against iteration for ${sampled}, on a logarithmic scale.`,
  );
  const rule = tolerance === null ? "" : " A path that reaches the dashed rule has converged.";
  return figure({
    title,
    body: html`<div class="key">${key.map(({ status, paths }) => html`<span>${statusName(status)} (${paths})</span>`)}</div>${trusted(chart)}`,
    caption: html`Squared step ‖<var>z</var><sub>t+1</sub> − <var>z</var><sub>t</sub>‖² after every application of <var>f</var>, one line for each of ${sampled}.${rule} ${scale === "log" ? "Both axes are logarithmic, since few points took far longer than most." : "A straight fall is convergence at a constant rate."} A level line is a point that keeps moving.`,
  });
}

/** For a set with attractors. */
async function basinFigure(set: SetResult): Promise<Html> {
  const ranked = ranking(set.basinSize);
  const all = ranked.sizes.length + ranked.restCount;
  const largest = `${countOf(ranked.sizes[0], "point")} (${share(ranked.sizes[0], set.summary.points)} of the set)`;
  const single = set.basinSize.filter((size) => size === 1).length;
  const chart = await renderChart(
    basinChart(ranked),
    `Basin sizes of ${countOf(all, "attractor")}, largest first: the largest holds ${largest}.`,
  );
  const rest =
    ranked.restCount > 0 ? ` The ${count(ranked.sizes.length)} largest of ${count(all)} are drawn.` : "";
  const places =
    all === 1
      ? "All converged points came to rest at the same attractor."
      : `Points that came to rest at each of the ${count(all)} attractors.`;
  const alone =
    single > 0 ? ` ${single === 1 ? "One basin holds" : `${count(single)} basins hold`} a single point.` : "";
  return figure({
    title: "Basins by size",
    body: trusted(chart),
    caption: `${places} The largest basin holds ${largest}.${alone}${rest}`,
  });
}

/** Throws InputError where the pictures are not of this set's attractors or not of this shape. */
function checkPictures(
  set: SetResult,
  { order, decoded, nearest }: AttractorPictures,
  image: ImageShape | null,
): void {
  const wrong = (what: string) => new InputError(`report: pictures of set "${set.name}": ${what}`);
  for (const attractor of order) {
    if (!(attractor >= 0 && attractor < set.attractors.rows)) {
      throw wrong(`attractor ${attractor} is shown, but there are ${set.attractors.rows}`);
    }
  }
  if (image === null) return;
  const expected = `${order.length}×${elements(image)}`;
  for (const [name, tensor] of [
    ["decoded attractors", decoded] as const,
    ["nearest inputs", nearest?.inputs] as const,
  ]) {
    if (tensor !== undefined && (tensor.rows !== order.length || tensor.columns !== elements(image))) {
      throw wrong(`${name} are ${tensor.rows}×${tensor.columns}, expected ${expected}`);
    }
  }
  if (nearest !== null && (nearest.cosine.length !== order.length || nearest.index.length !== order.length)) {
    throw wrong(
      `${nearest.cosine.length} cosines and ${nearest.index.length} indices for ${order.length} nearest inputs`,
    );
  }
}

function attractorFigure(set: SetResult, pictures: AttractorPictures | null, image: ImageShape | null): Html {
  const total = set.attractors.rows;
  if (total === 0) {
    const body = html`<p>No point of this set converged, so no attractor was found and there is nothing to draw.</p>`;
    return figure({ title: "Attractors", body, caption: "", wide: true });
  }
  const order = pictures === null ? largestFirst(set.basinSize) : pictures.order;
  const shown = Array.from(order.subarray(0, MOST_CARDS));
  if (shown.length === 0) {
    return figure({
      title: "Attractors",
      body: html`<p>${countOf(total, "attractor")} found; none was chosen to be drawn.</p>`,
      caption: "",
      wide: true,
    });
  }
  const left = total - shown.length;
  const omitted =
    left > 0 ? ` ${count(left)} more with smaller basins are not drawn; all are in the run’s files.` : "";
  return pictures === null || image === null
    ? latentFigure(set, shown, omitted)
    : imageFigure(set, shown, pictures, image, omitted);
}

function imageFigure(
  set: SetResult,
  shown: readonly number[],
  { decoded, nearest }: AttractorPictures,
  image: ImageShape,
  omitted: string,
): Html {
  const drawn = (tensor: Matrix): Matrix => ({
    ...tensor,
    rows: shown.length,
    data: tensor.data.subarray(0, shown.length * tensor.columns),
  });
  const range = displayRange(drawn(decoded), ...(nearest === null ? [] : [drawn(nearest.inputs)]));
  const cards = shown.map((attractor, i) => {
    const size = set.basinSize[attractor];
    const own = picture(
      row(decoded, i),
      image,
      range,
      `Attractor ${i + 1}, decoded: a basin of ${countOf(size, "point")}`,
    );
    if (nearest === null) return card(set, attractor, i, own, EMPTY);
    const cosine = cosineText(nearest.cosine[i]);
    const alternative = `Nearest input of attractor ${i + 1}: row ${nearest.index[i]}, cosine ${cosine}`;
    const input = picture(row(nearest.inputs, i), image, range, alternative);
    return card(
      set,
      attractor,
      i,
      html`${own}${input}`,
      html`<br><span class="more">input ${nearest.index[i]}, cosine ${cosine}</span>`,
    );
  });
  const [, height, width] = image;
  const smaller =
    Math.max(height, width) > LARGEST_SIDE
      ? ` Images of ${height}×${width} pixels are averaged down to at most ${LARGEST_SIDE}.`
      : "";
  const beside =
    nearest === null
      ? ""
      : " On the right is the given input nearest to it, with its row in the set and its cosine to the decoded attractor.";
  return figure({
    title: nearest === null ? "Attractors, decoded" : "Attractors, decoded, beside their nearest inputs",
    wide: true,
    body: html`<ol class="cards${nearest === null ? "" : " paired"}" style="--ratio:${width}/${height}">
${cards}</ol>`,
    caption: `${countOf(shown.length, "attractor")}, largest basin first; the share is of the set’s ${countOf(set.summary.points, "point")}, the bar compares basins with the largest, the row is the attractor’s place in the run’s list.${beside} ${rangeText(range)}${smaller}${omitted}`,
  });
}

function picture(pixels: Float32Array, image: ImageShape, range: DisplayRange, alternative: string): Html {
  const [, height, width] = image;
  return html`<img src="${pngDataUri(pixels, image, range)}" width="${width}" height="${height}" alt="${alternative}">`;
}

function rangeText({ low, high, rule }: DisplayRange): string {
  return rule === "unit"
    ? "Values from 0 to 1 are drawn from black to full brightness, others clipped."
    : `Values leave [0, 1], so ${quantity(low)} is drawn black and ${quantity(high)} at full brightness (0.5 and 99.5 percentiles of what is shown).`;
}

function latentFigure(set: SetResult, shown: readonly number[], omitted: string): Html {
  let extent = 0;
  for (const attractor of shown)
    for (const value of row(set.attractors, attractor)) extent = Math.max(extent, Math.abs(value));
  const cards = shown.map((attractor, i) => {
    const alternative = `Coordinates of attractor ${i + 1}: a basin of ${countOf(set.basinSize[attractor], "point")}`;
    return card(
      set,
      attractor,
      i,
      trusted(sparkline(row(set.attractors, attractor), extent || 1, alternative)),
      EMPTY,
    );
  });
  const k = set.attractors.columns;
  return figure({
    title: "Attractors, as latent coordinates",
    wide: true,
    body: html`<ol class="cards">
${cards}</ol>`,
    caption: `${countOf(shown.length, "attractor")}, largest basin first; the share is of the set’s ${countOf(set.summary.points, "point")}, the row is the attractor’s place in the run’s list. Each drawing shows the ${countOf(k, "coordinate")} of the attractor from left to right, up for positive, all at the same scale (full height is ±${quantity(extent)}).${k > 64 ? " Neighbouring coordinates are drawn together, from their least to their greatest." : ""}${omitted}`,
  });
}

function card(set: SetResult, attractor: number, rank: number, pictures: Html, more: Html): Html {
  const size = set.basinSize[attractor];
  const largest = set.basinSize.reduce((most, other) => Math.max(most, other), 1);
  return html`<li><div class="pictures">${pictures}</div><div class="basin"><span style="width:${((100 * size) / largest).toFixed(1)}%"></span></div><b>${rank + 1}</b> · ${countOf(size, "point")}<br><span class="more">${share(size, set.summary.points)} · row ${attractor}</span>${more}</li>
`;
}

function cosineText(cosine: number): string {
  return Number.isFinite(cosine) ? cosine.toFixed(3) : "undefined";
}

/** How alike the attractors of two sets are, where the run compared any. */
function similarity({ similarity: pairs }: RunRecord): Html {
  if (pairs === undefined || Object.keys(pairs).length === 0) return EMPTY;
  const rows = Object.entries(pairs).map(([pair, { cosine, euclidean }]) => [
    pair,
    cosine === null ? "–" : cosine.toFixed(3),
    euclidean === null ? "–" : quantity(euclidean),
  ]);
  return section(
    "similarity",
    "Similarity of the sets",
    html`${table(
      "Similarity of attractor sets",
      [
        { heading: "sets" },
        { heading: "cosine", numeric: true },
        { heading: "Euclidean distance", numeric: true },
      ],
      rows,
    )}<p class="meaning">For every attractor of one set the most similar one of the other, averaged over both directions: 1 (or a distance of 0) where each set contains the other’s attractors. “–” where one of the two has none.</p>`,
  );
}

/** Of the native engine the layout and, behind it, why; of another one its batches. */
function layoutFact(record: RunRecord): Fact {
  const { device } = record;
  const { layout, tileRows, reason } = device;
  if (layout === undefined) return ["Batches", layoutText(record)];
  const how = tileRows === undefined ? precisionText(device) : `${countOf(tileRows, "row")} a tile`;
  return ["Layout", html`<span title="${reason ?? ""}">${layout}, ${how}</span>`];
}

/** Everything needed to make the run again. */
function options({ options, device, model }: RunRecord): Html {
  // JSON has no infinity, which is a legal divergence ratio.
  const written = (_: string, value: unknown) => (value === Number.POSITIVE_INFINITY ? "Infinity" : value);
  const text = JSON.stringify({ model, device, options }, written, 2);
  const layout =
    device.reason === undefined
      ? EMPTY
      : html`<p>${device.layout ?? ""} layout: ${device.reason}</p>
`;
  return html`${layout}<details><summary>Model, device and options as recorded</summary><pre>${text}</pre></details>`;
}
