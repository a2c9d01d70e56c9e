/** One way to keep a model in a folder. */
import type { Autoencoder } from "./autoencoder.js";
import type { LATENTS, MaskOptions } from "./tokenSpec.js";

export interface LoadOptions {
  /**
   * Shape of one latent as the model's files have it, for axes that they leave open. Default: config.json's
   * latent_shape.
   */
  readonly latentShape?: readonly number[];
  /** Shape of one input as the model's files have it, as latentShape. Default: config.json's input_shape. */
  readonly inputShape?: readonly number[];
  /** Which files to use where a folder holds several kinds. Default: the first of ONNX, safetensors, tfjs. */
  readonly format?: "onnx" | "safetensors" | "tfjs";
  /**
   * Which output of a tfjs encoder is the latent, by name. Default: config.json's encoder_output, else one whose name
   * says that it is a mean, else the first.
   */
  readonly encoderOutput?: string;
  /**
   * What is to run the model. Where that is `native`, a model that the native graph cannot express is an error here;
   * else it is loaded without graphs, for the engine that its files are made for. Default `auto`.
   */
  readonly engine?: string;
  /**
   * Which of a transformer's tokens are the latent: all of them (`tokens`, the default), the `class` token, or the mean
   * of the patch tokens (`pooled`). See docs/definitions.md.
   */
  readonly latent?: (typeof LATENTS)[number];
  /** A fixed mask: patches that the encoder never sees. Default: none. */
  readonly mask?: MaskOptions;
}

export interface FolderFormat {
  /** What the files are called, as messages list them. */
  readonly files: string;
  /** Whether a folder with these entries is of this kind. */
  isIn(folder: string, names: ReadonlySet<string>): Promise<boolean>;
  /** Throws InputError naming the file, and UnsupportedOperatorError. */
  load(folder: string, options: LoadOptions): Promise<Autoencoder>;
}
