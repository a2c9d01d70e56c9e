import { join } from "node:path";
import { type Command, Option } from "commander";
import { type AttractorOptions, CRITERIA, RULES } from "../dynamics/options.js";
import { parsePoints } from "../dynamics/points.js";
import type { RunRecord } from "../dynamics/result.js";
import { deviceText, layoutText } from "../report/device.js";
import { type Extraction, extractAttractors } from "../runs/extract.js";
import { holdsSurrogate, trainSurrogate } from "../runs/surrogateRun.js";
import { collect, given, number } from "./arguments.js";
import { INTERRUPTED, interruptSignal } from "./interrupt.js";
import { addIteratingOptions, addIterationOptions, checkCompute, MODEL_HELP } from "./modelOptions.js";
import { progressLine } from "./progress.js";
import { formatSurrogate, trainingProgress } from "./surrogate.js";
import { count, noteLines, table } from "./table.js";

interface Flags {
  from?: string[];
  preset?: AttractorOptions["preset"];
  tolerance?: number;
  maxIterations?: number;
  criterion?: AttractorOptions["criterion"];
  divergenceRatio?: number;
  threshold?: number;
  rule?: AttractorOptions["rule"];
  distance?: number;
  threads?: number;
  device?: string;
  engine?: string;
  layout?: AttractorOptions["layout"];
  isa?: AttractorOptions["isa"];
  precision?: AttractorOptions["precision"];
  randomSeed?: number;
  out?: string;
  overwrite?: boolean;
  endpoints: boolean;
  report: boolean;
  verify?: boolean;
  surrogate?: string;
  json?: boolean;
}

const EXAMPLES = `
Examples:
  $ latdyn attractors models/mnist-conv-k16
      1,000 points from N(0, I); the run goes to runs/mnist-conv-k16-DATE-TIME
  $ latdyn attractors MODEL --from data:train-images.idx3-ubyte.gz:2000 --from noise:2000 --out run
      two sets of points, each with its own attractors, and how alike the two are
  $ latdyn attractors MODEL --from a=latents:codes.npy --from b=noise:500@2 --json > run.json
      given latents and noise twice as wide, named a and b; the record as one JSON object
  $ latdyn attractors MODEL --from noise:100000 --device cuda --precision bf16
      on a GPU: points begin in bf16, and each is finished in float32

Points (--from, repeatable, default noise:1000; NAME=SPEC names a set):
  noise:N[@S]                N draws from N(0, S² I)
  data:PATH[:N]              the codes of the first N inputs: idx(.gz), CIFAR .bin(.gz), .npy, .safetensors#tensor,
                             or a folder of images
  latents:FILE[#tensor][:N]  the first N vectors of an .npy or .safetensors file
  matched:N[@NAME]           N draws with the mean and covariance of the data or latents given beside it

What comes out:
  Every point is iterated until it converges (the squared step is below the tolerance), reaches --max-iterations,
  runs in a cycle, diverges, or stops being finite; the table counts the five. Endpoints of converged points are
  the attractors, once those that are equal under --rule are taken together; "euclidean" counts them by distance
  instead of direction. A warning below the table says where it looks like a result and is none: everything in one
  attractor within a handful of steps (usually too brief a training), or nothing at rest (usually a contraction
  near 1, or too few iterations). The folder holds run.json, points.safetensors, attractors.safetensors and report.html.
  Ctrl-C once stops in order and writes what was finished.`;

