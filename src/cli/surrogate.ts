import type { Command } from "commander";
import { Option } from "commander";
import { parsePoints } from "../dynamics/points.js";
import { InputError } from "../errors.js";
import type { Progress } from "../native.js";
import { type SurrogateOptions, type SurrogateRecord, trainSurrogate } from "../runs/surrogateRun.js";
import { MLP_ACTIVATIONS, type MlpActivation } from "../training/mlp.js";
import { given, number } from "./arguments.js";
import { runMeasure } from "./measureCommand.js";
import type { ShownProgress } from "./progress.js";
import { count } from "./table.js";

interface Flags {
  from?: string;
  latent?: number;
  hidden?: string;
  activation?: MlpActivation;
  epochs?: number;
  batch?: number;
  learningRate?: number;
  weightDecay?: number;
  randomSeed?: number;
  threads?: number;
  out: string;
  overwrite?: boolean;
  json?: boolean;
}

const HELP = `
Examples:
  $ latdyn surrogate encoder.onnx --from data:images.npy --latent 32 --out surrogate
      learns the encoder's features of the images; surrogate is a model from then on
  $ latdyn attractors surrogate --from data:images.npy --from noise:1000
      its attractors: data goes through the encoder first
  $ latdyn surrogate features.npy --latent 16 --out surrogate
      features that were computed elsewhere, one row each

An encoder without a decoder has no map to iterate. A small autoencoder trained on its features has one, and its
attractors say what the features hold. Linear layers d → hidden → latent → hidden → d, Adam on the mean squared error of
standardised features; one row in ten is kept out and tells how much of the variance is left unexplained. Where that is
much, use a larger --latent, more rows or more epochs before reading anything into the attractors.

What comes out:
  A folder with config.json and model.safetensors (the surrogate), features/ (the encoder) and surrogate.json (how it
  was trained). "latdyn attractors ENCODER --surrogate FOLDER" does both at once.`;

export function surrogateCommand(program: Command): void {
  program
    .command("surrogate")
    .summary("an autoencoder for an encoder that has no decoder")
    .description("Trains a small autoencoder on the features of an encoder, so that they can be analysed.")
    .argument(
      "<encoder or features>",
      "an .onnx file, a folder with encoder.onnx, or FILE[#tensor] of features",
    )
    .option("--from <spec>", "the data whose features are learned: data:PATH[:N]")
    .option("--latent <number>", "latent dimension (default: a quarter of the features, at most 16)", number)
    .option("--hidden <numbers>", "widths of hidden layers, comma-separated; 0 for none (default: 256)")
    .addOption(
      new Option("--activation <name>", "between layers (default: gelu)").choices([...MLP_ACTIVATIONS]),
    )
    .option("--epochs <number>", "passes over the features (default: 100)", number)
    .option("--batch <number>", "rows of a step (default: 256)", number)
    .option("--learning-rate <number>", "of Adam (default: 1e-3)", number)
    .option("--weight-decay <number>", "added to the gradient (default: 1e-4)", number)
    .option("--random-seed <number>", "of weights and order (default: 0)", number)
    .option("--threads <number>", "worker threads (default: all)", number)
    .requiredOption("--out <folder>", "where the surrogate goes")
    .option("--overwrite", "replace an existing surrogate once the new one is whole")
    .option("--json", "one JSON object on stdout, one JSON line of progress a second on stderr")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(
  source: string,
  { from, out, json, latent, batch, hidden, ...flags }: Flags,
): Promise<void> {
  const options: SurrogateOptions = given({
    ...flags,
    latentDimension: latent,
    batchRows: batch,
    hidden: hidden === undefined ? undefined : widthsOf(hidden),
    from: from === undefined ? undefined : dataSource(from),
  });
  await runMeasure({ ...given({ json }), report: false }, async ({ signal, onProgress }) => {
    const record = await trainSurrogate(source, out, {
      ...options,
      signal,
      onProgress: trainingProgress(onProgress),
    });
    return { record, text: formatSurrogate(record), folder: out };
  });
}

/** Rows trained on, over all epochs, as a line shows them. */
export function trainingProgress(show: (progress: ShownProgress) => void) {
  return ({ finished, total, seconds }: Progress): void =>
    show({
      phase: "train",
      set: "",
      finished,
      total,
      seconds,
      rowsPerSecond: seconds > 0 ? finished / seconds : 0,
    });
}

export function widthsOf(text: string): number[] {
  if (text === "0" || text === "") return [];
  return text.split(",").map((part) => {
    if (!/^\s*\d+\s*$/.test(part)) {
      throw new InputError(`--hidden is "${text}", expected whole numbers with commas between them, or 0`);
    }
    return Number(part);
  });
}

function dataSource(spec: string) {
  const [source] = Object.values(parsePoints([spec]));
  if (source.kind === "data") return source;
  throw new InputError(`--from is "${spec}", expected data:PATH or data:PATH:N`);
}

export function formatSurrogate(record: SurrogateRecord): string {
  const { unexplained } = record;
  return [
    `${record.of.path}: ${count(record.features)} features → k = ${record.latentDimension}, ${count(record.rows)} rows, ${record.losses.length} epochs`,
    `loss         ${record.firstLoss.toPrecision(4)} in the first epoch, ${record.lastLoss.toPrecision(4)} in the last (1 is the mean)`,
    unexplained === null
      ? "unexplained  not measured: too few rows to keep any out"
      : `unexplained  ${(100 * unexplained).toFixed(1)} % of the variance of ${count(record.heldOut)} rows kept out of training`,
    `${record.timing.seconds.toFixed(2)} s`,
  ].join("\n");
}
