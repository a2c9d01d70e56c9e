/** The page on memorization: coefficients beside their null levels, attractors beside their training inputs. */
import type { Coefficients, MemorizationRecord } from "../analysis/memorization.js";
import type { Spread } from "../analysis/statistics.js";
import type { Shape } from "../graph/graph.js";
import { type CardPictures, pairedCards } from "./attractorCards.js";
import { renderChart } from "./charts.js";
import { deviceText } from "./device.js";
import { count, countOf, duration, quantity } from "./format.js";
import { distributionChart, groupKey } from "./measureCharts.js";
import { EMPTY, facts, figure, type Html, html, noticeOf, page, section, table, trusted } from "./page.js";

export interface MemorizationReportInput {
  readonly record: MemorizationRecord;
  readonly attractors: Coefficients;
  readonly heldOut: Coefficients | null;
  readonly initial: Coefficients | null;
  readonly basinSize: Int32Array;
  /** One input's shape; pictures are drawn where it is an image. */
  readonly imageShape: Shape | null;
  readonly pictures: CardPictures;
  /** Of this package. */
  readonly version: string;
}

/** The report as one HTML document: no script, no request, charts and images inside. */
export async function memorizationReport(input: MemorizationReportInput): Promise<string> {
  const { record, version } = input;
  const title = `Memorization of ${record.model.name}`;
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
<p class="lead">The memorization coefficient of an attractor is the cosine of its decoded image to the ${record.options.rule === "max" ? "closest" : "farthest"} training input. By itself it says little: inputs that were never seen have a ${record.options.rule === "max" ? "closest" : "farthest"} training input too, and so has whatever the decoder draws. Those two levels stand beside it.</p>
</header>
${record.notes.map(noticeOf)}
${factsOf(record, version)}
${section("coefficients", "Coefficients", await coefficients(input))}
${section("errors", "Prototype and coverage errors", errors(record))}
${section("attractors", "Attractors beside their training inputs", pictures(input))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

function factsOf(record: MemorizationRecord, version: string): Html {
  const { model, run, options, timing } = record;
  return facts([
    [
      "Model",
      html`${model.name}, <span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`,
      "line",
    ],
    ["Latent", html`<var>k</var> = ${model.latentDimension}`],
    ["Attractors of", run === null ? "this computation" : `${run.folder}, set ${run.set}`],
    ["Training inputs", options.train, "line"],
    ["Held-out inputs", options.heldOut ?? "none", "line"],
    ["Rule", options.rule === "max" ? "closest training input" : "farthest training input"],
    ["Device", deviceText(record)],
    ["Time", duration(timing.seconds)],
    ["Version", version],
  ]);
}

async function coefficients({
  record,
  attractors,
  heldOut,
  initial,
}: MemorizationReportInput): Promise<Html> {
  const groups = [
    { name: "decoded attractors", level: attractors },
    { name: "held-out inputs", level: heldOut },
    { name: "decoded initial points", level: initial },
  ].flatMap(({ name, level }) => (level === null ? [] : [{ name, level }]));
  const rows = groups.map(({ name, level }) => spreadRow(name, level.spread));
  const drawn = groups
    .filter(({ level }) => level.cosine.length > 0)
    .map(({ name, level }) => ({ name, values: level.cosine }));
  const words = table(
    "Memorization coefficients and their null levels",
    [
      { heading: "set" },
      { heading: "rows", numeric: true },
      { heading: "mean", numeric: true },
      { heading: "std", numeric: true },
      { heading: "least", numeric: true },
      { heading: "median", numeric: true },
      { heading: "greatest", numeric: true },
    ],
    rows,
  );
  if (drawn.length === 0) return words;
  const title = `cosine to the ${record.options.rule === "max" ? "closest" : "farthest"} training input`;
  const chart = await renderChart(
    distributionChart(drawn, { title }),
    `Distributions of the ${title}: ${groups.map(({ name, level }) => `${name} ${mean(level.spread)}`).join(", ")}.`,
  );
  return html`${words}${figure({
    title: "How close, and how close without memory",
    body: html`${groupKey(drawn.map(({ name }) => name))}${trusted(chart)}`,
    caption:
      "Each outline is one set. Attractors that remember lie to the right of both others; where they lie among them, closeness is what images of this kind have anyway.",
  })}`;
}

function spreadRow(name: string, { count: n, mean: middle, std, min, median, max }: Spread): string[] {
  const cell = (value: number | null) => (value === null ? "–" : value.toFixed(4));
  return [name, count(n), cell(middle), cell(std), cell(min), cell(median), cell(max)];
}

function mean({ mean: value }: Spread): string {
  return value === null ? "none" : value.toFixed(3);
}

function errors({ errors: found }: MemorizationRecord): Html {
  if (found === null) return html`<p>There is no attractor that inputs could be told by.</p>`;
  const cell = (value: number | null) => (value === null ? "–" : quantity(value));
  const line = (name: string, { count: n, mean: middle, std, median }: Spread) => [
    name,
    count(n),
    cell(middle),
    cell(std),
    cell(median),
  ];
  const rows = [
    line("prototype, training", found.training.prototype),
    line("coverage, training", found.training.coverage),
    ...(found.heldOut === null
      ? []
      : [
          line("prototype, held out", found.heldOut.prototype),
          line("coverage, held out", found.heldOut.coverage),
        ]),
  ];
  return html`${table(
    "Prototype and coverage errors",
    [
      { heading: "error" },
      { heading: "inputs", numeric: true },
      { heading: "mean", numeric: true },
      { heading: "std", numeric: true },
      { heading: "median", numeric: true },
    ],
    rows,
  )}<p class="meaning">Π takes a latent to its nearest attractor. Prototype: ‖<var>x</var> − <var>D</var>(Π(<var>E</var>(<var>x</var>)))‖², an input against the decoded attractor that stands for it. Coverage: ‖<var>E</var>(<var>x</var>) − Π(<var>E</var>(<var>x</var>))‖², how far its code is from that attractor. Both are sums of squares, not means.</p>`;
}

function pictures({ attractors, basinSize, imageShape, pictures: shown }: MemorizationReportInput): Html {
  const cards = pairedCards(
    imageShape,
    shown,
    (attractor) =>
      html`${countOf(basinSize[attractor], "point")}<br><span class="more">attractor ${attractor} · input ${attractors.training[attractor]}, cosine ${attractors.cosine[attractor].toFixed(3)}</span>`,
  );
  if (cards === null)
    return html`<p>There are no images to draw: no attractor, or inputs that are not images.</p>`;
  const left = basinSize.length - shown.order.length;
  const omitted = left > 0 ? ` ${count(left)} more with smaller basins are not drawn.` : "";
  return html`${figure({
    title: "On the left the attractor, decoded; on the right the training input its coefficient refers to",
    wide: true,
    body: cards.body,
    caption: `${cards.caption}${omitted}`,
  })}${EMPTY}`;
}
