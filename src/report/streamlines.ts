/** Evenly spaced stream lines of a vector field that is known on a grid. Geometry alone: nothing here draws. */

/** Cells are squares of side 1 whose centres are the whole numbers: column i, row j at (i, j). */
export interface VectorGrid {
  readonly columns: number;
  readonly rows: number;
  /** [rows, columns, 2]: x, y; cells with a value that is not finite are walls. */
  readonly vectors: Float32Array;
}

/** x₀, y₀, x₁, y₁, … along the flow, in cells. */
export type Streamline = Float64Array;

/** Length of one integration step, in cells. */
const STEP = 0.25;
/** How close to another line a line may come, as a part of the distance at which lines start. */
const NEAREST = 0.55;
/** Lines shorter than this many distances are specks. */
const SHORTEST = 0.8;

/**
 * Lines that start `separation` cells apart and end where they come too close to another one, leave the grid, or come
 * to rest. Direction alone decides their course: along a line, one step of the integrator is as long as any other.
 * After B. Jobard and W. Lefer, "Creating evenly-spaced streamlines of arbitrary density" (1997); the integrator is
 * the classical Runge–Kutta of order 4.
 */
export function streamlines(grid: VectorGrid, separation: number): Streamline[] {
  const near = neighbourhood(separation);
  const direction = directionOf(grid);
  const lines: Streamline[] = [];
  const start = (x: number, y: number): void => {
    if (direction(x, y) === null || near.closest(x, y) < separation) return;
    const line = trace(direction, x, y, (px, py) => near.closest(px, py) >= NEAREST * separation, separation);
    if (((line.length / 2 - 1) * STEP) / separation < SHORTEST) return;
    for (let i = 0; i < line.length; i += 2) near.add(line[i], line[i + 1]);
    lines.push(line);
  };
  // From the middle outwards: every line offers places on both sides of itself; what is left over is found by a
  // sweep, because a separatrix may cut the grid into parts that no line joins.
  start((grid.columns - 1) / 2, (grid.rows - 1) / 2);
  let next = 0;
  const spread = (): void => {
    for (; next < lines.length; next++) {
      const line = lines[next];
      for (let i = 0; i + 3 < line.length; i += 2) {
        const [dx, dy] = [line[i + 2] - line[i], line[i + 3] - line[i + 1]];
        const reach = separation / Math.hypot(dx, dy);
        start(line[i] - dy * reach, line[i + 1] + dx * reach);
        start(line[i] + dy * reach, line[i + 1] - dx * reach);
      }
    }
  };
  spread();
  for (let y = 0; y <= grid.rows - 1; y += separation / 2) {
    for (let x = 0; x <= grid.columns - 1; x += separation / 2) {
      start(x, y);
      spread();
    }
  }
  return lines;
}

type Direction = (x: number, y: number) => readonly [number, number] | null;

/** Bilinear between the four cells around, of unit length; null outside, beside a wall, and where nothing moves. */
function directionOf({ columns, rows, vectors }: VectorGrid): Direction {
  return (x, y) => {
    if (!(x >= 0 && y >= 0 && x <= columns - 1 && y <= rows - 1)) return null;
    const [i, j] = [Math.min(Math.floor(x), columns - 2), Math.min(Math.floor(y), rows - 2)];
    const [s, t] = [x - i, y - j];
    const at = 2 * (j * columns + i);
    const mix = (c: number): number =>
      (1 - t) * ((1 - s) * vectors[at + c] + s * vectors[at + 2 + c]) +
      t * ((1 - s) * vectors[at + 2 * columns + c] + s * vectors[at + 2 * columns + 2 + c]);
    const [dx, dy] = [mix(0), mix(1)];
    const length = Math.hypot(dx, dy);
    return length > 0 && Number.isFinite(length) ? [dx / length, dy / length] : null;
  };
}

/** Both ways from a point, as long as `free` allows and the line does not meet itself. */
function trace(
  direction: Direction,
  x: number,
  y: number,
  free: (x: number, y: number) => boolean,
  separation: number,
): Streamline {
  // A line meets itself only where it has had room to turn round: points closer along it do not count.
  const lag = 2 * Math.ceil((2 * separation) / STEP);
  const half = (sign: number, other: readonly number[]): number[] => {
    const met = neighbourhood(separation);
    for (let i = lag; i < other.length; i += 2) met.add(other[i], other[i + 1]);
    const points: number[] = [];
    let [px, py] = [x, y];
    for (;;) {
      const moved = advance(direction, px, py, sign * STEP);
      if (moved === null || !free(moved[0], moved[1])) return points;
      if (met.closest(moved[0], moved[1]) < NEAREST * separation) return points;
      // At a point of rest the steps become short, or go to and fro.
      if (Math.hypot(moved[0] - px, moved[1] - py) < STEP / 4) return points;
      const n = points.length;
      if (n >= 16 && Math.hypot(moved[0] - points[n - 16], moved[1] - points[n - 15]) < STEP) return points;
      [px, py] = moved;
      points.push(px, py);
      if (n >= lag) met.add(points[n - lag], points[n - lag + 1]);
    }
  };
  const forward = half(1, []);
  const backward = half(-1, forward);
  const line = new Float64Array(backward.length + 2 + forward.length);
  for (let i = 0; i < backward.length; i += 2) {
    line[backward.length - 2 - i] = backward[i];
    line[backward.length - 1 - i] = backward[i + 1];
  }
  line.set([x, y, ...forward], backward.length);
  return line;
}

function advance(direction: Direction, x: number, y: number, h: number): [number, number] | null {
  const a = direction(x, y);
  const b = a && direction(x + (h / 2) * a[0], y + (h / 2) * a[1]);
  const c = b && direction(x + (h / 2) * b[0], y + (h / 2) * b[1]);
  const d = c && direction(x + h * c[0], y + h * c[1]);
  if (!a || !b || !c || !d) return null;
  return [
    x + (h / 6) * (a[0] + 2 * b[0] + 2 * c[0] + d[0]),
    y + (h / 6) * (a[1] + 2 * b[1] + 2 * c[1] + d[1]),
  ];
}

/** Points in square buckets of the given size: distances up to that size are found without looking at all of them. */
function neighbourhood(size: number): {
  add(x: number, y: number): void;
  /** Distance to the nearest point, Infinity where none is in the same or a neighbouring bucket. */
  closest(x: number, y: number): number;
} {
  const buckets = new Map<string, number[]>();
  const key = (i: number, j: number): string => `${i},${j}`;
  return {
    add(x, y) {
      const name = key(Math.floor(x / size), Math.floor(y / size));
      const bucket = buckets.get(name);
      if (bucket === undefined) buckets.set(name, [x, y]);
      else bucket.push(x, y);
    },
    closest(x, y) {
      const [i, j] = [Math.floor(x / size), Math.floor(y / size)];
      let least = Number.POSITIVE_INFINITY;
      for (let b = j - 1; b <= j + 1; b++) {
        for (let a = i - 1; a <= i + 1; a++) {
          const bucket = buckets.get(key(a, b)) ?? [];
          for (let p = 0; p < bucket.length; p += 2) {
            least = Math.min(least, (bucket[p] - x) ** 2 + (bucket[p + 1] - y) ** 2);
          }
        }
      }
      return Math.sqrt(least);
    },
  };
}
