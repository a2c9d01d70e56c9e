import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { contraction } from "../../src/analysis/contraction.js";
import { deviationRatio, redrawWeights } from "../../src/analysis/contractionInitialisation.js";
import { latents } from "../../src/dynamics/points.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { graphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/graph.js";
import { SCHEMES } from "../../src/graph/initialise.js";
import { matrix } from "../../src/matrix.js";
import { native } from "../../src/native.js";
import { contractionReport } from "../../src/report/contractionReport.js";
import { runContraction } from "../../src/runs/contractionRun.js";
import { affine, elementwise, mapOf, scaling } from "../support/maps.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const exampleModel = new URL("../../examples/mnist/mnist-conv-k16", import.meta.url).pathname;

/** A linear layer n → n and a convolution with a bias, whose weights are read back. */
function layer(op: "linear" | "conv" | "convTranspose", shape: readonly number[], outs: number): Graph {
  const builder = graphBuilder(op);
  const x = builder.input("x", op === "linear" ? [shape[1]] : [op === "conv" ? shape[1] : shape[0], 5, 5]);
  const size = shape.reduce((a, b) => a * b, 1);
  const weight = builder.constant("w", shape, new Float32Array(size));
  const bias = builder.constant("b", [outs], new Float32Array(outs));
  const window = { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1] } as const;
  const inputs = [x, weight, bias];
  const y =
    op === "linear"
      ? builder.node({ op, name: "l", inputs })
      : op === "conv"
        ? builder.node({ op, name: "l", inputs, ...window, groups: 1 })
        : builder.node({ op, name: "l", inputs, ...window, groups: 1, outputPadding: [0, 0] });
  return builder.finish(x, y);
}

const constantsOf = (graph: Graph) =>
  graph.values.flatMap(({ constant }) => (constant === undefined ? [] : [constant]));
const variance = (values: Float32Array) =>
  values.reduce((sum, value) => sum + value * value, 0) / values.length;

describe("redrawWeights", () => {
  const options = { seed: 0, randomSeed: 5 };

  it("draws with the variance of the scheme, biases zero or uniform as the scheme says", () => {
    const graph = layer("linear", [200, 100], 200);
    const expected = { kaiming: 2 / 100, xavier: 2 / 300, lecun: 1 / 100, pytorch: 1 / 300 };
    for (const scheme of SCHEMES) {
      const [weight, bias] = constantsOf(redrawWeights(graph, { ...options, scheme }));
      // 20,000 draws: the variance is known to about 1 %.
      expect(variance(weight) / expected[scheme], scheme).toBeGreaterThan(0.95);
      expect(variance(weight) / expected[scheme], scheme).toBeLessThan(1.05);
      if (scheme === "pytorch") {
        expect(weight.every((value) => Math.abs(value) <= 0.1)).toBe(true);
        expect(bias.every((value) => Math.abs(value) <= 0.1)).toBe(true);
        expect(variance(bias)).toBeGreaterThan(0.002);
      } else {
        expect(bias.every((value) => value === 0)).toBe(true);
      }
    }
  });

  it("counts fans as PyTorch does, also of transposed convolutions", () => {
    // Weight [40, 30, 3, 3]: fan in is 30·9 for both.
    for (const op of ["conv", "convTranspose"] as const) {
      const graph = layer(op, [40, 30, 3, 3], op === "conv" ? 40 : 30);
      const [weight] = constantsOf(redrawWeights(graph, { ...options, scheme: "lecun" }));
      expect(variance(weight) * 270).toBeGreaterThan(0.95);
      expect(variance(weight) * 270).toBeLessThan(1.05);
    }
  });

  it("is the same for the same seeds, another for others", () => {
    const graph = layer("linear", [4, 4], 4);
    const draw = (seed: number, randomSeed: number) =>
      [...constantsOf(redrawWeights(graph, { scheme: "kaiming", seed, randomSeed }))[0]].join();
    expect(draw(1, 2)).toBe(draw(1, 2));
    expect(draw(1, 2)).not.toBe(draw(2, 2));
    expect(draw(1, 2)).not.toBe(draw(1, 3));
  });

  it("refuses a graph without weights", () => {
    using model = elementwise("tanh", 2, { kind: "tanh", alpha: 0, beta: 0 });
    expect(() => redrawWeights(model.map, { ...options, scheme: "lecun" })).toThrow(InputError);
  });
});

