/** A plane in latent space, with coordinates of its own. */
import { InputError } from "../errors.js";
import { type Matrix, row } from "../matrix.js";

/** Points origin + x·u + y·v. */
export interface Plane {
  /** [k] */
  readonly origin: Float64Array;
  /** [k], of unit length, orthogonal to v. */
  readonly u: Float64Array;
  /** [k], of unit length. */
  readonly v: Float64Array;
}

/** Sine of the angle between the two edges below which three points are taken to lie on one line. */
const FLAT = 1e-5;

/** The whole of a two-dimensional latent space, in its own coordinates. */
export function wholePlane(): Plane {
  return { origin: Float64Array.of(0, 0), u: Float64Array.of(1, 0), v: Float64Array.of(0, 1) };
}

/**
 * The plane through the rows of `points` [3, k], k ≥ 2: the first is its origin, the second lies on the positive
 * x axis, the third has a positive y. Throws InputError where there are not three rows, a value is not finite, or
 * the three lie on one line.
 */
export function planeThrough(points: Matrix): Plane {
  if (points.rows !== 3 || points.columns < 2) {
    throw new InputError(
      `a plane needs three points of at least 2 dimensions, found ${points.rows}×${points.columns}`,
    );
  }
  const bad = points.data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `point ${Math.floor(bad / points.columns) + 1} of the plane holds ${points.data[bad]}, expected finite numbers`,
    );
  }
  const origin = Float64Array.from(row(points, 0));
  const first = minus(row(points, 1), origin);
  const second = minus(row(points, 2), origin);
  const u = scaled(first, 1 / norm(first));
  // Twice: after one pass, what rounding left of u can be as long as a short remainder.
  let rest = second;
  for (let pass = 0; pass < 2; pass++) rest = minus(rest, scaled(u, dot(rest, u)));
  if (!(norm(first) > 0) || !(norm(rest) > FLAT * norm(second))) {
    throw new InputError(
      "the three points lie on one line, which makes no plane: choose others, for example of other basins",
    );
  }
  return { origin, u, v: scaled(rest, 1 / norm(rest)) };
}

/** Coordinates of a point [k] of latent space, and its distance from the plane. */
export function coordinatesIn(
  { origin, u, v }: Plane,
  point: ArrayLike<number>,
): { x: number; y: number; distance: number } {
  const from = minus(point, origin);
  const x = dot(from, u);
  const y = dot(from, v);
  const off = minus(minus(from, scaled(u, x)), scaled(v, y));
  return { x, y, distance: norm(off) };
}

/** The points of the plane at the given coordinates, row by row of y: [ys·xs, k]. */
export function gridIn({ origin, u, v }: Plane, xs: ArrayLike<number>, ys: ArrayLike<number>): Matrix {
  const k = origin.length;
  const data = new Float32Array(xs.length * ys.length * k);
  for (let j = 0, at = 0; j < ys.length; j++) {
    for (let i = 0; i < xs.length; i++) {
      for (let c = 0; c < k; c++) data[at++] = origin[c] + xs[i] * u[c] + ys[j] * v[c];
    }
  }
  return { data, rows: xs.length * ys.length, columns: k };
}

function minus(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: a.length }, (_, i) => a[i] - b[i]);
}

function scaled(a: Float64Array, factor: number): Float64Array {
  return a.map((value) => value * factor);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function norm(a: Float64Array): number {
  return Math.sqrt(dot(a, a));
}
