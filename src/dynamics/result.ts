/** What an extraction of attractors gives back; the run folder, the report and the command line all read this. */
import type { EngineInfo } from "../engines/engine.js";
import type { Matrix } from "../matrix.js";
import type { JacobianMethod } from "./jacobianProducts.js";
import type { MeasureNote } from "./note.js";

/** Codes stored on disk (DESIGN section 3). */
export const STATUS = { converged: 0, maxIterations: 1, cycle: 2, diverged: 3, nonFinite: 4 } as const;
/** Status of a point that an aborted run did not finish. */
export const UNFINISHED = 255;

/** The five counts of one set of points, and what they came to. */
export interface SetSummary {
  /** Initial points asked for. */
  points: number;
  converged: number;
  maxIterations: number;
  cycle: number;
  diverged: number;
  nonFinite: number;
  /** Points that an interrupted run did not finish; the key is left out where the run is whole. */
  unfinished?: number;
  /** Mean applications of f per finished point; null where there is none. */
  meanIterations: number | null;
  /** Attractors under the run's rule. */
  attractors: number;
  /** Attractors under the Euclidean rule, always given beside it. */
  attractorsEuclidean: number;
  /** Attractors that passed verification (at rest, spectral radius below 1); left out where none was asked for. */
  verified?: number;
}

/** What verification (Definition 2) found at each of A attractors. */
export interface Verification {
  /** [A]: ‖f(z*) − z*‖², one application of f after the attractor was reached. */
  readonly residual: Float32Array;
  /** [A]: largest modulus of an eigenvalue of J_f(z*); NaN where J is not finite. */
  readonly spectralRadius: Float32Array;
  /** [A]: largest singular value of J_f(z*); NaN where J is not finite, or the engine does not give Jᵀ and k > 256. */
  readonly spectralNorm: Float32Array;
  /** [A]: 1 where the residual is below tolerance and the spectral radius below 1. */
  readonly verified: Uint8Array;
  readonly method: JacobianMethod;
  readonly solver: "dense" | "krylov";
  /** Attractors whose radius or norm the solver does not know to a relative residual of 1e-5. */
  readonly unconverged: number;
}

/** One named set of initial points and where they went. N points, k dimensions, A attractors. */
export interface SetResult {
  readonly name: string;
  /** [N, k] */
  readonly initial: Matrix;
  /** [N, k]: last iterate of every point, whatever its status. */
  readonly endpoints: Matrix;
  /** [N] */
  readonly iterations: Int32Array;
  /** [N]: last squared step length. */
  readonly residual: Float32Array;
  /** [N]: STATUS code or UNFINISHED. */
  readonly status: Uint8Array;
  /** [N]: period of a cycle, else 0. */
  readonly period: Uint8Array;
  /** [N]: attractor joined, −1 for none (not converged). */
  readonly label: Int32Array;
  /** [A, k] */
  readonly attractors: Matrix;
  /** [A]: row (point) that is the attractor's representative. */
  readonly representative: Int32Array;
  /** [A] */
  readonly basinSize: Int32Array;
  /** [A]: residual of the representative. */
  readonly attractorResidual: Float32Array;
  /** Left out where the attractors were not verified. */
  readonly verification?: Verification;
  /** Residual after every application of f, for a sample of points. */
  readonly traces: readonly { row: number; residual: Float32Array }[];
  /** Inputs that became the initial points ([N, elements of the input shape], after preprocessing); null where there were none. */
  readonly inputs: Matrix | null;
  readonly summary: SetSummary;
}

export interface RunTiming {
  /** Wall time of iteration, deduplication and encoding together. */
  seconds: number;
  /** Finished points per second. */
  rowsPerSecond: number;
  /** Applications of f, over all points. */
  mapEvaluations: number;
}

/** Everything `--json` prints and run.json holds. */
export interface RunRecord {
  model: {
    name: string;
    path: string;
    format: string;
    hash: string;
    latentShape: number[];
    latentDimension: number;
    inputShape: number[] | null;
  };
  options: Record<string, unknown>;
  device: EngineInfo["device"] & { threads: number };
  versions: Record<string, string>;
  summary: Record<string, SetSummary>;
  /** How the Jacobians behind the verification were had; left out where there was none. */
  jacobians?: JacobianMethod;
  /** Pairwise similarity of attractor sets, with two or more sets; null where one of them has no attractor. */
  similarity?: Record<string, { cosine: number | null; euclidean: number | null }>;
  timing: RunTiming;
  interrupted: boolean;
  /** Sentences to know before taking the numbers for a result; there where a run was made from files (src/runs). */
  notes?: MeasureNote[];
}

export interface AttractorRun {
  /** The first set's attractors. */
  readonly attractors: Matrix;
  readonly summary: Record<string, SetSummary>;
  readonly sets: readonly SetResult[];
  readonly record: RunRecord;
}
