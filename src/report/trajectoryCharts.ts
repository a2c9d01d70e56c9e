/** Quantile bands of curves over steps, as a Vega-Lite chart. */
import type { TopLevelSpec } from "vega-lite";
import { type Bands, QUANTILES } from "../dynamics/bands.js";
import { along, FRAME, type Layer, powerTicks, roundTicks } from "./charts.js";
import { colour } from "./palette.js";
import { spread } from "./series.js";

export interface BandChart {
  readonly bands: Bands;
  /** Of the vertical axis. */
  readonly title: string;
  readonly scale: "linear" | "log";
}

/** Steps that are drawn; longer curves are sampled evenly. */
const MOST_STEPS = 240;
/** Values below this part of the largest are rounding on a logarithmic axis: they lie on its lower edge. */
const FLOOR = 1e-16;

const [P5, P25, P50, P75, P95] = QUANTILES.map((_, q) => q);

/** The middle half and the middle nine tenths as bands, the median as a line. */
export function bandChart({ bands, title, scale }: BandChart): TopLevelSpec {
  const rows = drawn(bands);
  const all = rows.flatMap(({ low, high }) => [low, high]);
  const most = Math.max(...all, Number.MIN_VALUE);
  const positive = all.filter((value) => value > most * FLOOR);
  const least = positive.length > 0 ? Math.min(...positive) : most;
  const domain: [number, number] =
    scale === "log" ? [least / 10 ** 0.3, most * 10 ** 0.15] : [0, most > Number.MIN_VALUE ? most * 1.05 : 1];
  const powers = scale === "log" ? powerTicks(...domain) : [];
  const last = rows.length > 0 ? rows[rows.length - 1].t : 1;
  const x = {
    field: "t",
    ...along({ title: "step", scale: "linear", domain: [Math.min(bands.first, last - 1), last] }),
  };
  const y = along({
    title,
    scale,
    domain,
    ticks: scale === "linear" ? undefined : powers.length >= 2 ? powers : roundTicks(...domain),
    format: scale === "linear" ? "~s" : domain[0] < 1e-3 ? "~e" : "~g",
  });
  // A tick of a linear axis may be a fraction.
  const axis = scale === "linear" ? { ...y, axis: { ...y.axis, tickMinStep: 0 } } : y;
  const values = rows.map((row) => ({
    t: row.t,
    ...Object.fromEntries(
      (["low", "lower", "median", "upper", "high"] as const).map((name) => [
        name,
        Math.max(row[name], domain[0]),
      ]),
    ),
  }));
  const band = (from: string, to: string, opacity: number): Layer => ({
    mark: { type: "area", fill: colour("converged"), opacity },
    encoding: { x, y: { field: from, ...axis }, y2: { field: to } },
  });
  return {
    ...FRAME,
    data: { values },
    layer: [
      band("low", "high", 0.16),
      band("lower", "upper", 0.28),
      {
        mark: { type: "line", stroke: colour("converged"), strokeWidth: 2 },
        encoding: { x, y: { field: "median", ...axis } },
      },
    ],
  };
}

interface Row {
  readonly t: number;
  readonly low: number;
  readonly lower: number;
  readonly median: number;
  readonly upper: number;
  readonly high: number;
}

/** Steps at which some value was finite, thinned. */
function drawn({ first, values }: Bands): Row[] {
  const width = QUANTILES.length;
  const steps = values.length / width;
  const kept = new Set(spread(steps, MOST_STEPS));
  if (steps > 0) kept.add(steps - 1);
  return [...kept]
    .filter((t) => Number.isFinite(values[t * width + P50]))
    .map((t) => {
      const at = (q: number): number => values[t * width + q];
      return { t: first + t, low: at(P5), lower: at(P25), median: at(P50), upper: at(P75), high: at(P95) };
    });
}
