/** Where initial points come from: descriptions that cost nothing until an extraction draws them. */

import { nearestName } from "../check.js";
import type { Dataset } from "../data/dataset.js";
import { InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";

export interface NoiseSource {
  readonly kind: "noise";
  readonly points: number;
  readonly randomSeed: number;
  readonly scale: number;
}

export interface MatchedSource {
  readonly kind: "matched";
  readonly points: number;
  readonly randomSeed: number;
  /** Latents whose mean and covariance the points take. */
  readonly of: Matrix | DataSource | LatentsSource;
}

export interface DataSource {
  readonly kind: "data";
  /** A path as `openData` takes it, an opened dataset, or prepared inputs [N, elements of the input shape]. */
  readonly from: string | Dataset | Matrix;
  /** Only the first `count` rows. */
  readonly count: number | undefined;
}

export interface LatentsSource {
  readonly kind: "latents";
  /** A path as `readLatents` takes it, or [N, k]. */
  readonly from: string | Matrix;
  readonly count: number | undefined;
}

export type PointSource = NoiseSource | MatchedSource | DataSource | LatentsSource;

export interface RandomOptions {
  /** 0 … 2^53 − 1. Default 0. */
  readonly randomSeed?: number;
}

/**
 * `points` draws from N(0, scale²·I). Row i depends on the random seed, i and k alone, so any part of a larger
 * set is the same. Throws InputError unless `points` is a whole number of at least 0 and `scale` is above 0.
 */
export function noise(
  points: number,
  { randomSeed = 0, scale = 1 }: RandomOptions & { readonly scale?: number } = {},
): NoiseSource {
  if (!(scale > 0 && scale < Infinity))
    throw new InputError(`noise: scale is ${scale}, expected a number above 0`);
  return {
    kind: "noise",
    points: checkPoints("noise", points),
    randomSeed: checkSeed("noise", randomSeed),
    scale,
  };
}

/**
 * `points` draws from a Gaussian with the mean and the covariance (unbiased) of given latents: [N, k], or the
 * latents that another source gives. Row i depends on the random seed, i, k and those latents.
 */
export function matched(
  points: number,
  of: Matrix | DataSource | LatentsSource,
  { randomSeed = 0 }: RandomOptions = {},
): MatchedSource {
  return {
    kind: "matched",
    points: checkPoints("matched", points),
    randomSeed: checkSeed("matched", randomSeed),
    of,
  };
}

/** E(x) of inputs: a path, an opened dataset, or prepared tensors [N, elements of the input shape]. */
export function data(
  from: string | Dataset | Matrix,
  { count }: { readonly count?: number } = {},
): DataSource {
  return { kind: "data", from, count: count === undefined ? undefined : checkPoints("data", count) };
}

/** Given vectors: `FILE.npy`, `FILE.safetensors[#tensor]`, or [N, k]. */
export function latents(from: string | Matrix, { count }: { readonly count?: number } = {}): LatentsSource {
  return { kind: "latents", from, count: count === undefined ? undefined : checkPoints("latents", count) };
}

/** What a run's record keeps of a source. */
export function describeSource(source: PointSource): Record<string, unknown> {
  switch (source.kind) {
    case "noise":
      return { ...source };
    case "matched":
      return { ...source, of: "kind" in source.of ? describeSource(source.of) : "matrix" };
    default:
      return {
        kind: source.kind,
        path: pathOf(source.from),
        ...(source.count === undefined ? {} : { points: source.count }),
      };
  }
}

function pathOf(from: string | Dataset | Matrix): string | null {
  if (typeof from === "string") return from;
  return "path" in from ? from.path : null;
}

/** Whether a set of points may be called `name`: it becomes a prefix of tensor names and a key of the record. */
export function isSetName(name: string): boolean {
  return /^[A-Za-z][A-Za-z0-9_-]*$/.test(name);
}

const KINDS = ["noise", "matched", "data", "latents"] as const;

/**
 * Reads the command line's specs: `noise:N`, `noise:N@SCALE`, `matched:N`, `matched:N@NAME`, `data:PATH[:N]`,
 * `latents:FILE[#tensor][:N]`, each optionally `NAME=SPEC`. Only digits after the last colon are N, so paths may
 * hold colons. `matched:N` takes the one data or latents set there is; `@NAME` picks one of several.
 * Throws InputError quoting the spec.
 */
export function parsePoints(
  specs: readonly string[],
  { randomSeed = 0 }: RandomOptions = {},
): Record<string, PointSource> {
  const parsed = specs.map((spec) => parseSpec(spec, randomSeed));
  const sources = new Map<string, PointSource>();
  const pending: { name: string; spec: string; points: number; of: string | undefined }[] = [];
  const names = new Set<string>();
  for (const { name, spec, source } of parsed) {
    if (names.has(name)) {
      throw new InputError(
        `two sets of points are called "${name}": name them apart, as in "--from other=${spec}"`,
      );
    }
    names.add(name);
    if (source.kind === "matched") pending.push({ name, spec, points: source.points, of: source.of });
    else sources.set(name, source);
  }
  for (const { name, spec, points, of } of pending) {
    sources.set(name, matched(points, matchedTo(sources, spec, of), { randomSeed }));
  }
  // In the order given.
  return Object.fromEntries(parsed.map(({ name }) => [name, sources.get(name) as PointSource]));
}

type ParsedSource =
  | Exclude<PointSource, MatchedSource>
  | { kind: "matched"; points: number; of: string | undefined };

function parseSpec(text: string, randomSeed: number): { name: string; spec: string; source: ParsedSource } {
  const named = /^([^:=]*)=(.*)$/s.exec(text);
  if (named !== null && !isSetName(named[1])) {
    throw new InputError(
      `"${text}": "${named[1]}" cannot name a set of points: use a letter, then letters, digits, "_" or "-"`,
    );
  }
  const spec = named === null ? text : named[2];
  const colon = spec.indexOf(":");
  const kind = colon < 0 ? spec : spec.slice(0, colon);
  const rest = colon < 0 ? "" : spec.slice(colon + 1);
  const name = named?.[1] ?? kind;
  switch (kind) {
    case "noise": {
      const [count, scale] = splitAt(rest);
      const points = parseCount(count, text);
      if (scale === undefined) return { name, spec, source: noise(points, { randomSeed }) };
      const value = scale.trim() === "" ? Number.NaN : Number(scale);
      if (!(value > 0 && value < Infinity))
        throw new InputError(`"${text}": the scale is "${scale}", expected a number above 0`);
      return { name, spec, source: noise(points, { randomSeed, scale: value }) };
    }
    case "matched": {
      const [count, of] = splitAt(rest);
      return { name, spec, source: { kind: "matched", points: parseCount(count, text), of } };
    }
    case "data":
    case "latents": {
      const counted = /^(.*):([+-]?\d[\d.]*)$/s.exec(rest);
      const path = counted === null ? rest : counted[1];
      if (path === "")
        throw new InputError(`"${text}": the path is missing, expected ${kind}:PATH or ${kind}:PATH:N`);
      const count = counted === null ? undefined : parseCount(counted[2], text);
      return { name, spec, source: kind === "data" ? data(path, { count }) : latents(path, { count }) };
    }
    default: {
      const near = nearestName(kind, KINDS);
      const hint = near === undefined ? "" : ` (did you mean "${near}"?)`;
      throw new InputError(
        `"${text}": unknown source of points "${kind}"${hint}: expected noise:N, matched:N, data:PATH or latents:FILE`,
      );
    }
  }
}

function splitAt(text: string): [string, string | undefined] {
  const at = text.indexOf("@");
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function parseCount(text: string, spec: string): number {
  const value = Number(text);
  if (!/^[+-]?\d[\d.]*$/.test(text) || !Number.isInteger(value) || value < 0 || value > MOST_POINTS) {
    throw new InputError(`"${spec}": N is "${text}", expected a whole number from 0 to ${MOST_POINTS}`);
  }
  return value;
}

function matchedTo(
  sources: ReadonlyMap<string, PointSource>,
  spec: string,
  of: string | undefined,
): DataSource | LatentsSource {
  const candidates = [...sources].filter(
    ([name, { kind }]) => (kind === "data" || kind === "latents") && (of === undefined || name === of),
  );
  if (candidates.length === 1) return candidates[0][1] as DataSource | LatentsSource;
  if (of !== undefined) throw new InputError(`"${spec}": there is no set of data or latents called "${of}"`);
  if (candidates.length === 0) {
    throw new InputError(`"${spec}": needs latents to match: give a data: or latents: set as well`);
  }
  throw new InputError(
    `"${spec}": could match ${candidates.map(([name]) => name).join(" or ")}: pick one with "${spec}@${candidates[0][0]}"`,
  );
}

/** Labels and iteration counts are stored as 32-bit whole numbers. */
const MOST_POINTS = 2 ** 31 - 1;

function checkPoints(what: string, points: number): number {
  if (Number.isInteger(points) && points >= 0 && points <= MOST_POINTS) return points;
  throw new InputError(`${what}: ${points} points, expected a whole number from 0 to ${MOST_POINTS}`);
}

function checkSeed(what: string, randomSeed: number): number {
  if (Number.isSafeInteger(randomSeed) && randomSeed >= 0) return randomSeed;
  throw new InputError(`${what}: randomSeed is ${randomSeed}, expected a whole number from 0 to 2^53 - 1`);
}
