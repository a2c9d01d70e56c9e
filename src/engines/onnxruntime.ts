/** A model that ONNX Runtime computes: for operators outside the native graph, and to compare with. */
import { availableParallelism, freemem } from "node:os";
import { checkNames, wholeNumber } from "../check.js";
import { EngineError, InputError } from "../errors.js";
import type { Shape } from "../graph/graph.js";
import type { PartFiles } from "../models/source.js";
import { apart, type OnnxModel, oneRowAtATime, readOnnxModel } from "./onnxruntime/files.js";
import { findOnnxRuntime, WITHOUT_CUDA } from "./onnxruntime/package.js";
import type { OnnxRequest, OnnxThreadData, Task } from "./onnxruntime/thread.js";
import type { Runtime } from "./runtime.js";
import { type WorkerPool, workerPool } from "./workerPool.js";

export interface OnnxRuntimeOptions {
  /** Threads in all, at least 1. Default: as many as the machine has. */
  readonly threads?: number;
  /** Sessions side by side, which share the threads, 1 … threads. Default: one a thread as far as memory allows. */
  readonly sessions?: number;
  /** "cpu" (default), "cuda" or "cuda:INDEX". */
  readonly device?: string;
  /** Shape of one latent, for axes that the decoder (or the map) leaves open. */
  readonly latentShape?: Shape;
  /** Shape of one input, for axes that the encoder leaves open. */
  readonly inputShape?: Shape;
}

export interface OnnxRuntime extends Runtime {
  readonly name: "onnxruntime";
  /** Sessions that a row goes through in f. */
  readonly stages: 1 | 2;
  /** Why there are two; null where there is one. */
  readonly reason: string | null;
  /** Threads inside one session; `concurrency` sessions run at once. */
  readonly threadsPerSession: number;
}

/** The built file, for the sources as well: a thread runs JavaScript alone. */
const THREAD = new URL("../../dist/engines/onnxruntime/thread.js", import.meta.url);

/** Bytes of inputs in one call: rates are flat around it, and a call ends soon enough to be waited for. */
const BATCH_BYTES = 2 ** 18;
const MOST_BATCH_ROWS = 64;
const MOST_THREADS = 1024;
/** Memory of a session, in sizes of its weights: as read, packed, and some for activations. */
const SESSION_WEIGHTS = 3;

/**
 * Opens ONNX files in onnxruntime-node, f as one session where the two files can be joined. Sessions of one thread
 * each run side by side, because threads of one session wait for each other at every operator: on 2 cores that is 1.35
 * times as fast on a small convolutional model, 1.8 times on a small transformer, and as fast on taef2
 * (docs/performance.md). Only where a copy of the weights for each thread would not fit in memory do threads share one.
 * Sessions open when the work needs them.
 *
 * Throws InputError where the package is not installed, has no such device, or refuses a file; where weights lie
 * outside the model's folder; where a shape is open, the two files do not fit, or rows of a batch are not
 * independent. Throws EngineError where onnxruntime cannot be loaded or fails on a row.
 */
export async function openOnnxRuntime(
  files: PartFiles,
  options: OnnxRuntimeOptions = {},
): Promise<OnnxRuntime> {
  checkNames(options, ["threads", "sessions", "device", "latentShape", "inputShape"], "option");
  const { device: deviceName = "cpu", ...shapes } = options;
  const threads = wholeNumber("threads", options.threads ?? availableParallelism(), 1, MOST_THREADS);
  const { version, providers } = findOnnxRuntime();
  const device = deviceOf(deviceName, providers);
  const read = await readOnnxModel(files, shapes);
  const sessions = wholeNumber(
    "sessions",
    options.sessions ?? (device.kind === "cpu" ? sessionsFor(threads, read.weightBytes) : 1),
    1,
    threads,
  );
  const threadsPerSession = Math.max(1, Math.floor(threads / sessions));
  const { model, pool, batchRows } = await openPool(read, { device, threads: threadsPerSession }, sessions);

  const run = async (task: Task, rows: Float32Array, count: number, width: number): Promise<Float32Array> => {
    if (rows.length !== count * width) {
      throw new InputError(`${model.name}: ${count} rows of ${width} cannot have ${rows.length} elements`);
    }
    if (count === 0) return new Float32Array(0);
    // The caller keeps what it gave; the copy moves to the thread.
    const data = new Float32Array(rows);
    return pool.call({ task, data, rows: count }, [data.buffer]);
  };
  const { latentDimension, inputElements } = model;
  return {
    name: "onnxruntime",
    device: device.kind === "cpu" ? "cpu" : `cuda:${device.index}`,
    versions: { "onnxruntime-node": version },
    latentDimension,
    inputElements,
    batchRows,
    concurrency: sessions,
    stages: model.tasks.map!.length as 1 | 2,
    reason: model.reason,
    threadsPerSession,
    apply: (latents, rows) => run("map", latents, rows, latentDimension),
    ...(inputElements === null
      ? {}
      : {
          encode: (inputs, rows) => run("encode", inputs, rows, inputElements),
          decode: (latents, rows) => run("decode", latents, rows, latentDimension),
        }),
    close: () => pool.close(),
  };
}