describe("deviationRatio", () => {
  it("of a scaling is its factor, of a constant 0, and an offset does not count", async () => {
    const inputs = matrix(native().noise(0, 0, 200, 3, 1), 3);
    using scale = scaling("scale", 3, -0.4);
    expect(await deviationRatio(scale.map, inputs, { threads: 1 })).toBeCloseTo(0.4, 6);
    using moved = affine("moved", [1, 0, 0, 0, 1, 0, 0, 0, 1], [100, -50, 7]);
    expect(await deviationRatio(moved.map, inputs, { threads: 1 })).toBeCloseTo(1, 4);
    using nothing = scaling("nothing", 3, 0);
    expect(await deviationRatio(nothing.map, inputs, { threads: 1 })).toBe(0);
  });
});

describe("contraction", () => {
  it("a wide linear layer under lecun keeps the deviation; locally, norms are those of the matrix", async () => {
    const k = 64;
    using model = scaling("scale", k, 0.5);
    const { initialisation, local, record } = await contraction(model, {
      schemes: ["lecun", "kaiming"],
      seeds: 8,
      from: { train: latents(matrix(native().noise(9, 0, 3, k, 1), k)) },
      noise: 4,
      threads: 1,
    });
    expect(initialisation.map(({ scheme }) => scheme)).toEqual(["lecun", "kaiming"]);
    expect(record.summary.initialisation.lecun?.mean).toBeGreaterThan(0.95);
    expect(record.summary.initialisation.lecun?.mean).toBeLessThan(1.05);
    expect(record.summary.initialisation.kaiming?.mean).toBeCloseTo(Math.SQRT2, 1);
    expect(record.summary.initialisation.kaiming?.belowOne).toBe(0);
    expect(local.map(({ name, points }) => [name, points.rows])).toEqual([
      ["train", 3],
      ["noise", 4],
      ["far", 4],
    ]);
    for (const { spectralNorm } of local) {
      for (const norm of spectralNorm) expect(norm).toBeCloseTo(0.5, 5);
    }
    expect(record.summary.local.far.spectralNorm).toMatchObject({ count: 4, belowOne: 4, notFinite: 0 });
  });

  it("a network that overflows is counted, and leaves no NaN in the record", async () => {
    using model = mapOf("explode", 2, (graph, z) => {
      const huge = graph.constant("huge", [], Float32Array.of(3e38));
      const weight = graph.constant("W", [2, 2], Float32Array.of(1, 0, 0, 1));
      const x = graph.node({ op: "linear", name: "l", inputs: [z, weight] });
      const y = graph.node({ op: "mul", name: "m1", inputs: [x, huge] });
      const t = graph.node({
        op: "activate",
        name: "t",
        inputs: [y],
        activation: { kind: "elu", alpha: 1, beta: 0 },
      });
      return graph.node({ op: "mul", name: "m2", inputs: [t, huge] });
    });
    const found = await contraction(model, { schemes: ["lecun"], seeds: 2, noise: 2, threads: 1 });
    expect(found.record.summary.initialisation.lecun).toMatchObject({ count: 0, mean: null, notFinite: 2 });
    const text = JSON.stringify(found.record, (_, value) => {
      if (typeof value === "number") expect(Number.isFinite(value)).toBe(true);
      return value;
    });
    expect(JSON.parse(text).summary.local.noise).toBeDefined();
    expect(await contractionReport(found, "1.0.0")).toContain("No value is finite");
  });

  it("refuses what does not fit, and stops when told to", async () => {
    using model = scaling("scale", 2, 0.5);
    await expect(contraction(model, { part: "encoder" })).rejects.toThrow("square map");
    await expect(contraction(model, { schemes: ["he"] as never })).rejects.toThrow(InputError);
    await expect(contraction(model, { inputs: 1 })).rejects.toThrow("inputs is 1");
    await expect(contraction(model, { seed: 1 } as never)).rejects.toThrow('did you mean "seeds"');
    const from = { noise: latents(matrix(Float32Array.of(1, 2), 2)) };
    await expect(contraction(model, { from })).rejects.toThrow('called "noise"');
    await expect(contraction(model, { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError);
  });

  it("writes the folder of a trained model", async () => {
    const out = join(temporaryFolder(), "contraction");
    const { contraction: found } = await runContraction(exampleModel, {
      schemes: ["pytorch"],
      seeds: 3,
      inputs: 64,
      noise: 4,
      out,
      threads: 2,
    });
    // PyTorch's default shrinks differences through a deep autoencoder many times over.
    expect(found.record.summary.initialisation.pytorch?.max).toBeLessThan(1);
    expect(JSON.parse(readFileSync(join(out, "contraction.json"), "utf8")).summary.local.noise).toBeDefined();
    const page = readFileSync(join(out, "report.html"), "utf8");
    expect(page).toContain("At initialisation");
    expect(page).toContain("<svg");
  });
});
