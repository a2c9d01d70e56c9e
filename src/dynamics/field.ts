/** The vector field f(z) − z on a grid in a plane of latent space, and where every point of the grid ends up. */

import { checkNames, show, wholeNumber } from "../check.js";
import { engineOf } from "../engines/choose.js";
import { InputError } from "../errors.js";
import { type Matrix, row, takeRows } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { findAttractors } from "./attractors.js";
import { type AttractorOptions, ITERATION_OPTIONS, type IterationOption, resolveOptions } from "./options.js";
import { coordinatesIn, gridIn, type Plane, planeThrough, wholePlane } from "./plane.js";
import { latents, noise, type PointSource } from "./points.js";
import type { RunRecord, SetResult } from "./result.js";

/**
 * Three points that span the plane: rows of `points` [3, k]; or, by row, attractors that were found from the
 * options' `from`, or its initial points.
 */
export type PlaneChoice =
  | { readonly points: Matrix }
  | { readonly attractors: readonly [number, number, number] }
  | { readonly initial: readonly [number, number, number] };

/** Left, right, bottom, top, in the plane's coordinates. */
export type Extent = readonly [left: number, right: number, bottom: number, top: number];

type Shared = Exclude<IterationOption, "preset">;

/**
 * The iteration's options as for `findAttractors`, with defaults of their own for what is one attractor, because a
 * picture in a plane shows places and not directions: `rule` is euclidean, and `distance` at least a quarter of a grid
 * cell, below which the picture could not tell two attractors apart.
 */
export interface FieldOptions extends Pick<AttractorOptions, Shared> {
  /** Points that choose the extent, and the plane where `plane` is not given. Default noise(1000). */
  readonly from?: PointSource;
  /** Default: the whole space where k = 2, else through the attractors of the three largest basins of `from`. */
  readonly plane?: PlaneChoice;
  /** Default: the middle 98 % of `from` and the plane's points (k = 2: all attractors found), and a margin. */
  readonly extent?: Extent;
  /** Grid points along the longer side, 4 … 2048. Default 80. */
  readonly resolution?: number;
}

/** A point of latent space as the plane sees it. */
export interface PlanePoint {
  readonly x: number;
  readonly y: number;
  /** From the plane. */
  readonly distance: number;
}

/** n points along x, m along y, k dimensions, A attractors. */
export interface Field {
  readonly plane: Plane;
  readonly extent: Extent;
  /** [n]: centres of the grid's cells, ascending. */
  readonly x: Float64Array;
  /** [m] */
  readonly y: Float64Array;
  /** [m, n, 2]: f(z) − z projected to the plane, in its coordinates. */
  readonly displacement: Float32Array;
  /** [m, n]: ‖f(z) − z‖ in the whole space. */
  readonly norm: Float32Array;
  /**
   * Mean over the grid of the share of ‖f(z) − z‖² that lies in the plane; 1 where k = 2, null where nothing moves.
   */
  readonly inPlaneShare: number | null;
  /** The grid's points [m·n, k], row by row of y, with their attractors and labels. */
  readonly grid: SetResult;
  /** [A]: attractors of the grid. */
  readonly attractors: readonly PlanePoint[];
  /** The three points that span the plane; empty where k = 2. */
  readonly through: readonly PlanePoint[];
  readonly record: FieldRecord;
}

/** Everything `--json` prints and field.json holds. */
export interface FieldRecord extends Omit<RunRecord, "similarity" | "interrupted"> {
  field: {
    plane: { origin: number[]; u: number[]; v: number[] };
    extent: Extent;
    columns: number;
    rows: number;
    inPlaneShare: number | null;
    /** Smallest, middle and largest finite ‖f(z) − z‖ on the grid; null where there is none. */
    norm: { least: number; median: number; most: number } | null;
    /** Largest basin first. `share` is of the grid's points. */
    attractors: { x: number; y: number; distance: number; share: number }[];
  };
}

const OWN: Record<Exclude<keyof FieldOptions, Shared>, true> = {
  from: true,
  plane: true,
  extent: true,
  resolution: true,
};
const { preset: _preset, ...SHARED } = ITERATION_OPTIONS;

/** Part of the extent that is added on every side. */
const MARGIN = 0.08;
/** Longer side over the shorter one: a strip shows nothing. */
const MOST_ASPECT = 2;
/** Initial points beyond these quantiles do not widen the picture. */
const OUTER = 0.01;

/**
 * Evaluates f(z) − z on a grid and iterates every point of it: the field, its attractors and their basins as they
 * cut the plane. Where k > 2 the grid lies in a plane through three points, the displacement is projected to it, and
 * `inPlaneShare` says how much of it a picture can show.
 *
 * Throws InputError for options that do not fit, k = 1, three points on one line, or fewer than three attractors to
 * choose a plane by; AbortedError where the signal fires.
 * Source: the latent vector field of Fumero et al., section 3 (equation 1).
 */
