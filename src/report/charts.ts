/** The charts of a report: Vega-Lite specifications, and their way to an SVG that a page can carry inside itself. */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { count, countOf, quantity, share } from "./format.js";
import { escapeHtml } from "./page.js";
import { colour, STATUSES, type StatusKey } from "./palette.js";
import type { Histogram, Ranking, TracePoint } from "./series.js";

/** Width every chart is laid out for, in CSS pixels; a page scales it. Text of 12 px stays readable at 350. */
export const CHART_WIDTH = 460;
const CHART_HEIGHT = 250;
const FONT_SIZE = 12;
/** Mean width of a character of the system's fonts at FONT_SIZE, rounded up. */
export const CHARACTER = 6.8;

export type Layer = Extract<TopLevelSpec, { layer: unknown }>["layer"][number];
type Config = NonNullable<NonNullable<Parameters<typeof compile>[1]>["config"]>;

const THEME: Config = {
  background: undefined,
  aria: false,
  view: { stroke: null },
  mark: { tooltip: null },
  text: { fill: colour("ink"), fontSize: FONT_SIZE },
  axis: {
    labelColor: colour("muted"),
    labelFontSize: FONT_SIZE,
    titleColor: colour("muted"),
    titleFontSize: FONT_SIZE,
    titleFontWeight: "normal",
    domainColor: colour("line"),
    tickColor: colour("line"),
    gridColor: colour("line"),
    labelPadding: 5,
  },
  axisX: { grid: false, titlePadding: 8, tickSize: 5 },
  // The unit of y is written above the axis, where it can be read without turning one's head.
  axisY: {
    domain: false,
    ticks: false,
    titleAngle: 0,
    titleAlign: "left",
    titleAnchor: "end",
    titleX: 0,
    titleY: -12,
    titleBaseline: "bottom",
  },
};

/** What all charts share; `fit` makes the whole of the SVG, axes included, as wide as asked for. */
export const FRAME = {
  width: CHART_WIDTH,
  height: CHART_HEIGHT,
  autosize: { type: "fit", contains: "padding" },
  padding: { left: 2, right: 10, top: 2, bottom: 2 },
} as const;

/** Renders a chart. `alternative` says in words what it shows, for those who do not see it. */
export async function renderChart(spec: TopLevelSpec, alternative: string): Promise<string> {
  const view = new View(parse(compile(spec, { config: THEME }).spec), { renderer: "none" });
  try {
    return compact(await view.toSVG(), alternative);
  } finally {
    view.finalize();
  }
}

/**
 * Takes out of Vega's SVG what a page does not need (hidden labels, defaults, a font per text, sixteen decimals of a
 * pixel): about three quarters. The font is the page's.
 */
function compact(svg: string, alternative: string): string {
  const body = svg
    .replace(/<text[^>]* opacity="0"[^>]*>[^<]*<\/text>/g, "")
    .replace(/<text[^>]*\/>/g, "")
    .replace(/<path class="(?:background|foreground)"[^>]*(?: d=""|h0v0h0Z")[^>]*\/>/g, "")
    .replace(/<[^>]*>/g, (tag) =>
      tag
        .replace(/ (?:font-family|opacity|pointer-events|role|aria-[a-z]+)="(?:[^"]*)"/g, (attribute) =>
          attribute.startsWith(" opacity") && !attribute.endsWith('"1"') ? attribute : "",
        )
        .replace(/-?\d+\.\d+(?:e-?\d+)?/g, (number) => String(Math.round(Number(number) * 100) / 100)),
    );
  return body.replace(/^<svg[^>]*>/, (root) => {
    const size = / width="([^"]+)" height="([^"]+)"/.exec(root);
    if (size === null) throw new Error("the renderer gave an SVG without a size");
    return `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="${escapeHtml(alternative)}" width="${size[1]}" height="${size[2]}" viewBox="0 0 ${size[1]} ${size[2]}">`;
  });
}

interface Axis {
  readonly title: string | null;
  readonly scale: "linear" | "log";
  readonly domain: readonly [number, number];
  /** Where the labels stand; left to Vega where not given. */
  readonly ticks?: readonly number[];
  /** d3-format; whole numbers in groups of three where not given. */
  readonly format?: string;
}

