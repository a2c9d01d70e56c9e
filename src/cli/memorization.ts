import { type Command, Option } from "commander";
import {
  MEMORIZATION_RULES,
  type MemorizationRecord,
  type MemorizationRule,
} from "../analysis/memorization.js";
import type { Spread } from "../analysis/statistics.js";
import { parsePoints } from "../dynamics/points.js";
import { InputError } from "../errors.js";
import { type MemorizationRunOptions, runMemorization } from "../runs/memorizationRun.js";
import { given, number } from "./arguments.js";
import { runMeasure } from "./measureCommand.js";
import {
  addIteratingOptions,
  addOutputOptions,
  type ComputeFlags,
  checkCompute,
  type OutputFlags,
} from "./modelOptions.js";
import { noteLines, table } from "./table.js";

interface Flags extends ComputeFlags, OutputFlags {
  train: string;
  heldOut?: string;
  from?: string;
  model?: string;
  rule?: MemorizationRule;
  tolerance?: number;
  maxIterations?: number;
  randomSeed?: number;
}

const HELP = `
Examples:
  $ latdyn memorization run --train train-images.idx3-ubyte.gz --held-out t10k-images.idx3-ubyte.gz
      the attractors of a finished run (run#data where it has several sets) against its model's training images
  $ latdyn memorization MODEL --train train-images.idx3-ubyte.gz:10000 --held-out t10k-images.idx3-ubyte.gz:1000
      the attractors that the training images lead to, computed first
  $ latdyn memorization MODEL --train images.npy --from noise:1000 --json

Data (--train, --held-out) is PATH[:N]: idx(.gz), CIFAR .bin(.gz), .npy, .safetensors#tensor or a folder of images.
Points (--from) are noise:N[@S], data:PATH[:N] or latents:FILE[#tensor][:N], as in "latdyn attractors --help".

What comes out:
  The coefficient of each attractor: cosine of its decoded image to the closest training input. Beside its mean and
  standard deviation stand two levels without which it cannot be read: the same number for held-out inputs, and for the
  decoded initial points. Then the prototype error ‖x − D(Π(E(x)))‖² and the coverage error ‖E(x) − Π(E(x))‖² of the
  inputs, Π being the nearest attractor. The folder holds memorization.json, memorization.safetensors and report.html,
  in which every attractor is drawn beside its training input.`;

export function memorizationCommand(program: Command): void {
  const command = program
    .command("memorization")
    .summary("how close decoded attractors are to training inputs")
    .description("Compares decoded attractors with training inputs, and that with two levels of chance.")
    .argument("<run or model>", "a finished run (RUN or RUN#SET), or a model as in latdyn attractors")
    .requiredOption("--train <data>", "the inputs the model was trained on")
    .option("--held-out <data>", "inputs it was not trained on, for the first level")
    .option("--from <spec>", "of a model: where attractors come from (default: the training inputs)")
    .option("--model <path>", "of a run: where its model is now (default: where it was)")
    .addOption(
      new Option("--rule <name>", "closest training input, or farthest (default: max)").choices(
        MEMORIZATION_RULES,
      ),
    )
    .option("--tolerance <number>", "of a model: as in latdyn attractors (default: 1e-6)", number)
    .option("--max-iterations <number>", "of a model: as in latdyn attractors (default: 3000)", number)
    .option("--random-seed <number>", "of noise (default: 0)", number);
  addIteratingOptions(addOutputOptions(command, "memorization")).addHelpText("after", HELP).action(run);
}

async function run(source: string, flags: Flags): Promise<void> {
  const { from, rule, randomSeed, json, ...options } = flags;
  checkCompute(options);
  if (from === undefined && randomSeed !== undefined) {
    throw new InputError(`randomSeed is ${randomSeed}, but nothing is drawn: it goes with --from noise:N`);
  }
  const sources = from === undefined ? [] : Object.values(parsePoints([from], given({ randomSeed })));
  await runMeasure({ json, report: options.report }, async (call) => {
    const measured: MemorizationRunOptions = {
      ...given(options),
      train: options.train,
      ...given({ from: sources[0], memorizationRule: rule }),
      ...call,
    };
    const { result, folder } = await runMemorization(source, measured);
    return { record: result.record, text: formatMemorization(result.record), folder };
  });
}

/** The record as short tables and sentences. */
export function formatMemorization({
  model,
  options,
  coefficient,
  errors,
  notes,
  timing,
}: MemorizationRecord): string {
  const levels = [
    ["attractors", coefficient.attractors] as const,
    ["held-out inputs", coefficient.heldOut] as const,
    ["decoded initial points", coefficient.initial] as const,
  ].flatMap(([name, spread]) => (spread === null ? [] : [[name, ...cells(spread)]]));
  const spreads = [
    ["prototype, training", errors?.training.prototype] as const,
    ["coverage, training", errors?.training.coverage] as const,
    ["prototype, held out", errors?.heldOut?.prototype] as const,
    ["coverage, held out", errors?.heldOut?.coverage] as const,
  ].flatMap(([name, spread]) => (spread === undefined ? [] : [[name, ...cells(spread)]]));
  return [
    `${model.name}: k = ${model.latentDimension}`,
    "",
    table(
      [
        `cosine to ${options.rule === "max" ? "closest" : "farthest"} training input`,
        "rows",
        "mean",
        "std",
        "median",
      ],
      levels,
    ),
    ...(spreads.length > 0 ? ["", table(["error", "inputs", "mean", "std", "median"], spreads)] : []),
    "",
    ...noteLines(notes),
    `${timing.seconds.toFixed(2)} s`,
  ].join("\n");
}

function cells({ count, mean, std, median }: Spread): (string | number)[] {
  return [count, ...[mean, std, median].map((value) => (value === null ? "–" : value.toPrecision(4)))];
}
