import { type Command, Option } from "commander";
import { KNN_RULES, type KnnRule } from "../analysis/knn.js";
import { type OodRecord, SCORES } from "../analysis/ood.js";
import { InputError } from "../errors.js";
import { countOf } from "../report/format.js";
import { type OodRunOptions, runOod } from "../runs/oodRun.js";
import { collect, given, number } from "./arguments.js";
import { runMeasure } from "./measureCommand.js";
import {
  addIteratingOptions,
  addOutputOptions,
  type ComputeFlags,
  checkCompute,
  MODEL_HELP,
  type OutputFlags,
} from "./modelOptions.js";
import { count, noteLines, table } from "./table.js";

interface Flags extends ComputeFlags, OutputFlags {
  train: string;
  id: string;
  ood: string[];
  attractors?: string;
  steps?: number;
  k?: number;
  knnRule?: KnnRule;
  normalise?: boolean;
  tolerance?: number;
  maxIterations?: number;
}

const HELP = `
Examples:
  $ latdyn ood MODEL --train train-images.idx3-ubyte.gz:10000 --id t10k-images.idx3-ubyte.gz:1000 \\
      --ood letters=notmnist.idx3-ubyte.gz:1000
  $ latdyn ood MODEL --train a.npy --id b.npy --ood c=c.npy --ood d=d.npy --attractors run#data --json

Data (--train, --id, --ood) is PATH[:N]: idx(.gz), CIFAR .bin(.gz), .npy, .safetensors#tensor or a folder of images.
--attractors is RUN, RUN#SET (of a finished run) or FILE[#tensor]; without it the training inputs are iterated.

What comes out:
  Four scores, all lower for inputs that look in-distribution: the mean distance of a path z0, f(z0), … to the nearest
  attractor; the distance to the K nearest training latents; the Mahalanobis distance to the training latents under
  their shrunk covariance; and the reconstruction error. For each score and set: AUROC (ties half); fpr95, the share of
  OOD accepted where 95 % of ID are; fpr95OodPositive, the share of ID rejected where 95 % of OOD are. Equal scores
  fall on the same side of a threshold. The folder holds ood.json, ood.safetensors (SET.SCORE) and report.html.`;

export function oodCommand(program: Command): void {
  const command = program
    .command("ood")
    .summary("how well trajectories tell out-of-distribution inputs from others")
    .description("Scores in- and out-of-distribution inputs by their trajectories, and by three baselines.")
    .argument("<model>", MODEL_HELP)
    .requiredOption("--train <data>", "the inputs the model was trained on")
    .requiredOption("--id <data>", "in-distribution inputs it was not trained on")
    .requiredOption("--ood <name=data>", "out-of-distribution inputs, by name (repeatable)", collect)
    .option("--attractors <source>", "attractors (default: those the training inputs lead to)")
    .option("--steps <number>", "applications of f in a path (default: 100)", number)
    .option("--k <number>", "nearest training latents (default: 2000)", number)
    .addOption(
      new Option("--knn-rule <name>", "mean of the K distances, or the K-th (default: mean)").choices(
        KNN_RULES,
      ),
    )
    .option("--normalise", "KNN on latents of unit length")
    .option("--tolerance <number>", "of the attractors, as in latdyn attractors (default: 1e-6)", number)
    .option("--max-iterations <number>", "of the attractors, as there (default: 3000)", number);
  addIteratingOptions(addOutputOptions(command, "ood")).addHelpText("after", HELP).action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const { ood, k, json, ...options } = flags;
  checkCompute(options);
  const sets = parseSets(ood);
  await runMeasure({ json, report: options.report }, async (call) => {
    const measured: OodRunOptions = {
      ...given(options),
      train: options.train,
      id: options.id,
      ood: sets,
      ...given({ neighbours: k }),
      ...call,
    };
    const { result, folder } = await runOod(model, measured);
    return { record: result.record, text: formatOod(result.record), folder };
  });
}

function parseSets(specs: readonly string[]): Record<string, string> {
  const sets = new Map<string, string>();
  for (const spec of specs) {
    const at = spec.indexOf("=");
    if (at < 1) throw new InputError(`--ood is "${spec}", expected NAME=DATA`);
    const name = spec.slice(0, at);
    if (sets.has(name)) throw new InputError(`two OOD sets are called "${name}", expected different names`);
    sets.set(name, spec.slice(at + 1));
  }
  return Object.fromEntries(sets);
}

/** The record as a table. */
export function formatOod({ model, options, attractors, detection, notes, timing }: OodRecord): string {
  const rows = Object.entries(detection).flatMap(([set, scores]) =>
    SCORES.flatMap((score) => {
      const found = scores[score];
      if (found === undefined) return [];
      const rates = [found.auroc, found.fpr95, found.fpr95OodPositive];
      return [[set, score, ...rates.map((rate) => `${(100 * rate).toFixed(2)} %`)]];
    }),
  );
  return [
    `${model.name}: k = ${model.latentDimension}, ${countOf(attractors, "attractor")}, paths of ${count(options.steps)} steps, K = ${count(options.neighbours)}`,
    "",
    table(["set", "score", "AUROC", "FPR95", "FPR95, OOD positive"], rows),
    "",
    ...noteLines(notes),
    `${timing.seconds.toFixed(2)} s`,
  ].join("\n");
}