/** The channel of a number along an axis whose ends are exactly the domain's. */
export function along({ title, scale, domain, ticks, format = ",d" }: Axis) {
  return {
    type: "quantitative" as const,
    title,
    scale: { type: scale, domain: [...domain], nice: false, ...(scale === "linear" ? { zero: false } : {}) },
    axis: {
      // d3-format writes 1e+6.
      labelExpr: `replace(format(datum.value, '${format}'), '+', '')`,
      ...(ticks === undefined
        ? { tickCount: 5, tickMinStep: 1 }
        : { values: [...ticks], labelOverlap: false }),
    },
  };
}

/** A colour channel that needs no legend: charts are labelled directly or by the page. */
function statusColour(statuses: readonly StatusKey[]) {
  return {
    field: "status",
    type: "nominal" as const,
    legend: null,
    scale: { domain: [...statuses], range: statuses.map(colour) },
  };
}

export interface StatusCount {
  readonly status: StatusKey;
  readonly points: number;
}

/** Smallest part of the bar a status that occurs is drawn with, so that a single point among many is not lost. */
const LEAST_SHARE = 0.006;

/** One bar divided among the statuses that occur, each labelled where its part is wide enough to hold the words. */
export function statusChart(counts: readonly StatusCount[]): TopLevelSpec {
  const present = counts.filter(({ points }) => points > 0);
  const total = present.reduce((sum, { points }) => sum + points, 0);
  const drawn = present.map(({ points }) => Math.max(LEAST_SHARE, points / total));
  const whole = drawn.reduce((sum, part) => sum + part, 0);
  let end = 0;
  const segments = present.map(({ status, points }, i) => {
    const from = end;
    end += drawn[i] / whole;
    const room = (end - from) * CHART_WIDTH - 12;
    const words = [
      `${STATUSES.find(({ key }) => key === status)?.label} ${share(points, total)}`,
      share(points, total),
    ];
    const label = words.find((text) => text.length * CHARACTER <= room) ?? "";
    return { status, from, to: end, middle: (from + end) / 2, label };
  });
  const x = { ...along({ title: null, scale: "linear", domain: [0, 1] }), axis: null };
  return {
    width: CHART_WIDTH,
    height: 44,
    padding: 0,
    data: { values: segments },
    layer: [
      {
        name: "segments",
        mark: { type: "rect", stroke: colour("page"), strokeWidth: 1 },
        encoding: {
          x: { field: "from", ...x },
          x2: { field: "to" },
          color: statusColour(present.map(({ status }) => status)),
        },
      },
      {
        name: "labels",
        transform: [{ filter: "datum.label !== ''" }],
        mark: { type: "text", fontWeight: 600, fill: colour("onStatus") },
        encoding: { x: { field: "middle", ...x }, text: { field: "label", type: "nominal" } },
      },
    ],
  };
}

/** Room for so many bins is there even where fewer are needed: a lone bar as wide as the chart reads as background. */
const LEAST_BINS = 9;

/** How many points needed how many iterations, with their median. The histogram must not be empty. */
export function iterationChart({ edges, counts, scale, median }: Histogram): TopLevelSpec {
  // A bin of a single whole number stands over that number, not between it and the next.
  const shift = scale === "linear" && edges[1] - edges[0] === 1 ? 0.5 : 0;
  const spare = shift > 0 ? Math.max(0, LEAST_BINS - counts.length) : 0;
  const first = edges[0] - shift - Math.floor(spare / 2);
  const last = edges[edges.length - 1] - shift + Math.ceil(spare / 2);
  const bins = counts
    .map((points, i) => ({ from: edges[i] - shift, to: edges[i + 1] - shift, points }))
    .filter((bin) => bin.points > 0);
  const x = along({
    title: scale === "log" ? "iterations, log scale" : "iterations",
    scale,
    domain: [first, last],
    ticks: scale === "log" ? roundTicks(first, last) : undefined,
  });
  const middle = { field: "median", ...x };
  const right = median !== null && placeOn(median, first, last, scale) > 0.7;
  return {
    ...FRAME,
    layer: [
      {
        name: "bins",
        data: { values: bins },
        mark: { type: "rect", fill: colour("converged"), stroke: colour("page"), strokeWidth: 1 },
        encoding: {
          x: { field: "from", ...x },
          x2: { field: "to" },
          y: {
            field: "points",
            type: "quantitative",
            title: "points",
            axis: { format: ",d", tickCount: 5, tickMinStep: 1 },
          },
          y2: { datum: 0 },
        },
      },
      {
        name: "median",
        data: { values: [{ median }] },
        mark: { type: "rule", stroke: colour("ink"), strokeDash: [4, 3] },
        encoding: { x: middle },
      },
      {
        data: { values: [{ median }] },
        mark: {
          type: "text",
          align: right ? "right" : "left",
          dx: right ? -6 : 6,
          dy: -8,
          text: `median ${quantity(median ?? Number.NaN)}`,
        },
        encoding: { x: middle, y: { value: 0 } },
      },
    ],
  };
}

