/** Numbers that stand for many. */

export interface Spread {
  /** How many values there are; with none, everything else is null. */
  readonly count: number;
  readonly mean: number | null;
  /** Square root of the mean squared deviation (divided by the count): 0 for a single value. */
  readonly std: number | null;
  readonly min: number | null;
  readonly median: number | null;
  readonly max: number | null;
}

/** Sums in float64, in the order given. Values are finite. */
export function spreadOf(values: ArrayLike<number>): Spread {
  const count = values.length;
  if (count === 0) return { count, mean: null, std: null, min: null, median: null, max: null };
  const sorted = Float64Array.from(values).sort();
  let sum = 0;
  for (let i = 0; i < count; i++) sum += values[i];
  const mean = sum / count;
  let squares = 0;
  for (let i = 0; i < count; i++) squares += (values[i] - mean) ** 2;
  const median = (sorted[Math.floor((count - 1) / 2)] + sorted[Math.floor(count / 2)]) / 2;
  return { count, mean, std: Math.sqrt(squares / count), min: sorted[0], median, max: sorted[count - 1] };
}
