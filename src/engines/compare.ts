/** The engines that can run a model, on the same rows with the same number of threads: how fast, and how alike. */
import { availableParallelism } from "node:os";
import { checkNames, wholeNumber } from "../check.js";
import { deviceName, deviceNumber } from "../device.js";
import { AbortedError, DeviceError, EngineError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { ENGINES } from "../models/engineNames.js";
import { native } from "../native.js";
import { engineOf } from "./choose.js";
import { drive } from "./drive.js";
import type { Engine, EngineInfo } from "./engine.js";
import { openOnnxRuntime } from "./onnxruntime.js";
import { RUNTIMES, type RuntimeName } from "./runtimes.js";

export interface ComparisonOptions {
  /** Threads of every engine, 1 … 1024. Default: as many as the machine runs at once. */
  readonly threads?: number;
  /** Rows of one application of f, 1 … 2^24. Default: what keeps every engine busy for a fifth of a second. */
  readonly rows?: number;
  /** Where the native engine is measured beside the CPU: cuda, cuda:INDEX or auto. Default: nowhere. */
  readonly device?: string;
  /** Seed of the rows, which are noise: N(0, I). Default 0. */
  readonly randomSeed?: number;
  readonly signal?: AbortSignal;
  /** Called before each measurement, `finished` of `total`. */
  readonly onProgress?: (progress: { engine: string; finished: number; total: number }) => void;
}

export interface MeasuredEngine {
  /** As `--engine` takes it, or in words how it was set up. */
  readonly engine: string;
  /** Applications of f to a row per second: the median over the rounds, and the slowest and the fastest one. */
  readonly rowsPerSecond: { readonly median: number; readonly least: number; readonly most: number };
  /** ‖f(z) − f'(z)‖ / ‖f'(z)‖ over all rows, where f' is the reference's; null for the reference itself. */
  readonly relativeError: number | null;
  readonly device: EngineInfo["device"];
  readonly versions: EngineInfo["versions"];
  readonly reason: null;
}

export interface MissingEngine {
  readonly engine: string;
  readonly rowsPerSecond: null;
  /** Why there is no measurement, in one sentence. */
  readonly reason: string;
}

export interface EngineComparison {
  readonly model: { readonly name: string; readonly path: string; readonly hash: string; readonly k: number };
  readonly threads: number;
  readonly rows: number;
  readonly rounds: number;
  readonly randomSeed: number;
  /** The engine whose step the others are compared with: the native one where it runs; null where none does. */
  readonly reference: string | null;
  readonly engines: readonly (MeasuredEngine | MissingEngine)[];
}

/** Odd, so that the median is a measurement. */
const ROUNDS = 5;
/** Of one measurement: long enough for the clock, short enough that what else the machine does meets all engines. */
const SECONDS = 0.2;
const MOST_ROWS = 4096;

interface Candidate {
  readonly name: string;
  open(): Promise<Engine>;
}

interface Opened {
  readonly name: string;
  readonly engine: Engine;
  /** f of the rows. */
  step: Matrix;
  readonly rates: number[];
}

/**
 * Measures every engine that can be opened for the model, round by round in turns, so that what slows the machine
 * down slows all of them down. One that cannot run the model, or fails on the way, is in the result with the reason.
 *
 * Throws InputError for options that do not fit, and AbortedError.
 */
export async function compareEngines(
  model: Autoencoder,
  options: ComparisonOptions = {},
): Promise<EngineComparison> {
  checkNames(options, ["threads", "rows", "device", "randomSeed", "signal", "onProgress"], "option");
  const threads = wholeNumber("threads", options.threads ?? availableParallelism(), 1, 1024);
  const randomSeed = wholeNumber("randomSeed", options.randomSeed ?? 0, 0, Number.MAX_SAFE_INTEGER);
  if (options.rows !== undefined) wholeNumber("rows", options.rows, 1, 2 ** 24);
  const { signal, onProgress } = options;
  const device = deviceNumber(options.device);
  const call = { threads, ...(signal === undefined ? {} : { signal }) };
  const k = model.latentDimension;
  const draw = (rows: number): Matrix => ({
    data: native().noise(randomSeed, 0, rows, k, 1),
    rows,
    columns: k,
  });

  const missing = new Map<string, string>();
  /** What an engine says of itself is a row of the result. */
  const trying = async <Result>(name: string, work: () => Promise<Result>): Promise<Result | undefined> => {
    try {
      return await work();
    } catch (error) {
      const isOurs =
        error instanceof InputError || error instanceof EngineError || error instanceof DeviceError;
      if (!isOurs || error instanceof AbortedError) throw error;
      missing.set(name, error.message);
      return undefined;
    }
  };

  const tried = candidates(model, threads, device);
  const engines: { name: string; engine: Engine; seconds: number }[] = [];
  // A few rows of everything: it loads, and says how many rows a measurement should have.
  for (const { name, open } of tried) {
    await trying(name, async () => {
      const engine = await open();
      const probe = draw(threads);
      await engine.apply(probe, call);
      const start = performance.now();
      await engine.apply(probe, call);
      engines.push({ name, engine, seconds: (performance.now() - start) / 1000 / probe.rows });
    });
  }
  const slowest = Math.max(0, ...engines.map(({ seconds }) => seconds));
  const fitting = Math.ceil(Math.min(MOST_ROWS, SECONDS / slowest) / threads) * threads;
  const rows = options.rows ?? Math.max(threads, slowest > 0 ? fitting : threads);
  const latents = draw(rows);

  const opened: Opened[] = [];
  for (const { name, engine } of engines) {
    const step = await trying(name, () => engine.apply(latents, call));
    if (step !== undefined) opened.push({ name, engine, step, rates: [] });
  }
  const total = opened.length * ROUNDS;
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { name, engine, rates }] of opened.entries()) {
      if (missing.has(name)) continue;
      onProgress?.({ engine: name, finished: round * opened.length + i, total });
      const rate = await trying(name, () => measure(engine, latents, call));
      if (rate !== undefined) rates.push(rate);
    }
  }

  const measured = opened.filter(({ name }) => !missing.has(name));
  const reference = measured[0];
  return {
    model: { name: model.name, path: model.path, hash: model.hash, k },
    threads,
    rows,
    rounds: ROUNDS,
    randomSeed,
    reference: reference?.name ?? null,
    engines: tried.map(({ name }): MeasuredEngine | MissingEngine => {
      const found = measured.find((each) => each.name === name);
      if (found === undefined) {
        return { engine: name, rowsPerSecond: null, reason: missing.get(name) ?? "was not measured" };
      }
      const sorted = found.rates.toSorted((a, b) => a - b);
      return {
        engine: name,
        rowsPerSecond: { median: sorted[ROUNDS >> 1]!, least: sorted[0]!, most: sorted.at(-1)! },
        relativeError: found === reference ? null : relativeError(found.step, reference!.step),
        ...found.engine.info(),
        reason: null,
      };
    }),
  };
}

