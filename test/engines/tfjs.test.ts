import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Runtime } from "../../src/engines/runtime.js";
import type { TfjsBackend } from "../../src/engines/tfjs/backends.js";
import { openLiveTfjs, openTfjs } from "../../src/engines/tfjs.js";
import { compose } from "../../src/graph/compose.js";
import { interpret } from "../../src/graph/reference.js";
import type { TfjsParts } from "../../src/models/tfjs/parts.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { hasTfjs, predict, relativeError, tf } from "../support/tfjs.js";
import { convolutionalPair, savedParts, type TfjsPair } from "../support/tfjsModels.js";

const rows = 7;

/** [rows, H, W, C] → [rows, C, H, W] */
function channelsFirst(data: Float32Array, [height, width, channels]: readonly [number, number, number]) {
  const plane = height * width;
  return data.map((_, index) => {
    const row = Math.floor(index / (plane * channels));
    const channel = Math.floor(index / plane) % channels;
    return data[(row * plane + (index % plane)) * channels + channel]!;
  });
}

describe.skipIf(!hasTfjs)("tfjs", () => {
  let pair: TfjsPair;
  let parts: TfjsParts;
  beforeAll(async () => {
    await tf.setBackend("cpu");
    pair = convolutionalPair();
    parts = await savedParts(temporaryFolder(), pair);
  });

  describe.each<TfjsBackend | "live">(["wasm", "cpu", "live"])("%s", (backend) => {
    let runtime: Runtime;
    beforeAll(async () => {
      runtime =
        backend === "live"
          ? await openLiveTfjs(parts.source, { tf, ...pair })
          : await openTfjs(parts.source, { backends: [backend], threads: 2 });
    });
    afterAll(() => runtime.close());

    it("says what it is", () => {
      expect(runtime.name).toBe(`tfjs:${backend === "live" ? "cpu" : backend}`);
      expect(runtime.device).toBe(backend === "wasm" ? "wasm" : "cpu");
      expect(runtime.latentDimension).toBe(5);
      expect(runtime.inputElements).toBe(96);
      expect(Object.values(runtime.versions).every((version) => /^\d+\.\d+/.test(version))).toBe(true);
    });

    it("computes E, D and f of images that an Autoencoder has as [C, H, W]", async () => {
      const random = seededRandom(2);
      const images = random.floats(rows * 96);
      const latents = random.floats(rows * 5);
      const decoded = predict(pair.decoder, latents, [5], rows);
      const turned = channelsFirst(images, [8, 6, 2]);
      expect(
        relativeError(await runtime.encode!(turned, rows), predict(pair.encoder, images, [8, 6, 2], rows)),
      ).toBeLessThan(1e-5);
      expect(
        relativeError(await runtime.decode!(latents.slice(), rows), channelsFirst(decoded, [8, 6, 2])),
      ).toBeLessThan(1e-5);
      const mapped = predict(pair.encoder, decoded, [8, 6, 2], rows);
      expect(relativeError(await runtime.apply(latents.slice(), rows), mapped)).toBeLessThan(1e-5);
    });

    it("agrees with the converted graph", async () => {
      const { graph } = compose(parts.graphs!.decoder, parts.graphs!.encoder!);
      const latents = seededRandom(3).floats(rows * 5);
      const expected = interpret(graph, Float64Array.from(latents), rows);
      expect(relativeError(await runtime.apply(latents, rows), expected)).toBeLessThan(1e-5);
    });
  });
});
