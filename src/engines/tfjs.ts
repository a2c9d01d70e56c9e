/** tfjs as a Runtime: models from files in threads of their own, or live objects of the caller's tfjs. */
import { availableParallelism } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import { EngineError, InputError } from "../errors.js";
import { elements } from "../graph/graph.js";
import type { TfjsSource } from "../models/tfjs/source.js";
import type { LiveModels } from "../models/tfjs/tf.js";
import type { Runtime } from "./runtime.js";
import { findTfjs, INSTALL_TFJS, TFJS_BACKENDS, type TfjsBackend } from "./tfjs/backends.js";
import { tfjsMaps } from "./tfjs/maps.js";
import type { TfjsRequest, TfjsTask, TfjsThreadData } from "./tfjs/thread.js";
import { workerPool } from "./workerPool.js";

export interface TfjsOptions {
  /** What may compute, in the order in which they are tried. Default: gpu, node, wasm, cpu. */
  readonly backends?: readonly TfjsBackend[];
  /**
   * Threads that run the model at the same time, each with its own copy of the weights (wasm and cpu: tfjs computes a
   * call on one thread in Node). tfjs-node has threads of its own and gets one. Default: as many as there are.
   */
  readonly threads?: number;
}

const THREAD = new URL("../../dist/engines/tfjs/thread.js", import.meta.url);

/** Most rows of one call: more gain nothing, and each call should end soon after it is no longer wanted. */
const mostRows: Readonly<Record<TfjsBackend, number>> = { gpu: 256, node: 128, wasm: 64, cpu: 16 };
/** Bytes that the activations of a call may take, at about 32 times what its images take. */
const activationBytes = 2 ** 28;
const activationsPerImage = 32;

/**
 * Opens the first backend that loads and can run the model; the reasons of those before it are in the error where
 * none can. Throws InputError where tfjs is not installed, the files are damaged or the two models do not meet, and
 * EngineError where no backend can run the model.
 */
export async function openTfjs(source: TfjsSource, options: TfjsOptions = {}): Promise<Runtime> {
  const { backends = TFJS_BACKENDS, threads = availableParallelism() } = options;
  const missing: InputError[] = [];
  const reasons = new Set<string>();
  for (const backend of backends) {
    let versions: Record<string, string>;
    try {
      versions = findTfjs(backend);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      missing.push(error);
      continue;
    }
    try {
      return await openBackend(source, { backend, versions, threads });
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      reasons.add(error.message);
    }
  }
  if (reasons.size > 0) {
    throw new EngineError(`${source.name}: tfjs cannot run it: ${[...reasons].join("; ")}`);
  }
  if (missing.length === 1) throw missing[0]!;
  throw new InputError(`tfjs is not installed: ${INSTALL_TFJS}`);
}

async function openBackend(
  source: TfjsSource,
  { backend, versions, threads }: { backend: TfjsBackend; versions: Record<string, string>; threads: number },
): Promise<Runtime> {
  const own = backend === "gpu" || backend === "node";
  const name = `tfjs:${backend}`;
  const data: TfjsThreadData = { backend, source };
  const concurrency = own ? 1 : Math.max(1, Math.floor(threads));
  const pool = workerPool<TfjsRequest, Float32Array>({ script: THREAD, data, threads: concurrency, name });
  const ask = (task: TfjsTask) => (rows: Float32Array, count: number) => {
    // A view of a larger buffer must not take that with it.
    const own = rows.byteLength === rows.buffer.byteLength ? rows : rows.slice();
    const request = { task, data: own as Float32Array<ArrayBuffer>, rows: count };
    return pool.call(request, [request.data.buffer]);
  };
  try {
    await ask("check")(new Float32Array(0), 0);
  } catch (error) {
    await pool.close();
    throw error;
  }
  return runtimeOf(source, {
    name,
    device: backend === "gpu" ? "cuda" : backend === "wasm" ? "wasm" : "cpu",
    versions,
    batchRows: batchRowsOf(source, mostRows[backend]),
    concurrency,
    apply: ask("apply"),
    encode: ask("encode"),
    decode: ask("decode"),
    close: () => pool.close(),
  });
}

/**
 * A Runtime of live models. They compute in this thread; between two calls the event loop gets its turn. Closing it
 * leaves the models to whoever made them. Throws InputError where the two models do not meet, and
 * EngineError where tfjs cannot run them.
 */
export async function openLiveTfjs(
  source: TfjsSource,
  { tf, encoder, decoder }: LiveModels,
): Promise<Runtime> {
  const backend = tf.getBackend();
  const maps = tfjsMaps(tf, source, { encoder, decoder });
  let closed = false;
  const inTurn =
    (task: "apply" | "encode" | "decode") =>
    async (rows: Float32Array, count: number): Promise<Float32Array> => {
      await turn();
      if (closed) throw new EngineError(`${source.name}: tfjs has been closed`);
      return maps[task](rows, count);
    };
  await maps.check();
  return runtimeOf(source, {
    name: `tfjs:${backend}`,
    device: tf.backend().isUsingGpuDevice === true ? "cuda" : backend === "tensorflow" ? "cpu" : backend,
    versions: { tfjs: tf.version.tfjs ?? tf.version["tfjs-core"] ?? "unknown" },
    batchRows: batchRowsOf(source, 16),
    concurrency: 1,
    apply: inTurn("apply"),
    encode: inTurn("encode"),
    decode: inTurn("decode"),
    async close() {
      closed = true;
    },
  });
}

type Calls = Omit<Required<Runtime>, "latentDimension" | "inputElements" | "jacobianVector" | "timeout">;

function runtimeOf({ encoder, decoder }: TfjsSource, { encode, decode, ...calls }: Calls): Runtime {
  return {
    ...calls,
    latentDimension: elements(decoder.inputShape),
    inputElements: encoder === null ? null : elements(encoder.inputShape),
    ...(encoder === null ? {} : { encode, decode }),
  };
}

/** As many as their activations leave room for; where the model fixes a number of rows, a multiple of it. */
function batchRowsOf({ encoder, decoder }: TfjsSource, most: number): number {
  const largest = Math.max(elements(decoder.inputShape), elements(encoder?.inputShape ?? [1]));
  const fit = Math.floor(activationBytes / (4 * activationsPerImage * largest));
  const rows = Math.max(1, Math.min(most, fit));
  const fixed = encoder?.batchRows ?? decoder.batchRows;
  return fixed === null || fixed === undefined ? rows : Math.max(1, Math.floor(rows / fixed)) * fixed;
}