/** Applies f again and again until enough time has passed for a rate. */
async function measure(
  engine: Engine,
  latents: Matrix,
  call: { threads: number; signal?: AbortSignal },
): Promise<number> {
  const start = performance.now();
  let applied = 0;
  let seconds = 0;
  do {
    await engine.apply(latents, call);
    applied += latents.rows;
    seconds = (performance.now() - start) / 1000;
  } while (seconds < SECONDS);
  return applied / seconds;
}

/**
 * What to try, the native engine first, and then where it is on a device, in float32. A family that runs what this model is made from is tried in all its variants;
 * of the others one row says that it does not. onnxruntime is tried a second time as one session with all the threads,
 * which is what one gets from it without more ado.
 */
function candidates(model: Autoencoder, threads: number, device: number): Candidate[] {
  const { source } = model;
  const names = ENGINES.filter((choice) => {
    if (choice === "auto") return false;
    if (choice === "native") return true;
    const [family, variant] = choice.split(":") as [RuntimeName, string | undefined];
    const runs = RUNTIMES[family]?.runs(source) ?? false;
    if (family === "function" || family === "process") return runs;
    const hasVariants = ENGINES.some((other) => other.startsWith(`${family}:`));
    return runs && hasVariants ? variant !== undefined : variant === undefined;
  });
  return names.flatMap((name): Candidate[] => {
    if (name === "native") {
      const on = (where: string) => () => engineOf(model, { engine: name, device: where });
      const there = deviceName(device);
      return [
        { name, open: on("cpu") },
        ...(device < 0 ? [] : [{ name: `${name}, ${there}`, open: on(there) }]),
      ];
    }
    const one = { name, open: () => engineOf(model, { engine: name, threads }) };
    if (name !== "onnxruntime" || source.kind !== "onnx" || threads === 1) return [one];
    const { latentShape, inputShape } = model;
    const options = { threads, sessions: 1, latentShape, ...(inputShape === null ? {} : { inputShape }) };
    const open = async (): Promise<Engine> => {
      const engine = drive(model.name, await openOnnxRuntime(source.files, options));
      model.onDispose(() => engine.dispose());
      return engine;
    };
    return [one, { name: `${name}, one session`, open }];
  });
}

/** Over all elements that are finite in both: a row that runs away in one runs away in the other. */
function relativeError(found: Matrix, expected: Matrix): number {
  let [difference, norm] = [0, 0];
  expected.data.forEach((value, i) => {
    const other = found.data[i]!;
    if (!Number.isFinite(value) && !Number.isFinite(other)) return;
    difference += (other - value) ** 2;
    norm += value ** 2;
  });
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}
