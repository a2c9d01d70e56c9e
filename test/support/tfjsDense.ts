/** The maps with known answers as tfjs models of one dense layer. */
import { join } from "node:path";
import { readTfjsModel } from "../../src/models/tfjs/file.js";
import { partsOf } from "../../src/models/tfjs/parts.js";
import type { TfjsSource } from "../../src/models/tfjs/source.js";
import { temporaryFolder } from "./temporaryFolder.js";
import { saveModel, type TestModel, tf } from "./tfjs.js";

let saved = 0;

/** z → A·z + b: A [k, k] row-major, b [k]. */
export async function denseModel(map: {
  readonly name: string;
  readonly matrix: readonly number[];
  readonly offset: readonly number[];
}): Promise<{ model: TestModel; source: TfjsSource }> {
  const { name, matrix, offset } = map;
  const k = offset.length;
  const model = tf.sequential({ layers: [tf.layers.dense!({ units: k, inputShape: [k] })] });
  // tfjs' kernel is [in, out].
  const kernel = Float32Array.from({ length: k * k }, (_, i) => matrix[(i % k) * k + Math.floor(i / k)]!);
  model.setWeights([
    tf.tensor(kernel, [k, k], "float32"),
    tf.tensor(Float32Array.from(offset), [k], "float32"),
  ]);
  const path = await saveModel(join(temporaryFolder(), String(saved++)), model);
  const { source } = partsOf({ encoder: null, decoder: await readTfjsModel(path) }, { name });
  return { model, source };
}
