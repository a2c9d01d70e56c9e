/** A child process that computes a model: started, asked, watched and ended. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { EngineError, InputError } from "../../errors.js";
import { elements } from "../../graph/graph.js";
import { milliseconds } from "../../seconds.js";
import { batchFrame, FRAME, type Frame, floatsOf, frameReader } from "./frames.js";
import { type Hello, parseHello } from "./hello.js";

export interface ChildCommand {
  readonly command: string;
  readonly args: readonly string[];
  /** Folder to start it in. Default: the current one. */
  readonly cwd?: string;
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Seconds until it has to have said hello. */
  readonly startTimeout: number;
  /** Seconds that a batch may take. */
  readonly timeout: number;
}

export interface ChildModel {
  readonly hello: Hello;
  /** Seconds that a batch may take; whoever asks keeps the time. */
  readonly timeout: number;
  /** One batch at a time. Throws EngineError where the child fails, ends, or answers something else. */
  ask(what: "apply" | "encode" | "decode", rows: Float32Array, count: number): Promise<Float32Array>;
  /** Ends the child: by the end of its input, and after two seconds by force. */
  close(): Promise<void>;
}

/** Texts of a child, hello and errors, are cut off or refused beyond this. */
const TEXT = 2 ** 16;
/** Characters of what it wrote on its standard error that an error shows. */
const STDERR = 600;
/** Characters of its command line that messages name it by. */
const LABEL = 80;
/** Milliseconds between the end of its input and its own. */
const GRACE = 2000;

/** Children that live, for the end of this process. */
const living = new Set<ChildProcess>();

/**
 * Starts `command` without a shell and waits for its hello. Throws InputError where it cannot be started, EngineError
 * where it ends, is silent for too long, or says something else.
 */
