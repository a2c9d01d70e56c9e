import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.js";
import { native, type OmpSelection } from "../../src/native.js";
import { seededRandom } from "../support/random.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";

interface Settings {
  sparsities?: number[];
  threads?: number;
  memoryBudget?: number;
}

function start(dictionary: Float32Array, signals: Float32Array, dimension: number, settings: Settings = {}) {
  const { sparsities = [1], threads = 2, memoryBudget = 2 ** 30 } = settings;
  return native().omp(dictionary, signals, dimension, {
    sparsities: Int32Array.from(sparsities),
    threads,
    memoryBudget,
  });
}

async function omp(dictionary: Float32Array, signals: Float32Array, dimension: number, settings?: Settings) {
  return (await start(dictionary, signals, dimension, settings).promise).bySparsity;
}

/** Solves the symmetric positive definite system in place, by elimination. */
function solve(matrix: number[][], right: number[]): number[] {
  const n = right.length;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const factor = matrix[j]![i]! / matrix[i]![i]!;
      for (let l = i; l < n; l++) matrix[j]![l]! -= factor * matrix[i]![l]!;
      right[j]! -= factor * right[i]!;
    }
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let l = i + 1; l < n; l++) right[i]! -= matrix[i]![l]! * right[l]!;
    right[i]! /= matrix[i]![i]!;
  }
  return right;
}

/** The definition: atoms of unit length, the largest |correlation| with the residual, the normal equations. */
function definition(dictionary: Float32Array, signal: Float32Array, sparsity: number) {
  const dimension = signal.length;
  const rows = Array.from({ length: dictionary.length / dimension }, (_, j) =>
    Array.from(dictionary.subarray(j * dimension, (j + 1) * dimension)),
  );
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>) => {
    let sum = 0;
    for (let l = 0; l < dimension; l++) sum += x[l]! * y[l]!;
    return sum;
  };
  const lengths = rows.map((row) => Math.sqrt(dot(row, row)));
  const support: number[] = [];
  let coefficients: number[] = [];
  let residual = Array.from(signal);
  while (support.length < sparsity) {
    const scores = rows.map((row, j) =>
      support.includes(j) ? -1 : Math.abs(dot(row, residual)) / lengths[j]!,
    );
    support.push(scores.indexOf(Math.max(...scores)));
    coefficients = solve(
      support.map((i) => support.map((j) => dot(rows[i]!, rows[j]!))),
      support.map((i) => dot(rows[i]!, signal)),
    );
    residual = residual.map((_, l) =>
      support.reduce((rest, j, m) => rest - coefficients[m]! * rows[j]![l]!, signal[l]!),
    );
  }
  return { support, coefficients, residualNorm: Math.sqrt(dot(residual, residual)) };
}

const sorted = (values: Iterable<number>) => [...values].sort((a, b) => a - b);

/** Chosen atoms of one signal, without the padding of an early stop. */
function supportOf({ support, sparsity }: OmpSelection, signal: number): number[] {
  return [...support.subarray(signal * sparsity, (signal + 1) * sparsity)].filter((atom) => atom >= 0);
}

