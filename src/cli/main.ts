#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { AbortedError, InputError } from "../errors.js";
import { packageVersion } from "../version.js";
import { attractorsCommand } from "./attractors.js";
import { benchCommand } from "./bench.js";
import { contractionCommand } from "./contraction.js";
import { dedupCommand } from "./dedup.js";
import { doctorCommand } from "./doctor.js";
import { fieldCommand } from "./field.js";
import { inspectCommand } from "./inspect.js";
import { INTERRUPTED } from "./interrupt.js";
import { knnCommand } from "./knn.js";
import { memorizationCommand } from "./memorization.js";
import { ompCommand } from "./omp.js";
import { oodCommand } from "./ood.js";
import { probeCommand } from "./probe.js";
import { rankCommand } from "./rank.js";
import { similarityCommand } from "./similarity.js";
import { speedCommand } from "./speed.js";
import { surrogateCommand } from "./surrogate.js";
import { trajectoriesCommand } from "./trajectories.js";

const FAILED = 1;
const BAD_INPUT = 2;

function createProgram(): Command {
  const program = new Command("latdyn")
    .description(
      "Attractors, basins and trajectories of the dynamical system an autoencoder hides: f(z) = E(D(z)).",
    )
    .version(packageVersion(), "--version", "print the version")
    .helpOption("--help", "show this help")
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ outputError: (message, write) => write(`latdyn: ${sentence(message)}\n`) })
    .addHelpText(
      "after",
      `
Examples:
  $ latdyn attractors models/mnist-conv-k16 --from data:train-images.idx3-ubyte.gz:1000 --out run
      where a thousand images lead: attractors, basins, a page with pictures
  $ latdyn memorization run --train train-images.idx3-ubyte.gz --held-out t10k-images.idx3-ubyte.gz
      what that says about memory, beside two levels of chance
  $ latdyn doctor

Results go to stdout, progress and errors to stderr. Ends with 0 when done, 1 failed, 2 bad usage or bad input,
130 interrupted. "latdyn COMMAND --help" explains a command.`,
    );
  program.commandsGroup("Of a model:");
  attractorsCommand(program);
  fieldCommand(program);
  trajectoriesCommand(program);
  probeCommand(program);
  oodCommand(program);
  speedCommand(program);
  contractionCommand(program);
  program.commandsGroup("Of an encoder without a decoder:");
  surrogateCommand(program);
  program.commandsGroup("Of a finished run of attractors:");
  memorizationCommand(program);
  similarityCommand(program);
  rankCommand(program);
  program.commandsGroup("Of plain matrices, for other tools (similarity and rank take them too):");
  dedupCommand(program);
  knnCommand(program);
  ompCommand(program);
  program.commandsGroup("What there is:");
  inspectCommand(program);
  benchCommand(program);
  doctorCommand(program);
  return program;
}

/** commander's "error: unknown option '--x'\n(Did you mean --y?)" on one line. */
function sentence(message: string): string {
  return message
    .trim()
    .replace(/^error: /, "")
    .replace(/\s*\n\s*/g, " ")
    .replace("(Did you mean", "(did you mean");
}

function exitCodeFor(error: unknown): number {
  // commander has printed its own message already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : BAD_INPUT;
  const text = error instanceof Error ? error.message : String(error);
  process.stderr.write(`latdyn: ${text.replace(/\s*\n\s*/g, " ")}\n`);
  if (process.env.LATDYN_DEBUG === "1" && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (error instanceof AbortedError) return INTERRUPTED;
  return error instanceof InputError ? BAD_INPUT : FAILED;
}

// "latdyn inspect MODEL | head" is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

try {
  await createProgram().parseAsync();
} catch (error) {
  process.exitCode = exitCodeFor(error);
}
