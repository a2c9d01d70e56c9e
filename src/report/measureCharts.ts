/** Charts of the measures: distributions side by side, spectra, ROC curves. */
import type { TopLevelSpec } from "vega-lite";
import { along, FRAME, type Layer, powerTicks, roundTicks } from "./charts.js";
import { count } from "./format.js";
import { type Html, html } from "./page.js";
import { colour } from "./palette.js";

/** Colours of groups that are drawn into one chart, in this order; told apart by their dashes as well. */
const GROUPS = [
  { ink: colour("converged"), dash: [1, 0] },
  { ink: colour("diverged"), dash: [6, 3] },
  { ink: colour("cycle"), dash: [2, 2] },
  { ink: colour("nonFinite"), dash: [8, 2, 2, 2] },
  { ink: colour("maxIterations"), dash: [3, 5] },
] as const;

/** How the i-th group is drawn. */
export function groupStyle(i: number): (typeof GROUPS)[number] {
  return GROUPS[i % GROUPS.length];
}

/** The names of the groups beside their colours, for the page. */
export function groupKey(names: readonly string[]): Html {
  return html`<div class="key">${names.map(
    (name, i) =>
      html`<span><span class="swatch" style="background:${groupStyle(i).ink}"></span>${name}</span>`,
  )}</div>`;
}

export interface Group {
  readonly name: string;
  /** Finite. */
  readonly values: ArrayLike<number>;
}

export interface DistributionOptions {
  readonly title: string;
  /** Ends of the axis; from the values where not given. */
  readonly domain?: readonly [number, number];
  /** Default: as many as the smallest group can fill, 16 … 40. */
  readonly bins?: number;
  /** Where a dashed rule stands, if the axis reaches so far. */
  readonly rule?: number;
}

/** Twice the square root of the number of values, within bounds: a few values in many bins are a comb. */
function binsFor(groups: readonly Group[]): number {
  const least = Math.min(...groups.map(({ values }) => values.length).filter((length) => length > 0));
  return Math.max(16, Math.min(40, Math.ceil(2 * Math.sqrt(least))));
}

/** Which share of each group falls where: one outline a group over common bins. At least one value in all. */
export function distributionChart(
  groups: readonly Group[],
  { title, domain, bins = binsFor(groups), rule }: DistributionOptions,
): TopLevelSpec {
  const [low, high] = domain ?? extentOf(groups.map(({ values }) => values));
  const width = (high - low) / bins;
  const layer: Layer[] = [];
  let most = 0;
  const outlines = groups.map(({ values }) => {
    const shares = new Array<number>(bins).fill(0);
    for (let i = 0; i < values.length; i++) {
      const bin = Math.floor((values[i] - low) / width);
      shares[Math.max(0, Math.min(bins - 1, bin))] += 1 / values.length;
    }
    most = Math.max(most, ...shares);
    return shares;
  });
  const x = along({ title, scale: "linear", domain: [low, high], ticks: evenTicks(low, high), format: "~g" });
  const y = along({
    title: "share of the set",
    scale: "linear",
    domain: [0, most * 1.05],
    ticks: evenTicks(0, most),
    format: ".0~%",
  });
  outlines.forEach((shares, i) => {
    const { ink, dash } = groupStyle(i);
    const values = [
      { at: low, share: 0 },
      ...shares.flatMap((share, bin) => [
        { at: low + bin * width, share },
        { at: low + (bin + 1) * width, share },
      ]),
      { at: high, share: 0 },
    ].map((point, order) => ({ ...point, order }));
    const encoding = {
      x: { field: "at", ...x },
      y: { field: "share", ...y },
      order: { field: "order", type: "quantitative" as const },
    };
    layer.push({
      data: { values },
      mark: { type: "line", stroke: ink, strokeWidth: 1.75, strokeDash: [...dash], strokeJoin: "miter" },
      encoding,
    });
  });
  if (rule !== undefined && rule >= low && rule <= high) {
    layer.push({
      data: { values: [{ at: rule }] },
      mark: { type: "rule", stroke: colour("ink"), strokeDash: [4, 3] },
      encoding: { x: { field: "at", ...x } },
    });
  }
  return { ...FRAME, layer };
}

