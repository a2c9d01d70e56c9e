/** An autoencoder, or a bare square map, as graphs: what every engine and every measure starts from. */
import type { Preprocessor } from "../data/preprocess.js";
import type { Graph, Shape } from "../graph/graph.js";

export interface Autoencoder extends AsyncDisposable, Disposable {
  /** The folder's or file's name. */
  readonly name: string;
  /** As given by the caller. */
  readonly path: string;
  readonly format: "onnx" | "safetensors" | "square-map";
  /** SHA-256 (hex) over the model files, in the order of `files`. */
  readonly hash: string;
  readonly files: readonly string[];
  /** Latent shape as the decoder takes it; flattened row-major it has k elements. */
  readonly latentShape: Shape;
  /** k */
  readonly latentDimension: number;
  /** One input's tensor shape as the encoder takes it; null for a square map. */
  readonly inputShape: Shape | null;
  /** E: input → latent; null for a square map. */
  readonly encoder: Graph | null;
  /** D: latent → input; null for a square map. */
  readonly decoder: Graph | null;
  /** f = E∘D (or the square map itself): latent → latent, fused and ready to lower. */
  readonly map: Graph;
  readonly preprocessor: Preprocessor | null;
  /** Sentences a user should read: shapes joined by a reshape, NaN weights, … Shown by `inspect`. */
  readonly notes: readonly string[];
  /** Registers what is freed when the model is disposed (compiled plans, sessions). */
  onDispose(release: () => void | Promise<void>): void;
}
