/** Who computes f. One interface, so that whatever runs a model is driven, stopped and measured the same way. */
import type { Matrix } from "../matrix.js";
import type { IterateOptions, IterateResult, Progress } from "../native.js";

export interface CallOptions {
  /** Worker threads, at least 1. */
  readonly threads: number;
  readonly signal?: AbortSignal;
  /** Called at most 10 times a second. What it throws stops the call and rejects its promise. */
  readonly onProgress?: (progress: Progress) => void;
}

/** How the map is computed, as a run's record keeps it. */
export interface EngineInfo {
  readonly device: { kind: "cpu"; isa: string; layout: string; reason: string; tileRows: number };
  /** Libraries and their versions. */
  readonly versions: Record<string, string>;
}

export interface Engine {
  readonly name: string;
  info(): EngineInfo;
  /**
   * f once: latents [N, k] → [N, k]. Throws InputError where the width is not k, AbortedError where the signal
   * fired.
   */
  apply(latents: Matrix, options: CallOptions): Promise<Matrix>;
  /**
   * f until each row is done (statuses of dynamics/result.ts). An abort is no error here: it resolves with
   * `aborted: true` and the rows that were finished. Throws InputError where the width is not k.
   */
  iterate(initial: Matrix, options: CallOptions & Omit<IterateOptions, "threads">): Promise<IterateResult>;
  /** E: inputs [N, elements of the input shape] → latents [N, k]. Throws as apply, and for a square map. */
  encode(inputs: Matrix, options: CallOptions): Promise<Matrix>;
  /** D: latents [N, k] → [N, elements of the input shape]. Throws as apply, and for a square map. */
  decode(latents: Matrix, options: CallOptions): Promise<Matrix>;
  /**
   * J_f(z)·v, row by row: latents [N, k] and tangents [N, k] → [N, k]. Left out by an engine that cannot
   * differentiate. Throws as apply.
   */
  jacobianVector?(latents: Matrix, tangents: Matrix, options: CallOptions): Promise<Matrix>;
  /** J_f(z)ᵀ·u, row by row: latents [N, k] and cotangents [N, k] → [N, k]. Left out and throws as jacobianVector. */
  vectorJacobian?(latents: Matrix, cotangents: Matrix, options: CallOptions): Promise<Matrix>;
  /** Frees what was compiled. Calls already running finish. */
  dispose(): void;
}