export async function vectorField(model: Autoencoder, options: FieldOptions = {}): Promise<Field> {
  const resolved = resolveField(model, options);
  const { from, plane: choice, extent: asked, resolution, iteration, threads, distance } = resolved;
  const k = model.latentDimension;
  const started = performance.now();

  const needsPoints = asked === undefined || (k > 2 && (choice === undefined || !("points" in choice)));
  const found = needsPoints ? await findAttractors(model, { ...iteration, from: { points: from } }) : null;
  const reference = found?.sets[0] ?? null;
  const spanning = k === 2 ? null : spanningPoints(model, choice, reference);
  const plane = spanning === null ? wholePlane() : planeThrough(spanning);
  const through = spanning === null ? [] : pointsIn(plane, spanning);
  const extent =
    asked ?? extentOf(plane, reference, spanning === null ? attractorsOf(plane, reference) : through);
  const { x, y } = cells(extent, resolution);

  const points = gridIn(plane, x, y);
  const engine = await engineOf(model, { ...iteration, threads });
  const call = { threads, signal: iteration.signal };
  const { displacement, norm, inPlaneShare } = displacements(plane, points, await engine.apply(points, call));
  const run = await findAttractors(model, {
    ...iteration,
    distance: iteration.distance ?? Math.max(distance, (x[1] - x[0]) / 4),
    traces: 0,
    from: { grid: latents(points) },
  });
  const grid = run.sets[0];
  const attractors = pointsIn(plane, grid.attractors);

  const seconds = (performance.now() - started) / 1000;
  const { similarity: _similarity, interrupted: _interrupted, ...record } = run.record;
  return {
    plane,
    extent,
    x,
    y,
    displacement,
    norm,
    inPlaneShare,
    grid,
    attractors,
    through,
    record: {
      ...record,
      options: {
        ...record.options,
        ...(found === null ? {} : { from: found.record.options.from }),
        plane: describeChoice(choice),
        extent: asked ?? "auto",
        resolution,
      },
      field: {
        plane: { origin: [...plane.origin], u: [...plane.u], v: [...plane.v] },
        extent,
        columns: x.length,
        rows: y.length,
        inPlaneShare,
        norm: spreadOf(norm),
        attractors: [...grid.basinSize.keys()]
          .sort((a, b) => grid.basinSize[b] - grid.basinSize[a] || a - b)
          .map((a) => ({ ...attractors[a], share: grid.basinSize[a] / points.rows })),
      },
      timing: {
        seconds,
        rowsPerSecond: points.rows / seconds,
        mapEvaluations:
          points.rows + run.record.timing.mapEvaluations + (found?.record.timing.mapEvaluations ?? 0),
      },
    },
  };
}

interface ResolvedField {
  readonly from: PointSource;
  readonly plane: PlaneChoice | undefined;
  readonly extent: Extent | undefined;
  readonly resolution: number;
  readonly iteration: Pick<AttractorOptions, Shared>;
  readonly threads: number;
  readonly distance: number;
}

function resolveField(model: Autoencoder, options: FieldOptions): ResolvedField {
  checkNames(options, [...Object.keys(OWN), ...Object.keys(SHARED)], "option");
  const { from = noise(1000), plane, extent, resolution = 80, ...rest } = options;
  const k = model.latentDimension;
  if (k < 2) throw new InputError(`${model.name}: k is ${k}, a field in a plane needs at least 2 dimensions`);
  if (k === 2 && plane !== undefined) {
    throw new InputError(`${model.name}: k is 2, the plane is the whole space: leave plane out`);
  }
  if (plane !== undefined && "points" in plane && plane.points.columns !== k) {
    throw new InputError(
      `${model.name}: the plane's points have ${plane.points.columns} elements a row, expected ${k}`,
    );
  }
  const iteration = { rule: "euclidean", ...rest } as const;
  const { threads, distance } = resolveOptions({ ...iteration, from: { points: from } });
  return {
    from,
    plane,
    extent: extent === undefined ? undefined : checkExtent(extent),
    resolution: wholeNumber("resolution", resolution, 4, 2048),
    iteration,
    threads,
    distance,
  };
}

/** Throws InputError unless left < right and bottom < top, all finite. */
export function checkExtent(extent: readonly number[]): Extent {
  const [left, right, bottom, top] = extent;
  if (extent.length !== 4 || !extent.every(Number.isFinite) || left >= right || bottom >= top) {
    throw new InputError(
      `extent is ${show(extent.join(","))}, expected left,right,bottom,top with left < right and bottom < top`,
    );
  }
  return [left, right, bottom, top];
}

