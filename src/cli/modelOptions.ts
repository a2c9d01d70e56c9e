/** Options that every command on a model has: where it computes, and where its result goes. */
import { type Command, Option } from "commander";
import { PRECISIONS, type PrecisionChoice } from "../device.js";
import { computeOptions, ISAS, LAYOUTS, PRESETS } from "../dynamics/options.js";
import { InputError } from "../errors.js";
import { ENGINES } from "../models/engineNames.js";
import { formatTokens, LATENTS, tokenOptions } from "../models/tokenSpec.js";
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
  precision?: PrecisionChoice;
}

export const DEVICE_HELP =
  "cpu, cuda, cuda:INDEX, or auto: CUDA where it can be used (default: cpu; other engines: as they see fit)";

interface TokenFlags {
  latent?: string;
  maskRatio?: number;
  maskSeed?: number;
}

export interface OutputFlags {
  out?: string;
  overwrite?: boolean;
  report: boolean;
  json?: boolean;
}

/**
 * What of a transformer's tokens is the latent becomes a part of the model's name, which every command hands on as it
 * is, and which a run keeps.
 */
export function addTokenOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--latent <name>", "a transformer's latent (default: tokens, all of them)").choices(LATENTS),
    )
    .option("--mask-ratio <number>", "share of the patches that its encoder never sees (default: 0)", number)
    .option("--mask-seed <number>", "which patches those are (default: 0)", number)
    .hook("preAction", (_, action) => {
      const { latent, maskRatio, maskSeed } = action.opts<TokenFlags>();
      if (latent === undefined && maskRatio === undefined && maskSeed === undefined) return;
      if (maskSeed !== undefined && maskRatio === undefined) {
        throw new InputError("--mask-seed is given without --mask-ratio, expected both");
      }
      const at = action.registeredArguments.findIndex((argument) => argument.name().endsWith("model"));
      const mask = maskRatio === undefined ? undefined : { ratio: maskRatio, randomSeed: maskSeed };
      const tokens = tokenOptions({ latent, mask });
      if (at < 0) {
        throw new InputError(`"latdyn ${action.name()}" takes no model, so there is no latent to choose`);
      }
      if (tokens !== null) action.processedArgs[at] += `#${formatTokens(tokens)}`;
      for (const name of ["latent", "maskRatio", "maskSeed"]) action.setOptionValue(name, undefined);
    });
}

export function addEngineOptions(command: Command): Command {
  return addTokenOptions(command)
    .option("--threads <number>", "worker threads (default: all)", number)
    .option("--device <name>", DEVICE_HELP)
    .option("--engine <name>", `what computes the model: ${ENGINES.join(", ")} (default: auto)`);
}

export function addComputeOptions(command: Command): Command {
  return addEngineOptions(command)
    .addOption(
      new Option("--layout <name>", "how the native engine lays rows out on the CPU (default: auto)").choices(
        LAYOUTS,
      ),
    )
    .addOption(
      new Option("--isa <name>", "instruction set of the native engine on the CPU (default: auto)").choices(
        ISAS,
      ),
    );
}

/** Of the commands that iterate until points are done. */
export function addIteratingOptions(command: Command): Command {
  return addComputeOptions(command).addOption(
    new Option(
      "--precision <name>",
      "how points iterate on CUDA before each is finished in float32 (default: auto, tf32)",
    ).choices(PRECISIONS),
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
