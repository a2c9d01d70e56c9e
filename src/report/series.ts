/** From a run's arrays to the few numbers a chart draws. Nothing here knows how a chart looks. */

/** Counts of whole numbers in [edges[i], edges[i + 1]). */
export interface Histogram {
  /** Ascending whole numbers, one more than there are counts; empty where there was nothing to count. */
  readonly edges: readonly number[];
  readonly counts: readonly number[];
  /** log: the bins grow with the value, because the largest values are far from the typical ones. */
  readonly scale: "linear" | "log";
  readonly median: number | null;
}

/** Middle value of an ascending list (mean of the two middle ones); null where it is empty. */
function medianOf(sorted: ArrayLike<number>): number | null {
  const n = sorted.length;
  if (n === 0) return null;
  return n % 2 === 1 ? sorted[(n - 1) / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/** Largest value over the median beyond which equal bins would put nearly everything into the first one. */
const LONG_TAIL = 10;

/** Bins for counts of iterations (whole numbers ≥ 0): at most `most` of them, equal or, with a long tail, growing. */
export function histogram(values: ArrayLike<number>, most = 32): Histogram {
  const sorted = Int32Array.from(values).sort();
  const median = medianOf(sorted);
  if (median === null) return { edges: [], counts: [], scale: "linear", median };
  const low = sorted[0];
  const high = sorted[sorted.length - 1];
  const scale = low >= 1 && high > LONG_TAIL * median && high - low >= most ? "log" : "linear";
  const edges = scale === "log" ? growingEdges(low, high + 1, most) : equalEdges(low, high + 1, most);
  const counts = new Array<number>(edges.length - 1).fill(0);
  let bin = 0;
  for (const value of sorted) {
    while (value >= edges[bin + 1]) bin++;
    counts[bin]++;
  }
  return { edges, counts, scale, median };
}

/** Equal bins of 1, 2, 5, 10, 20, … whole numbers that cover [low, end). */
function equalEdges(low: number, end: number, most: number): number[] {
  let width = 1;
  for (let i = 0; Math.ceil(end / width) - Math.floor(low / width) > most; i++)
    width *= i % 3 === 1 ? 2.5 : 2;
  const edges: number[] = [];
  const first = Math.floor(low / width) * width;
  for (let edge = first; edge < end; edge += width) edges.push(edge);
  edges.push(edges[edges.length - 1] + width);
  return edges;
}

/** Whole-number edges in equal ratios that cover [low, end); where a ratio is less than one whole number, single ones. */
function growingEdges(low: number, end: number, most: number): number[] {
  const edges = [low];
  for (let i = 1; i <= most; i++) {
    const edge = i === most ? end : Math.round(low * (end / low) ** (i / most));
    if (edge > edges[edges.length - 1]) edges.push(edge);
  }
  return edges;
}

/** One point of a residual's path; t counts applications of f from 1. */
export interface TracePoint {
  readonly t: number;
  readonly residual: number;
}

/**
 * A residual's path with at most about `most` points: of every stretch of the path its smallest and its largest value
 * stay, so that spikes and oscillations keep their height. Stretches are equal in t, or in log t. Values that are not
 * finite are left out; zeros stay zero.
 */
export function thinTrace(residual: ArrayLike<number>, scale: "linear" | "log", most = 96): TracePoint[] {
  const points: TracePoint[] = [];
  for (let i = 0; i < residual.length; i++) {
    if (Number.isFinite(residual[i])) points.push({ t: i + 1, residual: residual[i] });
  }
  if (points.length <= most) return points;
  const place = (t: number) => (scale === "log" ? Math.log(t) : t);
  const start = place(points[0].t);
  const end = place(points[points.length - 1].t);
  const stretches = Math.floor(most / 2) - 1;
  const kept = new Set<number>([0, points.length - 1]);
  for (let from = 0; from < points.length; ) {
    const stretch = Math.floor(((place(points[from].t) - start) / (end - start)) * stretches);
    let least = from;
    let greatest = from;
    let i = from;
    for (; i < points.length; i++) {
      if (Math.floor(((place(points[i].t) - start) / (end - start)) * stretches) !== stretch) break;
      if (points[i].residual < points[least].residual) least = i;
      if (points[i].residual > points[greatest].residual) greatest = i;
    }
    kept.add(least);
    kept.add(greatest);
    from = i;
  }
  return [...kept].sort((a, b) => a - b).map((i) => points[i]);
}

/** log where the longest path is many times the typical one: on a linear axis the short ones would be one stroke. */
export function traceScale(lengths: readonly number[]): "linear" | "log" {
  const sorted = [...lengths].sort((a, b) => a - b);
  const median = medianOf(sorted);
  return median !== null && sorted[sorted.length - 1] > LONG_TAIL * median ? "log" : "linear";
}

/** `most` indices of 0…n−1, evenly spread, ascending; all of them where n ≤ most. */
export function spread(n: number, most: number): number[] {
  const kept = Math.min(n, most);
  return Array.from({ length: kept }, (_, i) => Math.floor((i * n) / kept));
}

export interface Ranking {
  /** Largest first. */
  readonly sizes: readonly number[];
  /** How many are not in `sizes`, and what they hold together. */
  readonly restCount: number;
  readonly restPoints: number;
  /** log where the largest is far above the typical one. */
  readonly scale: "linear" | "log";
}

/** Largest size over the median beyond which small ones could not be told from nothing on a linear axis. */
const SKEWED = 30;

/** Sizes in descending order, the first `most` of them. */
export function ranking(sizes: ArrayLike<number>, most = 60): Ranking {
  const sorted = Array.from(sizes).sort((a, b) => b - a);
  const rest = sorted.slice(most);
  const shown = sorted.slice(0, most);
  const median = medianOf([...shown].reverse());
  return {
    sizes: shown,
    restCount: rest.length,
    restPoints: rest.reduce((sum, size) => sum + size, 0),
    scale: median !== null && median > 0 && shown[0] > SKEWED * median ? "log" : "linear",
  };
}

/** Indices of `sizes`, largest first, equal ones in ascending order of index. */
export function largestFirst(sizes: ArrayLike<number>): Int32Array {
  return Int32Array.from({ length: sizes.length }, (_, i) => i).sort((a, b) => sizes[b] - sizes[a] || a - b);
}
