/** The measures in the shared folder, computed independently; see sharedModels.ts for whether it is there. */
import { readFileSync } from "node:fs";
import { sharedPath } from "./sharedModels.js";

export interface ReferenceMeasures {
  chamfer: { cosine: number; euclidean: number };
  /** Attractors: the float64 ones of the training points, deduplicated. */
  memorization: { training_images: number; mean: number; std: number; min: number; max: number };
  rank90: { uncentered: number; centered: number };
  ood: {
    trajectory: { auroc: number; fpr95: number };
    knn50_mean_of_first_2000_train: { auroc: number; fpr95: number };
  };
}

export function referenceMeasures(model: string): ReferenceMeasures {
  return JSON.parse(readFileSync(sharedPath("reference", `${model}.json`), "utf8")) as ReferenceMeasures;
}
