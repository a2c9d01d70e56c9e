/** E, D and f = E∘D as calls of tfjs models: what every tfjs engine computes, in a thread or not. */
import { EngineError, InputError, LatdynError } from "../../errors.js";
import { elements, formatShape, type Shape } from "../../graph/graph.js";
import { sameShape } from "../../graph/shapes.js";
import type { TfjsSource, TfjsStage } from "../../models/tfjs/source.js";
import type { Tf, TfModel, TfTensor } from "../../models/tfjs/tf.js";

/**
 * Each [rows, …] → [rows, …], float32; no tensor of theirs is left on the device. They throw EngineError where tfjs
 * fails.
 */
export interface TfjsMaps {
  apply(latents: Float32Array, rows: number): Promise<Float32Array>;
  encode(inputs: Float32Array, rows: number): Promise<Float32Array>;
  decode(latents: Float32Array, rows: number): Promise<Float32Array>;
  /** Calls f once on a row of zeros. Throws InputError where the two models do not meet. */
  check(): Promise<void>;
}

/** Between decoder and encoder nothing leaves the device: one upload of latents, one download. */
export function tfjsMaps(
  tf: Tf,
  source: TfjsSource,
  models: { encoder: TfModel | null; decoder: TfModel },
): TfjsMaps {
  const { name, decoder, encoder, inputOrder } = source;
  const { inputShape: latentShape } = decoder;
  const k = elements(latentShape);
  const inputShape = encoder?.inputShape ?? latentShape;
  const inputElements = elements(inputShape);

  const run = async (
    rows: number,
    columns: number,
    what: string,
    compute: () => TfTensor,
  ): Promise<Float32Array> => {
    let result: TfTensor | undefined;
    try {
      result = tf.tidy(() => {
        const tensor = compute();
        const found = elements(tensor.shape) / rows;
        if (found !== columns) {
          throw new InputError(`${name}: ${what} gives ${found} elements a row, expected ${columns}`);
        }
        return tensor.reshape([rows * columns]);
      });
      const data = await result.data();
      // Backends that compute in this process may hand out what they hold.
      return data instanceof Float32Array ? data.slice() : Float32Array.from(data);
    } catch (error) {
      if (error instanceof LatdynError) throw error;
      throw new EngineError(`${name}: ${what} failed on tfjs:${tf.getBackend()} (${oneLine(error)})`, {
        cause: error,
      });
    } finally {
      result?.dispose();
    }
  };

  const upload = (values: Float32Array, rows: number, shape: Shape): TfTensor =>
    tf.tensor(values, [rows, ...shape], "float32");
  const decoded = (latents: Float32Array, rows: number): TfTensor =>
    callStage(tf, decoder, models.decoder, upload(latents, rows, latentShape));
  const encoded = (images: TfTensor): TfTensor => {
    if (encoder === null || models.encoder === null) throw new EngineError(`${name}: has no encoder`);
    return callStage(tf, encoder, models.encoder, images);
  };
  const shaped = (tensor: TfTensor, rows: number, shape: Shape, what: string): TfTensor => {
    if (elements(tensor.shape) === rows * elements(shape)) {
      return sameShape(tensor.shape, [rows, ...shape]) ? tensor : tensor.reshape([rows, ...shape]);
    }
    const swapped = elements(latentShape) > inputElements ? "; the two look swapped" : "";
    throw new InputError(
      `${name}: ${what} gives ${formatShape(tensor.shape.slice(1))}, expected ${formatShape(shape)}${swapped}`,
    );
  };
  const images = (tensor: TfTensor, rows: number): TfTensor =>
    shaped(tensor, rows, inputShape, "the decoder");

  const maps: TfjsMaps = {
    apply: (latents, rows) =>
      run(rows, k, "f", () => {
        const middle = decoded(latents, rows);
        if (encoder === null) return shaped(middle, rows, latentShape, "the map");
        return shaped(encoded(images(middle, rows)), rows, latentShape, "the encoder");
      }),
    encode: (inputs, rows) =>
      run(rows, k, "the encoder", () => {
        if (inputOrder === "plain") return encoded(upload(inputs, rows, inputShape));
        const [height, width, channels] = inputShape as [number, number, number];
        return encoded(upload(inputs, rows, [channels, height, width]).transpose([0, 2, 3, 1]));
      }),
    decode: (latents, rows) =>
      run(rows, inputElements, "the decoder", () => {
        const tensor = images(decoded(latents, rows), rows);
        return inputOrder === "plain" ? tensor : tensor.transpose([0, 3, 1, 2]);
      }),
    async check() {
      await maps.apply(new Float32Array(k), 1);
    },
  };
  return maps;
}

/** A model that takes a fixed number of rows is called as often as that needs, the last rows filled up with zeros. */
function callStage(tf: Tf, stage: TfjsStage, model: TfModel, input: TfTensor): TfTensor {
  const rows = input.shape[0]!;
  const { batchRows } = stage;
  if (batchRows === null || batchRows === rows) return callModel(stage, model, input);
  const shape = stage.inputShape;
  const whole = shape.map(() => -1);
  const origin = shape.map(() => 0);
  const parts: TfTensor[] = [];
  for (let first = 0; first < rows; first += batchRows) {
    const count = Math.min(batchRows, rows - first);
    let part = input.slice([first, ...origin], [count, ...whole]);
    if (count < batchRows) {
      const missing = new Float32Array((batchRows - count) * elements(shape));
      part = tf.concat([part, tf.tensor(missing, [batchRows - count, ...shape], "float32")], 0);
    }
    parts.push(callModel(stage, model, part));
  }
  const [first] = parts as [TfTensor];
  const all = parts.length === 1 ? first : tf.concat(parts, 0);
  return all.slice([0, ...all.shape.slice(1).map(() => 0)], [rows, ...all.shape.slice(1).map(() => -1)]);
}

function callModel(stage: TfjsStage, model: TfModel, input: TfTensor): TfTensor {
  const result = "executor" in model ? model.execute(input, stage.outputName) : model.predictOnBatch(input);
  if (!isList(result)) return result;
  const chosen = result[stage.outputIndex];
  if (chosen === undefined) {
    throw new InputError(`${stage.path}: has no output ${stage.outputIndex}, it has ${result.length}`);
  }
  return chosen;
}

function isList(result: TfTensor | readonly TfTensor[]): result is readonly TfTensor[] {
  return Array.isArray(result);
}

/** tfjs' messages may run over several lines. */
export function oneLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replaceAll(/\s*\n\s*/g, " ").trim();
}
