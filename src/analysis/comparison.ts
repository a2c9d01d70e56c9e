/** Two sets of attractors compared: where they lie, and how they divide the same points. */

import type { MeasureNote } from "../dynamics/note.js";
import type { BasinAgreement } from "./basins.js";

/** One set of a finished run. */
export interface ComparedSet {
  run: string;
  set: string;
  model: string;
  latentDimension: number;
  points: number;
  attractors: number;
}

/** One-sided values: mean over the first named of the best match among the second. */
export interface SimilarityValues {
  cosine: number;
  cosineAToB: number;
  cosineBToA: number;
  euclidean: number;
  euclideanAToB: number;
  euclideanBToA: number;
}

export interface SetComparison {
  first: ComparedSet;
  second: ComparedSet;
  /** Null where a set has no attractor, or the latents differ in width. */
  similarity: SimilarityValues | null;
  /** Null where the two did not start from the same points. */
  basins: BasinAgreement | null;
  /** Why something is null, and what to know before reading the rest. */
  notes: MeasureNote[];
}

/** What `latdyn similarity RUN_A RUN_B --json` prints and similarity.json holds. */
export interface ComparisonRecord {
  /** By name of set; "first~second" where the names differ. */
  sets: Record<string, SetComparison>;
  timing: { seconds: number };
}
