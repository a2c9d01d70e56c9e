/** What a reader must know before taking a set's figures for a result. */
import { type MeasureNote, notesOn } from "../dynamics/note.js";
import type { SetResult } from "../dynamics/result.js";
import { count, countOf, quantity, share } from "./format.js";
import { histogram } from "./series.js";

export type Finding = MeasureNote;

/** Median iterations up to which a fall into a single attractor counts as immediate. */
const HANDFUL = 12;
/** Share of the converged points from which on "every one its own attractor" is said; and how many it takes to say so. */
const EACH_ITS_OWN = 0.9;
const ENOUGH_POINTS = 20;

/** What the sentences are made of: a set as computed, or as read back from a run together with its summary. */
export type FoundSet = Pick<SetResult, "summary" | "iterations" | "label" | "attractors">;

/** Sentences on one set of points, most important first; none where there is nothing to warn of. */
export function findings(set: FoundSet): Finding[] {
  const { points, converged, unfinished = 0, attractors, attractorsEuclidean } = set.summary;
  if (points === 0) {
    return [{ kind: "note", text: "This set holds no points, so there is nothing to show." }];
  }
  const finished = points - unfinished;
  const found: Finding[] = [];
  if (unfinished > 0) {
    found.push({
      kind: "note",
      text: `The run was interrupted: ${count(unfinished)} of ${countOf(points, "point")} were not finished. Attractors and basins are those of the ${count(finished)} that were; slow points are missing more often than fast ones.`,
    });
  }
  if (finished === 0) return found;
  if (converged === 0) {
    found.push(nothingConverged(set, finished));
    return found;
  }
  const median = histogram(set.iterations.filter((_, i) => set.label[i] >= 0)).median ?? 0;
  if (attractors === 1 && finished > 1 && converged >= 0.99 * finished && median <= HANDFUL) {
    found.push({
      kind: "warning",
      text: `Everything that converged (${count(converged)} of ${countOf(finished, "point")}) went to one attractor within a handful of steps (median ${quantity(median)}). This is usually not a finding about the data: it is what a nearly constant field does, as after too brief a training or under strong contraction, and also what happens when all points start deep inside one basin. Compare with points encoded from data, or drawn to match them, before concluding anything.`,
    });
  } else if (converged >= ENOUGH_POINTS && attractors >= EACH_ITS_OWN * converged) {
    found.push({
      kind: "warning",
      text: `Nearly every converged point kept an attractor of its own (${count(attractors)} attractors for ${count(converged)} points). Usually the points stopped before they had met: the map is close to the identity where they are (contraction near 1), so that its steps are smaller than the tolerance from the start. A smaller tolerance tells the two apart.`,
    });
  }
  if (converged < 0.5 * finished) {
    found.push({
      kind: "note",
      text: `Only ${share(converged, finished)} of the finished points converged; attractors and basins speak for those alone.`,
    });
  }
  if (attractors === 1 && attractorsEuclidean > 1) {
    found.push({
      kind: "note",
      text: `The single attractor is one in direction only: by Euclidean distance the same endpoints form ${count(attractorsEuclidean)}. The cosine does not see differences in length${set.attractors.columns === 1 ? ", and with one latent dimension it sees nothing but the sign" : ""}.`,
    });
  }
  return found;
}

/** The sentences on every set of a run, with the set's name. */
export function findingsOfSets(sets: readonly (FoundSet & { readonly name: string })[]): Finding[] {
  return sets.flatMap((set) => notesOn(set.name, findings(set)));
}

/** Why a set without converged points is not a set without attractors, by what most of its points did instead. */
function nothingConverged({ summary }: FoundSet, finished: number): Finding {
  const { maxIterations, cycle, diverged, nonFinite } = summary;
  const most = Math.max(maxIterations, cycle, diverged, nonFinite);
  const start = `Nothing converged: of ${countOf(finished, "finished point")} `;
  const text =
    most === nonFinite
      ? `${start}${count(nonFinite)} became NaN or infinite. The model overflows, or its weights are damaged; there is no dynamics to read here.`
      : most === diverged
        ? `${start}${count(diverged)} ran away from the origin. Outside the region it was trained on a network may expand without limit; points closer to the data may still have attractors.`
        : most === cycle
          ? `${start}${count(cycle)} ended in a cycle, returning to themselves every few steps instead of coming to rest. The map has attractors here, but they are periodic and not fixed points.`
          : `${start}${count(maxIterations)} were still moving when the iterations ran out. This does not show that there are no attractors: a contraction near 1 needs many more iterations than were allowed, and a tolerance below what single precision can resolve is never met.`;
  return { kind: "warning", text };
}