/** Where a value lies between first (0) and last (1) on an axis. */
function placeOn(value: number, first: number, last: number, scale: "linear" | "log"): number {
  return scale === "log"
    ? Math.log(value / first) / Math.log(last / first)
    : (value - first) / (last - first);
}

/** Round numbers within [first, last] for a log axis: the fewer of each decade, the more decades there are. */
export function roundTicks(first: number, last: number): number[] {
  const steps = last / first > 1e4 ? [1] : last / first > 10 ? [1, 3] : [1, 2, 3, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(first)); power <= Math.log10(last); power++) {
    for (const step of steps) {
      const tick = Number(`${step}e${power}`);
      if (tick >= first && tick <= last) ticks.push(tick);
    }
  }
  return ticks;
}

/** Powers of ten within [first, last], evenly thinned to at most seven. */
export function powerTicks(first: number, last: number): number[] {
  const low = Math.ceil(Math.log10(first));
  const high = Math.floor(Math.log10(last));
  const step = Math.max(1, Math.ceil((high - low) / 6));
  const ticks: number[] = [];
  for (let power = Math.ceil(low / step) * step; power <= high; power += step)
    ticks.push(Number(`1e${power}`));
  return ticks;
}

export interface TraceLine {
  readonly status: StatusKey;
  readonly points: readonly TracePoint[];
}

/**
 * Residuals along the paths of single points, coloured by what became of them. `tolerance` is drawn as a rule, unless
 * null. A residual of exactly zero lies on the lower edge, below everything positive.
 */
export function traceChart(
  lines: readonly TraceLine[],
  tolerance: number | null,
  scale: "linear" | "log",
): TopLevelSpec {
  const [low, high] = residualDomain(lines, tolerance);
  const values = lines.flatMap(({ status, points }, line) =>
    points.map(({ t, residual }) => ({ line, status, t, residual: Math.max(residual, low) })),
  );
  const last = values.reduce((most, { t }) => Math.max(most, t), 2);
  const x = {
    field: "t",
    ...along({
      title: scale === "log" ? "iteration, log scale" : "iteration",
      scale,
      domain: [1, last],
      ticks: scale === "log" ? roundTicks(1, last) : undefined,
    }),
  };
  const y = along({
    title: "squared step",
    scale: "log",
    domain: [low, high],
    ticks: powerTicks(low, high),
    format: "~e",
  });
  const color = statusColour(
    STATUSES.map(({ key }) => key).filter((key) => lines.some(({ status }) => status === key)),
  );
  const layer: Layer[] = [
    {
      name: "traces",
      data: { values },
      mark: { type: "line", strokeWidth: 1, opacity: 0.6, strokeJoin: "round" },
      encoding: { x, y: { field: "residual", ...y }, color, detail: { field: "line", type: "nominal" } },
    },
    {
      // A path of one step is no line.
      name: "single",
      data: { values: values.filter(({ line }) => lines[line].points.length === 1) },
      mark: { type: "point", filled: true, size: 16, opacity: 0.6 },
      encoding: { x, y: { field: "residual", ...y }, color },
    },
  ];
  if (tolerance !== null) {
    const rule = { field: "tolerance", ...y };
    const words = {
      align: "right",
      baseline: "top",
      dx: -2,
      dy: 5,
      text: `tolerance ${quantity(tolerance)}`,
    } as const;
    layer.push(
      {
        name: "tolerance",
        data: { values: [{ tolerance }] },
        mark: { type: "rule", stroke: colour("ink"), strokeDash: [4, 3] },
        encoding: { y: rule },
      },
      {
        // A rim in the page's colour keeps the words readable across the lines.
        data: { values: [{ tolerance }] },
        mark: { type: "text", ...words, stroke: colour("page"), strokeWidth: 4, strokeJoin: "round" },
        encoding: { x: { value: "width" }, y: rule },
      },
      {
        data: { values: [{ tolerance }] },
        mark: { type: "text", ...words },
        encoding: { x: { value: "width" }, y: rule },
      },
    );
  }
  return { ...FRAME, layer };
}

