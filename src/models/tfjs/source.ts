/** Which tfjs models make up a map, and how their tensors relate to the rows of an Autoencoder. */
import type { Shape } from "../../graph/graph.js";
import type { Order } from "./convert.js";

/** One model as it is called: on one input, for one of its outputs. */
export interface TfjsStage {
  /** Of model.json; the name of a live object. */
  readonly path: string;
  /** One input as tfjs takes it, without the batch. */
  readonly inputShape: Shape;
  /** Rows of every call where the model fixes them. */
  readonly batchRows: number | null;
  readonly outputIndex: number;
  readonly outputName: string;
}

/** Plain data: it is handed to threads. */
export interface TfjsSource {
  /** What messages call the model. */
  readonly name: string;
  /** null for a square map. */
  readonly encoder: TfjsStage | null;
  /** The decoder, or the square map itself. */
  readonly decoder: TfjsStage;
  /** In which order an Autoencoder's inputs stand; their shape is that of the encoder's input in this order. */
  readonly inputOrder: Order;
}
