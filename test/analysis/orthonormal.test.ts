import { describe, expect, it } from "vitest";
import { bestTerms, orthonormalBasis } from "../../src/analysis/orthonormal.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { native } from "../../src/native.js";
import { seededRandom } from "../support/random.js";

/** Rows of `basis` times rows of `basis`. */
function gram(basis: Float64Array, k: number): number[][] {
  return Array.from({ length: k }, (_, i) =>
    Array.from({ length: k }, (_, j) => {
      let dot = 0;
      for (let r = 0; r < k; r++) dot += basis[i * k + r] * basis[j * k + r];
      return dot;
    }),
  );
}

describe("an orthonormal basis", () => {
  it.each([1, 2, 3, 17, 32, 33, 96, 200])("of %i dimensions is orthonormal to rounding", async (k) => {
    gram(await orthonormalBasis(k), k).forEach((dots, i) => {
      dots.forEach((dot, j) => {
        expect(Math.abs(dot - (i === j ? 1 : 0))).toBeLessThan(1e-14 * k + 1e-14);
      });
    });
  });

  it("is the Q of a Gaussian matrix: QᵀA is upper triangular", async () => {
    const k = 12;
    const q = await orthonormalBasis(k, { randomSeed: 5 });
    const a = native().noise(5, 2 ** 32, k, k, 1);
    for (let i = 0; i < k; i++) {
      for (let c = 0; c < i; c++) {
        let dot = 0;
        for (let r = 0; r < k; r++) dot += q[i * k + r] * a[r * k + c];
        expect(Math.abs(dot)).toBeLessThan(1e-13);
      }
    }
  });

  it("depends on the seed alone", async () => {
    expect(await orthonormalBasis(150, { threads: 3 })).toEqual(await orthonormalBasis(150, { threads: 1 }));
    expect(await orthonormalBasis(8, { randomSeed: 1 })).toEqual(
      await orthonormalBasis(8, { randomSeed: 1 }),
    );
    expect(await orthonormalBasis(8, { randomSeed: 1 })).not.toEqual(
      await orthonormalBasis(8, { randomSeed: 2 }),
    );
  });

  it("refuses no dimensions, and stops when the signal fires", async () => {
    await expect(orthonormalBasis(0)).rejects.toBeInstanceOf(InputError);
    await expect(orthonormalBasis(2.5)).rejects.toThrow(/2.5 dimensions/);
    await expect(orthonormalBasis(64, { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(AbortedError);
  });
});

describe("the best terms", () => {
  const k = 24;
  const signals = matrix(seededRandom(3).floats(10 * k), k);

  it("leave the energy of the coefficients that are left out", async () => {
    const basis = await orthonormalBasis(k);
    const sparsities = [1, 5, 23, 24];
    const found = [];
    for await (const rebuilt of bestTerms(basis, signals, sparsities)) found.push(rebuilt);
    expect(found).toHaveLength(4);
    for (const [s, rebuilt] of found.entries()) {
      for (let i = 0; i < 10; i++) {
        const signal = signals.data.subarray(i * k, (i + 1) * k);
        const energies = Array.from({ length: k }, (_, c) => {
          let dot = 0;
          for (let r = 0; r < k; r++) dot += basis[c * k + r] * signal[r];
          return dot * dot;
        }).sort((a, b) => b - a);
        const left = energies.slice(sparsities[s]).reduce((sum, energy) => sum + energy, 0);
        const error = signal.reduce((sum, value, r) => sum + (value - rebuilt.data[i * k + r]) ** 2, 0);
        expect(error).toBeCloseTo(left, 5);
      }
    }
  });

  it("are what matching pursuit finds in the same basis", async () => {
    const basis = await orthonormalBasis(k, { randomSeed: 9 });
    const atoms = Float32Array.from(basis);
    const sparsities = [1, 4, 12, 24];
    const { bySparsity } = await native().omp(atoms, signals.data, k, {
      sparsities: Int32Array.from(sparsities),
      threads: 1,
      memoryBudget: 2 ** 24,
    }).promise;
    let s = 0;
    for await (const rebuilt of bestTerms(basis, signals, sparsities)) {
      const { support, coefficients, sparsity, earlyStops } = bySparsity[s++];
      expect(earlyStops).toBe(0);
      for (let i = 0; i < 10; i++) {
        const sum = new Float64Array(k);
        for (let m = i * sparsity; m < (i + 1) * sparsity; m++) {
          for (let r = 0; r < k; r++) sum[r] += coefficients[m] * atoms[support[m] * k + r];
        }
        for (let r = 0; r < k; r++) expect(rebuilt.data[i * k + r]).toBeCloseTo(sum[r], 4);
      }
    }
  });
});
