/** The maps with known answers over tfjs: models of one dense layer, in threads and live. */
import { join } from "node:path";
import { drive } from "../../src/engines/drive.js";
import { openLiveTfjs, openTfjs } from "../../src/engines/tfjs.js";
import { readTfjsModel } from "../../src/models/tfjs/file.js";
import { partsOf } from "../../src/models/tfjs/parts.js";
import type { TfjsSource } from "../../src/models/tfjs/source.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { hasTfjs, saveModel, type TestModel, tf } from "../support/tfjs.js";
import { type AffineMap, testKnownMaps } from "./knownMaps.js";

const folder = temporaryFolder();
let saved = 0;

async function denseModel({
  name,
  matrix,
  offset,
}: AffineMap): Promise<{ model: TestModel; source: TfjsSource }> {
  const k = offset.length;
  const layer = tf.layers.dense!({ units: k, inputShape: [k] });
  const model = tf.sequential({ layers: [layer] });
  // tfjs' kernel is [in, out].
  const kernel = Float32Array.from({ length: k * k }, (_, i) => matrix[(i % k) * k + Math.floor(i / k)]!);
  model.setWeights([
    tf.tensor(kernel, [k, k], "float32"),
    tf.tensor(Float32Array.from(offset), [k], "float32"),
  ]);
  const path = await saveModel(join(folder, String(saved++)), model);
  const { source } = partsOf({ encoder: null, decoder: await readTfjsModel(path) }, { name });
  return { model, source };
}

if (hasTfjs) {
  for (const backend of ["wasm", "cpu"] as const) {
    testKnownMaps(`tfjs:${backend}`, async (map) => {
      const { source } = await denseModel(map);
      const runtime = await openTfjs(source, { backends: [backend], threads: 1 });
      return drive(map.name, { ...runtime, batchRows: 5 });
    });
  }
  testKnownMaps("tfjs, live", async (map) => {
    await tf.setBackend("cpu");
    const { model, source } = await denseModel(map);
    const runtime = await openLiveTfjs(source, { tf, encoder: null, decoder: model });
    return drive(map.name, { ...runtime, batchRows: 5 });
  });
}