export async function startChild(command: ChildCommand): Promise<ChildModel> {
  const words = [command.command, ...command.args].join(" ");
  const label = `process "${words.length > LABEL ? `${words.slice(0, LABEL)}…` : words}"`;
  const child = spawn(command.command, command.args, {
    cwd: command.cwd,
    env: { ...process.env, ...command.env },
    stdio: ["pipe", "pipe", "pipe"],
    // A group of its own: Ctrl-C is for this process, which ends the child in order, its children with it.
    detached: process.platform !== "win32",
    windowsHide: true,
  });
  const connection = connect(child, label);
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new EngineError(`${label}: did not say hello within ${command.startTimeout} s`)),
        milliseconds(command.startTimeout),
      );
    });
    const { payload } = await Promise.race([connection.expect(FRAME.hello, 0, null), late]);
    const hello = parseHello(payload, label);
    const k = elements(hello.latentShape);
    const input = hello.inputShape === null ? 0 : elements(hello.inputShape);
    return {
      hello,
      timeout: command.timeout,
      async ask(what, rows, count) {
        const answer = connection.expect(FRAME[what], count, count * (what === "decode" ? input : k) * 4);
        connection.send(batchFrame(FRAME[what], count, rows));
        return floatsOf((await answer).payload);
      },
      close: connection.close,
    };
  } catch (error) {
    await connection.close(0);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

interface Connection {
  /** The next frame, which has to be of this type; `length` null for a text. */
  expect(type: number, rows: number, length: number | null): Promise<Frame>;
  send(buffers: readonly Buffer[]): void;
  close(grace?: number): Promise<void>;
}

interface Expected {
  readonly type: number;
  readonly rows: number;
  readonly length: number | null;
  resolve(frame: Frame): void;
  reject(error: Error): void;
}

function connect(child: ChildProcess, label: string): Connection {
  const { stdin, stdout, stderr } = child as ChildProcess & {
    stdin: Writable;
    stdout: Readable;
    stderr: Readable;
  };
  let expected: Expected | null = null;
  let ended: Error | null = null;
  let wrote = "";
  const said = (): string => {
    const text = wrote.trim().replace(/\s+/g, " ");
    if (text === "") return "";
    return `; on its standard error: ${text.length > STDERR ? `…${text.slice(-STDERR)}` : text}`;
  };

  const end = (error: Error): void => {
    ended ??= error;
    expected?.reject(ended);
    expected = null;
    kill(child);
  };
  /** Nothing is waited for while nothing was asked: an idle child does not keep this process alive. */
  const keepAlive = (alive: boolean): void => {
    for (const handle of [child, ...([stdin, stdout, stderr] as unknown as Socket[])]) {
      if (alive) handle.ref();
      else handle.unref();
    }
  };

  living.add(child);
  if (living.size === 1) process.on("exit", killAll);
  const closed = new Promise<void>((resolve) => {
    child.once("close", () => {
      living.delete(child);
      if (living.size === 0) process.off("exit", killAll);
      resolve();
    });
  });
  child.once("error", (error: NodeJS.ErrnoException) => {
    const reason = error.code === "ENOENT" ? "there is no such command" : error.message;
    end(new InputError(`${label}: cannot be started: ${reason}`, { cause: error }));
  });
  // What it started itself may hold its pipes open.
  child.once("exit", () => kill(child));
  child.once("close", (code, signal) => {
    const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
    end(new EngineError(`${label}: ended ${how}${said()}`));
  });
  stderr.setEncoding("utf8");
  stderr.on("data", (text: string) => {
    wrote = (wrote + text).slice(-4 * STDERR);
  });
  // The pipe is broken because the child has ended, which "close" tells better; where it has not, its time runs out.
  stdin.on("error", (error) => {
    wrote += `\n(its standard input is closed: ${error.message})`;
  });
  stdout.on("data", frameListener());

  function frameListener(): (chunk: Buffer) => void {
    const reader = frameReader(({ type, rows }, length) => {
      if (type === FRAME.error && expected !== null) return limit(length);
      if (expected === null) throw new Error(`wrote a message of type ${type} that nobody asked for`);
      if (type !== expected.type) {
        throw new Error(`wrote a message of type ${type}, expected type ${expected.type}`);
      }
      if (expected.length === null) return limit(length);
      if (rows === expected.rows && length === expected.length) return;
      throw new Error(
        `answered ${rows} rows in ${length} bytes, expected ${expected.rows} rows in ${expected.length} bytes`,
      );
    });
    return (chunk) => {
      if (ended !== null) return;
      try {
        for (const frame of reader.push(chunk)) settle(frame);
      } catch (error) {
        end(new EngineError(`${label}: ${(error as Error).message}${said()}`, { cause: error }));
      }
    };
  }

  function settle(frame: Frame): void {
    const waiting = expected;
    expected = null;
    keepAlive(false);
    if (frame.type !== FRAME.error) {
      waiting?.resolve(frame);
      return;
    }
    const text = frame.payload.toString("utf8").trim().replace(/\s+/g, " ");
    waiting?.reject(new EngineError(`${label}: ${text === "" ? "failed without a word" : text}`));
  }

  return {
    expect(type, rows, length) {
      if (ended !== null) return Promise.reject(ended);
      if (expected !== null) return Promise.reject(new EngineError(`${label}: is busy with another batch`));
      keepAlive(true);
      return new Promise((resolve, reject) => {
        expected = { type, rows, length, resolve, reject };
      });
    },
    send(buffers) {
      for (const buffer of ended === null ? buffers : []) stdin.write(buffer);
    },
    async close(grace = GRACE) {
      keepAlive(true);
      ended ??= new EngineError(`${label}: was closed`);
      expected?.reject(ended);
      expected = null;
      stdin.end();
      const timer = setTimeout(() => kill(child), grace);
      await closed;
      clearTimeout(timer);
    },
  };
}

function limit(length: number): void {
  if (length > TEXT) throw new Error(`wrote a text of ${length} bytes, expected at most ${TEXT}`);
}

function killAll(): void {
  for (const child of living) kill(child);
}

/** The child and what it started. */
function kill(child: ChildProcess): void {
  if (child.pid === undefined) return;
  if (process.platform === "win32") {
    child.kill("SIGKILL");
    return;
  }
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    // They have ended by themselves; some systems say of a group of the dead that it is not ours.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ESRCH" && code !== "EPERM") throw error;
  }
}
