/**
 * The architectures at their full size, native against onnxruntime on one step of f: minutes and gigabytes, so only
 * where LATDYN_FULL_SIZE=1 asks for it.
 */
import { describe, expect, it } from "vitest";
import { compose, inputShape } from "../../src/graph/compose.js";
import { elements } from "../../src/graph/graph.js";
import { optimize } from "../../src/graph/optimize.js";
import { importOnnx } from "../../src/models/onnx/import.js";
import { autoencoderKL, stableDiffusion } from "../support/architectures/autoencoderKL.js";
import { vitMae, vitMaeBase } from "../support/architectures/vitMae.js";
import { runNative } from "../support/native.js";
import { onnxruntime, runOnnxruntime } from "../support/onnxruntime.js";
import { seededRandom } from "../support/random.js";

const asked = process.env.LATDYN_FULL_SIZE === "1";
const cases = {
  "Stable Diffusion's AutoencoderKL at 256²": () => autoencoderKL({ ...stableDiffusion, opset: 14, seed: 1 }),
  "ViT-MAE base at 224²": () => vitMae({ ...vitMaeBase, opset: 14, seed: 1 }),
};

describe.skipIf(!asked || onnxruntime === null)("full size (LATDYN_FULL_SIZE=1)", () => {
  it.each(Object.entries(cases))("%s", { timeout: 3_600_000 }, async (name, files) => {
    const clock = (what: string, since: number) =>
      console.log(`${name}: ${what} ${((performance.now() - since) / 1000).toFixed(1)} s`);
    const models = files();
    let start = performance.now();
    const decoder = importOnnx(models.decoder, "decoder.onnx").graph;
    const encoder = importOnnx(models.encoder, "encoder.onnx").graph;
    clock("import", start);
    start = performance.now();
    const map = optimize(compose(decoder, encoder).graph);
    clock(`optimize to ${map.nodes.length} nodes`, start);
    const latent = seededRandom(2).floats(elements(inputShape(map)));
    start = performance.now();
    const found = await runNative(map, latent);
    clock("native, one step", start);
    start = performance.now();
    const image = await runOnnxruntime(models.decoder, latent, inputShape(decoder));
    const expected = await runOnnxruntime(models.encoder, image, inputShape(encoder));
    clock("onnxruntime, one step with loading", start);
    let [difference, size] = [0, 0];
    found.forEach((value, i) => {
      difference += (value - expected[i]) ** 2;
      size += expected[i] ** 2;
    });
    const error = Math.sqrt(difference / size);
    console.log(`${name}: relative error ${error.toExponential(1)}`);
    expect(error).toBeLessThan(1e-4);
  });
});