describe("omp", () => {
  it("takes the largest elements on orthogonal axes, and stops where nothing is left", async () => {
    const axes = Float32Array.of(1, 0, 0, 0, 2, 0, 0, 0, 4);
    const [one, two] = await omp(axes, Float32Array.of(3, -8, 2, 0, 0, 0, 0, 0, 7), 3, {
      sparsities: [1, 2],
    });
    expect(one).toEqual({
      sparsity: 1,
      support: Int32Array.of(1, -1, 2),
      coefficients: Float32Array.of(-4, 0, 1.75),
      residualNorm: Float64Array.of(Math.sqrt(13), 0, 0),
      meanSquaredError: expect.closeTo(13 / 9, 12),
      earlyStops: 1,
    });
    expect(two).toEqual({
      sparsity: 2,
      support: Int32Array.of(1, 0, -1, -1, 2, -1),
      coefficients: Float32Array.of(-4, 3, 0, 0, 1.75, 0),
      residualNorm: Float64Array.of(2, 0, 0),
      meanSquaredError: expect.closeTo(4 / 9, 12),
      earlyStops: 2,
    });
  });

  it("agrees with the definition in double", async () => {
    const random = seededRandom(21);
    for (const [atoms, dimension, signals, sparsities] of [
      [30, 8, 5, [1, 3, 8]],
      [80, 50, 6, [2, 20]],
    ] as const) {
      const dictionary = random.floats(atoms * dimension, 3);
      const given = random.floats(signals * dimension);
      for (const selection of await omp(dictionary, given, dimension, { sparsities: [...sparsities] })) {
        const { sparsity } = selection;
        for (let i = 0; i < signals; i++) {
          const signal = given.subarray(i * dimension, (i + 1) * dimension);
          const expected = definition(dictionary, signal, sparsity);
          expect(supportOf(selection, i)).toEqual(expected.support);
          const coefficients = selection.coefficients.subarray(i * sparsity, (i + 1) * sparsity);
          coefficients.forEach((value, m) => {
            expect(value).toBeCloseTo(expected.coefficients[m]!, 5);
          });
          expect(selection.residualNorm[i]).toBeCloseTo(expected.residualNorm, 9);
        }
      }
    }
  });

  it("gives in one pass what separate passes give, on any threads and budget, bit for bit", async () => {
    const random = seededRandom(22);
    const dictionary = random.floats(300 * 40);
    const signals = random.floats(70 * 40);
    const sparsities = [1, 5, 25, 40];
    const together = await omp(dictionary, signals, 40, { sparsities });
    for (const threads of [1, 3]) {
      // The smaller one does not hold the dictionary's Gram matrix.
      for (const memoryBudget of [500_000, 2 ** 30]) {
        expect(await omp(dictionary, signals, 40, { sparsities, threads, memoryBudget })).toEqual(together);
      }
    }
    const separate = await Promise.all(
      sparsities.map((sparsity) => omp(dictionary, signals, 40, { sparsities: [sparsity] })),
    );
    expect(separate.flat()).toEqual(together);
  });

  it("ends a signal with a flag where atoms are the same", async () => {
    const random = seededRandom(23);
    const once = random.floats(4 * 10);
    const dictionary = Float32Array.from([
      ...once,
      ...once.map((value) => -3 * value),
      ...new Array(10).fill(0),
    ]);
    const [selection] = await omp(dictionary, random.floats(20 * 10), 10, { sparsities: [6] });
    expect(selection?.earlyStops).toBe(20);
    for (let i = 0; i < 20; i++) {
      const lines = supportOf(selection!, i).map((atom) => atom % 4);
      expect(sorted(lines)).toEqual([0, 1, 2, 3]);
    }
    expect(selection!.coefficients.every(Number.isFinite)).toBe(true);
  });

  it("counts finished signals and stops when told to", async () => {
    const random = seededRandom(24);
    const dictionary = random.floats(900 * 300);
    const job = native().omp(
      dictionary,
      random.floats(3000 * 300),
      300,
      { sparsities: Int32Array.of(200), threads: 1, memoryBudget: 2 ** 30 },
      ({ finished, total }) => {
        expect(total).toBe(3000);
        if (finished > 0) job.abort();
      },
    );
    const { aborted, bySparsity } = await job.promise;
    expect({ aborted, bySparsity }).toEqual({ aborted: true, bySparsity: [] });
  });

  it("says what is wrong with its input", async () => {
    const two = Float32Array.of(1, 0, 0, 1);
    const promise = (...given: Parameters<typeof start>) => start(...given).promise;
    await expect(promise(Float32Array.of(1, 2, Number.NaN, 4), two, 2)).rejects.toThrow(
      "dictionary: row 1 holds NaN in column 0, expected finite numbers",
    );
    await expect(promise(two, Float32Array.of(1, Number.POSITIVE_INFINITY), 2)).rejects.toThrow(
      "signals: row 0 holds infinity in column 1, expected finite numbers",
    );
    await expect(promise(new Float32Array(0), two, 2)).rejects.toThrow("the dictionary is empty");
    await expect(promise(two, two, 2, { sparsities: [] })).rejects.toThrow("no sparsity is given");
    await expect(promise(two, two, 2, { sparsities: [2, 1] })).rejects.toThrow(
      "sparsity 1 comes after 2, expected ascending whole numbers of at least 1",
    );
    await expect(promise(two, two, 2, { sparsities: [0] })).rejects.toThrow("sparsity 0");
    await expect(promise(two, two, 2, { memoryBudget: 100 })).rejects.toThrow(
      "the memory budget is 100 bytes, expected at least",
    );
    expect(() => start(two, two, 3)).toThrow("dictionary has 4 elements, which do not make rows of 3");
    expect(() => start(two, two, 0)).toThrow("dimension should be a whole number");
    expect(() => start(two, two, 2, { memoryBudget: 0 })).toThrow("memoryBudget");
  });
});

describe.skipIf(!hasShared)("omp against scikit-learn in float64 (needs the shared reference files)", () => {
  interface Reference {
    atoms: number;
    dim: number;
    signals?: number;
    by_sparsity: Record<string, { mean_squared_error_per_element: number; early_stop_warnings: number }>;
  }

  function references(): [string, Reference][] {
    if (!hasShared) return [];
    const file = JSON.parse(readFileSync(sharedPath("reference", "omp.json"), "utf8")) as Record<
      string,
      unknown
    >;
    return Object.entries(file).filter((entry): entry is [string, Reference] => typeof entry[1] === "object");
  }

  it.each(references())("%s", async (name, { dim, by_sparsity }) => {
    const { tensors } = await readSafetensors(sharedPath("reference", "omp.safetensors"));
    const tensor = (key: string) => {
      const found = tensors.get(`${name}.${key}`);
      if (found === undefined) throw new Error(`omp.safetensors has no ${name}.${key}`);
      return Array.from(found.data, Number);
    };
    const dictionary = Float32Array.from(tensor("dictionary"));
    const signals = Float32Array.from(tensor("signals"));
    const sparsities = sorted(Object.keys(by_sparsity).map(Number));
    const found = await omp(dictionary, signals, dim, { sparsities });
    for (const selection of found) {
      const { sparsity } = selection;
      const expected = by_sparsity[sparsity]!;
      expect(selection.earlyStops).toBe(expected.early_stop_warnings);
      const difference = selection.meanSquaredError / expected.mean_squared_error_per_element - 1;
      expect(Math.abs(difference)).toBeLessThan(1e-4);
      const supports = tensor(`K${sparsity}.support_sorted`);
      const norms = tensor(`K${sparsity}.residual_norm`);
      const count = signals.length / dim;
      let same = 0;
      for (let i = 0; i < count; i++) {
        const theirs = supports.slice(i * sparsity, (i + 1) * sparsity);
        const ours = sorted(supportOf(selection, i));
        if (ours.join() === theirs.filter((atom) => atom >= 0).join()) {
          same++;
          expect(Math.abs(selection.residualNorm[i]! / norms[i]! - 1)).toBeLessThan(1e-4);
        }
      }
      expect(same / count).toBeGreaterThanOrEqual(0.995);
    }
  });
});
