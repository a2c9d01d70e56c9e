/**
 * A thread that runs tfjs models: its backends compute before they return, and would hold the event loop. Started by
 * ../tfjs.ts with a TfjsThreadData.
 */
import { parentPort, workerData } from "node:worker_threads";
import { EngineError, InputError } from "../../errors.js";
import type { TfjsSource } from "../../models/tfjs/source.js";
import type { Reply } from "../workerPool.js";
import { loadTfjs, type TfjsBackend } from "./backends.js";
import { oneLine } from "./maps.js";
import { type OpenMaps, openMaps } from "./open.js";

export interface TfjsThreadData {
  readonly backend: TfjsBackend;
  readonly source: TfjsSource;
}

export type TfjsTask = "check" | "apply" | "encode" | "decode";

export interface TfjsRequest {
  readonly task: TfjsTask;
  readonly data: Float32Array<ArrayBuffer>;
  readonly rows: number;
}

const { backend, source } = workerData as TfjsThreadData;
let opened: Promise<OpenMaps> | undefined;

function open(): Promise<OpenMaps> {
  opened ??= loadTfjs(backend).then(({ tf }) => openMaps(tf, source));
  return opened;
}

async function answer({ task, data, rows }: TfjsRequest): Promise<Float32Array> {
  const { maps } = await open();
  if (task !== "check") return maps[task](data, rows);
  await maps.check();
  return new Float32Array(0);
}

parentPort!.on("message", async (request: TfjsRequest) => {
  let reply: Reply<Float32Array>;
  try {
    reply = { answer: await answer(request) };
  } catch (error) {
    const known = error instanceof InputError || error instanceof EngineError;
    const message = known ? error.message : `${source.name}: tfjs:${backend} failed (${oneLine(error)})`;
    reply = { failure: { kind: error instanceof InputError ? "input" : "engine", message } };
  }
  parentPort!.postMessage(reply, "answer" in reply ? [reply.answer.buffer as ArrayBuffer] : []);
});
