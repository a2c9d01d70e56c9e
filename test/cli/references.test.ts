/** What the commands print and write against the numbers that were computed independently. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { MemorizationRecord } from "../../src/analysis/memorization.js";
import type { OodRecord } from "../../src/analysis/ood.js";
import type { RankRecord } from "../../src/analysis/rank.js";
import { writeSafetensors } from "../../src/data/safetensors.js";
import type { RunRecord } from "../../src/dynamics/result.js";
import type { Matrix } from "../../src/matrix.js";
import { type ReferenceMeasures, referenceMeasures, referenceOmp } from "../support/referenceMeasures.js";
import { convergedEndpoints, referenceRows, referenceTensor } from "../support/references.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { latdyn } from "./latdyn.js";
import { tensorsOf } from "./tensors.js";

const missing = hasShared ? "" : " (skipped: the shared models, data and references are not here)";
const cwd = temporaryFolder();
const train = sharedPath("data", "mnist", "train-images-idx3-ubyte.gz");
const test = sharedPath("data", "mnist", "t10k-images-idx3-ubyte.gz");
const letters = sharedPath("data", "notmnist", "t10k-images-idx3-ubyte.gz");

async function json<Result>(...args: string[]): Promise<Result> {
  const { code, stdout, stderr } = await latdyn(args, { cwd });
  expect(stderr.replace(/^\{.*\}$/gm, "").trim()).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout) as Result;
}

function expectWithin(found: ArrayLike<number>, expected: ArrayLike<number>, relative: number): void {
  expect(found).toHaveLength(expected.length);
  for (let i = 0; i < expected.length; i++) {
    expect(Math.abs(found[i]! - expected[i]!), `${i}: ${found[i]} for ${expected[i]}`).toBeLessThanOrEqual(
      relative * Math.abs(expected[i]!),
    );
  }
}

const tensor = ({ rows, columns, data }: Matrix) => ({ shape: [rows, columns], data });

describe.skipIf(!hasShared)(`the commands against an independent implementation${missing}`, () => {
  describe.each(["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"])("%s", (name) => {
    const model = sharedPath("models", name);
    const measures = (): ReferenceMeasures => referenceMeasures(name);
    const fixed = `${name}.safetensors`;

    it("similarity, dedup and contraction at given points", async () => {
      const [a, b] = [await convergedEndpoints(name, "train"), await convergedEndpoints(name, "noise")];
      const at = await referenceRows(name, "jacobian.at");
      await writeSafetensors(join(cwd, fixed), { train: tensor(a), noise: tensor(b), at: tensor(at) });
      const { chamfer, jacobian } = measures();
      const alike = await json<{ cosine: number; euclidean: number }>(
        ...["similarity", `${fixed}#train`, `${fixed}#noise`],
      );
      expectWithin([alike.cosine, alike.euclidean], [chamfer.cosine, chamfer.euclidean], 1e-4);

      const kept = await json<{ rows: number; kept: number }>(
        ...["dedup", `${fixed}#train`, "--out", `${name}-same.safetensors`],
      );
      const representatives = await referenceTensor(name, "train.dedup.representatives");
      expect(kept).toEqual({ rows: a.rows, kept: representatives.shape[0] });
      const labels = Array.from((await referenceTensor(name, "train.dedup.labels")).data, Number);
      const found = await tensorsOf(join(cwd, `${name}-same.safetensors`));
      expect([...found.labels!]).toEqual(labels.filter((label) => label >= 0));

      const out = `${name}-contraction`;
      await json(
        ...["contraction", model, "--from", `at=latents:${fixed}#at`, "--scheme", "pytorch", "--seeds", "1"],
        ...["--inputs", "2", "--noise", "0", "--no-report", "--out", out, "--json"],
      );
      const spectra = await tensorsOf(join(cwd, out, "contraction.safetensors"));
      expectWithin(spectra["at.spectral_norm"]!, jacobian.spectral_norm, 1e-4);
      expectWithin(spectra["at.spectral_radius"]!, jacobian.spectral_radius, 1e-4);
    });

    it("attractors, then memorization and rank of that run", async () => {
      const { memorization, rank90, train: counted } = measures();
      const run = `${name}-run`;
      const record = await json<RunRecord>(
        ...["attractors", model, "--from", `data:${train}:256`, "--out", run, "--no-report", "--json"],
      );
      const { converged, diverged, attractors } = record.summary.data!;
      expect({ converged, diverged, attractors }).toEqual({
        converged: counted.status_counts_f64.converged,
        diverged: counted.status_counts_f64.diverged,
        attractors: counted.attractors_cos099_of_converged_f64,
      });
      const { coefficient } = await json<MemorizationRecord>(
        ...["memorization", run, "--train", `${train}:${memorization.training_images}`, "--no-report"],
        ...["--out", `${name}-memorization`, "--json"],
      );
      const { mean, std, min, max } = coefficient.attractors;
      expectWithin(
        [mean!, std!, min!, max!],
        [memorization.mean, memorization.std, memorization.min, memorization.max],
        1e-4,
      );
      const of = (...flags: string[]) => json<RankRecord>("rank", run, ...flags, "--no-report", "--json");
      expect((await of("--out", `${name}-rank`)).rank90).toBe(rank90.uncentered);
      expect((await of("--centred", "--out", `${name}-centred`)).rank90).toBe(rank90.centered);
    });

    it("ood: rates, trajectory and KNN scores", async () => {
      const { ood } = measures();
      const out = `${name}-ood`;
      await writeSafetensors(join(cwd, `${name}-train.safetensors`), {
        train: tensor(await convergedEndpoints(name, "train")),
      });
      const { detection } = await json<OodRecord>(
        ...["ood", model, "--train", `${train}:2000`, "--id", `${test}:512`],
        ...["--ood", `ood_notmnist=${letters}:512`, "--attractors", `${name}-train.safetensors`],
        ...["--steps", "60", "--k", "50", "--no-report", "--out", out, "--json"],
      );
      const { trajectory, knn } = detection.ood_notmnist!;
      for (const [found, expected] of [
        [trajectory!, ood.trajectory],
        [knn!, ood.knn50_mean_of_first_2000_train],
      ] as const) {
        expect(Math.abs(found.auroc - expected.auroc)).toBeLessThan(0.002);
        expect(Math.abs(found.fpr95 - expected.fpr95)).toBeLessThan(0.002);
      }
      const scores = await tensorsOf(join(cwd, out, "ood.safetensors"));
      let apart = 0;
      for (const set of ["id", "ood_notmnist"]) {
        const knnScores = Array.from((await referenceTensor(name, `ood.${set}.knn50_score`)).data, Number);
        expectWithin(scores[`${set}.knn`]!, knnScores, 1e-4);
        const expected = Array.from(
          (await referenceTensor(name, `ood.${set}.trajectory_score`)).data,
          Number,
        );
        const found = scores[`${set}.trajectory`]!;
        apart += expected.filter((value, i) => Math.abs(found[i]! / value - 1) > 1e-4).length;
      }
      // Paths over a ridge between two basins amplify the roundings of float32 (test/native/trajectory.test.ts walks
      // those in float64, and meets the reference).
      expect(apart).toBeLessThan(8);
    });
  });

  it.each(["random_256x512", "orthonormal_256", "mnist_decoded_1024x300_correlated"])(
    "omp of %s",
    async (name) => {
      const file = sharedPath("reference", "omp.safetensors");
      const expected = referenceOmp()[name]!;
      const sparsities = Object.keys(expected.by_sparsity);
      const out = `${name}.safetensors`;
      const { bySparsity } = await json<{
        bySparsity: Record<string, { meanSquaredError: number; earlyStops: number }>;
      }>(
        ...["omp", `${file}#${name}.dictionary`, `${file}#${name}.signals`],
        ...["--sparsity", sparsities.join(","), "--out", out],
      );
      const found = await tensorsOf(join(cwd, out));
      for (const k of sparsities) {
        const { mean_squared_error_per_element: error } = expected.by_sparsity[k]!;
        expectWithin([bySparsity[k]!.meanSquaredError], [error], 1e-4);
        const supports = Array.from(
          (await referenceTensor("omp", `${name}.K${k}.support_sorted`)).data,
          Number,
        );
        const own = found[`K${k}.support`]!;
        const width = Number(k);
        let same = 0;
        for (let i = 0; i < expected.signals; i++) {
          const [a, b] = [own, supports].map((all) =>
            [...all].slice(i * width, (i + 1) * width).sort((x, y) => x - y),
          );
          if (a!.join() === b!.join()) same++;
        }
        expect(same / expected.signals, `supports of ${k}`).toBeGreaterThanOrEqual(0.995);
        expectWithin(
          found[`K${k}.residual_norm`]!,
          Array.from((await referenceTensor("omp", `${name}.K${k}.residual_norm`)).data, Number),
          1e-4,
        );
      }
    },
  );
});
