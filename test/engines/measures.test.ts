/** Every measure on a model that is a function: the same numbers as on the graph it computes. */
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { contraction } from "../../src/analysis/contraction.js";
import { oodScores } from "../../src/analysis/ood.js";
import { probe } from "../../src/analysis/probing.js";
import { prototypeErrors } from "../../src/analysis/prototypes.js";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { vectorField } from "../../src/dynamics/field.js";
import { jacobian } from "../../src/dynamics/jacobian.js";
import { latents, noise } from "../../src/dynamics/points.js";
import { convergenceSpeed } from "../../src/dynamics/speed.js";
import { trajectories } from "../../src/dynamics/trajectories.js";
import { verifyAttractors } from "../../src/dynamics/verification.js";
import { engineOf } from "../../src/engines/choose.js";
import { nativeEngine } from "../../src/engines/native.js";
import { InputError } from "../../src/errors.js";
import { elements } from "../../src/graph/graph.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import { fromFunction } from "../../src/models/fromFunction.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { reportOn } from "../../src/runs/extract.js";
import { seededRandom } from "../support/random.js";

const call = { threads: 1 };
const graph = await loadAutoencoder(
  fileURLToPath(new URL("../../examples/mnist/mnist-conv-k16", import.meta.url)),
);
const k = graph.latentDimension;

/** The model's own plans behind functions, so that every bit is the same. */
function wrapped(model: Autoencoder): Autoencoder {
  const engine = nativeEngine(model);
  const columns = elements(model.inputShape!);
  return fromFunction({
    latentShape: model.latentShape,
    inputShape: model.inputShape!,
    apply: async (data, rows) => (await engine.apply({ data, rows, columns: k }, call)).data,
    encode: async (data, rows) => (await engine.encode({ data, rows, columns }, call)).data,
    decode: async (data, rows) => (await engine.decode({ data, rows, columns: k }, call)).data,
    batchRows: 48,
    name: graph.name,
  });
}
const model = wrapped(graph);

function expectClose(found: ArrayLike<number>, expected: ArrayLike<number>, relative: number): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < found.length; i++) {
    const allowed = relative * Math.max(1, Math.abs(expected[i]!));
    if (Number.isNaN(expected[i]!)) expect(found[i]).toBeNaN();
    else expect(Math.abs(found[i]! - expected[i]!)).toBeLessThanOrEqual(allowed);
  }
}

describe("a function that computes what a graph does", () => {
  const from = { noise: noise(150) };

  it("attractors: all bits", async () => {
    const [found, expected] = await Promise.all(
      [model, graph].map((one) => findAttractors(one, { from, ...call })),
    );
    for (const key of [
      "endpoints",
      "iterations",
      "residual",
      "status",
      "label",
      "traces",
      "summary",
    ] as const) {
      expect(found!.sets[0]![key], key).toEqual(expected!.sets[0]![key]);
    }
    expect(found!.record.timing.mapEvaluations).toBe(expected!.record.timing.mapEvaluations);
    const page = await reportOn(found!, model, call);
    expect(page).toContain("cpu, function");
    expect(page).toContain("48 rows");
  });

  it("trajectories and their scores", async () => {
    const attractors = matrix(seededRandom(3).floats(5 * k), k);
    const options = { from, steps: 12, curves: 20, attractors, ...call };
    const [found, expected] = await Promise.all([model, graph].map((one) => trajectories(one, options)));
    const [a, b] = [found!.sets[0]!, expected!.sets[0]!];
    expect(a.paths).toEqual(b.paths);
    expectClose(a.score!, b.score!, 1e-6);
    expectClose(a.bands.residual.values, b.bands.residual.values, 1e-6);
    expect(a.summary.nonFinite).toBe(b.summary.nonFinite);
    expect(found!.record.options.engine).toBe("function");
  });

  it("the field", async () => {
    const plane = { points: matrix(seededRandom(5).floats(3 * k), k) };
    const options = { resolution: 12, from: noise(60), plane, ...call };
    const [found, expected] = await Promise.all([model, graph].map((one) => vectorField(one, options)));
    expect(found!.norm).toEqual(expected!.norm);
    expect(found!.grid.label).toEqual(expected!.grid.label);
  });

  it("probing", async () => {
    const data = { some: latents(matrix(seededRandom(4).floats(6 * k), k)) };
    const options = { data, atoms: 40, sparsity: [1, 2], ...call };
    const [found, expected] = await Promise.all([model, graph].map((one) => probe(one, options)));
    expect(found!.record.summary).toEqual(expected!.record.summary);
  });

  it("scores of inputs, reconstruction and prototype errors", async () => {
    const random = seededRandom(6);
    const of = (rows: number): Matrix => matrix(random.floats(rows * k), k);
    const inputs = matrix(random.floats(8 * elements(graph.inputShape!)), elements(graph.inputShape!));
    const input = {
      train: of(40),
      attractors: of(4),
      id: { inputs, latents: of(8) },
      ood: { other: { inputs: { ...inputs, data: inputs.data.map((value) => -value) }, latents: of(8) } },
    };
    const options = { steps: 5, neighbours: 5, ...call };
    const engines = [await engineOf(model), nativeEngine(graph)];
    const [found, expected] = await Promise.all(engines.map((engine) => oodScores(engine, input, options)));
    for (const name of ["trajectory", "knn", "mahalanobis", "reconstruction"] as const) {
      expectClose(found!.scores.other![name]!, expected!.scores.other![name]!, 1e-6);
    }
    const errors = { inputs, latents: input.id.latents, attractors: input.attractors };
    const [mine, its] = await Promise.all(engines.map((engine) => prototypeErrors(engine, errors, call)));
    expect(mine).toEqual(its);
  });

  it("verification, speed and contraction by central differences, and they say so", async () => {
    const points = matrix(seededRandom(8).floats(3 * k), k);
    const [found, expected] = await Promise.all([model, graph].map((one) => jacobian(one, points, call)));
    expect(found!.method).toBe("central differences");
    expect(expected!.method).toBe("derivatives");
    const size = Math.max(...expected!.data.map(Math.abs));
    found!.data.forEach((value, i) => {
      // Where a step of a difference crosses a kink of f, it is off by more than rounding.
      expect(Math.abs(value - expected!.data[i]!)).toBeLessThan(0.01 * size);
    });
    const run = await verifyAttractors(model, await findAttractors(model, { from, ...call }), call);
    expect(run.sets[0]!.verification!.method).toBe("central differences");
    expect(run.record.jacobians).toBe("central differences");
    const speed = await convergenceSpeed(model, { from: { noise: noise(30) }, ...call });
    expect(speed.record.options.engine).toBe("function");
    expect(speed.record.jacobians).toBe("central differences");
    const contracted = await contraction(model, { noise: 2, ...call });
    expect(contracted.initialisation).toEqual([]);
    expect(contracted.record.summary.local.noise).toMatchObject({ method: "central differences" });
    await expect(contraction(model, { schemes: ["kaiming"], ...call })).rejects.toThrow(InputError);
  });
});
