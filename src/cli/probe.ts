import type { Command } from "commander";
import type { ProbeRecord } from "../analysis/probing.js";
import { type DataSource, type LatentsSource, parsePoints } from "../dynamics/points.js";
import { InputError } from "../errors.js";
import { countOf } from "../report/format.js";
import { type ProbeRunOptions, runProbe } from "../runs/probeRun.js";
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
  data: string[];
  atoms?: number;
  scale?: number;
  sparsity?: string;
  maxSignals?: number;
  preset?: ProbeRunOptions["preset"];
  tolerance?: number;
  maxIterations?: number;
  randomSeed?: number;
}

const EXAMPLES = `
Examples:
  $ latdyn probe models/mnist-conv-k128 --data t10k-images.idx3-ubyte.gz
      1,000 endpoints of noise rebuild the codes of the first 256 images
  $ latdyn probe MODEL --data mnist=t10k-images.idx3-ubyte.gz --data letters=notmnist.npy --sparsity 0.05,0.1,0.5
      two data sets, and sparsities as shares of k
  $ latdyn probe MODEL --data codes=latents:codes.npy --atoms 4096 --scale 3 --max-signals 1000 --json
      given latents; wider noise for the dictionary

Data (--data, repeatable): [NAME=]PATH[:N] or [NAME=]data:PATH[:N] are inputs (idx(.gz), CIFAR .bin(.gz), .npy,
.safetensors#tensor, or a folder of images), [NAME=]latents:FILE[#tensor][:N] are latents.

What comes out:
  Endpoints of noise, converged or not, are scaled to unit length and become a dictionary. Orthogonal matching pursuit
  rebuilds each latent from --sparsity of them (all sparsities from one pass); beside it stands the same number of
  terms of a random orthonormal basis (Q of the QR decomposition of a Gaussian matrix). Errors are mean squares per
  element: of the decoded rebuilt latent against the decoded latent, and against the input. "early stops" counts
  signals that were fitted with fewer atoms, or found none that is independent of those chosen.
  The folder holds probe.json, dictionary.safetensors, probe.safetensors and report.html with reconstructions.`;

export function probeCommand(program: Command): void {
  const command = program
    .command("probe")
    .summary("how well attractors of noise rebuild the codes of data")
    .description("Rebuilds codes of data from a few attractors that were found from noise alone.")
    .argument("<model>", MODEL_HELP)
    .requiredOption("--data <spec>", "signals, see below (repeatable)", collect)
    .option("--atoms <number>", "draws of noise that become atoms (default: k, but at least 1000)", number)
    .option("--scale <number>", "standard deviation of the noise (default: 1)", number)
    .option(
      "--sparsity <list>",
      "atoms a signal: whole numbers, or shares of k below 1 (default: powers of two up to k, from 32 where k ≥ 256)",
    )
    .option("--max-signals <number>", "signals of each set, the first ones (default: 256)", number);
  addIterationOptions(command).option(
    "--random-seed <number>",
    "of the noise and of the orthonormal basis (default: 0)",
    number,
  );
  addIteratingOptions(addOutputOptions(command, "probe")).addHelpText("after", EXAMPLES).action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const { data, sparsity, json, ...options } = flags;
  checkCompute(options);
  const sources = parseData(data);
  const sparsities = sparsity === undefined ? undefined : parseList(sparsity);
  await runMeasure({ json, report: options.report }, async (call) => {
    const { probe, folder } = await runProbe(model, {
      ...given({ ...options, sparsity: sparsities }),
      data: sources,
      ...call,
    });
    return { record: probe.record, text: formatProbe(probe.record), folder };
  });
}

/** NAME=PATH is NAME=data:PATH. */
function parseData(specs: readonly string[]): Record<string, DataSource | LatentsSource> {
  const full = specs.map((spec) => {
    const [, name = "", rest] = /^([A-Za-z][\w-]*=)?(.*)$/s.exec(spec) as RegExpExecArray;
    return /^(data|latents|noise|matched):/.test(rest) ? spec : `${name}data:${rest}`;
  });
  const sources = parsePoints(full);
  for (const [name, { kind }] of Object.entries(sources)) {
    if (kind === "noise" || kind === "matched") {
      throw new InputError(`--data ${name}: ${kind} is no data, expected data:PATH or latents:FILE`);
    }
  }
  return sources as Record<string, DataSource | LatentsSource>;
}

function parseList(text: string): number[] {
  return text.split(",").map((part) => {
    const value = part.trim() === "" ? Number.NaN : Number(part);
    if (Number.isNaN(value)) {
      throw new InputError(`sparsity is "${text}", expected numbers separated by commas, such as 1,4,0.5`);
    }
    return value;
  });
}

/** The errors as a table for each set. */
export function formatProbe({ model, dictionary, summary, notes, timing }: ProbeRecord): string {
  const lines = [
    `${model.name}: k = ${model.latentDimension}, ${countOf(dictionary.points, "atom")} (${count(dictionary.converged)} converged, ${countOf(dictionary.attractors, "attractor")}, ${count(dictionary.unusable)} unusable)`,
  ];
  const error = (value: number | null): string => (value === null ? "–" : value.toPrecision(4));
  for (const [name, { signals, reconstruction, bySparsity }] of Object.entries(summary)) {
    const rows = Object.entries(bySparsity).map(([sparsity, { attractors, orthonormal }]) => [
      Number(sparsity),
      error(attractors.decoded),
      error(orthonormal.decoded),
      error(attractors.input),
      error(orthonormal.input),
      attractors.earlyStops,
    ]);
    const headings = [
      "atoms",
      "attractors",
      "orthonormal",
      "attractors/input",
      "orthonormal/input",
      "early stops",
    ];
    const limit = reconstruction === null ? "" : `, the autoencoder itself ${error(reconstruction)}`;
    lines.push("", `${name}: ${count(signals)} signals, mean squared errors${limit}`, table(headings, rows));
  }
  return [...lines, "", ...noteLines(notes), `${timing.seconds.toFixed(2)} s`].join("\n");
}
