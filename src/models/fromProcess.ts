/** A model that a child process computes, in whatever language and framework. */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { checkNames, numberIn } from "../check.js";
import { InputError } from "../errors.js";
import { foreignOf } from "./assemble.js";
import type { Autoencoder } from "./autoencoder.js";
import { startChild } from "./process/child.js";

export interface ProcessOptions {
  /** The program, found as a shell finds it; no shell is involved. */
  readonly command: string;
  readonly args?: readonly string[];
  /** Folder to start it in. Default: the current one. */
  readonly cwd?: string;
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Seconds that a batch may take. Default 600. */
  readonly timeout?: number;
  /** Seconds until it has to have said hello: long enough to load a model. Default 120. */
  readonly startTimeout?: number;
  /** What messages and folders call the model. Default: what the child says, else the program's name. */
  readonly name?: string;
}

const KNOWN: Record<keyof ProcessOptions, true> = {
  command: true,
  args: true,
  cwd: true,
  env: true,
  timeout: true,
  startTimeout: true,
  name: true,
};

/** What MODEL begins with on the command line, and `path` of such a model. */
export const PROCESS_PREFIX = "process:";

/**
 * Starts a child that speaks the protocol of docs/engines.md and makes an Autoencoder of it. Its hash is over the
 * command, its arguments, and what the child says of its model; weights that change behind the same words are not
 * noticed unless the child's hello names them. Dispose of the model to end the child.
 *
 * Throws InputError for options that do not fit and a command that cannot be started, EngineError where the child ends,
 * says nothing in time, or says something else than hello.
 */
export async function fromProcess(options: ProcessOptions): Promise<Autoencoder> {
  checkNames(options, Object.keys(KNOWN), "option");
  const { command, args = [], cwd, env, timeout = 600, startTimeout = 120 } = options;
  if (typeof command !== "string" || command === "") {
    throw new InputError(`command is ${JSON.stringify(command)}, expected the name of a program`);
  }
  const seconds = (name: string, value: number): number =>
    numberIn(name, value, "seconds above 0", (v) => v > 0);
  const child = await startChild({
    command,
    args,
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    timeout: seconds("timeout", timeout),
    startTimeout: seconds("startTimeout", startTimeout),
  });
  const { hello } = child;
  const words = [command, ...args];
  const model = foreignOf(
    hello,
    new InputError(`${words.join(" ")}: is a process, which the engine "process" runs and no other`),
    {
      name: options.name ?? hello.name ?? basename(args[0] ?? command).replace(/\.\w+$/, ""),
      path: `${PROCESS_PREFIX}${words.map(quoted).join(" ")}`,
      format: "process",
      hash: createHash("sha256").update(JSON.stringify(words)).update(hello.identity).digest("hex"),
      files: [],
      preprocessor: hello.preprocessor,
      notes: [],
      source: { kind: "process", child },
    },
  );
  model.onDispose(() => child.close());
  return model;
}

/** The model of a command line, as `process:COMMAND` has it. Throws as fromProcess. */
export async function fromCommandLine(line: string): Promise<Autoencoder> {
  const [command, ...args] = wordsOf(line);
  if (command === undefined) {
    throw new InputError(
      `"${PROCESS_PREFIX}${line}" names no command, expected "process:COMMAND ARGUMENT …"`,
    );
  }
  return fromProcess({ command, args });
}

/**
 * Words separated by spaces; '…' and "…" keep spaces, and a backslash outside '…' keeps the next character. Nothing
 * else has a meaning: there is no shell.
 */
function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote: string | null = null;
  for (let i = 0; i < line.length; i++) {
    const c = line.charAt(i);
    if (c === quote) quote = null;
    else if (c === "\\" && quote !== "'" && i + 1 < line.length) word = (word ?? "") + line.charAt(++i);
    else if (quote === null && (c === "'" || c === '"')) {
      quote = c;
      word ??= "";
    } else if (quote === null && /\s/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? "") + c;
  }
  if (quote !== null) throw new InputError(`${PROCESS_PREFIX}${line}: a ${quote} is not closed`);
  return word === null ? words : [...words, word];
}

/** So that wordsOf reads it as one word. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
