/** Whether two runs over the same initial points cut them into the same basins. */
import { InputError } from "../errors.js";

export interface BasinAgreement {
  /** Points both runs were given. */
  readonly points: number;
  /** Points that joined an attractor in both runs: those that are compared. */
  readonly compared: number;
  /** Basins that hold at least one compared point, in the first and in the second run. */
  readonly basins: readonly [number, number];
  /**
   * Hubert and Arabie's adjusted Rand index: 1 where the basins are the same sets of points, 0 on average for
   * independent ones. Null where no point is compared.
   */
  readonly adjustedRand: number | null;
  /** Basins matched one to one; see `basinAgreement`. Null where no point is compared. */
  readonly jaccard: number | null;
  /** The same measure where the second run's labels are shuffled among the points, so that basin sizes stay. */
  readonly jaccardNull: {
    readonly mean: number;
    readonly std: number;
    readonly permutations: number;
    readonly randomSeed: number;
  } | null;
}

export interface BasinOptions {
  /** 0 … 2^32 − 1, of the shuffles. Default 0. */
  readonly randomSeed?: number;
  /** At least 1. Default 100. */
  readonly permutations?: number;
}

/**
 * Compares the basins of two runs: `first` and `second` [N] hold the attractor each initial point joined, −1 for none,
 * in the same order of points. Points without an attractor in either run are left out and counted.
 *
 * Jaccard: basins are matched one to one, greedily from the largest overlap |A∩B|/|A∪B| (of equals, the lowest
 * attractors), and the overlaps are averaged over the basins of both runs, unmatched ones counting 0:
 * 2·Σ J / (|first| + |second|). It is 1 exactly where the basins are the same.
 * Throws InputError where the lengths differ or a label is below −1.
 */
export function basinAgreement(
  first: Int32Array,
  second: Int32Array,
  { randomSeed = 0, permutations = 100 }: BasinOptions = {},
): BasinAgreement {
  if (first.length !== second.length) {
    throw new InputError(
      `basin agreement: ${first.length} labels and ${second.length}, expected the same initial points in both runs`,
    );
  }
  if (!Number.isInteger(permutations) || permutations < 1) {
    throw new InputError(`permutations is ${permutations}, expected a whole number of at least 1`);
  }
  if (!Number.isInteger(randomSeed) || randomSeed < 0 || randomSeed > 0xffffffff) {
    throw new InputError(`randomSeed is ${randomSeed}, expected a whole number from 0 to 2^32 - 1`);
  }
  const [a, b]: number[][] = [[], []];
  for (let i = 0; i < first.length; i++) {
    if (first[i] < -1 || second[i] < -1) {
      throw new InputError(
        `basin agreement: point ${i} has label ${Math.min(first[i], second[i])}, expected an attractor or -1`,
      );
    }
    if (first[i] >= 0 && second[i] >= 0) {
      a.push(first[i]);
      b.push(second[i]);
    }
  }
  const [x, y] = [relabel(a), relabel(b)];
  const common = {
    points: first.length,
    compared: a.length,
    basins: [x.sizes.length, y.sizes.length] as const,
  };
  if (a.length === 0) return { ...common, adjustedRand: null, jaccard: null, jaccardNull: null };
  const shuffled = Int32Array.from(y.labels);
  const random = generator(randomSeed);
  const chance = Array.from({ length: permutations }, () => {
    shuffle(shuffled, random);
    return matchedJaccard(overlaps(x, { ...y, labels: shuffled }), x.sizes, y.sizes);
  });
  const mean = chance.reduce((sum, value) => sum + value, 0) / permutations;
  const variance = chance.reduce((sum, value) => sum + (value - mean) ** 2, 0) / permutations;
  const found = overlaps(x, y);
  return {
    ...common,
    adjustedRand: adjustedRand(found, x.sizes, y.sizes, a.length),
    jaccard: matchedJaccard(found, x.sizes, y.sizes),
    jaccardNull: { mean, std: Math.sqrt(variance), permutations, randomSeed },
  };
}

interface Partition {
  /** [n]: 0 … sizes.length − 1, numbered in ascending order of the labels given. */
  readonly labels: Int32Array;
  readonly sizes: readonly number[];
}

interface Overlap {
  readonly a: number;
  readonly b: number;
  readonly points: number;
}

function relabel(labels: readonly number[]): Partition {
  const names = [...new Set(labels)].sort((p, q) => p - q);
  const place = new Map(names.map((name, i) => [name, i]));
  const sizes = new Array<number>(names.length).fill(0);
  const out = Int32Array.from(labels, (label) => place.get(label) ?? 0);
  for (const label of out) sizes[label]++;
  return { labels: out, sizes };
}

/** The cells of the contingency table that are not zero: at most as many as there are points. */
function overlaps(x: Partition, y: Partition): Overlap[] {
  const cells = new Map<number, number>();
  const width = y.sizes.length;
  for (let i = 0; i < x.labels.length; i++) {
    const cell = x.labels[i] * width + y.labels[i];
    cells.set(cell, (cells.get(cell) ?? 0) + 1);
  }
  return [...cells].map(([cell, points]) => ({ a: Math.floor(cell / width), b: cell % width, points }));
}

function pairs(n: number): number {
  return (n * (n - 1)) / 2;
}

function adjustedRand(
  cells: readonly Overlap[],
  sizesA: readonly number[],
  sizesB: readonly number[],
  n: number,
): number {
  const together = cells.reduce((sum, { points }) => sum + pairs(points), 0);
  const inA = sizesA.reduce((sum, size) => sum + pairs(size), 0);
  const inB = sizesB.reduce((sum, size) => sum + pairs(size), 0);
  const expected = n > 1 ? (inA * inB) / pairs(n) : 0;
  const most = (inA + inB) / 2;
  // Both runs have one basin, or every point its own: equal, and no shuffle could make them differ.
  if (most === expected) return 1;
  return (together - expected) / (most - expected);
}

function matchedJaccard(
  cells: readonly Overlap[],
  sizesA: readonly number[],
  sizesB: readonly number[],
): number {
  const ranked = cells
    .map(({ a, b, points }) => ({ a, b, jaccard: points / (sizesA[a] + sizesB[b] - points) }))
    .sort((p, q) => q.jaccard - p.jaccard || p.a - q.a || p.b - q.b);
  const [takenA, takenB] = [new Uint8Array(sizesA.length), new Uint8Array(sizesB.length)];
  let sum = 0;
  for (const { a, b, jaccard } of ranked) {
    if (takenA[a] === 1 || takenB[b] === 1) continue;
    takenA[a] = 1;
    takenB[b] = 1;
    sum += jaccard;
  }
  return (2 * sum) / (sizesA.length + sizesB.length);
}

/** Fisher and Yates. */
function shuffle(values: Int32Array, random: () => number): void {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const value = values[i];
    values[i] = values[j];
    values[j] = value;
  }
}

/** Uniform in [0, 1) from a 32-bit counter mixed by MurmurHash3's finaliser: the same on every machine. */
function generator(seed: number): () => number {
  let counter = seed >>> 0;
  return () => {
    counter = (counter + 0x9e3779b9) >>> 0;
    let mixed = counter;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}
