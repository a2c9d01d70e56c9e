/** Options that every command on a model has: where it computes, and where its result goes. */
import { type Command, Option } from "commander";
import { computeOptions, ISAS, LAYOUTS, PRESETS } from "../dynamics/options.js";
import { ENGINES } from "../models/engineNames.js";
import type { Isa, Layout } from "../native.js";
import { number } from "./arguments.js";

export const MODEL_HELP =
  "folder with encoder.onnx + decoder.onnx, config.json + model.safetensors, or tfjs' encoder/model.json + " +
  "decoder/model.json; a square map, map.onnx or model.json; or " +
  '"process:COMMAND", a program that speaks the protocol of docs/engines.md';

export interface ComputeFlags {
  threads?: number;
  device?: string;
  engine?: string;
  layout?: Layout | "auto";
  isa?: Isa | "auto";
}

export interface OutputFlags {
  out?: string;
  overwrite?: boolean;
  report: boolean;
  json?: boolean;
}

export function addEngineOptions(command: Command): Command {
  return command
    .option("--threads <number>", "worker threads (default: all)", number)
    .option("--device <name>", "auto, cpu, cuda or cuda:INDEX (default: auto)")
    .option("--engine <name>", `what computes the model: ${ENGINES.join(", ")} (default: auto)`);
}

export function addComputeOptions(command: Command): Command {
  return addEngineOptions(command)
    .addOption(
      new Option("--layout <name>", "how the native engine lays rows out (default: auto)").choices(LAYOUTS),
    )
    .addOption(
      new Option("--isa <name>", "instruction set of the native engine (default: auto)").choices(ISAS),
    );
}

/** When a point has converged, and when it is given up. */
export function addIterationOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--preset <name>", "defaults for tolerance and iterations").choices(Object.keys(PRESETS)),
    )
    .option(
      "--tolerance <number>",
      "squared step length below which a point has converged (default: 1e-6)",
      number,
    )
    .option(
      "--max-iterations <number>",
      "applications of f before a point is given up (default: 3000)",
      number,
    );
}

export function addOutputOptions(command: Command, what: string): Command {
  return command
    .option("--out <folder>", `where the result goes (default: runs/MODEL-${what}-DATE-TIME)`)
    .option("--overwrite", "replace an existing folder once the new one is whole")
    .option("--no-report", "leave report.html out of the folder")
    .option("--json", "one JSON object on stdout, one JSON line of progress a second on stderr");
}

/** Before any file is opened: a command line that cannot work should say so at once. */
export function checkCompute(flags: Pick<ComputeFlags, "device" | "engine">): void {
  computeOptions(flags);
}
