import { describe, expect, it } from "vitest";
import { jacobianVectorGraph } from "../../src/graph/differentiate.js";
import { elements, type Graph } from "../../src/graph/graph.js";
import { optimize } from "../../src/graph/optimize.js";
import { interpret } from "../../src/graph/reference.js";
import { importOnnx } from "../../src/models/onnx/import.js";
import { autoencoderKL } from "../support/architectures/autoencoderKL.js";
import { type SparseKind, sparseAutoencoder, sparseKinds } from "../support/architectures/sparse.js";
import { tinyAutoencoder } from "../support/architectures/tinyAutoencoder.js";
import { type VitMaeOptions, vitMae } from "../support/architectures/vitMae.js";
import { runNative } from "../support/native.js";
import { onnxruntime, runOnnxruntime } from "../support/onnxruntime.js";
import { seededRandom } from "../support/random.js";

interface Files {
  encoder: Uint8Array;
  decoder: Uint8Array;
}
interface Case {
  files: () => Files;
  /** What is left of each file once everything has been recognised. */
  ops: { encoder: string[]; decoder: string[] };
  /** Rows that the file takes at once, where it says so. */
  rows?: number;
}

const opsOf = (graph: Graph) => [...new Set(graph.nodes.map(({ op }) => op))].toSorted();
const shapeOf = (graph: Graph) => graph.values[graph.input].shape;

/** Largest difference relative to the largest expected value. */
function error(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  let [difference, size] = [0, 1e-6];
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(found[i] - expected[i]));
    size = Math.max(size, Math.abs(expected[i]));
  }
  return difference / size;
}

const vit: VitMaeOptions = {
  opset: 17,
  seed: 1,
  image: 16,
  patch: 4,
  width: 24,
  depth: 2,
  heads: 3,
  decoderWidth: 16,
  decoderDepth: 1,
  decoderHeads: 2,
  layerNormOperator: false,
  gelu: "erf",
  attention: "queries",
  projection: "packed",
};
const transformer = {
  encoder: ["add", "attention", "concat", "conv", "layerNorm", "linear", "reshape", "transpose"],
  decoder: ["add", "attention", "layerNorm", "linear", "pad", "reshape", "transpose"],
};
const kl = { image: 16, channels: [8, 16], layers: 1, groups: 4, latentChannels: 4, seed: 3 };
const convolutional = {
  encoder: ["add", "attention", "conv", "groupNorm", "linear", "reshape", "transpose"],
  decoder: ["add", "attention", "conv", "groupNorm", "linear", "reshape", "resizeNearest", "transpose"],
};

const cases: Record<string, Case> = {
  "ViT-MAE, opset 14, in parts": { files: () => vitMae({ ...vit, opset: 14 }), ops: transformer },
  "ViT-MAE, opset 12, in parts, GELU by tanh": {
    files: () => vitMae({ ...vit, opset: 12, gelu: "tanh", attention: "scores", projection: "separate" }),
    ops: transformer,
  },
  "ViT-MAE, opset 17, LayerNormalization, scale on both sides": {
    files: () => vitMae({ ...vit, layerNormOperator: true, attention: "both", projection: "separate" }),
    ops: transformer,
  },
  "ViT-MAE, opset 20, Gelu": {
    files: () => vitMae({ ...vit, opset: 20, layerNormOperator: true, gelu: "operator-tanh" }),
    ops: transformer,
  },
  "ViT-MAE, opset 23, Attention": {
    files: () => vitMae({ ...vit, opset: 23, gelu: "operator", attention: "operator" }),
    ops: transformer,
  },
  "ViT-MAE, opset 17, a fixed batch": {
    files: () => vitMae({ ...vit, fixedBatch: true }),
    ops: transformer,
    rows: 1,
  },
  "AutoencoderKL, opset 14, in parts": {
    files: () => autoencoderKL({ ...kl, opset: 14, groupNormOperator: false }),
    ops: convolutional,
  },
  "AutoencoderKL, opset 21, GroupNormalization": {
    files: () => autoencoderKL({ ...kl, opset: 21, groupNormOperator: true }),
    ops: convolutional,
  },
  "tiny autoencoder": {
    files: () => tinyAutoencoder({ opset: 13, seed: 5, image: 16, width: 8, latentChannels: 4 }),
    ops: { encoder: ["conv"], decoder: ["conv", "div", "mul", "resizeNearest"] },
  },
};
const sparseOps: Record<SparseKind, string[]> = {
  relu: ["linear", "sub"],
  topk: ["activate", "linear", "mul", "sub", "topKMask"],
  "topk-unranked": ["activate", "linear", "mul", "sub", "topKMask"],
  jumprelu: ["greater", "linear", "mul", "sub"],
  "jumprelu-where": ["greater", "linear", "mul", "sub"],
  gated: ["add", "greater", "linear", "mul", "sub"],
};
for (const kind of sparseKinds) {
  cases[`sparse autoencoder, ${kind}`] = {
    files: () => sparseAutoencoder({ opset: 17, seed: 7, kind, width: 12, features: 40, k: 5 }),
    ops: { encoder: sparseOps[kind], decoder: ["linear"] },
  };
}

describe("architectures, written as exporters write them", () => {
  for (const [name, { files, ops, rows = 3 }] of Object.entries(cases)) {
    const models = files();
    for (const part of ["encoder", "decoder"] as const) {
      const { graph } = importOnnx(models[part], `${part}.onnx`);
      const input = seededRandom(11).floats(rows * elements(shapeOf(graph)));
      const fused = optimize(graph);

      it(`${name}: the ${part} is recognised as what it is`, () => {
        expect(opsOf(fused)).toEqual(ops[part]);
      });

      it(`${name}: the ${part} computes the same before and after`, () => {
        // The file's constants are float32, and folded weights are rounded to it.
        expect(error(interpret(fused, input, rows), interpret(graph, input, rows))).toBeLessThan(2e-6);
      });

      it(`${name}: the ${part} has the derivative that differences show`, () => {
        const random = seededRandom(12);
        const z = Float64Array.from(random.floats(elements(shapeOf(graph))));
        const v = Float64Array.from(random.floats(z.length));
        const product = interpret(jacobianVectorGraph(fused), Float64Array.from([...z, ...v]), 1);
        const h = 1e-6;
        const moved = (sign: number) =>
          interpret(
            fused,
            z.map((value, i) => value + sign * h * v[i]),
            1,
          );
        const [above, below] = [moved(1), moved(-1)];
        expect(
          error(
            product,
            above.map((value, i) => (value - below[i]) / (2 * h)),
          ),
        ).toBeLessThan(1e-5);
      });

      it.each(["lanes", "onednn"] as const)(
        `${name}: the ${part} agrees with the native plan, layout %s`,
        async (layout) => {
          const found = await runNative(fused, input, { layout });
          expect(error(found, interpret(fused, input, rows))).toBeLessThan(2e-5);
        },
      );

      it.skipIf(onnxruntime === null)(`${name}: the ${part} agrees with onnxruntime`, async () => {
        const expected = await runOnnxruntime(models[part], input, shapeOf(graph));
        expect(error(expected, interpret(graph, input, rows))).toBeLessThan(2e-5);
      });
    }
  }
});
