/** The tfjs-node packages, wherever one of them loads: their binary cannot be downloaded everywhere. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drive } from "../../src/engines/drive.js";
import type { Runtime } from "../../src/engines/runtime.js";
import { examineTfjsBackend } from "../../src/engines/tfjs/examine.js";
import { openTfjs } from "../../src/engines/tfjs.js";
import { compose } from "../../src/graph/compose.js";
import { interpret } from "../../src/graph/reference.js";
import { readTfjsModel } from "../../src/models/tfjs/file.js";
import { partsOf, type TfjsParts } from "../../src/models/tfjs/parts.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { relativeError, tf } from "../support/tfjs.js";
import { denseModel } from "../support/tfjsDense.js";
import { convolutionalPair, savePair } from "../support/tfjsModels.js";
import { testKnownMaps } from "./knownMaps.js";

for (const backend of ["gpu", "node"] as const) {
  const { usable, reason } = await examineTfjsBackend(backend);

  describe.skipIf(!usable)(`tfjs:${backend}${usable ? "" : ` (${reason})`}`, () => {
    let parts: TfjsParts;
    let runtime: Runtime;
    beforeAll(async () => {
      await tf.setBackend("cpu");
      const folder = await savePair(temporaryFolder(), convolutionalPair());
      const read = (half: string) => readTfjsModel(join(folder, half, "model.json"));
      parts = partsOf({ encoder: await read("encoder"), decoder: await read("decoder") }, { name: "pair" });
      runtime = await openTfjs(parts.source, { backends: [backend] });
    });
    afterAll(() => runtime.close());

    it("says what it is", () => {
      expect(runtime.name).toBe(`tfjs:${backend}`);
      expect(runtime.device).toBe(backend === "gpu" ? "cuda" : "cpu");
      expect(runtime.concurrency).toBe(1);
    });

    it("agrees with the converted graph", async () => {
      const { graph } = compose(parts.graphs!.decoder, parts.graphs!.encoder!);
      const latents = seededRandom(3).floats(7 * 5);
      const expected = interpret(graph, Float64Array.from(latents), 7);
      // A GPU may compute convolutions in TF32.
      const limit = backend === "gpu" ? 1e-2 : 1e-5;
      expect(relativeError(await runtime.apply(latents, 7), expected)).toBeLessThan(limit);
    });
  });

  if (usable) {
    testKnownMaps(`tfjs:${backend}`, async (map) => {
      const { source } = await denseModel(map);
      const opened = await openTfjs(source, { backends: [backend] });
      return drive(map.name, { ...opened, batchRows: 5 });
    });
  }
}
