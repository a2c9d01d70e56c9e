import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.js";
import { jacobian, spectra } from "../../src/dynamics/jacobian.js";
import type { Engine } from "../../src/engines/engine.js";
import { nativeEngine } from "../../src/engines/native.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import { loadAutoencoder } from "../../src/models/load.js";
import {
  affine,
  elementwise,
  flat,
  mapOf,
  permutation,
  rotation,
  symmetricWithSpectrum,
} from "../support/maps.js";
import { seededRandom } from "../support/random.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";

const rows = (k: number, count: number, seed = 3): Matrix => matrix(seededRandom(seed).floats(k * count), k);

/** The engine without its derivatives: what remains is f itself. */
function withoutDerivatives(model: Autoencoder): Engine {
  const { jacobianVector: _, vectorJacobian: __, ...engine } = nativeEngine(model);
  return engine;
}

const relative = (found: ArrayLike<number>, expected: ArrayLike<number>): number => {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(found[i] - expected[i]));
    size = Math.max(size, Math.abs(expected[i]));
  }
  return difference / size;
};

describe("jacobian", () => {
  it("of an affine map is its matrix, everywhere", async () => {
    using model = affine("A", [1, 2, 3, 4, 5, 6, 7, 8, 10], [1, 1, 1]);
    const { data, points, k, method } = await jacobian(model, rows(3, 4), { threads: 1 });
    expect([points, k, method]).toEqual([4, 3, "derivatives"]);
    for (let i = 0; i < 4; i++) {
      expect([...data.subarray(9 * i, 9 * i + 9)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 10]);
    }
  });

  it("of tanh is diagonal", async () => {
    using model = elementwise("tanh", 2, { kind: "tanh", alpha: 0, beta: 0 });
    const { data } = await jacobian(model, matrix(Float32Array.of(0, 1), 2));
    expect(data[0]).toBeCloseTo(1, 6);
    expect(data[3]).toBeCloseTo(1 - Math.tanh(1) ** 2, 6);
    expect([data[1], data[2]]).toEqual([0, 0]);
  });

  it("is the same from differences of f where the engine has no derivatives, and says so", async () => {
    using model = mapOf("smooth", 3, (graph, z) => {
      const weight = graph.constant("W", [3, 3], Float32Array.of(1, -1, 0.5, 0.25, 2, 0, 1, 1, 1));
      const mixed = graph.node({ op: "linear", name: "mix", inputs: [z, weight] });
      return graph.node({
        op: "activate",
        name: "silu",
        inputs: [mixed],
        activation: { kind: "silu", alpha: 0, beta: 0 },
      });
    });
    const exact = await jacobian(model, rows(3, 5));
    const differences = await jacobian(model, rows(3, 5), { engine: withoutDerivatives(model) });
    expect(differences.method).toBe("central differences");
    expect(relative(differences.data, exact.data)).toBeLessThan(3e-4);
  });

  it("of no points is empty", async () => {
    using model = rotation("turn", 1);
    expect((await jacobian(model, rows(2, 0))).data.length).toBe(0);
    expect((await spectra(model, rows(2, 0))).spectralRadius.length).toBe(0);
  });

  it("refuses points of another width, and stops when told to", async () => {
    using model = rotation("turn", 1);
    await expect(jacobian(model, rows(3, 2))).rejects.toThrow(InputError);
    await expect(spectra(model, rows(3, 2))).rejects.toThrow("3 elements a row, expected 2");
    const signal = AbortSignal.abort();
    await expect(spectra(model, rows(2, 2), { signal })).rejects.toThrow(AbortedError);
  });
});