/** Singular values by rank on a logarithmic scale; the first `rank90` of them are filled. At least one is positive. */
export function spectrumChart(spectrum: ArrayLike<number>, rank90: number): TopLevelSpec {
  const largest = spectrum[0];
  // What is below this is next to nothing, and near 1e-7 rounding; all of it would leave no room for the rest.
  const floor = largest * 1e-4;
  const values = Array.from(spectrum, (value, i) => ({
    rank: i + 1,
    value: Math.max(value, floor),
    counted: i < rank90,
  }));
  const least = values.reduce((low, { value }) => Math.min(low, value), largest);
  const domain: [number, number] = [least / 10 ** 0.2, largest * 10 ** 0.2];
  const ticks = powerTicks(...domain);
  const ends: [number, number] = [0.5, Math.max(values.length, 8) + 0.5];
  const encoding = {
    x: {
      field: "rank",
      ...along({ title: "singular value, by rank", scale: "linear", domain: ends }),
    },
    y: {
      field: "value",
      ...along({
        title: "singular value, log scale",
        scale: "log",
        domain,
        ticks: ticks.length >= 2 ? ticks : roundTicks(...domain),
        format: "~g",
      }),
    },
  };
  const size = values.length > 100 ? 10 : 34;
  return {
    ...FRAME,
    layer: [
      {
        data: { values: values.filter(({ counted }) => !counted) },
        mark: { type: "point", filled: false, stroke: colour("muted"), size, opacity: 1 },
        encoding,
      },
      {
        data: { values: values.filter(({ counted }) => counted) },
        mark: { type: "point", filled: true, fill: colour("converged"), size, opacity: 1 },
        encoding,
      },
      {
        data: { values: [{ rank: rank90 + 0.5 }] },
        mark: { type: "rule", stroke: colour("ink"), strokeDash: [4, 3] },
        encoding: { x: encoding.x },
      },
      {
        data: { values: [{}] },
        mark: {
          type: "text",
          align: "right",
          baseline: "top",
          text: `${count(rank90)} of ${count(values.length)} hold 90 % of the squares`,
        },
        encoding: { x: { value: "width" }, y: { value: 0 } },
      },
    ],
  };
}

export interface RocLine {
  readonly name: string;
  readonly points: readonly { readonly id: number; readonly ood: number }[];
}

/** Accepted ID against accepted OOD, one line for each score, with the level of chance. */
export function rocChart(lines: readonly RocLine[]): TopLevelSpec {
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const axis = (title: string) => along({ title, scale: "linear", domain: [0, 1], ticks, format: ".0%" });
  const [x, y] = [axis("OOD inputs accepted"), axis("ID inputs accepted")];
  const layer: Layer[] = [
    {
      data: {
        values: [
          { ood: 0, id: 0 },
          { ood: 1, id: 1 },
        ],
      },
      mark: { type: "line", stroke: colour("line"), strokeWidth: 1.5 },
      encoding: { x: { field: "ood", ...x }, y: { field: "id", ...y } },
    },
  ];
  lines.forEach(({ points }, i) => {
    const { ink, dash } = groupStyle(i);
    const values = points.map(({ id, ood }, order) => ({ id, ood, order }));
    layer.push({
      data: { values },
      mark: { type: "line", stroke: ink, strokeWidth: 2, strokeDash: [...dash] },
      encoding: {
        x: { field: "ood", ...x },
        y: { field: "id", ...y },
        order: { field: "order", type: "quantitative" },
      },
    });
  });
  return { ...FRAME, layer };
}

/** Least and greatest of all values, a little apart where they are one. */
function extentOf(sets: readonly ArrayLike<number>[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const values of sets) {
    for (let i = 0; i < values.length; i++) {
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
  }
  if (high > low) return [low, high];
  const room = Math.abs(low) > 0 ? Math.abs(low) * 0.1 : 1;
  return [low - room, high + room];
}

/** Four to nine round numbers within [low, high]. */
function evenTicks(low: number, high: number): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? rough;
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}
