/** A vector field as one SVG: basins as tints, stream lines coloured by the length of the step, attractors on top. */
import { encode } from "fast-png";
import type { Field } from "../dynamics/field.js";
import { quantity } from "./format.js";
import { escapeHtml } from "./page.js";
import { colour } from "./palette.js";
import { largestFirst } from "./series.js";
import { streamlines } from "./streamlines.js";

/** Of the whole picture, in the SVG's own units. */
const WIDTH = 560;
const LEFT = 44;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 34;
/** Distance between stream lines, in the same units. */
const SEPARATION = 13;
/** Between the arrow heads of one line. */
const HEADS_APART = 130;

/** Tints of basins by rank; further ones share the last. Both schemes blend them with the page. */
const TINTS = [
  [86, 160, 211],
  [240, 159, 56],
  [70, 178, 132],
  [204, 109, 160],
  [222, 203, 75],
  [147, 123, 210],
  [214, 108, 88],
  [95, 193, 196],
  [158, 175, 88],
  [193, 155, 123],
  [150, 150, 150],
] as const;
const TINT_ALPHA = 0.34;

/** Steps from short to long, in equal ratios: on a light page, and on a dark one. */
const LEVELS = [
  { light: "#2b5fc9", dark: "#6f9bff" },
  { light: "#5b46c0", dark: "#a08cff" },
  { light: "#8d2fae", dark: "#cf83ec" },
  { light: "#b3237f", dark: "#f285bd" },
  { light: "#c32f3f", dark: "#ff9182" },
  { light: "#b85405", dark: "#ffb35c" },
] as const;

/** The rank of every attractor of the grid by its basin, from 0. */
export function rankOf(field: Field): Int32Array {
  const ranks = new Int32Array(field.grid.basinSize.length);
  largestFirst(field.grid.basinSize).forEach((attractor, rank) => {
    ranks[attractor] = rank;
  });
  return ranks;
}

/** The tint of the basin of that rank, as it looks on the page. */
export function tint(rank: number): string {
  const [r, g, b] = TINTS[Math.min(rank, TINTS.length - 1)];
  return `rgba(${r},${g},${b},${TINT_ALPHA})`;
}

export interface NormLevel {
  readonly from: number;
  readonly to: number;
  /** CSS value. */
  readonly colour: string;
}

/** The classes of ‖f(z) − z‖ that colours stand for; empty where nothing moves. */
export function normLevels({ norm }: Field): NormLevel[] {
  const sorted = norm.filter((value) => value > 0 && Number.isFinite(value)).sort();
  if (sorted.length === 0) return [];
  // A single grid point close to an attractor would stretch the scale by decades.
  const low = sorted[Math.floor(0.02 * (sorted.length - 1))];
  const high = sorted[Math.ceil(0.98 * (sorted.length - 1))];
  // Norms that differ by rounding alone are one class.
  const classes = high > low * 1.001 ? LEVELS.length : 1;
  return Array.from({ length: classes }, (_, i) => ({
    from: low * (high / low) ** (i / classes),
    to: low * (high / low) ** ((i + 1) / classes),
    colour: `var(--field-${i}, ${LEVELS[i].light})`,
  }));
}

function levelOf(value: number, levels: readonly NormLevel[]): number {
  const level = levels.findIndex(({ to }) => value < to);
  return level < 0 ? levels.length - 1 : level;
}

