/**
 * Threads that each answer one request at a time. They start when there is work for them, so that a small job pays
 * for one thread, and an idle pool does not keep the process alive.
 */
import { Worker } from "node:worker_threads";
import { EngineError, InputError } from "../errors.js";

export interface WorkerPool<Request, Answer> {
  /**
   * Resolves with the answer of whichever thread is free first. Rejects with the thread's InputError or EngineError;
   * with an EngineError also where the thread ends before it has answered: others go on, and the next call starts a
   * new one.
   */
  call(request: Request, transfer?: readonly ArrayBuffer[]): Promise<Answer>;
  /** Ends the threads. Calls that wait or run are rejected; one inside native code is waited for. */
  close(): Promise<void>;
}

/** What a thread sends: the answer to the request, or why there is none. */
export type Reply<Answer> =
  | { readonly answer: Answer }
  | { readonly failure: { readonly kind: "input" | "engine"; readonly message: string } };

interface Waiting<Request, Answer> {
  readonly request: Request;
  readonly transfer: readonly ArrayBuffer[];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/** `script`: the thread's built JavaScript; `data` reaches it as workerData; `name` is what messages call the pool. */
export function workerPool<Request, Answer>(options: {
  readonly script: URL;
  readonly data: unknown;
  readonly threads: number;
  readonly name: string;
}): WorkerPool<Request, Answer> {
  const { script, data, threads, name } = options;
  const waiting: Waiting<Request, Answer>[] = [];
  const idle: Worker[] = [];
  const running = new Map<Worker, Waiting<Request, Answer>>();
  const all = new Set<Worker>();
  let closed = false;

  const start = (): Worker => {
    // Arguments of the process (--eval, loaders) are meant for its own program.
    const worker = new Worker(script, { workerData: data, name, execArgv: [] });
    all.add(worker);
    worker.on("message", (reply: Reply<Answer>) => {
      const call = running.get(worker);
      running.delete(worker);
      worker.unref();
      idle.push(worker);
      if ("answer" in reply) call?.resolve(reply.answer);
      else call?.reject(errorOf(reply.failure));
      next();
    });
    const ended = (why: string): void => {
      if (!all.delete(worker)) return;
      const at = idle.indexOf(worker);
      if (at >= 0) idle.splice(at, 1);
      const call = running.get(worker);
      running.delete(worker);
      call?.reject(new EngineError(closed ? `${name}: was closed during a call` : `${name}: ${why}`));
      next();
    };
    worker.on("error", (error: Error) => ended(`its thread failed: ${error.message}`));
    worker.on("exit", (code) => ended(`its thread ended with exit code ${code}`));
    return worker;
  };

  const next = (): void => {
    while (!closed && waiting.length > 0 && (idle.length > 0 || all.size < threads)) {
      const call = waiting.shift()!;
      const worker = idle.pop() ?? start();
      worker.ref();
      running.set(worker, call);
      try {
        worker.postMessage(call.request, call.transfer);
      } catch (error) {
        running.delete(worker);
        worker.unref();
        idle.push(worker);
        call.reject(new EngineError(`${name}: ${(error as Error).message}`, { cause: error }));
      }
    }
  };

  return {
    call: (request, transfer = []) =>
      new Promise((resolve, reject) => {
        if (closed) {
          reject(new EngineError(`${name}: has been closed`));
          return;
        }
        waiting.push({ request, transfer, resolve, reject });
        next();
      }),
    async close() {
      closed = true;
      for (const { reject } of waiting.splice(0))
        reject(new EngineError(`${name}: was closed during a call`));
      await Promise.all([...all].map((worker) => worker.terminate()));
    },
  };
}

function errorOf({ kind, message }: { kind: "input" | "engine"; message: string }): Error {
  return kind === "input" ? new InputError(message) : new EngineError(message);
}