type Pool = WorkerPool<OnnxRequest, Float32Array>;
type Opened = { readonly model: OnnxModel; readonly pool: Pool; readonly batchRows: number };

/**
 * A pool that has computed f: what cannot be known from the files is tried. Two files that were joined and do not run
 * are tried apart, where the error names the one at fault; a model that takes one row and not two gets one at a time.
 */
async function openPool(
  model: OnnxModel,
  session: Pick<OnnxThreadData, "device" | "threads">,
  sessions: number,
): Promise<Opened> {
  const pool: Pool = workerPool({
    script: THREAD,
    data: { tasks: model.tasks, ...session } satisfies OnnxThreadData,
    threads: sessions,
    name: model.name,
  });
  const again = async (other: OnnxModel): Promise<Opened> => {
    await pool.close();
    return openPool(other, session, sessions);
  };
  const isOurs = (error: unknown): error is Error =>
    error instanceof InputError || error instanceof EngineError;
  const k = model.latentDimension;
  try {
    const rows = tryRows(2, k);
    let alone: Float32Array;
    try {
      alone = await pool.call({ task: "map", data: rows.slice(0, k), rows: 1 });
    } catch (error) {
      if (!isOurs(error) || model.reason !== null || model.tasks.encode === undefined) throw error;
      return await again(apart(model, error.message));
    }
    if (alone.length !== k) {
      throw new InputError(
        `${model.name}: f gives ${alone.length} elements a row, expected as many as a latent has, ${k}`,
      );
    }
    const batchRows = batchRowsOf(model);
    if (batchRows > 1 && model.batchSize !== 1) {
      let both: Float32Array | undefined;
      try {
        both = await pool.call({ task: "map", data: rows, rows: 2 });
      } catch (error) {
        if (!isOurs(error) || model.batchSize !== undefined) throw error;
      }
      if (both?.length !== rows.length) return await again(oneRowAtATime(model));
      if (!agree(alone, both.subarray(0, k))) {
        throw new InputError(
          `${model.name}: a row's result depends on the rows beside it, expected rows that are independent`,
        );
      }
    }
    return { model, pool, batchRows };
  } catch (error) {
    await pool.close();
    throw error;
  }
}

/** Values between −1 and 1 without a pattern that a model could be blind to. */
function tryRows(rows: number, k: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: rows * k }, (_, i) => Math.sin(1 + 2.3 * i));
}

/** Equal but for rounding; where one is not finite there is nothing to compare. */
function agree(a: Float32Array, b: Float32Array): boolean {
  let [difference, norm] = [0, 0];
  a.forEach((value, i) => {
    difference += (value - b[i]!) ** 2;
    norm += value ** 2;
  });
  return !Number.isFinite(difference) || difference <= 1e-6 * norm;
}

/** A multiple of the batch that the files fix. */
function batchRowsOf({ latentDimension, inputElements, batchSize = 1 }: OnnxModel): number {
  const bytes = 4 * Math.max(latentDimension, inputElements ?? 0);
  const wanted = Math.min(MOST_BATCH_ROWS, Math.max(1, Math.floor(BATCH_BYTES / bytes)));
  return batchSize * Math.max(1, Math.floor(wanted / batchSize));
}

/** As many as fit in half of the free memory. */
function sessionsFor(threads: number, weightBytes: number): number {
  const fitting = Math.floor(freemem() / 2 / (SESSION_WEIGHTS * weightBytes));
  return Math.max(1, Math.min(threads, fitting));
}

function deviceOf(name: string, providers: readonly string[]): OnnxThreadData["device"] {
  if (name === "cpu") return { kind: "cpu" };
  const index = /^cuda(?::(\d+))?$/.exec(name);
  if (index === null)
    throw new InputError(`device is ${JSON.stringify(name)}, expected cpu, cuda or cuda:INDEX`);
  if (!providers.includes("cuda")) throw new InputError(`device ${name}: ${WITHOUT_CUDA}`);
  return { kind: "cuda", index: Number(index[1] ?? 0) };
}
