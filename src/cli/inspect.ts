import { type Command, Option } from "commander";
import { PRECISIONS, type PrecisionChoice } from "../device.js";
import { ISAS, LAYOUTS } from "../dynamics/options.js";
import { compileOptions } from "../engines/choose.js";
import { inspectModel, type ModelDescription } from "../engines/inspect.js";
import { formatShape } from "../graph/graph.js";
import { loadAutoencoder } from "../models/load.js";
import type { Isa, Layout, PlanInfo } from "../native.js";
import { precisionText } from "../report/device.js";
import { DEVICE_HELP } from "./kernelCommand.js";
import { addTokenOptions, MODEL_HELP } from "./modelOptions.js";
import { count, megabytes, table } from "./table.js";

interface Flags {
  json?: boolean;
  layout?: Layout | "auto";
  isa?: Isa | "auto";
  device?: string;
  precision?: PrecisionChoice;
}

const HELP = `
Examples:
  $ latdyn inspect models/mnist-conv-k16
  $ latdyn inspect models/mnist-conv-k16 --layout onednn
  $ latdyn inspect models/mnist-conv-k16 --device cuda
      the plan on the first GPU: whether f is one launch, and what it keeps on the card
  $ latdyn inspect map.onnx --json

What comes out:
  The files and their hash, the shapes of a latent and of an input, notes a user should read, and f = E∘D as it
  runs, operators fused: for each its result's shape and its cost for one row (MFLOP: 2 × multiply-adds).
  The plan says how the native engine runs it: the layout and why, how many rows it computes at once (tile), and
  the memory of one worker's activations (arena). On CUDA it says how many launches one application of f takes.`;

export function inspectCommand(program: Command): void {
  const command = program
    .command("inspect")
    .summary("what a model is made of, and how it would run")
    .description("Shows a model's files, shapes and operators, and the plan of the native engine.")
    .argument("<model>", MODEL_HELP)
    .option("--json", "one JSON object on stdout")
    .addOption(new Option("--layout <name>", "plan for this layout (default: auto)").choices(LAYOUTS))
    .addOption(new Option("--isa <name>", "plan for this instruction set (default: auto)").choices(ISAS))
    .option("--device <name>", `plan for ${DEVICE_HELP}`)
    .addOption(
      new Option("--precision <name>", "in what a plan for CUDA iterates (default: auto, tf32)").choices(
        PRECISIONS,
      ),
    )
    .addHelpText("after", HELP)
    .action(run);
  addTokenOptions(command);
}

async function run(path: string, { json = false, ...options }: Flags): Promise<void> {
  await using model = await loadAutoencoder(path);
  const description = inspectModel(model, compileOptions(options));
  process.stdout.write(`${json ? JSON.stringify(description, null, 2) : formatModel(description)}\n`);
}

export function formatModel(model: ModelDescription): string {
  const { plan, parameters, flopsPerRow } = model;
  const nodes = model.nodes.map(({ op, name, activation, outputShape, flops }) => [
    activation === null || op === "activate" ? (activation ?? op) : `${op} + ${activation}`,
    name,
    formatShape(outputShape),
    flops === 0 ? "" : (flops / 1e6).toFixed(3),
  ]);
  return [
    `model       ${model.name} (${model.format})`,
    ...model.files.map((file, i) => `${i === 0 ? "files" : ""}`.padEnd(12) + file),
    `hash        ${model.hash}`,
    `latent      ${formatShape(model.latentShape)} (k = ${model.latentDimension})`,
    `input       ${model.inputShape === null ? "none: a square map" : formatShape(model.inputShape)}`,
    ...(parameters === null ? [] : [`parameters  ${count(parameters)}`]),
    ...(flopsPerRow === null
      ? []
      : [`cost        ${(flopsPerRow / 1e6).toFixed(3)} MFLOP for one application of f`]),
    ...model.notes.map((note) => `note        ${note}`),
    ...(model.unsupported === null ? [] : [`native      cannot run it: ${model.unsupported}`]),
    ...(plan === null ? [] : planLines(plan, nodes)),
  ].join("\n");
}

function planLines(plan: PlanInfo, nodes: readonly string[][]): string[] {
  const weights = `${megabytes(plan.weightBytes)} of weights in all`;
  const [how, memory] =
    plan.device === "cpu"
      ? [
          `${plan.isa}, tiles of ${plan.tileRows} rows`,
          `${megabytes(plan.arenaBytes)} of activations a worker, ${weights}`,
        ]
      : [
          `cuda:${plan.index}, ${precisionText(plan)}, ${plan.launches === 1 ? "one launch" : `${count(plan.launches)} launches`}`,
          `${plan.rowBytes === 0 ? "activations in shared memory" : `${count(plan.rowBytes / 1024)} KiB of activations a row`}, ${weights}, on the card`,
        ];
  return [
    "",
    table(["operator", "name", "result", "MFLOP"], nodes),
    "",
    `plan        ${plan.layout} layout, ${how}`,
    `memory      ${memory}`,
    `reason      ${plan.reason}`,
  ];
}
