/** What many curves have in common: quantiles over them, step by step. */

/** Of the points, from the lowest to the highest. */
export const QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95] as const;

export interface Bands {
  /** Step of the first row. */
  readonly first: number;
  /** [steps, 5]: QUANTILES of the finite values at each step; NaN where there is none. */
  readonly values: Float64Array;
}

/** Quantiles over the curves, all of equal length, whose first element belongs to step `first`. */
export function bandsOf(curves: readonly Float32Array[], first: number): Bands {
  const steps = curves[0]?.length ?? 0;
  const values = new Float64Array(steps * QUANTILES.length);
  for (let t = 0; t < steps; t++) {
    const sorted = Float64Array.from(curves, (curve) => curve[t])
      .filter(Number.isFinite)
      .sort();
    QUANTILES.forEach((quantile, q) => {
      values[t * QUANTILES.length + q] = quantileOf(sorted, quantile);
    });
  }
  return { first, values };
}

/** The median at the first and at the last step; null where no value there is finite. */
export function endsOf({ values }: Bands): { first: number | null; last: number | null } {
  const width = QUANTILES.length;
  const median = (row: number): number | null => {
    const value = values[row * width + QUANTILES.indexOf(0.5)];
    return Number.isFinite(value) ? value : null;
  };
  const steps = values.length / width;
  return steps === 0 ? { first: null, last: null } : { first: median(0), last: median(steps - 1) };
}

/** Of ascending values, between neighbours where it falls between two; NaN where there is none. */
export function quantileOf(sorted: Float64Array, quantile: number): number {
  if (sorted.length === 0) return Number.NaN;
  const place = quantile * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(sorted.length - 1, below + 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}
