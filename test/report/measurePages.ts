/** The pages of all measures, from small runs of the example model, as files. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeNpy } from "../../src/data/npy.js";
import { vectorField } from "../../src/dynamics/field.js";
import { data, latents, noise } from "../../src/dynamics/points.js";
import { matrix } from "../../src/matrix.js";
import { fieldReport } from "../../src/report/fieldReport.js";
import { runComparison } from "../../src/runs/comparisonRun.js";
import { runContraction } from "../../src/runs/contractionRun.js";
import { extractAttractors } from "../../src/runs/extract.js";
import { runMemorization } from "../../src/runs/memorizationRun.js";
import { runOod } from "../../src/runs/oodRun.js";
import { runProbe } from "../../src/runs/probeRun.js";
import { runRank } from "../../src/runs/rankRun.js";
import { runSpeed } from "../../src/runs/speedRun.js";
import { runTrajectories } from "../../src/runs/trajectoryRun.js";
import { mapOf } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const example = fileURLToPath(new URL("../../examples/mnist/", import.meta.url));
const model = join(example, "mnist-conv-k16");
const images = join(example, "train-images-1000.idx3-ubyte.gz");

export interface MeasurePage {
  readonly name: string;
  readonly file: string;
  /** Charts and pictures that the page must hold. */
  readonly charts: number;
  readonly pictures: number;
}

/** What is asked of the pages before any of them is made, so that each can be a test of its own. */
export const MEASURES = [
  "field",
  "field in a plane",
  "trajectories",
  "memorization",
  "similarity",
  "rank",
  "probe",
  "ood",
  "speed",
  "contraction",
] as const;

/** tanh of a turn and a stretch of the first two coordinates: four attractors, near the corners of a square. */
function corners(k: number) {
  return mapOf(`corners-${k}`, k, (graph, z) => {
    const turn = Float32Array.from({ length: k * k }, (_, i) =>
      i % (k + 1) === 0 ? (i < 2 * k ? 2.2 : 0.1) : 0,
    );
    turn.set([0.3], 1);
    turn.set([-0.3], k);
    const weight = graph.constant("A", [k, k], turn);
    const bias = graph.constant("b", [k], new Float32Array(k));
    const turned = graph.node({ op: "linear", name: "turn", inputs: [z, weight, bias] });
    const activation = { kind: "tanh", alpha: 0, beta: 0 } as const;
    return graph.node({ op: "activate", name: "fold", inputs: [turned], activation });
  });
}

export async function makePages(folder: string): Promise<Map<string, MeasurePage>> {
  const at = (name: string): string => join(folder, name);
  const threads = 1;
  const random = seededRandom(5);
  const noisy = Float32Array.from({ length: 50 * 784 }, () => random.uniform());
  await writeNpy(at("noisy.npy"), { shape: [50, 28, 28], data: noisy });

  const from = { data: data(images, { count: 120 }), noise: noise(30) };
  const { run } = await extractAttractors(model, { from, threads, out: at("one"), report: false });
  await extractAttractors(model, { from, threads, tolerance: 1e-5, out: at("two"), report: false });
  const { attractors } = run;
  const one = `${at("one")}#data`;

  const field = await vectorField(corners(2), { extent: [-2, 2, -1.5, 1.5], resolution: 24, threads });
  await writeFile(at("field.html"), fieldReport(field, "0.0.0"));
  const plane = await vectorField(corners(3), {
    plane: { points: matrix(Float32Array.of(0.9, 0, 0.1, 0, 0.9, 0.1, -0.9, 0, 0.1), 3) },
    from: noise(50),
    resolution: 24,
    threads,
  });
  await writeFile(at("plane.html"), fieldReport(plane, "0.0.0"));
  await runTrajectories(model, { from, steps: 30, attractors: one, threads, out: at("trajectories") });
  await runMemorization(one, {
    train: `${images}:300`,
    heldOut: at("noisy.npy"),
    threads,
    out: at("memorization"),
  });
  await runComparison(at("one"), at("two"), { threads, out: at("similarity") });
  await runRank(one, { threads, out: at("rank") });
  const wide = latents(attractors);
  await runProbe(model, {
    data: { digits: data(images), codes: wide },
    atoms: 60,
    scale: 20,
    maxSignals: 20,
    pictures: 3,
    threads,
    out: at("probe"),
  });
  await runOod(model, {
    train: `${images}:300`,
    id: `${images}:80`,
    ood: { noisy: at("noisy.npy"), "also-noisy": `${at("noisy.npy")}:40` },
    attractors: one,
    steps: 10,
    threads,
    out: at("ood"),
  });
  await runSpeed(model, { from, threads, out: at("speed") });
  await runContraction(model, {
    from: { train: data(images, { count: 24 }) },
    seeds: 8,
    inputs: 32,
    noise: 24,
    threads,
    out: at("contraction"),
  });

  const report = (name: string) => join(at(name), "report.html");
  const cards = attractors.rows;
  const pages: MeasurePage[] = [
    { name: "field", file: at("field.html"), charts: 1, pictures: 0 },
    { name: "field in a plane", file: at("plane.html"), charts: 1, pictures: 0 },
    // Steps, distance and norm of two sets; six paths at nine stored steps, of each.
    { name: "trajectories", file: report("trajectories"), charts: 6, pictures: 2 * 6 * 7 },
    { name: "memorization", file: report("memorization"), charts: 1, pictures: 2 * cards },
    { name: "similarity", file: report("similarity"), charts: 4, pictures: 0 },
    { name: "rank", file: report("rank"), charts: 1, pictures: 0 },
    // Two curves of the inputs and one of the latents; input, decoded latent and four sparsities of two dictionaries.
    { name: "probe", file: report("probe"), charts: 3, pictures: 3 * (10 + 9) },
    { name: "ood", file: report("ood"), charts: 2 * 5, pictures: 0 },
    { name: "speed", file: report("speed"), charts: 6, pictures: 0 },
    { name: "contraction", file: report("contraction"), charts: 3, pictures: 0 },
  ];
  return new Map(pages.map((page) => [page.name, page]));
}
