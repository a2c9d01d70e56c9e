/** The page on a vector field: the picture, what its colours and numbers stand for, and what became of the grid. */

import type { Field } from "../dynamics/field.js";
import { deviceText } from "./device.js";
import { fieldPicture, normLevels, rankOf, tint } from "./fieldPicture.js";
import { findings } from "./findings.js";
import { count, countOf, duration, quantity, share } from "./format.js";
import {
  EMPTY,
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
import { STATUSES } from "./palette.js";
import { largestFirst } from "./series.js";

/** Attractors that get a line of their own. */
const MOST_ROWS = 40;
/** Share of the squared displacement below which a picture in the plane misleads. */
const MOSTLY_OUTSIDE = 0.5;

/** The report as one HTML document: no script, no request. `version` is this package's. */
export function fieldReport(field: Field, version: string): string {
  const { model } = field.record;
  const title = `Vector field of ${model.name}`;
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
${lead(field)}
</header>
${fieldFindings(field).map(({ kind, text }) => notice(kind, text))}
${factsOf(field, version)}
${section("field", "The field", fieldFigure(field))}
${section("attractors", "Attractors and basins", attractorTable(field))}
${section("options", "Options", options(field))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

/** What a reader must know before reading the picture. */
export function fieldFindings(field: Field): { kind: "warning" | "note"; text: string }[] {
  const found = findings(field.grid);
  const { inPlaneShare, attractors, grid } = field;
  if (field.record.field.norm?.most === 0) {
    found.unshift({
      kind: "warning",
      text: "Nothing moves: f(z) = z at every point of the grid. The model is the identity here, which is what a latent space without a bottleneck looks like; every point is its own attractor.",
    });
  }
  if (inPlaneShare !== null && inPlaneShare < MOSTLY_OUTSIDE) {
    found.push({
      kind: "warning",
      text: `Only ${share(inPlaneShare, 1)} of the squared displacement lies in this plane: most of what moves leaves it, and the lines show the smaller part. A plane through other points may hold more.`,
    });
  }
  const outside = attractors.filter(({ x, y }, a) => grid.basinSize[a] > 0 && !contains(field, x, y)).length;
  if (outside > 0) {
    found.push({
      kind: "note",
      text: `${outside === 1 ? "One attractor lies" : `${count(outside)} attractors lie`} outside the picture; points on the grid reach ${outside === 1 ? "it" : "them"} all the same.`,
    });
  }
  return found;
}

function contains({ extent: [left, right, bottom, top] }: Field, x: number, y: number): boolean {
  return x >= left && x <= right && y >= bottom && y <= top;
}

function lead({ record, through, x, y }: Field): Html {
  const map =
    record.model.format === "square-map"
      ? html`the map <var>f</var>`
      : html`the latent map <var>f</var> = <var>E</var>∘<var>D</var>`;
  const where =
    through.length === 0
      ? "its two-dimensional latent space"
      : html`a plane through three points of its ${record.model.latentDimension}-dimensional latent space`;
  return html`<p class="lead">At each of ${count(x.length)}×${count(y.length)} points of ${where}, ${map} says where the point goes next. The lines follow the displacement <var>f</var>(<var>z</var>) − <var>z</var>; their colour is its length. Every point was then iterated to its end: points that reach the same attractor share a tint.</p>`;
}

function factsOf({ record, inPlaneShare, through }: Field, version: string): Html {
  const { model, timing, field } = record;
  const hash = html`<span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`;
  return facts([
    ["Model", html`${model.name}, ${model.format}, ${hash}`, "line"],
    ["Latent dimensions", count(model.latentDimension)],
    ["Grid", `${count(field.columns)}×${count(field.rows)}`],
    ...(through.length === 0
      ? []
      : [
          [
            "Displacement in the plane",
            inPlaneShare === null
              ? "–"
              : html`<span title="of ‖f(z) − z‖², mean over the grid">${share(inPlaneShare, 1)}</span>`,
          ] as const,
        ]),
    ["Median step", field.norm === null ? "–" : quantity(field.norm.median)],
    ["Attractors", count(field.attractors.length)],
    ["Device", deviceText(record)],
    ["Time", duration(timing.seconds)],
    [html`Applications of <var>f</var>`, count(timing.mapEvaluations)],
    ["Version", version],
  ]);
}

function fieldFigure(field: Field): Html {
  const { attractors, through, extent } = field;
  const levels = normLevels(field);
  const words = `Vector field from ${quantity(extent[0])} to ${quantity(extent[1])} across and from ${quantity(extent[2])} to ${quantity(extent[3])} upwards, with ${countOf(attractors.length, "attractor")}.`;
  const key =
    levels.length === 0
      ? html`<p>Nothing moves, so there are no lines.</p>`
      : html`<div class="key"><span>‖<var>f</var>(<var>z</var>) − <var>z</var>‖:</span>${levels.map(
          ({ from, to, colour }) =>
            html`<span class="status"><span class="swatch" style="background:${colour}"></span>${figures(from)} – ${figures(to)}</span>`,
        )}</div>`;
  const plane =
    through.length === 0
      ? ""
      : " The crosses mark the three points that span the plane; the displacement is projected to it. An open ring is the shadow of an attractor that lies off the plane.";
  return figure({
    title: "Direction and length of one step",
    wide: true,
    body: html`${key}${trusted(fieldPicture(field, words))}`,
    caption: html`Stream lines of <var>f</var>(<var>z</var>) − <var>z</var>, drawn at even distances, with equal units along both axes. Colour classes are equal on a logarithmic scale and hold all but the outermost 2 % at either end. A tint is a basin, in cells of the grid; a numbered dot is its attractor, 1 for the largest basin. Points that reach no attractor lie on untinted ground. The lines are those of the field: a point jumps along them, it does not glide.${plane}`,
  });
}

/** Ends of classes: two digits do. */
function figures(value: number): string {
  return quantity(Number(value.toPrecision(2)));
}

function attractorTable(field: Field): Html {
  const { grid, attractors, through } = field;
  const ranks = rankOf(field);
  const shown = [...largestFirst(grid.basinSize)].slice(0, MOST_ROWS);
  // To a ten thousandth of the picture: what lies below it is rounding error, not a place.
  const [left, right] = field.extent;
  const digit = 10 ** Math.floor(Math.log10((right - left) / 1e3));
  const place = (value: number): string =>
    quantity(Number((Math.round(value / digit) * digit).toPrecision(6)) + 0);
  const rows = shown.map((a) => {
    const { x, y, distance } = attractors[a];
    return [
      html`<span class="swatch" style="background:${tint(ranks[a])}"></span>${ranks[a] + 1}`,
      place(x),
      place(y),
      ...(through.length === 0 ? [] : [place(distance)]),
      count(grid.basinSize[a]),
      share(grid.basinSize[a], grid.summary.points),
    ];
  });
  const more = attractors.length - shown.length;
  const statuses = STATUSES.filter(({ key }) => key !== "converged" && (grid.summary[key] ?? 0) > 0).map(
    ({ key, meaning }) =>
      html`<li>${statusName(key)}: ${countOf(grid.summary[key] ?? 0, "point")} (${share(grid.summary[key] ?? 0, grid.summary.points)}), ${meaning}</li>`,
  );
  return html`${
    rows.length === 0
      ? html`<p>No point of the grid converged, so there is no attractor to show.</p>`
      : table(
          "Attractors of the grid",
          [
            { heading: "attractor" },
            { heading: through.length === 0 ? "z₁" : "x", numeric: true },
            { heading: through.length === 0 ? "z₂" : "y", numeric: true },
            ...(through.length === 0 ? [] : [{ heading: "off the plane", numeric: true }]),
            { heading: "grid points", numeric: true },
            { heading: "share", numeric: true },
          ],
          rows,
        )
  }${more > 0 ? html`<p class="meaning">${count(more)} more with smaller basins are in the run’s files.</p>` : EMPTY}${
    statuses.length === 0 ? EMPTY : html`<p>Not every point came to rest:</p><ul>${statuses}</ul>`
  }<p class="meaning">Shares are of the grid, so they depend on where its edges lie. ${ruleText(field)}</p>`;
}

/** When two endpoints are one attractor, and how many there would be by distance. */
function ruleText({ record: { options }, grid }: Field): string {
  const bound = (value: unknown): string =>
    typeof value === "number" ? quantity(value) : "the chosen bound";
  if (options.rule === "euclidean")
    return `Endpoints closer together than ${bound(options.distance)} are one attractor.`;
  return `Endpoints are one attractor where their cosine is above ${bound(options.threshold)} (rule ${String(options.rule)}), which does not see differences in length; by distance there are ${count(grid.summary.attractorsEuclidean)}.`;
}

/** Everything needed to make the picture again. */
function options({ record: { model, device, options: given, field } }: Field): Html {
  const { attractors: _attractors, ...frame } = field;
  const text = JSON.stringify({ model, device, options: given, field: frame }, null, 2);
  return html`<details><summary>Model, device and options as recorded</summary><pre>${text}</pre></details>`;
}