export function attractorsCommand(program: Command): void {
  const command = program
    .command("attractors")
    .summary("initial points → endpoints → attractors, basins, statuses")
    .description(
      "Iterates f(z) = E(D(z)) from sets of initial points and finds its attractors and their basins.",
    )
    .argument("<model>", MODEL_HELP)
    .option("--from <spec>", "initial points, see below (repeatable)", collect);
  addIterationOptions(command)
    .addOption(
      new Option("--criterion <name>", "what convergence means (default: residual)").choices(CRITERIA),
    )
    .option(
      "--divergence-ratio <number>",
      "growth of the norm that counts as divergence, or inf (default: 1e4)",
      number,
    )
    .option("--threshold <number>", "cosine above which endpoints are one attractor (default: 0.99)", number)
    .addOption(
      new Option("--rule <name>", "how endpoints become attractors (default: greedy)").choices(RULES),
    )
    .option(
      "--distance <number>",
      "distance below which the Euclidean rule joins (default: 10·√tolerance)",
      number,
    )
    .option("--random-seed <number>", "of noise and matched points (default: 0)", number)
    .option("--out <folder>", "where the run goes (default: runs/MODEL-DATE-TIME)")
    .option("--overwrite", "replace an existing run folder once the new one is whole")
    .option("--no-endpoints", "leave the endpoints of the points out of the folder")
    .option("--no-report", "leave report.html out of the folder")
    .option(
      "--verify",
      "check every attractor: at rest, and spectral radius of its Jacobian below 1 " +
        "(default: where k is at most 256 and attractors × k at most 65,536)",
    )
    .option("--no-verify", "leave that out")
    .option(
      "--surrogate <folder>",
      "<model> is an encoder without a decoder: analyse the small autoencoder of its features in <folder>; where there " +
        "is none yet it is trained on the first data set and kept there",
    )
    .option("--json", "one JSON object on stdout, one JSON line of progress a second on stderr");
  addIteratingOptions(command).addHelpText("after", EXAMPLES).action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const { from = ["noise:1000"], randomSeed, surrogate, json = false, ...options } = flags;
  // Before any file is opened: a command line that cannot work should say so at once.
  checkCompute(options);
  const points = parsePoints(from, given({ randomSeed }));
  const progress = progressLine({ json });
  const { signal, release } = interruptSignal();
  try {
    if (surrogate !== undefined && !(await holdsSurrogate(surrogate))) {
      const [first] = Object.values(points).filter((source) => source.kind === "data");
      const record = await trainSurrogate(model, surrogate, {
        ...given({ from: first, threads: options.threads, randomSeed }),
        signal,
        onProgress: trainingProgress(progress.update),
      });
      progress.clear();
      process.stderr.write(`${formatSurrogate(record)}\n`);
    }
    const extraction = await extractAttractors(surrogate ?? model, {
      ...given(options),
      from: points,
      signal,
      onProgress: progress.update,
    });
    progress.clear();
    print(extraction, { json, report: options.report });
    if (extraction.run.record.interrupted) process.exitCode = INTERRUPTED;
  } finally {
    progress.clear();
    release();
  }
}

function print(
  { run: { record }, folder }: Extraction,
  { json, report }: { json: boolean; report: boolean },
): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(record, null, 2)}\n`);
    if (folder !== null) process.stderr.write(`${JSON.stringify({ out: folder })}\n`);
    return;
  }
  process.stdout.write(`${[formatRecord(record), ...noteLines(record.notes)].join("\n")}\n`);
  if (folder !== null) process.stdout.write(`run     ${folder}\n`);
  if (folder !== null && report) process.stdout.write(`report  ${join(folder, "report.html")}\n`);
}

/** The result as a short table. */
export function formatRecord(record: RunRecord): string {
  const { model, device, summary, similarity, timing, interrupted } = record;
  const unfinished = Object.values(summary).some((set) => set.unfinished !== undefined);
  const headings = ["set", "points", "converged", "max-iterations", "cycle", "diverged", "non-finite"];
  if (unfinished) headings.push("unfinished");
  headings.push("mean iterations", "attractors", "euclidean");
  const verified = Object.values(summary).some((set) => set.verified !== undefined);
  if (verified) headings.push("verified");
  const rows = Object.entries(summary).map(([name, set]) => [
    name,
    set.points,
    set.converged,
    set.maxIterations,
    set.cycle,
    set.diverged,
    set.nonFinite,
    ...(unfinished ? [set.unfinished ?? 0] : []),
    set.meanIterations ?? "–",
    set.attractors,
    set.attractorsEuclidean,
    ...(verified ? [set.verified ?? "–"] : []),
  ]);
  const pairs = Object.entries(similarity ?? {}).map(
    ([pair, { cosine, euclidean }]) =>
      `similarity of ${pair}: cosine ${cosine?.toFixed(4) ?? "–"}, euclidean ${euclidean?.toPrecision(4) ?? "–"}`,
  );
  return [
    `${model.name}: k = ${model.latentDimension}, ${deviceText(record)}, ${layoutText(record)}, ${device.threads} threads`,
    "",
    table(headings, rows),
    "",
    ...pairs,
    `${timing.seconds.toFixed(2)} s, ${count(Math.round(timing.rowsPerSecond))} points/s, ${count(timing.mapEvaluations)} applications of f`,
    ...(interrupted ? ["interrupted: these are the points that were finished"] : []),
  ].join("\n");
}
