/** Who computes f. One interface, so that whatever runs a model is driven, stopped and measured the same way. */
import type { Matrix } from "../matrix.js";
import type {
  IterateOptions,
  IterateResult,
  Progress,
  TrajectoryOptions,
  TrajectoryResult,
} from "../native.js";

export interface CallOptions {
  /** Worker threads of the native engine and of the measures around others, at least 1. */
  readonly threads: number;
  readonly signal?: AbortSignal;
  /** Called at most 10 times a second. What it throws stops the call and rejects its promise. */
  readonly onProgress?: (progress: Progress) => void;
}

/** Where f is computed. */
export interface EngineDevice {
  /** "cpu", "wasm", "cuda", … */
  readonly kind: string;
  /** Of the native engine: how it lays rows out, and why. */
  readonly layout?: string;
  readonly reason?: string;
  /** Of the native engine on the CPU: its instruction set, and rows that are computed at once. */
  readonly isa?: string;
  readonly tileRows?: number;
  /** Of the native engine on CUDA: the card, its number, and in what iterations begin before float32 finishes them. */
  readonly name?: string;
  readonly index?: number;
  readonly precision?: string;
  /** Of other engines: rows of one call, and calls at the same time. */
  readonly batchRows?: number;
  readonly concurrency?: number;
}

/** How the map is computed, as a run's record keeps it. */
export interface EngineInfo {
  readonly device: EngineDevice;
  /** Libraries and their versions. */
  readonly versions: Record<string, string>;
}

/** How an engine beside the native one stands on this machine. */
export interface EngineState {
  /** As `--engine` takes it. */
  readonly name: string;
  readonly usable: boolean;
  /** Of its package; null where that is not installed. */
  readonly version: string | null;
  /** Where it can compute: "cpu", "cuda", "wasm"; empty where it is not usable. */
  readonly devices: readonly string[];
  /** Why it is not usable, in one sentence; null where it is. */
  readonly reason: string | null;
}

export interface Engine {
  /** "native", or the runtime's name: "onnxruntime", "tfjs:wasm", "function", "process". */
  readonly name: string;
  /** Where the addon's kernels take up what this engine computes, as `--device` names it. Left out: the CPU. */
  readonly kernelDevice?: string;
  info(): EngineInfo;
  /**
   * f once: latents [N, k] → [N, k]. Throws InputError where the width is not k, AbortedError where the signal
   * fired, and EngineError where a runtime outside this library fails.
   */
  apply(latents: Matrix, options: CallOptions): Promise<Matrix>;
  /**
   * f until each row is done (statuses of dynamics/result.ts). An abort is no error here: it resolves with
   * `aborted: true` and the rows that were finished. What `keepConverged` leaves on a device is the caller's to
   * dispose of. Throws InputError and EngineError as apply.
   */
  iterate(initial: Matrix, options: CallOptions & Omit<IterateOptions, "threads">): Promise<IterateResult>;
  /**
   * Paths of exactly `steps` applications of f: initial [N, k], attractors [A, k] to score them against (A may be 0).
   * As with iterate an abort is no error here. Throws as iterate.
   */
  walk(
    initial: Matrix,
    attractors: Matrix,
    options: CallOptions & Omit<TrajectoryOptions, "threads">,
  ): Promise<TrajectoryResult>;
  /** E: inputs [N, elements of the input shape] → latents [N, k]. Throws as apply, and for a square map. */
  encode(inputs: Matrix, options: CallOptions): Promise<Matrix>;
  /** D: latents [N, k] → [N, elements of the input shape]. Throws as apply, and for a square map. */
  decode(latents: Matrix, options: CallOptions): Promise<Matrix>;
  /**
   * J_f(z)·v, row by row: latents [N, k] and tangents [N, k] → [N, k]. Left out by an engine that cannot
   * differentiate: differences of f stand in for it. Throws as apply.
   */
  jacobianVector?(latents: Matrix, tangents: Matrix, options: CallOptions): Promise<Matrix>;
  /** J_f(z)ᵀ·u, row by row: latents [N, k] and cotangents [N, k] → [N, k]. Left out and throws as jacobianVector. */
  vectorJacobian?(latents: Matrix, cotangents: Matrix, options: CallOptions): Promise<Matrix>;
  /** Frees what was compiled or loaded. Calls of the native engine that are running finish. */
  dispose(): void | Promise<void>;
}
