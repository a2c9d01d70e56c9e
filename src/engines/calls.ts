/** Calls to a runtime: they wait their turn, are given up where no answer comes, and their answers are checked. */
import { setImmediate as turn } from "node:timers/promises";
import { AbortedError, EngineError, LatdynError } from "../errors.js";
import { milliseconds } from "../seconds.js";
import type { Runtime } from "./runtime.js";

/** Seconds that a call may take where the runtime names no other time. */
const TIMEOUT = 600;
/** Milliseconds for which answers that come at once may hold the event loop. */
const HELD = 5;

export interface Call {
  /** What is asked for, as messages name it: "f", "the encoder". */
  readonly what: string;
  readonly rows: number;
  /** Numbers a row of the answer has. */
  readonly columns: number;
  readonly signal: AbortSignal | undefined;
  run(): Promise<Float32Array>;
}

export interface Calls {
  /**
   * The answer [rows, columns]. Throws AbortedError as soon as the signal fires; the runtime is asked again only when
   * it is done with what it was asked before. Throws EngineError where it fails, does not answer in time (and from
   * then on), or answers something else than so many floats. NaN and infinities are answers.
   */
  ask(call: Call): Promise<Float32Array>;
}

export function callsOf(model: string, runtime: Runtime): Calls {
  const { timeout = TIMEOUT } = runtime;
  const waiting: (() => void)[] = [];
  let free = runtime.concurrency;
  let broken: EngineError | undefined;
  let turned = performance.now();

  const release = (): void => {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  };
  const enter = async (signal: AbortSignal | undefined): Promise<void> => {
    if (free > 0) {
      free--;
      return;
    }
    let mine: () => void = () => undefined;
    const turnOfMine = new Promise<void>((resolve) => {
      mine = resolve;
      waiting.push(resolve);
    });
    try {
      await unlessAborted(turnOfMine, signal);
    } catch (error) {
      const place = waiting.indexOf(mine);
      // Where the turn came at the same moment, it is passed on.
      if (place < 0) release();
      else waiting.splice(place, 1);
      throw error;
    }
  };

  const unlessAborted = async <Result>(
    promise: Promise<Result>,
    signal: AbortSignal | undefined,
  ): Promise<Result> => {
    if (signal === undefined) return promise;
    let stop: () => void = () => undefined;
    const aborted = new Promise<never>((_, reject) => {
      stop = () => reject(new AbortedError(`${model}: aborted`, undefined, { cause: signal.reason }));
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
    });
    try {
      return await Promise.race([promise, aborted]);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  };

  const inTime = async <Result>(promise: Promise<Result>, what: string): Promise<Result> => {
    if (timeout === Number.POSITIVE_INFINITY) return promise;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const error = new EngineError(
          `${model}: ${runtime.name} did not answer when asked for ${what}, waited ${timeout} s`,
        );
        broken = error;
        reject(error);
        // It is of no more use; those that wait for their turn hear why.
        for (const resolve of waiting.splice(0)) resolve();
        runtime.close().catch((cause: unknown) => {
          error.cause = cause;
        });
      }, milliseconds(timeout));
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  };

  const checked = (answer: unknown, { what, rows, columns }: Call): Float32Array => {
    if (!(answer instanceof Float32Array)) {
      throw new EngineError(
        `${model}: ${runtime.name} answered ${kindOf(answer)} when asked for ${what}, expected a Float32Array`,
      );
    }
    if (answer.length !== rows * columns) {
      throw new EngineError(
        `${model}: ${runtime.name} answered ${answer.length} numbers when asked for ${what} of ${rows} rows, ` +
          `expected ${rows}×${columns} = ${rows * columns}`,
      );
    }
    return answer;
  };

  return {
    async ask(call) {
      const { what, signal } = call;
      if (broken !== undefined) throw broken;
      await enter(signal);
      if (signal?.aborted || broken !== undefined) {
        release();
        if (broken !== undefined) throw broken;
        throw new AbortedError(`${model}: aborted`, undefined, { cause: signal?.reason });
      }
      // What an answer says that nobody waits for any more is of no interest, but its end gives the next one its turn.
      const answer = started(call.run);
      answer.then(release, release);
      try {
        const found = checked(await unlessAborted(inTime(answer, what), signal), call);
        if (performance.now() - turned > HELD) {
          await turn();
          turned = performance.now();
        }
        return found;
      } catch (error) {
        if (error instanceof LatdynError) throw error;
        throw new EngineError(
          `${model}: ${runtime.name} failed when asked for ${what}: ${messageOf(error)}`,
          { cause: error },
        );
      }
    },
  };
}

/** What is thrown before there is a promise is a rejection like any other. */
async function started(run: () => Promise<Float32Array>): Promise<Float32Array> {
  return run();
}

function kindOf(answer: unknown): string {
  if (answer === null) return "null";
  if (typeof answer === "object") return `an object (${answer.constructor?.name ?? "without a class"})`;
  return answer === undefined ? "nothing" : `a ${typeof answer}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
