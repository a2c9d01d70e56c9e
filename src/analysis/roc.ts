/** How well a score tells out-of-distribution inputs from in-distribution ones. Lower score: more in-distribution. */
import { InputError } from "../errors.js";

export interface Detection {
  /** Probability that a random OOD input scores above a random ID one, ties counted half. 1 is perfect, 0.5 chance. */
  readonly auroc: number;
  /** Share of OOD inputs accepted where the threshold is the lowest that accepts at least 95 % of ID inputs. */
  readonly fpr95: number;
  /** Share of ID inputs rejected where the threshold is the highest that rejects at least 95 % of OOD inputs. */
  readonly fpr95OodPositive: number;
  /** Scores up to and including this one are accepted in `fpr95`. */
  readonly threshold: number;
}

/** One corner of the ROC curve: shares accepted at some threshold. */
export interface RocPoint {
  readonly id: number;
  readonly ood: number;
}

const LEVEL = 0.95;

/**
 * AUROC and both FPR95s of the scores of ID and OOD inputs, at least one each.
 *
 * A threshold is always one of the scores, and equal scores fall on the same side of it: an input is accepted where
 * its score is at most the threshold. With ties more than 95 % may therefore be accepted (rejected), never less; a
 * score that is the same for all inputs has AUROC 0.5 and both rates 1.
 * Throws InputError where a set is empty or a score is not finite.
 */
export function detection(id: ArrayLike<number>, ood: ArrayLike<number>): Detection {
  const [x, y] = [sorted(id, "ID"), sorted(ood, "OOD")];
  const threshold = x[least(x.length) - 1];
  const rejected = y[y.length - least(y.length)];
  return {
    auroc: auroc(x, y),
    fpr95: countUpTo(y, threshold) / y.length,
    fpr95OodPositive: 1 - countBelow(x, rejected) / x.length,
    threshold,
  };
}

/**
 * The corners of the ROC curve, from nothing accepted to everything, at most about `most` of them: how much of ID and
 * of OOD is accepted at thresholds spread evenly over all scores. Throws as `detection`.
 */
export function rocCurve(id: ArrayLike<number>, ood: ArrayLike<number>, most = 200): RocPoint[] {
  const [x, y] = [sorted(id, "ID"), sorted(ood, "OOD")];
  const all = Float64Array.from([...x, ...y]).sort();
  const points: RocPoint[] = [{ id: 0, ood: 0 }];
  const steps = Math.min(most, all.length);
  for (let i = 1; i <= steps; i++) {
    const threshold = all[Math.ceil((i * all.length) / steps) - 1];
    const point = { id: countUpTo(x, threshold) / x.length, ood: countUpTo(y, threshold) / y.length };
    const last = points[points.length - 1];
    if (point.id !== last.id || point.ood !== last.ood) points.push(point);
  }
  return points;
}

/** How many of n it takes for a share of at least 95 %; in whole numbers, as 0.95·20 is above 19 in binary. */
function least(n: number): number {
  return Math.ceil((n * Math.round(LEVEL * 100)) / 100);
}

/** Mann–Whitney: pairs in which the OOD score is larger, equal ones half, by a merge of the two sorted lists. */
function auroc(id: Float64Array, ood: Float64Array): number {
  let [pairs, below, upTo] = [0, 0, 0];
  for (const score of ood) {
    while (below < id.length && id[below] < score) below++;
    while (upTo < id.length && id[upTo] <= score) upTo++;
    pairs += (below + upTo) / 2;
  }
  return pairs / (id.length * ood.length);
}

/** How many of the ascending values are at most `bound`. */
function countUpTo(values: Float64Array, bound: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] <= bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many of the ascending values are below `bound`. */
function countBelow(values: Float64Array, bound: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

function sorted(scores: ArrayLike<number>, what: string): Float64Array {
  if (scores.length === 0) throw new InputError(`detection: there are no ${what} scores`);
  const values = Float64Array.from(scores);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new InputError(`detection: ${what} score ${bad} is ${values[bad]}, expected a finite number`);
  return values.sort();
}
