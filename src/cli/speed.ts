import { type Command, Option } from "commander";
import { RULES } from "../dynamics/options.js";
import { parsePoints } from "../dynamics/points.js";
import { RATES, type SpeedRecord } from "../dynamics/speed.js";
import { countOf } from "../report/format.js";
import { runSpeed, type SpeedRunOptions } from "../runs/speedRun.js";
import { collect, given, number } from "./arguments.js";
import { runMeasure } from "./measureCommand.js";
import {
  addIteratingOptions,
  addIterationOptions,
  addOutputOptions,
  type ComputeFlags,
  checkCompute,
  MODEL_HELP,
  type OutputFlags,
} from "./modelOptions.js";
import { count, noteLines, table } from "./table.js";

interface Flags extends ComputeFlags, OutputFlags {
  from?: string[];
  preset?: SpeedRunOptions["preset"];
  tolerance?: number;
  maxIterations?: number;
  rule?: SpeedRunOptions["rule"];
  distance?: number;
  randomSeed?: number;
}

const EXAMPLES = `
Examples:
  $ latdyn speed models/mnist-conv-k16 --from data:train-images.idx3-ubyte.gz:1000
      predicted and true iterations of the codes of 1,000 images
  $ latdyn speed MODEL --from a=latents:codes.npy --from b=noise:500@2 --json

Points (--from, repeatable, default noise:1000; NAME=SPEC names a set): noise:N[@S], data:PATH[:N],
latents:FILE[#tensor][:N], matched:N[@NAME], as in "latdyn attractors".

What comes out:
  For every point that converged, log(ε/‖z₀ − z*‖)/log ρ beside the applications of f it took: z* is its attractor, ε
  the square root of the tolerance, and ρ the spectral norm of the Jacobian at z*, its spectral radius, or the rate
  seen at the end of the path. Where ρ is 1 or more the formula has no value; such points are counted. Attractors are
  told apart by distance (--rule euclidean): unlike in "latdyn attractors", a direction may hold several.
  The folder holds speed.json, speed.safetensors and report.html with scatter plots.`;

export function speedCommand(program: Command): void {
  const command = program
    .command("speed")
    .summary("predicted against true iterations")
    .description("Compares the iterations that points took with those that the Jacobian predicts.")
    .argument("<model>", MODEL_HELP)
    .option("--from <spec>", "initial points, see below (repeatable)", collect);
  addIterationOptions(command)
    .addOption(
      new Option("--rule <name>", "how endpoints become attractors (default: euclidean)").choices(RULES),
    )
    .option(
      "--distance <number>",
      "distance below which endpoints are one attractor (default: 10·√tolerance)",
      number,
    )
    .option("--random-seed <number>", "of noise and matched points (default: 0)", number);
  addIteratingOptions(addOutputOptions(command, "speed")).addHelpText("after", EXAMPLES).action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const { from = ["noise:1000"], randomSeed, json, ...options } = flags;
  checkCompute(options);
  const points = parsePoints(from, given({ randomSeed }));
  await runMeasure({ json, report: options.report }, async (call) => {
    const { speed, folder } = await runSpeed(model, { ...given(options), from: points, ...call });
    return { record: speed.record, text: formatSpeed(speed.record), folder };
  });
}

const LABELS = {
  spectralNorm: "spectral norm",
  spectralRadius: "spectral radius",
  observedRate: "observed rate",
} as const;

/** A table for each set. */
export function formatSpeed({ model, summary, notes, timing }: SpeedRecord): string {
  const lines = [`${model.name}: k = ${model.latentDimension}`];
  const decimal = (value: number | null): string => (value === null ? "–" : value.toFixed(1));
  const correlation = (value: number | null): string => (value === null ? "–" : value.toFixed(3));
  for (const [name, set] of Object.entries(summary)) {
    const rows = RATES.map((rate) => {
      const { used, atLeastOne, unknown, meanPredicted, meanIterations, pearson, spearman } = set[rate];
      return [
        LABELS[rate],
        used,
        atLeastOne,
        unknown,
        decimal(meanPredicted),
        decimal(meanIterations),
        correlation(pearson),
        correlation(spearman),
      ];
    });
    lines.push(
      "",
      `${name}: ${count(set.converged)} of ${count(set.points)} points converged, ${countOf(set.attractors, "attractor")}`,
      table(
        ["rate", "points", "rate ≥ 1", "unknown", "mean predicted", "mean true", "Pearson", "Spearman"],
        rows,
      ),
    );
  }
  lines.push(
    "",
    ...noteLines(notes),
    `${timing.seconds.toFixed(2)} s, ${count(timing.mapEvaluations)} applications of f`,
  );
  return lines.join("\n");
}