/** From half a decade below the least positive residual to just above the greatest; a decade of room for the rule's label. */
function residualDomain(lines: readonly TraceLine[], tolerance: number | null): [number, number] {
  let low = tolerance ?? Number.POSITIVE_INFINITY;
  let high = tolerance ?? 0;
  for (const { points } of lines) {
    for (const { residual } of points) {
      if (residual > 0) low = Math.min(low, residual);
      high = Math.max(high, residual);
    }
  }
  // Nothing but zeros: any decade will do.
  if (high === 0) return [1e-7, 1e-6];
  return [Math.min(low * 10 ** -0.5, (tolerance ?? low) / 10), high * 10 ** 0.1];
}

/** Basins by size, largest first. Few bars carry their counts; what is left out is said in the chart. */
export function basinChart({ sizes, restCount, restPoints, scale }: Ranking): TopLevelSpec {
  const slots = Math.max(sizes.length, 8);
  const base = scale === "log" ? 0.7 : 0;
  const bars = sizes.map((points, i) => ({
    from: i + 0.55,
    to: i + 1.45,
    rank: i + 1,
    points,
    label: count(points),
  }));
  const widest = bars.reduce((most, { label }) => Math.max(most, label.length), 0);
  const labelled = (widest + 1) * CHARACTER <= (CHART_WIDTH - 50) / slots;
  const x = along({
    title: "attractor, by rank of its basin",
    scale: "linear",
    domain: [0.5, slots + 0.5],
    ticks: rankTicks(sizes.length),
  });
  const y = {
    field: "points",
    ...along({
      title: scale === "log" ? "points in the basin, log scale" : "points in the basin",
      scale,
      domain: [base, scale === "log" ? sizes[0] ** 1.12 : sizes[0] * 1.1],
      ticks: scale === "log" ? roundTicks(1, sizes[0]) : undefined,
    }),
  };
  const layer: Layer[] = [
    {
      name: "basins",
      data: { values: bars },
      mark: { type: "rect", fill: colour("converged") },
      encoding: { x: { field: "from", ...x }, x2: { field: "to" }, y, y2: { datum: base } },
    },
  ];
  if (labelled) {
    layer.push({
      name: "sizes",
      data: { values: bars },
      mark: { type: "text", baseline: "bottom", dy: -3 },
      encoding: { x: { field: "rank", ...x }, y, text: { field: "label", type: "nominal" } },
    });
  }
  if (restCount > 0) {
    layer.push({
      name: "rest",
      data: { values: [{}] },
      mark: {
        type: "text",
        align: "right",
        baseline: "top",
        text: `and ${count(restCount)} more, with ${countOf(restPoints, "point")} together`,
      },
      encoding: { x: { value: "width" }, y: { value: 0 } },
    });
  }
  return { ...FRAME, layer };
}

/** Ranks worth a label: all of few, else the first and every tenth (fifth). */
function rankTicks(n: number): number[] {
  const step = n <= 15 ? 1 : n <= 30 ? 5 : 10;
  return Array.from({ length: n }, (_, i) => i + 1).filter((rank) => rank === 1 || rank % step === 0);
}

/** Bars up to this many coordinates, beyond it a band from the least to the greatest of neighbours. */
const SPARKLINE_BARS = 64;

/**
 * A vector's coordinates as a row of bars around zero, small enough to stand beside others. `extent` (> 0) is the value
 * at full height and should be the same for all that are compared. More than 64 coordinates are drawn in 64 groups,
 * each from its least to its greatest.
 */
export function sparkline(values: ArrayLike<number>, extent: number, alternative: string): string {
  const groups = Math.min(values.length, SPARKLINE_BARS);
  const width = groups * 4;
  const height = 64;
  const level = (value: number) => height / 2 - (Math.max(-1, Math.min(1, value / extent)) * height) / 2;
  const bars = Array.from({ length: groups }, (_, group) => {
    const from = Math.floor((group * values.length) / groups);
    const to = Math.floor(((group + 1) * values.length) / groups);
    let low = groups === values.length ? 0 : Number.POSITIVE_INFINITY;
    let high = groups === values.length ? 0 : Number.NEGATIVE_INFINITY;
    for (let i = from; i < to; i++) {
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
    const top = Math.round(level(high) * 10) / 10;
    const bottom = Math.round(level(low) * 10) / 10;
    return `M${group * 4 + 0.5} ${top}h3V${Math.max(bottom, top + 0.5)}h-3Z`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" class="sparkline" role="img" aria-label="${escapeHtml(alternative)}" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none"><path d="M0 ${height / 2}H${width}" stroke="${colour("line")}"/><path d="${bars.join("")}" fill="${colour("converged")}"/></svg>`;
}
