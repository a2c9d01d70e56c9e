/** What an engine beside the native one needs of a model: files, functions, a child process. */
import type { ChildModel } from "./process/child.js";
import type { TfjsSource } from "./tfjs/source.js";
import type { LiveModels } from "./tfjs/tf.js";

/** Where the two parts lie, or the one file of a square map. */
export type PartFiles = { readonly encoder: string; readonly decoder: string } | { readonly map: string };

/** Rows of numbers to rows of numbers, [rows, …] flattened row-major; what is given is the function's own. */
export type RowFunction = (rows: Float32Array, count: number) => Float32Array | Promise<Float32Array>;

export interface RowFunctions {
  /** f: [count, k] → [count, k] */
  readonly apply: RowFunction;
  /** E: [count, input elements] → [count, k]. Null for a square map. */
  readonly encode: RowFunction | null;
  /** D: [count, k] → [count, input elements]. Null for a square map. */
  readonly decode: RowFunction | null;
  /** J_f(z)·v: [count, k] and [count, k] → [count, k]. Null where differences have to do. */
  readonly jacobianVector:
    | ((latents: Float32Array, tangents: Float32Array, count: number) => Float32Array | Promise<Float32Array>)
    | null;
  /** Rows of one call. */
  readonly batchRows: number;
  /** Seconds after which a call that has not answered has failed. */
  readonly timeout: number;
}

export type ModelSource =
  /** Nothing but its graphs: the native engine alone can run it. */
  | { readonly kind: "graphs" }
  | { readonly kind: "onnx"; readonly files: PartFiles }
  /** `live`: objects of the caller's tfjs, which `tfjs` names but cannot be read from. */
  | { readonly kind: "tfjs"; readonly tfjs: TfjsSource; readonly live: LiveModels | null }
  | { readonly kind: "function"; readonly functions: RowFunctions }
  | { readonly kind: "process"; readonly child: ChildModel };
