/** The measures in the shared folder, computed independently; see sharedModels.ts for whether it is there. */
import { readFileSync } from "node:fs";
import { sharedPath } from "./sharedModels.js";

export interface ReferenceMeasures {
  train: {
    status_counts_f64: { converged: number; diverged: number };
    attractors_cos099_of_converged_f64: number;
  };
  chamfer: { cosine: number; euclidean: number };
  /** Attractors: the float64 ones of the training points, deduplicated. */
  memorization: { training_images: number; mean: number; std: number; min: number; max: number };
  rank90: { uncentered: number; centered: number };
  ood: {
    trajectory: { auroc: number; fpr95: number };
    knn50_mean_of_first_2000_train: { auroc: number; fpr95: number };
  };
  jacobian: { spectral_norm: number[]; spectral_radius: number[] };
}

export function referenceMeasures(model: string): ReferenceMeasures {
  return JSON.parse(readFileSync(sharedPath("reference", `${model}.json`), "utf8")) as ReferenceMeasures;
}

export interface ReferenceOmp {
  signals: number;
  by_sparsity: Record<string, { mean_squared_error_per_element: number }>;
}

/** By the name of the problem. */
export function referenceOmp(): Record<string, ReferenceOmp> {
  return JSON.parse(readFileSync(sharedPath("reference", "omp.json"), "utf8")) as Record<
    string,
    ReferenceOmp
  >;
}