describe("spectra", () => {
  it("radius and norm of a shear are different numbers", async () => {
    using model = affine("shear", [0.5, 10, 0, 0.25], [0, 0]);
    const { spectralRadius, spectralNorm, solver } = await spectra(model, rows(2, 1));
    expect(solver).toBe("dense");
    expect(spectralRadius[0]).toBeCloseTo(0.5, 6);
    // √ of the larger eigenvalue of AᵀA = [[0.25, 5], [5, 100.0625]]
    const trace = 0.25 + 100.0625;
    const determinant = (0.5 * 0.25) ** 2;
    expect(spectralNorm[0]).toBeCloseTo(Math.sqrt((trace + Math.sqrt(trace ** 2 - 4 * determinant)) / 2), 5);
  });

  it("complex pairs count by modulus", async () => {
    const angle = 1.2;
    const [c, s] = [0.8 * Math.cos(angle), 0.8 * Math.sin(angle)];
    using spiral = affine("spiral", [c, -s, s, c], [0, 0]);
    const found = await spectra(spiral, rows(2, 1));
    expect(found.spectralRadius[0]).toBeCloseTo(0.8, 6);
    expect(found.spectralNorm[0]).toBeCloseTo(0.8, 6);
  });

  it("a flat map has neither", async () => {
    using model = flat("flat", [1, 2, 3]);
    const found = await spectra(model, rows(3, 2));
    expect([...found.spectralRadius, ...found.spectralNorm]).toEqual([0, 0, 0, 0]);
  });

  it("a point where f is not finite has no spectrum", async () => {
    using model = elementwise("relu", 2, { kind: "relu", alpha: 0, beta: 0 });
    const found = await spectra(model, matrix(Float32Array.of(1, 1, Number.NaN, 1), 2));
    expect(found.spectralRadius[0]).toBe(1);
    expect(found.spectralRadius[1]).toBeNaN();
    expect(found.spectralNorm[1]).toBeNaN();
  });

  describe("beyond k = 256, from products alone", () => {
    const k = 300;
    const random = seededRandom(11);
    const spectrum = Array.from({ length: k }, (_, i) => (i === 0 ? -0.95 : 0.9 * (1 - i / k)));
    const directions = [0, 1].map(() => [...random.floats(k)]);

    it("a symmetric matrix of known spectrum", async () => {
      using model = affine("symmetric", symmetricWithSpectrum(spectrum, directions), new Array(k).fill(0));
      const told: number[] = [];
      const onProgress = ({ finished }: { finished: number }) => told.push(finished);
      const found = await spectra(model, rows(k, 3), { onProgress });
      expect(found.solver).toBe("krylov");
      // After every product, and when they are done.
      expect(told.length).toBeGreaterThan(10);
      expect(told.at(-1)).toBe(3);
      expect(found.unconverged).toBe(0);
      expect(found.accuracy).toBeLessThan(1e-5);
      for (let i = 0; i < 3; i++) {
        expect(Math.abs(found.spectralRadius[i] / 0.95 - 1)).toBeLessThan(1e-5);
        expect(Math.abs(found.spectralNorm[i] / 0.95 - 1)).toBeLessThan(1e-5);
      }
    });

    it("a dominant complex pair", async () => {
      const [c, s] = [0.97 * Math.cos(0.4), 0.97 * Math.sin(0.4)];
      const matrixOf = Array.from({ length: k * k }, (_, i) => {
        const [r, column] = [Math.floor(i / k), i % k];
        if (r < 2 && column < 2) return [c, -s, s, c][2 * r + column];
        return r === column ? 0.8 * (1 - r / k) : 0;
      });
      using model = affine("pair", matrixOf, new Array(k).fill(0));
      const found = await spectra(model, rows(k, 1));
      expect(Math.abs(found.spectralRadius[0] / 0.97 - 1)).toBeLessThan(1e-5);
    });

    it("a cyclic permutation: all eigenvalues are on the circle", async () => {
      using model = permutation(
        "cycle",
        Array.from({ length: k }, (_, i) => (i + 1) % k),
      );
      const found = await spectra(model, rows(k, 1));
      expect(found.spectralNorm[0]).toBeCloseTo(1, 5);
      // Arnoldi finds nothing to prefer in 256 products: said, not hidden.
      expect(found.unconverged).toBe(1);
    });

    it("without derivatives the radius remains, and the norm is not known", async () => {
      using model = affine("symmetric", symmetricWithSpectrum(spectrum, directions), new Array(k).fill(0));
      const found = await spectra(model, rows(k, 1), { engine: withoutDerivatives(model) });
      expect(found.method).toBe("central differences");
      expect(Math.abs(found.spectralRadius[0] / 0.95 - 1)).toBeLessThan(1e-3);
      expect(found.spectralNorm[0]).toBeNaN();
    });
  });
});

describe.skipIf(!hasShared)("the float64 references (skipped where the shared folder is missing)", () => {
  for (const name of ["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"]) {
    it(`${name}: Jacobians, spectral norms and radii`, async () => {
      const { tensors } = await readSafetensors(sharedPath("reference", `${name}.safetensors`));
      const reference = JSON.parse(readFileSync(sharedPath("reference", `${name}.json`), "utf8"));
      const at = tensors.get("jacobian.at");
      const expected = tensors.get("jacobian.matrix");
      if (at === undefined || expected === undefined) throw new Error("the reference has no Jacobians");
      await using model = await loadAutoencoder(sharedPath("models", name));
      const points = matrix(at.data as Float32Array, model.latentDimension);
      const found = await jacobian(model, points, { threads: 2 });
      const size = points.columns ** 2;
      for (let i = 0; i < points.rows; i++) {
        const part = (data: ArrayLike<number>) => Array.from(data).slice(i * size, (i + 1) * size);
        expect(relative(part(found.data), part(expected.data as Float32Array)), `point ${i}`).toBeLessThan(
          1e-4,
        );
      }
      const { spectralNorm, spectralRadius } = await spectra(model, points, { threads: 2 });
      for (let i = 0; i < points.rows; i++) {
        expect(spectralNorm[i] / reference.jacobian.spectral_norm[i] - 1, `norm ${i}`).toBeLessThan(1e-4);
        expect(spectralNorm[i] / reference.jacobian.spectral_norm[i] - 1).toBeGreaterThan(-1e-4);
        const radius = spectralRadius[i] / reference.jacobian.spectral_radius[i] - 1;
        expect(Math.abs(radius), `radius ${i}`).toBeLessThan(1e-4);
      }
    });
  }
});
