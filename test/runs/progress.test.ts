/** Every stage of a measure tells of its progress, under its own name and with the set it is busy with. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, expect, it, vi } from "vitest";
import { writeNpy } from "../../src/data/npy.js";
import { data, noise } from "../../src/dynamics/points.js";
import { native, type Progress } from "../../src/native.js";
import { runComparison } from "../../src/runs/comparisonRun.js";
import { extractAttractors } from "../../src/runs/extract.js";
import { runMemorization } from "../../src/runs/memorizationRun.js";
import { runOod } from "../../src/runs/oodRun.js";
import { runProbe } from "../../src/runs/probeRun.js";
import { runRank } from "../../src/runs/rankRun.js";
import { runSpeed } from "../../src/runs/speedRun.js";
import { runTrajectories } from "../../src/runs/trajectoryRun.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const example = fileURLToPath(new URL("../../examples/mnist/", import.meta.url));
const model = join(example, "mnist-conv-k16");
const images = join(example, "train-images-1000.idx3-ubyte.gz");
const folder = temporaryFolder();
const options = { threads: 1, out: null } as const;

const JOBS = [
  "apply",
  "iterate",
  "trajectory",
  "nearest",
  "knnScore",
  "mahalanobis",
  "singularValues",
  "omp",
] as const;

/** A job reports ten times a second, and these are done sooner: so that each begins with a report of its own. */
function reportAtOnce(): void {
  const addon = native();
  for (const name of JOBS) {
    const job = addon[name].bind(addon) as (...args: unknown[]) => unknown;
    vi.spyOn(addon, name).mockImplementation(((...args: unknown[]) => {
      const listener = args.at(-1);
      if (typeof listener === "function") {
        const progress: Progress = { finished: 1, total: 4, evaluations: 0, seconds: 0.5 };
        (listener as (progress: Progress) => void)(progress);
      }
      return job(...args);
    }) as never);
  }
}

afterEach(() => {
  vi.restoreAllMocks();
});

/** "phase set" of everything that was told, each once, in order. */
async function stagesOf(
  measure: (onProgress: (progress: { phase: string; set: string }) => void) => Promise<unknown>,
): Promise<string[]> {
  vi.restoreAllMocks();
  reportAtOnce();
  const seen = new Set<string>();
  await measure(({ phase, set, ...counts }) => {
    seen.add(`${phase}: ${set}`);
    for (const count of Object.values(counts)) expect(count).toEqual(expect.any(Number));
  });
  // Comes at the end of an iteration, and is passed on only where the last report is a tenth of a second old.
  return [...seen].filter((stage) => !stage.startsWith("deduplicate"));
}

it("memorization: encoding, iteration, decoding and every comparison", async () => {
  const stages = await stagesOf((onProgress) =>
    runMemorization(model, { ...options, train: `${images}:20`, heldOut: `${images}:10`, onProgress }),
  );
  expect(stages).toEqual([
    "encode: training inputs",
    "iterate: points",
    "encode: held-out inputs",
    "decode: attractors",
    "decode: initial points",
    "compare: attractors",
    "compare: held-out inputs",
    "compare: initial points",
    "compare: training inputs",
  ]);
});

it("ood: encoding, iteration, paths, neighbours, Mahalanobis distance and reconstruction", async () => {
  const noisy = join(folder, "noisy.npy");
  await writeNpy(noisy, { shape: [5, 28, 28], data: new Float32Array(5 * 784).fill(0.5) });
  const stages = await stagesOf((onProgress) =>
    runOod(model, {
      ...options,
      train: `${images}:20`,
      id: `${images}:6`,
      ood: { grey: noisy },
      steps: 3,
      onProgress,
    }),
  );
  expect(stages).toEqual([
    "encode: train",
    "encode: id",
    "encode: grey",
    "iterate: train",
    "walk: id, grey",
    "neighbours: id, grey",
    "mahalanobis: id, grey",
    "decode: id",
    "decode: grey",
  ]);
});

it("trajectories, speed and probe", async () => {
  const walked = await stagesOf((onProgress) =>
    runTrajectories(model, {
      ...options,
      from: { a: data(images, { count: 3 }), b: noise(2) },
      steps: 2,
      onProgress,
    }),
  );
  expect(walked).toEqual(["encode: a", "walk: a", "walk: b"]);
  const speed = await stagesOf((onProgress) =>
    runSpeed(model, { ...options, from: { noise: noise(3) }, onProgress }),
  );
  expect(speed).toEqual(["iterate: noise", "verify: noise"]);
  const probed = await stagesOf((onProgress) =>
    runProbe(model, { ...options, data: { digits: data(images) }, atoms: 5, maxSignals: 3, onProgress }),
  );
  expect(probed).toEqual(["encode: digits", "iterate: noise", "pursue: digits", "decode: digits"]);
});

it("rank and similarity of runs", async () => {
  const out = join(folder, "run");
  const stages = await stagesOf((onProgress) =>
    extractAttractors(model, { from: { noise: noise(3) }, threads: 1, out, report: false, onProgress }),
  );
  expect(stages).toContain("verify: noise");
  expect(await stagesOf((onProgress) => runRank(out, { ...options, onProgress }))).toEqual([
    "decode: attractors",
    "decompose: decoded attractors",
  ]);
  expect(await stagesOf((onProgress) => runComparison(out, out, { ...options, onProgress }))).toEqual([
    "compare: noise",
  ]);
});
