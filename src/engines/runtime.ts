/**
 * A model that something other than the addon computes: tfjs, ONNX Runtime, a function, another process. It answers
 * batches and knows nothing of iterations; `drive.ts` makes an Engine of it.
 */
export interface Runtime {
  /** As a record keeps it: "onnxruntime", "tfjs:wasm", "function", "process". */
  readonly name: string;
  /** Where it computes, for records: "cpu", "wasm", "cuda". */
  readonly device: string;
  /** Libraries and their versions. */
  readonly versions: Readonly<Record<string, string>>;
  /** k */
  readonly latentDimension: number;
  /** Elements of one input; null for a square map. */
  readonly inputElements: number | null;
  /** Rows a call should have; the last one of a job may have fewer. */
  readonly batchRows: number;
  /** Calls that may run at the same time, at least 1. */
  readonly concurrency: number;
  /** Seconds after which a call that has not answered has failed. Default 600. */
  readonly timeout?: number;
  /**
   * f once: latents [rows, k] → [rows, k], rows in their order, each independent of the others. What it is
   * given is its own, to change or to transfer; what it gives is not touched by it any more. Throws EngineError where the runtime fails.
   */
  apply(latents: Float32Array, rows: number): Promise<Float32Array>;
  /** E: [rows, inputElements] → [rows, k]. Left out by a square map. Throws as apply. */
  encode?(inputs: Float32Array, rows: number): Promise<Float32Array>;
  /** D: [rows, k] → [rows, inputElements]. Left out by a square map. Throws as apply. */
  decode?(latents: Float32Array, rows: number): Promise<Float32Array>;
  /** J_f(z)·v, row by row: [rows, k] and [rows, k] → [rows, k]. Left out by most: differences stand in for it. */
  jacobianVector?(latents: Float32Array, tangents: Float32Array, rows: number): Promise<Float32Array>;
  /** Frees the model. Calls still running fail or finish; later ones throw. */
  close(): Promise<void>;
}