/** The picture as a document of its own: it can stand inside a page or in a file. */
export function fieldPicture(field: Field, alternative: string): string {
  const frame = frameOf(field);
  const { height, plot } = frame;
  const levels = normLevels(field);
  const ranks = rankOf(field);
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="${escapeHtml(alternative)}" class="field" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" style="max-width:720px" font-family="system-ui,sans-serif">
<style>${schemes()}</style>
<image href="${basinImage(field, ranks)}" x="${plot.x}" y="${plot.y}" width="${plot.width}" height="${plot.height}" preserveAspectRatio="none" style="image-rendering:pixelated"/>
<g fill="none" stroke-width="1.1" stroke-linecap="round" stroke-linejoin="round">${flow(field, frame, levels)}</g>
${axes(field, frame)}
${markers(field, frame, ranks)}
</svg>`;
}

function schemes(): string {
  const variables = (scheme: "light" | "dark"): string =>
    LEVELS.map((level, i) => `--field-${i}:${level[scheme]}`).join(";");
  // A narrow window shrinks the picture to half: its numbers should still be read.
  return `@media (max-width:600px){.axes{font-size:15px}}:root{${variables("light")}}@media screen and (prefers-color-scheme:dark){:root{${variables("dark")}}}`;
}

interface Frame {
  readonly height: number;
  readonly plot: { readonly x: number; readonly y: number; readonly width: number; readonly height: number };
  /** From the plane's coordinates to the SVG's. */
  readonly toX: (x: number) => number;
  readonly toY: (y: number) => number;
  /** SVG units per unit of the plane. */
  readonly scale: number;
}

function frameOf({ extent: [left, right, bottom, top] }: Field): Frame {
  const room = WIDTH - LEFT - RIGHT;
  // Equal units along both axes: angles are what a field is about. A tall one is made narrower.
  const scale = Math.min(room / (right - left), (1.25 * room) / (top - bottom));
  const width = (right - left) * scale;
  const height = (top - bottom) * scale;
  const x = LEFT + (room - width) / 2;
  return {
    height: Math.ceil(TOP + height + BOTTOM),
    plot: { x, y: TOP, width, height },
    toX: (value) => x + (value - left) * scale,
    toY: (value) => TOP + (top - value) * scale,
    scale,
  };
}

/** One pixel a cell; cells without an attractor are left clear. */
function basinImage(field: Field, ranks: Int32Array): string {
  const [columns, rows] = [field.x.length, field.y.length];
  const data = new Uint8Array(columns * rows * 4);
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      const label = field.grid.label[j * columns + i];
      if (label < 0) continue;
      const [r, g, b] = TINTS[Math.min(ranks[label], TINTS.length - 1)];
      // y points up.
      data.set([r, g, b, Math.round(255 * TINT_ALPHA)], 4 * ((rows - 1 - j) * columns + i));
    }
  }
  const png = encode({ width: columns, height: rows, data, channels: 4, depth: 8 }, { zlib: { level: 9 } });
  return `data:image/png;base64,${Buffer.from(png.buffer, png.byteOffset, png.byteLength).toString("base64")}`;
}

/** Every stream line, cut where its colour changes, with arrow heads along it. */
function flow(field: Field, { toX, toY, scale }: Frame, levels: readonly NormLevel[]): string {
  if (levels.length === 0) return "";
  const [columns, rows] = [field.x.length, field.y.length];
  const [stepX, stepY] = [field.x[1] - field.x[0], field.y[1] - field.y[0]];
  // Cells are square up to the rounding of their number; what little is left is taken out of the vectors.
  const vectors = field.displacement.map((value, i) => value / (i % 2 === 0 ? stepX : stepY));
  const lines = streamlines({ columns, rows, vectors }, Math.max(1.5, SEPARATION / (scale * stepX)));
  const x = (u: number): number => toX(field.x[0] + u * stepX);
  const y = (v: number): number => toY(field.y[0] + v * stepY);
  const normAt = (u: number, v: number): number => field.norm[Math.round(v) * columns + Math.round(u)];

  const paths = levels.map((): string[] => []);
  const heads = levels.map((): string[] => []);
  for (const line of lines) {
    const n = line.length / 2;
    let level = levelOf(normAt(line[0], line[1]), levels);
    let path = `M${short(x(line[0]))} ${short(y(line[1]))}`;
    for (let i = 1; i < n; i++) {
      const [u, v] = [line[2 * i], line[2 * i + 1]];
      const now = levelOf(normAt(u, v), levels);
      // Every third point is enough for the eye, and every one where the colour changes.
      if (i % 3 !== 0 && i !== n - 1 && now === level) continue;
      path += `L${short(x(u))} ${short(y(v))}`;
      if (now !== level) {
        paths[level].push(path);
        path = `M${short(x(u))} ${short(y(v))}`;
        level = now;
      }
    }
    paths[level].push(path);
    const length =
      scale * Math.hypot((line[2 * n - 2] - line[0]) * stepX, (line[2 * n - 1] - line[1]) * stepY);
    const arrows = Math.max(1, Math.round(length / HEADS_APART));
    for (let arrow = 0; arrow < arrows; arrow++) {
      const i = Math.min(n - 1, Math.max(1, Math.round((n * (arrow + 0.5)) / arrows)));
      const [u, v] = [line[2 * i], line[2 * i + 1]];
      const [du, dv] = [u - line[2 * i - 2], v - line[2 * i - 1]];
      heads[levelOf(normAt(u, v), levels)].push(arrowHead(x(u), y(v), du, -dv));
    }
  }
  return levels
    .map(
      ({ colour: ink }, i) =>
        `<path d="${paths[i].join("")}" style="stroke:${ink}"/><path d="${heads[i].join("")}" style="fill:${ink}"/>`,
    )
    .join("\n");
}

function arrowHead(x: number, y: number, dx: number, dy: number): string {
  const length = Math.hypot(dx, dy);
  const [ux, uy] = [dx / length, dy / length];
  const corner = (along: number, across: number): string =>
    `${short(x + along * ux - across * uy)} ${short(y + along * uy + across * ux)}`;
  return `M${corner(3.4, 0)}L${corner(-2.2, 2.5)}L${corner(-2.2, -2.5)}Z`;
}

function axes({ extent: [left, right, bottom, top], through }: Field, { plot, toX, toY }: Frame): string {
  const ink = colour("muted");
  const text = (x: number, y: number, anchor: string, words: string): string =>
    `<text x="${short(x)}" y="${short(y)}" text-anchor="${anchor}">${escapeHtml(words)}</text>`;
  const [unitX, unitY] = through.length > 0 ? ["x", "y"] : ["z₁", "z₂"];
  const foot = plot.y + plot.height;
  const below = ticks(left, right).map(
    (value) =>
      `<path d="M${short(toX(value))} ${short(foot)}v4" style="stroke:${colour("line")}"/>${text(toX(value), foot + 15, "middle", quantity(value))}`,
  );
  const beside = ticks(bottom, top).map(
    (value) =>
      `<path d="M${short(plot.x)} ${short(toY(value))}h-4" style="stroke:${colour("line")}"/>${text(plot.x - 7, toY(value) + 3.5, "end", quantity(value))}`,
  );
  return `<rect x="${short(plot.x)}" y="${short(plot.y)}" width="${short(plot.width)}" height="${short(plot.height)}" fill="none" style="stroke:${colour("line")}"/>
<g class="axes" font-size="10.5" style="fill:${ink}">${below.join("")}${beside.join("")}${text(plot.x + plot.width, foot + 31, "end", `${unitX} →`)}${text(plot.x - 7, plot.y + 9, "end", `${unitY} ↑`)}</g>`;
}

/** At most about six round numbers within [low, high], leaving its upper end to the axis' name. */
export function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough) as number;
  // A tick on the very edge is kept in spite of rounding.
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor((high - 0.05 * (high - low)) / step);
  // A quotient of whole numbers has no 0.30000000000000004.
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) =>
    step >= 1 ? (first + i) * step : (first + i) / Math.round(1 / step),
  );
}

/** Attractors as numbered dots, drawn over one another from the smallest basin up; the plane's points as crosses. */
function markers(field: Field, frame: Frame, ranks: Int32Array): string {
  const { plot, toX, toY } = frame;
  const inside = (x: number, y: number): boolean =>
    x >= plot.x && x <= plot.x + plot.width && y >= plot.y && y <= plot.y + plot.height;
  const extent = plot.width / frame.scale;
  const crosses = field.through.map(({ x, y }) => {
    const [px, py] = [toX(x), toY(y)];
    if (!inside(px, py)) return "";
    return `<path d="M${short(px - 9)} ${short(py)}h18M${short(px)} ${short(py - 9)}v18" style="stroke:${colour("ink")}" stroke-width="1.4"/>`;
  });
  const dots = [...largestFirst(field.grid.basinSize)].reverse().map((attractor) => {
    const { x, y, distance } = field.attractors[attractor];
    const [px, py] = [toX(x), toY(y)];
    if (!inside(px, py)) return "";
    // What lies far from the plane is only the shadow of an attractor: an open ring.
    const off = distance > 0.01 * extent;
    const rank = ranks[attractor];
    const style = off
      ? `fill:none;stroke:${colour("ink")}`
      : `fill:${colour("ink")};stroke:${colour("page")}`;
    const number =
      rank < TINTS.length - 1
        ? `<text x="${short(px)}" y="${short(py + 3.4)}" style="fill:${colour(off ? "ink" : "page")}">${rank + 1}</text>`
        : "";
    return `<circle cx="${short(px)}" cy="${short(py)}" r="${number === "" ? 3 : 6.5}" style="${style}"/>${number}`;
  });
  return `${crosses.join("")}<g font-size="9.5" font-weight="600" text-anchor="middle">${dots.join("")}</g>`;
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}
