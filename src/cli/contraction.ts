import { type Command, Option } from "commander";
import { type ContractionRecord, type Distribution, PARTS } from "../analysis/contraction.js";
import { parsePoints } from "../dynamics/points.js";
import { SCHEMES } from "../graph/initialise.js";
import { differenceNotes } from "../report/device.js";
import { type ContractionRunOptions, runContraction } from "../runs/contractionRun.js";
import { collect, given, number } from "./arguments.js";
import { runMeasure } from "./measureCommand.js";
import {
  addEngineOptions,
  addOutputOptions,
  checkCompute,
  MODEL_HELP,
  type OutputFlags,
} from "./modelOptions.js";
import { noteLines, table } from "./table.js";

interface Flags extends OutputFlags {
  from?: string[];
  scheme?: ContractionRunOptions["schemes"];
  seeds?: number;
  inputs?: number;
  part?: ContractionRunOptions["part"];
  noise?: number;
  far?: number;
  randomSeed?: number;
  threads?: number;
  device?: string;
  engine?: string;
}

const EXAMPLES = `
Examples:
  $ latdyn contraction models/mnist-conv-k16 --from train=data:train-images.idx3-ubyte.gz:64
      four initialisations, and Jacobians at the codes of 64 images, at noise and far away
  $ latdyn contraction MODEL --part encoder --scheme pytorch --seeds 100 --noise 0 --json

Points (--from, repeatable; NAME=SPEC names a set): noise:N[@S], data:PATH[:N], latents:FILE[#tensor][:N],
matched:N[@NAME], as in "latdyn attractors --help".

What comes out:
  At initialisation: σ out / σ in of N(0, I) inputs through the model with its weights drawn anew by --scheme, over
  --seeds draws. kaiming N(0, 2/in), xavier N(0, 2/(in + out)), lecun N(0, 1/in) with biases 0; pytorch its layers'
  default, uniform in ±1/√in. Locally: spectral norm and radius of the Jacobian of f at the points of --from, at
  N(0, I) noise and at noise --far times as wide. A norm below 1 brings close points closer; a radius below 1 at an
  attractor makes it one. The folder holds contraction.json, contraction.safetensors and
  report.html with histograms.`;

export function contractionCommand(program: Command): void {
  const command = program
    .command("contraction")
    .summary("how much the map contracts, untrained and trained")
    .description("Measures contraction at random initialisations and by the Jacobians of the trained map.")
    .argument("<model>", MODEL_HELP)
    .option("--from <spec>", "points whose Jacobians are looked at, as in attractors (repeatable)", collect)
    .addOption(new Option("--scheme <name...>", "how weights are drawn (default: all four)").choices(SCHEMES))
    .option("--seeds <number>", "random initialisations of each scheme (default: 32)", number)
    .option("--inputs <number>", "inputs from N(0, I) for each of them (default: 256)", number)
    .addOption(new Option("--part <name>", "what is initialised (default: map)").choices(PARTS))
    .option("--noise <number>", "points of noise and of far noise; 0 for none (default: 64)", number)
    .option("--far <number>", "standard deviation of the far noise (default: 10)", number)
    .option("--random-seed <number>", "of weights and noise (default: 0)", number);
  addEngineOptions(addOutputOptions(command, "contraction")).addHelpText("after", EXAMPLES).action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const { from = [], scheme, json, ...options } = flags;
  checkCompute(options);
  const points = parsePoints(from, given({ randomSeed: options.randomSeed }));
  await runMeasure({ json, report: options.report }, async ({ signal, onProgress }) => {
    const { contraction, folder } = await runContraction(model, {
      ...given({ ...options, schemes: scheme }),
      from: points,
      signal,
      onProgress,
    });
    return { record: contraction.record, text: formatContraction(contraction.record), folder };
  });
}

/** Two tables. */
export function formatContraction({ model, options, summary, timing }: ContractionRecord): string {
  const decimal = (value: number | null): string => (value === null ? "–" : value.toPrecision(4));
  const line = (name: string, found: Distribution) => [
    name,
    found.count,
    decimal(found.mean),
    decimal(found.std),
    decimal(found.min),
    decimal(found.max),
    found.belowOne,
    found.notFinite,
  ];
  const columns = ["values", "mean", "std", "least", "greatest", "below 1", "not finite"];
  const local = Object.entries(summary.local).flatMap(([name, set]) => [
    line(`${name}: spectral norm`, set.spectralNorm),
    line(`${name}: spectral radius`, set.spectralRadius),
  ]);
  return [
    `${model.name}: k = ${model.latentDimension}`,
    "",
    `σ out / σ in at initialisation, ${String(options.part)}`,
    table(
      ["scheme", ...columns],
      Object.entries(summary.initialisation).map(([scheme, found]) => line(scheme, found)),
    ),
    ...(local.length === 0 ? [] : ["", "Jacobians of f", table(["points", ...columns], local)]),
    "",
    ...noteLines(differenceNotes(Object.values(summary.local)[0]?.method)),
    `${timing.seconds.toFixed(2)} s`,
  ].join("\n");
}