function spanningPoints(
  model: Autoencoder,
  choice: PlaneChoice | undefined,
  reference: SetResult | null,
): Matrix {
  if (choice !== undefined && "points" in choice) return choice.points;
  // Not null: points are drawn whenever the choice is by row or left open.
  const { attractors, initial, basinSize } = reference as SetResult;
  if (choice === undefined) {
    if (attractors.rows < 3) {
      throw new InputError(
        `${model.name}: ${attractors.rows === 1 ? "1 attractor was" : `${attractors.rows} attractors were`} found, a plane needs three: ` +
          `start from other points (codes of data, wider noise), or choose the plane by points`,
      );
    }
    const largest = [...basinSize.keys()].sort((a, b) => basinSize[b] - basinSize[a] || a - b);
    return takeRows(attractors, largest.slice(0, 3));
  }
  const [rows, of, what] =
    "attractors" in choice
      ? ([choice.attractors, attractors, "attractors"] as const)
      : ([choice.initial, initial, "initial points"] as const);
  for (const index of rows) {
    if (!Number.isInteger(index) || index < 0 || index >= of.rows) {
      throw new InputError(`plane: row ${index} was asked for, there are ${of.rows} ${what}`);
    }
  }
  return takeRows(of, rows);
}

function pointsIn(plane: Plane, points: Matrix): PlanePoint[] {
  return Array.from({ length: points.rows }, (_, i) => coordinatesIn(plane, row(points, i)));
}

function attractorsOf(plane: Plane, reference: SetResult | null): PlanePoint[] {
  return reference === null ? [] : pointsIn(plane, reference.attractors);
}

/** A box around the middle of the initial points and all of `marked`, with a margin, and no narrow strip. */
function extentOf(plane: Plane, reference: SetResult | null, marked: readonly PlanePoint[]): Extent {
  const initial = reference === null ? [] : pointsIn(plane, reference.initial);
  const side = (along: (point: PlanePoint) => number): [number, number] => {
    const sorted = Float64Array.from(initial, along).sort();
    const at = (quantile: number): number => sorted[Math.round(quantile * (sorted.length - 1))];
    const values = [...(sorted.length > 0 ? [at(OUTER), at(1 - OUTER)] : []), ...marked.map(along)];
    return [Math.min(...values), Math.max(...values)];
  };
  const [left, right] = side(({ x }) => x);
  const [bottom, top] = side(({ y }) => y);
  const longest = Math.max(right - left, top - bottom);
  if (!Number.isFinite(longest)) {
    throw new InputError("there are no points to choose an extent by: give the extent, or points");
  }
  // A single point: any box around it will do.
  const scale = longest > 0 ? longest : 1;
  const widen = (low: number, high: number): [number, number] => {
    const half = Math.max(high - low, scale / MOST_ASPECT) / 2 + MARGIN * scale;
    return [(low + high) / 2 - half, (low + high) / 2 + half];
  };
  return [...widen(left, right), ...widen(bottom, top)];
}

/** Centres of square cells that cover the extent, `resolution` along its longer side. */
function cells([left, right, bottom, top]: Extent, resolution: number): { x: Float64Array; y: Float64Array } {
  const size = Math.max(right - left, top - bottom) / resolution;
  const along = (low: number, high: number): Float64Array => {
    const n = Math.max(2, Math.round((high - low) / size));
    return Float64Array.from({ length: n }, (_, i) => low + ((i + 0.5) * (high - low)) / n);
  };
  return { x: along(left, right), y: along(bottom, top) };
}

function displacements(
  { u, v }: Plane,
  points: Matrix,
  images: Matrix,
): Pick<Field, "displacement" | "norm" | "inPlaneShare"> {
  const k = points.columns;
  const displacement = new Float32Array(points.rows * 2);
  const norm = new Float32Array(points.rows);
  let shares = 0;
  let moving = 0;
  for (let i = 0; i < points.rows; i++) {
    let [dx, dy, squared] = [0, 0, 0];
    for (let c = 0; c < k; c++) {
      const d = images.data[i * k + c] - points.data[i * k + c];
      dx += d * u[c];
      dy += d * v[c];
      squared += d * d;
    }
    displacement.set([dx, dy], 2 * i);
    norm[i] = Math.sqrt(squared);
    if (squared > 0 && Number.isFinite(squared)) {
      // In two dimensions rounding alone would make it differ from 1.
      shares += k === 2 ? 1 : Math.min(1, (dx * dx + dy * dy) / squared);
      moving++;
    }
  }
  return { displacement, norm, inPlaneShare: moving === 0 ? null : shares / moving };
}

function spreadOf(norm: Float32Array): FieldRecord["field"]["norm"] {
  const sorted = norm.filter(Number.isFinite).sort();
  if (sorted.length === 0) return null;
  return { least: sorted[0], median: sorted[sorted.length >> 1], most: sorted[sorted.length - 1] };
}

function describeChoice(choice: PlaneChoice | undefined): unknown {
  if (choice === undefined) return "auto";
  return "points" in choice ? "points" : choice;
}
