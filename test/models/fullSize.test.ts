/**
 * The architectures at their full size, native against onnxruntime on one step of f: minutes and gigabytes, so only
 * where LATDYN_FULL_SIZE=1 asks for it.
 */
import { describe, expect, it } from "vitest";
import { compose, inputShape } from "../../src/graph/compose.js";
import { elements } from "../../src/graph/graph.js";
import { optimize } from "../../src/graph/optimize.js";
import { interpret } from "../../src/graph/reference.js";
import { importOnnx } from "../../src/models/onnx/import.js";
import { autoencoderKL, stableDiffusion } from "../support/architectures/autoencoderKL.js";
import { vitMae, vitMaeBase } from "../support/architectures/vitMae.js";
import { runNative } from "../support/native.js";
import { onnxruntime, runOnnxruntime } from "../support/onnxruntime.js";
import { seededRandom } from "../support/random.js";

const asked = process.env.LATDYN_FULL_SIZE === "1";
interface Case {
  files: () => { encoder: Uint8Array; decoder: Uint8Array };
  /** Also against the float64 interpreter, which makes about a thousand million multiply-adds a second. */
  double: boolean;
}
const base = { opset: 14, seed: 1 };
const cases: Record<string, Case> = {
  "Stable Diffusion's AutoencoderKL at 256²": {
    files: () => autoencoderKL({ ...stableDiffusion, ...base }),
    double: false,
  },
  "Stable Diffusion's AutoencoderKL at 64²": {
    files: () => autoencoderKL({ ...stableDiffusion, ...base, image: 64 }),
    double: true,
  },
  "ViT-MAE base at 224²": { files: () => vitMae({ ...vitMaeBase, ...base }), double: true },
};

/** ‖found − expected‖ / ‖expected‖ */
function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < found.length; i++) {
    difference += (found[i] - expected[i]) ** 2;
    size += expected[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

describe.skipIf(!asked || onnxruntime === null)("full size (LATDYN_FULL_SIZE=1)", () => {
  it.each(Object.entries(cases))("%s", { timeout: 3_600_000 }, async (name, { files, double }) => {
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
    const error = relativeError(found, expected);
    console.log(`${name}: relative error of native to onnxruntime ${error.toExponential(1)}`);
    expect(error).toBeLessThan(1e-4);
    if (!double) return;
    start = performance.now();
    const exact = interpret(map, latent, 1);
    clock("float64 interpreter, one step", start);
    const errors = [found, expected].map((result) => relativeError(result, exact));
    const [native, other] = errors.map((value) => value.toExponential(1));
    console.log(`${name}: relative error to float64: native ${native}, onnxruntime ${other}`);
    for (const value of errors) expect(value).toBeLessThan(1e-4);
  });
});
