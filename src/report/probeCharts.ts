/** Error against sparsity, as a Vega-Lite chart. */
import type { TopLevelSpec } from "vega-lite";
import { along, FRAME, type Layer, powerTicks, roundTicks } from "./charts.js";
import { count, quantity } from "./format.js";
import { colour } from "./palette.js";

export interface ErrorPoint {
  readonly sparsity: number;
  readonly error: number;
}

export interface ErrorCurves {
  readonly attractors: readonly ErrorPoint[];
  readonly orthonormal: readonly ErrorPoint[];
  /** Drawn as a rule with its name; null for none. */
  readonly limit: { readonly name: string; readonly error: number } | null;
  /** Of the vertical axis. */
  readonly title: string;
}

/** Colours of the two dictionaries, here and in the page's key. */
export const DICTIONARIES = {
  attractors: { label: "attractors", colour: colour("converged") },
  orthonormal: { label: "orthonormal basis", colour: colour("diverged") },
} as const;

/** Errors below this part of the largest are rounding: they lie on the lower edge. */
const FLOOR = 1e-9;

/** Both axes are logarithmic. An error of zero, or of nothing but rounding, lies on the lower edge. */
export function errorChart({ attractors, orthonormal, limit, title }: ErrorCurves): TopLevelSpec {
  const errors = [...attractors, ...orthonormal].map(({ error }) => error);
  if (limit !== null) errors.push(limit.error);
  const most = Math.max(...errors);
  const high = most > 0 ? most : 1;
  const positive = errors.filter((error) => error > high * FLOOR);
  const least = positive.length > 0 ? Math.min(...positive) : high;
  const domain: [number, number] = [least / 10 ** 0.3, high * 10 ** 0.15];
  const sparsities = attractors.map(({ sparsity }) => sparsity);
  const [first, last] = [sparsities[0], sparsities[sparsities.length - 1]];
  const ends: [number, number] = [first * 0.94, last * 1.06];
  const x = {
    field: "sparsity",
    ...along({
      title: "atoms a signal, log scale",
      scale: "log",
      domain: ends,
      ticks: labelled(sparsities),
    }),
  };
  const ticks = powerTicks(...domain);
  const y = along({
    title,
    scale: "log",
    domain,
    ticks: ticks.length >= 2 ? ticks : roundTicks(...domain),
    format: "~g",
  });
  const curve = (points: readonly ErrorPoint[], ink: string, dash: number[], shape: string): Layer[] => {
    const values = points.map(({ sparsity, error }) => ({ sparsity, error: Math.max(error, domain[0]) }));
    const encoding = { x, y: { field: "error", ...y } };
    return [
      { data: { values }, mark: { type: "line", stroke: ink, strokeWidth: 2, strokeDash: dash }, encoding },
      {
        data: { values },
        mark: { type: "point", filled: true, fill: ink, size: 36, opacity: 1, shape },
        encoding,
      },
    ];
  };
  const layer: Layer[] = [];
  if (limit !== null) {
    const rule = { field: "limit", ...y };
    const words = { align: "left", baseline: "top", dx: 4, dy: 4, text: limit.name } as const;
    layer.push(
      {
        data: { values: [{ limit: limit.error }] },
        mark: { type: "rule", stroke: colour("ink"), strokeDash: [2, 3] },
        encoding: { y: rule },
      },
      {
        data: { values: [{ limit: limit.error }] },
        mark: { type: "text", ...words },
        encoding: { x: { value: 0 }, y: rule },
      },
    );
  }
  layer.push(
    ...curve(orthonormal, DICTIONARIES.orthonormal.colour, [5, 3], "square"),
    ...curve(attractors, DICTIONARIES.attractors.colour, [1, 0], "circle"),
  );
  return { ...FRAME, layer };
}

/** Every sparsity, or evenly fewer where the labels would meet. */
function labelled(sparsities: readonly number[]): number[] {
  const step = Math.ceil(sparsities.length / 9);
  return sparsities.filter((_, i) => (sparsities.length - 1 - i) % step === 0);
}

/** What the two curves say, in words. */
export function describeCurves({ attractors, orthonormal, title }: ErrorCurves): string {
  const [a, o] = [attractors[attractors.length - 1], orthonormal[orthonormal.length - 1]];
  return `${title} against atoms a signal: from ${quantity(attractors[0].error)} (attractors) and ${quantity(orthonormal[0].error)} (orthonormal basis) with ${count(attractors[0].sparsity)} to ${quantity(a.error)} and ${quantity(o.error)} with ${count(a.sparsity)}.`;
}
