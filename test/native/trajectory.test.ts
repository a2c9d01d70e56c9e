import { describe, expect, it } from "vitest";
import { nativeEngine } from "../../src/engines/native.js";
import { lower } from "../../src/graph/lower.js";
import { interpret, interpreter } from "../../src/graph/reference.js";
import { type Matrix, row } from "../../src/matrix.js";
import { type Autoencoder, graphOf } from "../../src/models/autoencoder.js";
import { loadAutoencoder } from "../../src/models/load.js";
import {
  type CompileOptions,
  type NativePlan,
  native,
  type Progress,
  type TrajectoryOptions,
} from "../../src/native.js";
import { affine, elementwise, rotation, scaling } from "../support/maps.js";
import { seededRandom } from "../support/random.js";
import { convergedEndpoints, preparedImages, referenceTensor } from "../support/references.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";

const none = new Int32Array(0);
const defaults: TrajectoryOptions = { steps: 0, storeSteps: none, curveRows: none, threads: 1 };

async function withPlan<T>(
  model: Autoencoder,
  options: CompileOptions,
  use: (plan: NativePlan) => Promise<T>,
): Promise<T> {
  const plan = native().compile(lower(graphOf(model, "map")), options);
  try {
    return await use(plan);
  } finally {
    plan.dispose();
  }
}

function walk(
  model: Autoencoder,
  initial: Float32Array,
  attractors: Float32Array,
  options: Partial<TrajectoryOptions>,
  compile: CompileOptions = {},
) {
  return withPlan(
    model,
    compile,
    (plan) => native().trajectory(plan, initial, attractors, { ...defaults, ...options }).promise,
  );
}

const steps = (count: number) => Int32Array.from({ length: count + 1 }, (_, step) => step);

