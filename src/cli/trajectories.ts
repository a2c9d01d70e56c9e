import type { Command } from "commander";
import { parsePoints } from "../dynamics/points.js";
import type { TrajectoryOptions, TrajectoryRecord } from "../dynamics/trajectories.js";
import { InputError } from "../errors.js";
import { deviceText } from "../report/device.js";
import { countOf } from "../report/format.js";
import { runTrajectories } from "../runs/trajectoryRun.js";
import { collect, given, number } from "./arguments.js";
import { runMeasure } from "./measureCommand.js";
import {
  addComputeOptions,
  addOutputOptions,
  type ComputeFlags,
  checkCompute,
  MODEL_HELP,
  type OutputFlags,
} from "./modelOptions.js";
import { count, noteLines, table } from "./table.js";

interface Flags extends ComputeFlags, OutputFlags {
  from?: string[];
  steps?: number;
  store?: string;
  attractors?: string;
  curves?: number;
  randomSeed?: number;
}

const EXAMPLES = `
Examples:
  $ latdyn trajectories models/mnist-conv-k16 --from noise:1000 --steps 60
      paths of 61 points, stored at 0, 1, 2, 5, 10, 20, 50 and 60
  $ latdyn trajectories MODEL --from id=data:t10k.idx.gz --from ood=data:letters.idx.gz --store none --attractors run#train
      scores alone, in a stream, against the attractors of the set "train" of a finished run
  $ latdyn trajectories MODEL --from latents:codes.npy --store all --attractors fixed.safetensors#points --json

Points (--from, repeatable, default noise:1000; NAME=SPEC names a set): noise:N[@S], data:PATH[:N],
latents:FILE[#tensor][:N], matched:N[@NAME], as in "latdyn attractors --help".

Attractors (--attractors): RUN or RUN#SET, a folder that "latdyn attractors" wrote and which of its sets where there
are several; or FILE[#tensor], rows of an .npy or .safetensors file.

What comes out:
  Every point takes exactly --steps applications of f, whether or not it has come to rest. The score of a path is the
  mean, over all its points with both ends, of the Euclidean distance to the nearest attractor. Curves of the residual
  (squared step), the norm and that distance are kept for some points; the report shows their quantiles.
  The folder holds trajectories.json, trajectories.safetensors (paths [N, stored, k], steps, score, curves) and
  report.html.`;

export function trajectoriesCommand(program: Command): void {
  const command = program
    .command("trajectories")
    .summary("paths of a fixed length: stored at chosen steps, or scored")
    .description("Applies f(z) = E(D(z)) a fixed number of times and keeps, scores and draws the paths.")
    .argument("<model>", MODEL_HELP)
    .option("--from <spec>", "initial points, see below (repeatable)", collect)
    .option("--steps <number>", "applications of f for every point (default: 100)", number)
    .option(
      "--store <list>",
      "steps whose points are kept: 0,1,5, or all, or none (default: 0,1,2,5,10,20,50,…)",
    )
    .option("--attractors <spec>", "attractors to score the paths against, see below")
    .option("--curves <number>", "points of each set whose curves are kept (default: 512)", number)
    .option("--random-seed <number>", "of noise and matched points (default: 0)", number);
  addComputeOptions(addOutputOptions(command, "trajectories")).addHelpText("after", EXAMPLES).action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const { from = ["noise:1000"], store, randomSeed, json, ...options } = flags;
  checkCompute(options);
  const points = parsePoints(from, given({ randomSeed }));
  const stored = store === undefined ? undefined : parseStore(store);
  await runMeasure({ json, report: options.report }, async (call) => {
    const { run: walked, folder } = await runTrajectories(model, {
      ...given({ ...options, store: stored }),
      from: points,
      ...call,
    });
    return { record: walked.record, text: formatTrajectories(walked.record), folder };
  });
}

function parseStore(text: string): TrajectoryOptions["store"] {
  if (text === "all") return "all";
  if (text === "none") return [];
  return text.split(",").map((part) => {
    if (!/^\s*\d+\s*$/.test(part)) {
      throw new InputError(`store is "${text}", expected steps separated by commas, or all, or none`);
    }
    return Number(part);
  });
}

/** The sets as a table. */
export function formatTrajectories(record: TrajectoryRecord): string {
  const { model, device, options, summary, notes, timing } = record;
  const value = (number: number | null | undefined): string => number?.toPrecision(4) ?? "–";
  const rows = Object.entries(summary).map(([name, set]) => [
    name,
    set.points,
    set.nonFinite,
    value(set.score?.mean),
    value(set.score?.std),
    value(set.residual.first),
    value(set.residual.last),
    value(set.norm.last),
    value(set.distance?.last),
  ]);
  const scored =
    typeof options.attractors === "number"
      ? `scored against ${countOf(options.attractors, "attractor")}`
      : "not scored";
  return [
    `${model.name}: k = ${model.latentDimension}, ${count(Number(options.steps))} steps, ${scored}; ${deviceText(record)}, ${device.threads} threads`,
    "",
    table(
      [
        "set",
        "paths",
        "non-finite",
        "score",
        "std",
        "first step²",
        "last step²",
        "last norm",
        "last distance",
      ],
      rows,
    ),
    "",
    ...noteLines(notes),
    `${timing.seconds.toFixed(2)} s, ${count(Math.round(timing.rowsPerSecond))} paths/s, ${count(timing.mapEvaluations)} applications of f`,
  ].join("\n");
}
