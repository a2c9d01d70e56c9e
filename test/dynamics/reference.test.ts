/** Against an independent float64 implementation: endpoints, iterations, statuses, similarity, trajectories. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { similarity } from "../../src/analysis/similarity.js";
import { openData } from "../../src/data/open.js";
import { prepareInputs } from "../../src/data/preprocess.js";
import { readSafetensors, type Tensor } from "../../src/data/safetensors.js";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { data, latents } from "../../src/dynamics/points.js";
import { STATUS } from "../../src/dynamics/result.js";
import { nativeEngine } from "../../src/engines/native.js";
import { type Matrix, matrix, row, takeRows } from "../../src/matrix.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";

const missing = hasShared ? "" : " (skipped: the shared models and references are not here)";
const call = { threads: 2 };

type Reference = Map<string, Tensor>;

async function reference(name: string): Promise<Reference> {
  return (await readSafetensors(sharedPath("reference", `${name}.safetensors`))).tensors;
}

function tensor(reference: Reference, name: string): Tensor {
  const found = reference.get(name);
  if (found === undefined) throw new Error(`the reference has no tensor ${name}`);
  return found;
}

function rowsOf(reference: Reference, name: string): Matrix {
  const { data: elements, shape } = tensor(reference, name);
  return matrix(
    elements as Float32Array,
    shape.slice(1).reduce((a, b) => a * b, 1),
  );
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return ab / Math.sqrt(aa * bb);
}

/** ‖a − b‖ / ‖b‖ */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

describe.skipIf(!hasShared).each(["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"])(
  `%s${missing}`,
  (name) => {
    it.each(["train", "noise"])("%s points end where float64 ends", async (set) => {
      const expected = await reference(name);
      await using model = await loadAutoencoder(sharedPath("models", name));
      const seeds = rowsOf(expected, `${set}.seeds`);
      const { sets } = await findAttractors(model, { from: { [set]: latents(seeds) } });
      const found = sets[0]!;
      const endpoints = rowsOf(expected, `${set}.f64.fixed_points`);
      const iterations = tensor(expected, `${set}.f64.iterations`).data as Int32Array;
      const status = tensor(expected, `${set}.f64.status`).data as Int32Array;

      let [both, agreeing] = [0, 0];
      for (let i = 0; i < seeds.rows; i++) {
        if (found.status[i] !== STATUS.converged || status[i] !== STATUS.converged) continue;
        both++;
        const close = cosine(row(found.endpoints, i), row(endpoints, i)) > 0.999;
        const inTime = Math.abs(found.iterations[i]! - iterations[i]!) <= 0.02 * iterations[i]! + 2;
        if (close && inTime) agreeing++;
      }
      expect(both).toBeGreaterThan(0.5 * seeds.rows);
      expect(agreeing / both).toBeGreaterThanOrEqual(0.99);
      for (const code of Object.values(STATUS)) {
        const share = (codes: ArrayLike<number>): number =>
          Array.from(codes).filter((c) => c === code).length / seeds.rows;
        expect(Math.abs(share(found.status) - share(status))).toBeLessThanOrEqual(0.01);
      }
    });

    it("one application agrees", async () => {
      const expected = await reference(name);
      await using model = await loadAutoencoder(sharedPath("models", name));
      const engine = nativeEngine(model);
      for (const set of ["train", "noise"]) {
        const step = await engine.apply(rowsOf(expected, `${set}.seeds`), call);
        expect(relativeError(step.data, rowsOf(expected, `${set}.step1`).data)).toBeLessThan(1e-5);
      }
    });

    it("the similarity of its endpoint sets", async () => {
      const expected = await reference(name);
      const converged = (set: string): Matrix => {
        const status = Array.from(tensor(expected, `${set}.f64.status`).data as Int32Array);
        const rows = status.flatMap((code, i) => (code === STATUS.converged ? [i] : []));
        return takeRows(rowsOf(expected, `${set}.f64.fixed_points`), rows);
      };
      const summary = JSON.parse(readFileSync(sharedPath("reference", `${name}.json`), "utf8")) as {
        chamfer: { cosine: number; euclidean: number };
      };
      const found = await similarity(converged("train"), converged("noise"));
      expect(found?.cosine.value).toBeCloseTo(summary.chamfer.cosine, 5);
      expect(found?.euclidean.value).toBeCloseTo(summary.chamfer.euclidean, 3);
    });

    it("encodes MNIST's images to the reference's points", async () => {
      const expected = rowsOf(await reference(name), "train.seeds");
      await using model = await loadAutoencoder(sharedPath("models", name));
      const images = sharedPath("data", "mnist", "train-images-idx3-ubyte.gz");
      const { sets } = await findAttractors(model, {
        from: { train: data(images, { count: 256 }) },
        maxIterations: 1,
      });
      expect(relativeError(sets[0]!.initial.data, expected.data)).toBeLessThan(1e-5);
    });
  },
);

describe.skipIf(!hasShared)(`taef2${missing}`, () => {
  it("its paths after 1 and 20 steps, and the residuals on the way", async () => {
    const expected = await reference("taef2");
    await using model = await loadAutoencoder(sharedPath("models", "taef2"));
    const engine = nativeEngine(model);
    const steps = Array.from(tensor(expected, "noise.trajectory_steps").data as Int32Array);
    const path = tensor(expected, "noise.trajectory").data as Float32Array;
    const residuals = tensor(expected, "noise.residual").data as Float32Array;
    const k = model.latentDimension;
    const at = (point: number, step: number): Float32Array => {
      const start = (point * steps.length + steps.indexOf(step)) * k;
      return path.subarray(start, start + k);
    };
    let z = rowsOf(expected, "noise.seeds");
    for (let t = 1; t <= 20; t++) {
      const next = await engine.apply(z, call);
      for (let point = 0; point < z.rows; point++) {
        let residual = 0;
        for (let c = 0; c < k; c++) residual += (row(next, point)[c]! - row(z, point)[c]!) ** 2;
        expect(residual / residuals[point * 100 + t - 1]!).toBeCloseTo(1, 2);
        if (t === 1) expect(relativeError(row(next, point), at(point, 1))).toBeLessThan(1e-5);
        if (t === 20) expect(relativeError(row(next, point), at(point, 20))).toBeLessThan(1e-3);
      }
      z = next;
    }
  });

  it("prepares, encodes and decodes the reference's pictures", async () => {
    const expected = await reference("taef2");
    await using model = await loadAutoencoder(sharedPath("models", "taef2"));
    const engine = nativeEngine(model);
    const pictures = await openData(sharedPath("data", "cifar10", "test_batch.bin.gz"), { count: 8 });
    const inputs = await prepareInputs(pictures, {
      preprocessor: model.preprocessor,
      inputShape: model.inputShape!,
    });
    expect(relativeError(inputs.data, rowsOf(expected, "images").data)).toBeLessThan(1e-6);
    const codes = await engine.encode(inputs, call);
    expect(relativeError(codes.data, rowsOf(expected, "images.latent").data)).toBeLessThan(1e-5);
    const drawn = await engine.decode(codes, call);
    expect(relativeError(drawn.data, rowsOf(expected, "images.reconstruction").data)).toBeLessThan(1e-5);
  });
});
