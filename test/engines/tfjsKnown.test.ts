/** The maps with known answers over tfjs: models of one dense layer, in threads and live. */
import { describe } from "vitest";
import { drive } from "../../src/engines/drive.js";
import { openLiveTfjs, openTfjs } from "../../src/engines/tfjs.js";
import { hasTfjs, tf } from "../support/tfjs.js";
import { denseModel } from "../support/tfjsDense.js";
import { testKnownMaps } from "./knownMaps.js";

describe.skipIf(!hasTfjs)("tfjs", () => {
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
});
