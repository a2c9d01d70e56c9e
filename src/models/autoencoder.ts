/** An autoencoder, or a bare square map: what every engine and every measure starts from. */
import type { Preprocessor } from "../data/preprocess.js";
import { InputError } from "../errors.js";
import type { Graph, Shape } from "../graph/graph.js";
import type { ModelSource } from "./source.js";

export interface Autoencoder extends AsyncDisposable, Disposable {
  /** The folder's or file's name. */
  readonly name: string;
  /** As given by the caller. */
  readonly path: string;
  readonly format: "onnx" | "safetensors" | "square-map" | "tfjs" | "function" | "process";
  /** SHA-256 (hex) over the model files, in the order of `files`; of a function or a process over what is known of it. */
  readonly hash: string;
  readonly files: readonly string[];
  /** Latent shape as the decoder takes it; flattened row-major it has k elements. */
  readonly latentShape: Shape;
  /** k */
  readonly latentDimension: number;
  /** One input's tensor shape as the encoder takes it; null for a square map. */
  readonly inputShape: Shape | null;
  /** What other engines run it from. */
  readonly source: ModelSource;
  /** E: input → latent, as a graph; null for a square map, and where there are no graphs. */
  readonly encoder: Graph | null;
  /** D: latent → input, as a graph; null as `encoder`. */
  readonly decoder: Graph | null;
  /** f = E∘D (or the square map itself): latent → latent, fused and ready to lower; null where there are no graphs. */
  readonly map: Graph | null;
  /** Why there are no graphs, in one sentence; null where there are. */
  readonly unsupported: InputError | null;
  readonly preprocessor: Preprocessor | null;
  /**
   * Of a surrogate: the encoder whose features are this model's inputs, so that data goes through it first. Null for
   * any other model.
   */
  readonly features: Encoder | null;
  /** Sentences a user should read: shapes joined by a reshape, NaN weights, … Shown by `inspect`. */
  readonly notes: readonly string[];
  /** Registers what is freed when the model is disposed (compiled plans, sessions). */
  onDispose(release: () => void | Promise<void>): void;
}

/** An encoder by itself: input → features, run by the native engine. It has no decoder, so there is no map. */
export interface Encoder extends Autoencoder {
  readonly encoder: Graph;
  readonly inputShape: Shape;
}

export type Part = "map" | "encoder" | "decoder";

/** The graph of a part. Throws InputError where the model has no such part, or no graphs (`unsupported`). */
export function graphOf(model: Autoencoder, part: Part): Graph {
  const graph = model[part];
  if (graph !== null) return graph;
  if (model.unsupported !== null) throw model.unsupported;
  throw new InputError(`${model.name}: is a square map, it has no ${part}`);
}