/** The plain form: the distance of every point to every attractor. */
function plainDistances(path: Float32Array | Float64Array, attractors: Float32Array, k: number): number[] {
  return Array.from({ length: path.length / k }, (_, t) => {
    let least = Number.POSITIVE_INFINITY;
    for (let a = 0; a < attractors.length / k; a++) {
      let squared = 0;
      for (let l = 0; l < k; l++) squared += (path[t * k + l]! - attractors[a * k + l]!) ** 2;
      least = Math.min(least, squared);
    }
    return Math.sqrt(least);
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

const variants: [string, CompileOptions][] = [
  ...native()
    .cpu()
    .isas.map((isa): [string, CompileOptions] => [`lanes ${isa}`, { layout: "lanes", isa }]),
  ["onednn", { layout: "onednn" }],
];

describe.each(variants)("trajectory, %s", (_, compile) => {
  it("walks a contraction whose score has a formula", async () => {
    // z[t] = z0 / 2^t exactly, so the distances to the attractor 0 are |z0| / 2^t.
    const initial = Float32Array.of(3, 4, -6, 8, 0, 0);
    const found = await walk(
      scaling("half", 2, 0.5),
      initial,
      Float32Array.of(0, 0),
      { steps: 3, storeSteps: Int32Array.of(0, 2), curveRows: Int32Array.of(1) },
      compile,
    );
    const share = (1 + 1 / 2 + 1 / 4 + 1 / 8) / 4;
    expect([...found.score]).toEqual([5 * share, 10 * share, 0]);
    expect([...found.stored]).toEqual([3, 4, 0.75, 1, -6, 8, -1.5, 2, 0, 0, 0, 0]);
    expect(found.curves).toHaveLength(1);
    expect([...found.curves[0]!.norm]).toEqual([10, 5, 2.5, 1.25]);
    expect([...found.curves[0]!.distance]).toEqual([10, 5, 2.5, 1.25]);
    expect([...found.curves[0]!.residual]).toEqual([25, 6.25, 1.5625]);
    expect(found.evaluations).toBe(9);
  });

  it("scores as the plain form does, whatever becomes nearest on the way", async () => {
    const random = seededRandom(41);
    const rows = 41;
    for (const [model, count, k, attractorCount] of [
      // Round and round past a ring of attractors: the nearest changes all the time.
      [rotation("turn", 0.4), 60, 2, 12],
      // Settles: after some steps no attractor is measured but one.
      [
        affine(
          "settling",
          Array.from({ length: 49 }, (_, i) => (i % 8 === 0 ? 0.8 : 0.01)),
          new Array(7).fill(0.3),
        ),
        50,
        7,
        300,
      ],
      [scaling("away", 3, 1.3), 20, 3, 1],
    ] as const) {
      const initial = random.floats(rows * k, 2);
      const attractors = random.floats(attractorCount * k, 1.5);
      const options = { steps: count, storeSteps: steps(count), curveRows: Int32Array.of(0, 40) };
      const found = await walk(model, initial, attractors, options, compile);
      const length = (count + 1) * k;
      for (let i = 0; i < rows; i++) {
        const path = found.stored.subarray(i * length, (i + 1) * length);
        const distances = plainDistances(path, attractors, k);
        expect(Math.abs(found.score[i]! / mean(distances) - 1)).toBeLessThan(1e-13);
        if (i === 40) expect(found.curves[1]!.distance).toEqual(Float32Array.from(distances));
      }
      const paths = await native().scorePaths(found.stored, count + 1, k, attractors, { threads: 2 }).promise;
      found.score.forEach((score, i) => {
        expect(Math.abs(paths.score[i]! / score - 1)).toBeLessThan(1e-13);
      });
      const many = await walk(model, initial, attractors, { ...options, threads: 3 }, compile);
      expect(many.score).toEqual(found.score);
      expect(many.stored).toEqual(found.stored);
    }
  });

  it("tells copies and near copies apart, at every magnitude and among thousands", async () => {
    const random = seededRandom(43);
    const [rows, k, count] = [17, 20, 12];
    const near = (copies: number, apart: number, scale: number) => {
      const centres = random.floats(5 * k, 1.5);
      return Float32Array.from({ length: 5 * copies * k }, (_, i) => {
        const centre = centres[(Math.floor(i / k) % 5) * k + (i % k)]!;
        return scale * (centre + (i % 3 === 0 ? apart * random.floats(1, 1)[0]! : 0));
      });
    };
    const settling = affine(
      "settling",
      Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? 0.7 : 0.01)),
      new Array(k).fill(0),
    );
    for (const [attractors, scale] of [
      [near(40, 0, 1), 1],
      [near(40, 1e-7, 1), 1],
      [near(40, 1e-3, 1), 1],
      // More than distances between attractors are kept for.
      [near(450, 1e-4, 1), 1],
      // Squares overflow, or vanish, in float32.
      [near(40, 1e-3, 1e25), 1e25],
      [near(40, 1e-3, 1e-25), 1e-25],
    ] as const) {
      const initial = random.floats(rows * k, 2).map((value) => value * scale);
      const found = await walk(
        settling,
        initial,
        attractors,
        { steps: count, storeSteps: steps(count) },
        compile,
      );
      const length = (count + 1) * k;
      for (let i = 0; i < rows; i++) {
        const path = found.stored.subarray(i * length, (i + 1) * length);
        const exact = mean(plainDistances(path, attractors, k));
        expect(Math.abs(found.score[i]! / exact - 1)).toBeLessThan(1e-13);
      }
    }
  });

  it("gives NaN to the paths that stop being numbers, and to no others", async () => {
    const initial = Float32Array.of(1, 1, 1e30, 1, Number.NaN, 1, 2, 2);
    const model = scaling("exploding", 2, 1e4);
    const attractors = Float32Array.of(0, 0);
    const found = await walk(model, initial, attractors, { steps: 3, curveRows: Int32Array.of(1) }, compile);
    expect(Array.from(found.score, Number.isNaN)).toEqual([false, true, true, false]);
    expect(found.score[0]).toBeCloseTo((Math.SQRT2 * (1 + 1e4 + 1e8 + 1e12)) / 4, -4);
    expect(Array.from(found.curves[0]!.distance, Number.isNaN)).toEqual([false, false, false, true]);
  });

  it("walks without attractors, without rows and without steps", async () => {
    const model = elementwise("tanh", 3, { kind: "tanh", alpha: 0, beta: 0 });
    const initial = seededRandom(42).floats(15);
    const without = await walk(
      model,
      initial,
      new Float32Array(0),
      { steps: 4, curveRows: Int32Array.of(2) },
      compile,
    );
    expect(without.score).toHaveLength(0);
    expect(without.curves[0]!.distance).toHaveLength(0);
    expect(without.curves[0]!.norm).toHaveLength(5);
    expect((await walk(model, new Float32Array(0), initial, { steps: 4 }, compile)).score).toHaveLength(0);
    const still = await walk(model, initial, initial, { steps: 0, storeSteps: Int32Array.of(0) }, compile);
    expect([...still.score]).toEqual([0, 0, 0, 0, 0]);
    expect(still.stored).toEqual(initial);
    expect(still.evaluations).toBe(0);
  });
});

describe("trajectory", () => {
  it("names what it cannot walk", async () => {
    const model = scaling("half", 2, 0.5);
    const initial = new Float32Array(6);
    const bad = Float32Array.of(0, 0, 1, Number.NaN);
    await expect(walk(model, initial, bad, {})).rejects.toThrow(
      "attractors: row 1 holds NaN in column 1, expected finite numbers",
    );
    await expect(walk(model, initial, new Float32Array(3), {})).rejects.toThrow("do not make rows of 2");
    await expect(walk(model, initial, bad, { steps: -1 })).rejects.toThrow("steps");
    for (const storeSteps of [[3], [-1], [1, 1], [2, 1]]) {
      const options = { steps: 2, storeSteps: Int32Array.from(storeSteps) };
      await expect(walk(model, initial, initial, options)).rejects.toThrow("storeSteps");
    }
    await expect(walk(model, initial, initial, { curveRows: Int32Array.of(3) })).rejects.toThrow("curveRows");
    await expect(
      native().scorePaths(initial, 1, 2, new Float32Array(0), { threads: 1 }).promise,
    ).rejects.toThrow("attractors has no rows");
  });

  it("stops when asked, and reports on the way", async () => {
    const model = rotation("turn", 0.1);
    await withPlan(model, {}, async (plan) => {
      const seen: Progress[] = [];
      const job = native().trajectory(
        plan,
        seededRandom(43).floats(4000),
        Float32Array.of(1, 1),
        { ...defaults, steps: 2_000_000_000 },
        (progress) => {
          seen.push(progress);
          job.abort();
        },
      );
      const result = await job.promise;
      expect(result.aborted).toBe(true);
      expect(seen[0]!.evaluations).toBeGreaterThan(0);
      expect(seen[0]!.total).toBe(2000);
      expect(result.score.every(Number.isNaN)).toBe(true);
    });
  });
});

const title = hasShared
  ? "trajectory and KNN scores of the reference"
  : "trajectory and KNN scores of the reference (skipped: the shared folder with reference/ is not there)";
describe.skipIf(!hasShared)(title, () => {
  const trainImages = ["mnist", "train-images-idx3-ubyte.gz"];
  const sets = { id: "mnist", ood_notmnist: "notmnist" };

  it.each(["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"])("%s", async (name) => {
    await using model = await loadAutoencoder(sharedPath("models", name));
    const engine = nativeEngine(model);
    const attractors = await convergedEndpoints(name, "train");
    const train = await engine.encode(await preparedImages(model, trainImages, 2000), { threads: 2 });
    for (const [set, folder] of Object.entries(sets)) {
      const images = await preparedImages(model, [folder, "t10k-images-idx3-ubyte.gz"], 512);
      const latents = await engine.encode(images, { threads: 2 });
      const errors = async (score: string, found: Float64Array): Promise<number[]> => {
        const expected = Array.from((await referenceTensor(name, `ood.${set}.${score}`)).data, Number);
        expect(found).toHaveLength(expected.length);
        return expected.map((value, i) => Math.abs(found[i]! / value - 1));
      };

      const options = { neighbours: 50, rule: "mean", normalise: false, threads: 2 } as const;
      const knn = await native().knnScore(train.data, latents.data, latents.columns, options).promise;
      expect(Math.max(...(await errors("knn50_score", knn.score)))).toBeLessThan(1e-5);

      // Paths that pass a ridge between two basins amplify the roundings of float32: the few that leave the
      // reference by more than 1e-4 meet it when the same path is walked in float64.
      const walked = await walk(model, latents.data, attractors.data, { steps: 60, threads: 2 });
      const apart = await errors("trajectory_score", walked.score);
      const ridges = apart.flatMap((error, i) => (error < 1e-4 ? [] : [i]));
      expect(ridges.length).toBeLessThan(6);
      const exact = walked.score.slice();
      for (const i of ridges) exact[i] = scoreInDouble(model, row(images, i), attractors, 60);
      expect(Math.max(...(await errors("trajectory_score", exact)))).toBeLessThan(1e-4);
    }
  });
});

/** The score of one input's path, all of it in float64. */
function scoreInDouble(model: Autoencoder, input: Float32Array, attractors: Matrix, steps: number): number {
  if (model.encoder === null) throw new Error(`${model.name} has no encoder`);
  const k = attractors.columns;
  const f = interpreter(graphOf(model, "map"));
  let z = interpret(model.encoder, input, 1);
  const path = new Float64Array((steps + 1) * k);
  path.set(z);
  for (let t = 1; t <= steps; t++) {
    z = f(z, 1);
    path.set(z, t * k);
  }
  return mean(plainDistances(path, attractors.data, k));
}
