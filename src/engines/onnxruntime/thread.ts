/**
 * A thread that runs ONNX Runtime sessions: its run() does not return before the result is there. Started by
 * ../onnxruntime.ts with `OnnxThreadData`.
 */
import { parentPort, workerData } from "node:worker_threads";
import { EngineError, InputError } from "../../errors.js";
import { elements, formatShape } from "../../graph/graph.js";
import type { Reply } from "../workerPool.js";
import { loadOnnxRuntime, type OnnxModule, type OnnxSession } from "./package.js";

export type Task = "map" | "encode" | "decode";

/** One session. */
export interface OnnxStage {
  /** A file, or a whole model, in shared memory. */
  readonly model: string | Uint8Array;
  /** Where the weights lie that a model given as bytes keeps elsewhere. */
  readonly folder: string;
  /** What messages call it. */
  readonly name: string;
  readonly input: string;
  /** Shape of one row. */
  readonly inputShape: readonly number[];
  readonly output: string;
  /** Rows of every call where the model fixes them: what is missing is filled up, and dropped from the result. */
  readonly batchSize: number | undefined;
}

export interface OnnxThreadData {
  /** Stages of each task, in the order in which they run. */
  readonly tasks: Readonly<Partial<Record<Task, readonly OnnxStage[]>>>;
  readonly device: { readonly kind: "cpu" } | { readonly kind: "cuda"; readonly index: number };
  /** Threads of one session. */
  readonly threads: number;
}

export interface OnnxRequest {
  readonly task: Task;
  readonly data: Float32Array<ArrayBuffer>;
  readonly rows: number;
}

const { tasks, device, threads } = workerData as OnnxThreadData;
const sessions = new Map<OnnxStage, Promise<OnnxSession>>();
let onnxruntime: OnnxModule | undefined;

function open(stage: OnnxStage): Promise<OnnxSession> {
  onnxruntime ??= loadOnnxRuntime();
  let session = sessions.get(stage);
  if (session === undefined) {
    // It takes no shared memory, and keeps none of what it is given.
    const model = typeof stage.model === "string" ? stage.model : new Uint8Array(stage.model);
    session = onnxruntime.InferenceSession.create(model, {
      executionProviders: device.kind === "cpu" ? ["cpu"] : [{ name: "cuda", deviceId: device.index }],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      ...(typeof stage.model === "string"
        ? {}
        : { extra: { session: { model_external_initializers_file_folder_path: stage.folder } } }),
    }).catch((error: Error) => {
      throw new InputError(`${stage.name}: onnxruntime cannot open it (${oneLine(error)})`, { cause: error });
    });
    sessions.set(stage, session);
  }
  return session;
}

/** One stage on all rows: as many calls as the model's batch asks for. */
async function runStage(stage: OnnxStage, data: Float32Array, rows: number): Promise<Float32Array> {
  const session = await open(stage);
  const columns = data.length / rows;
  const batch = stage.batchSize ?? rows;
  let result: Float32Array | undefined;
  for (let first = 0; first < rows; first += batch) {
    const count = Math.min(batch, rows - first);
    let part = data.subarray(first * columns, (first + count) * columns);
    if (count < batch) {
      const filled = new Float32Array(batch * columns);
      filled.set(part);
      part = filled;
    }
    const output = await runBatch(session, stage, part, batch);
    const width = output.length / batch;
    result ??= new Float32Array(rows * width);
    result.set(count < batch ? output.subarray(0, count * width) : output, first * width);
  }
  return result!;
}

async function runBatch(session: OnnxSession, stage: OnnxStage, data: Float32Array, rows: number) {
  const { Tensor } = onnxruntime!;
  const expected = rows * elements(stage.inputShape);
  if (data.length !== expected) {
    const shape = formatShape(stage.inputShape);
    throw new InputError(`${stage.name}: is given ${data.length / rows} elements a row, takes ${shape}`);
  }
  let output: { type: string; data: ArrayLike<number> } | undefined;
  try {
    const feeds = { [stage.input]: new Tensor("float32", data, [rows, ...stage.inputShape]) };
    output = (await session.run(feeds, [stage.output]))[stage.output];
  } catch (error) {
    throw new EngineError(`${stage.name}: onnxruntime failed on ${rows} rows (${oneLine(error as Error)})`, {
      cause: error,
    });
  }
  if (output === undefined || !(output.data instanceof Float32Array)) {
    throw new InputError(`${stage.name}: gives ${output?.type ?? "nothing"}, expected float32`);
  }
  if (output.data.length === 0 || output.data.length % rows !== 0) {
    throw new InputError(`${stage.name}: gives ${output.data.length} elements for ${rows} rows`);
  }
  return output.data;
}

async function answer({ task, data, rows }: OnnxRequest): Promise<Float32Array> {
  let at: Float32Array = data;
  for (const stage of tasks[task]!) at = await runStage(stage, at, rows);
  return at;
}

function oneLine(error: Error): string {
  return error.message.trim().replace(/\s*\n\s*/g, " ");
}

const port = parentPort!;
port.on("message", async (request: OnnxRequest) => {
  try {
    const result = await answer(request);
    port.postMessage({ answer: result } satisfies Reply<Float32Array>, [result.buffer as ArrayBuffer]);
  } catch (error) {
    // What is neither is a mistake of ours: it ends the thread, and its stack is the message.
    if (!(error instanceof InputError || error instanceof EngineError)) throw error;
    const kind = error instanceof InputError ? "input" : "engine";
    port.postMessage({ failure: { kind, message: error.message } } satisfies Reply<Float32Array>);
  }
});
