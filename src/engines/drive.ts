/** An Engine made of a Runtime: the loop around whatever answers batches. */
import { AbortedError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";
import { packageVersion } from "../version.js";
import { type Call, callsOf } from "./calls.js";
import type { CallOptions, Engine } from "./engine.js";
import { inLanes } from "./lanes.js";
import { reporter } from "./reporter.js";
import type { Runtime } from "./runtime.js";
import { walkRows } from "./walk.js";

/**
 * Drives `runtime` as the native loop drives its plans: statuses, iteration counts, slots that are refilled, and
 * batches that shrink to the points that are left are decided in the addon. `model` is how messages call the model.
 * A point's result depends on the point alone as far as the runtime's rows do.
 */
export function drive(model: string, runtime: Runtime): Engine {
  const { latentDimension: k, inputElements, concurrency } = runtime;
  const calls = callsOf(model, runtime);
  const batchRowsOf = (rows: number): number =>
    Math.max(1, Math.min(runtime.batchRows, Math.ceil(rows / concurrency)));

  const inBatches = async (
    { rows }: Matrix,
    columns: number,
    { signal, onProgress }: Pick<CallOptions, "signal" | "onProgress">,
    ask: (first: number, rows: number) => Pick<Call, "what" | "run">,
  ): Promise<Matrix> => {
    const data = new Float32Array(rows * columns);
    const most = batchRowsOf(rows);
    const report = reporter(onProgress, rows);
    let next = 0;
    let finished = 0;
    await inLanes(concurrency, signal, async (either) => {
      while (next < rows) {
        const first = next;
        const count = Math.min(most, rows - first);
        next += count;
        const answer = await calls.ask({ ...ask(first, count), rows: count, columns, signal: either });
        data.set(answer, first * columns);
        finished += count;
        report(finished, finished);
      }
    });
    return { data, rows, columns };
  };

  const apply = (latents: Matrix, call: Pick<CallOptions, "signal" | "onProgress">): Promise<Matrix> =>
    inBatches(latents, k, call, (first, rows) => ({
      what: "f",
      run: () => runtime.apply(part(latents, first, rows), rows),
    }));

  const checkWidth = ({ columns }: Matrix, expected: number, what: string): void => {
    if (columns !== expected) {
      throw new InputError(`${model}: ${what} have ${columns} elements a row, expected ${expected}`);
    }
  };
  const half = (
    name: "encode" | "decode",
    part: string,
  ): { run: NonNullable<Runtime["encode"]>; elements: number } => {
    const run = runtime[name]?.bind(runtime);
    if (run !== undefined && inputElements !== null) return { run, elements: inputElements };
    const reason = inputElements === null ? "is a square map, it has no" : `${runtime.name} was given no`;
    throw new InputError(`${model}: ${reason} ${part}`);
  };

  const product = runtime.jacobianVector?.bind(runtime);
  return {
    name: runtime.name,
    info: () => ({
      device: { kind: runtime.device, batchRows: runtime.batchRows, concurrency },
      versions: {
        "latent-dynamics": packageVersion(),
        node: process.versions.node,
        ...runtime.versions,
      },
    }),
    async apply(latents, call) {
      checkWidth(latents, k, "latents");
      return apply(latents, call);
    },
    async encode(inputs, call) {
      const { run, elements } = half("encode", "encoder");
      checkWidth(inputs, elements, "inputs");
      return inBatches(inputs, k, call, (first, rows) => ({
        what: "the encoder",
        run: () => run(part(inputs, first, rows), rows),
      }));
    },
    async decode(latents, call) {
      const { run, elements } = half("decode", "decoder");
      checkWidth(latents, k, "latents");
      return inBatches(latents, elements, call, (first, rows) => ({
        what: "the decoder",
        run: () => run(part(latents, first, rows), rows),
      }));
    },
    async iterate(initial, { threads: _threads, keepConverged: _keep, signal, onProgress, ...options }) {
      checkWidth(initial, k, "latents");
      const start = performance.now();
      const report = reporter(onProgress, initial.rows);
      const iteration = native().openIteration(initial.data, k, options);
      const most = batchRowsOf(initial.rows);
      let aborted = false;
      try {
        await inLanes(concurrency, signal, async (either) => {
          const batch = iteration.open(most);
          for (;;) {
            const points = iteration.points(batch);
            if (points.length === 0) return;
            const rows = points.length / k;
            const run = (): Promise<Float32Array> => runtime.apply(points, rows);
            const mapped = await calls.ask({ what: "f", rows, columns: k, signal: either, run });
            iteration.advance(batch, mapped);
            report(iteration.finished, iteration.evaluations);
          }
        });
      } catch (error) {
        if (!(error instanceof AbortedError)) throw error;
        aborted = true;
      }
      return { ...iteration.close(), aborted, seconds: (performance.now() - start) / 1000 };
    },
    async walk(initial, attractors, options) {
      checkWidth(initial, k, "latents");
      checkWidth(attractors, k, "attractors");
      const { signal } = options;
      return walkRows({
        ...options,
        initial,
        attractors,
        blockRows: runtime.batchRows * concurrency,
        apply: (latents) => apply(latents, { signal }),
      });
    },
    ...(product === undefined
      ? {}
      : {
          async jacobianVector(latents: Matrix, tangents: Matrix, call: CallOptions) {
            checkWidth(latents, k, "latents");
            checkWidth(tangents, k, "vectors");
            if (tangents.rows !== latents.rows) {
              throw new InputError(`${model}: ${tangents.rows} vectors for ${latents.rows} latents`);
            }
            return inBatches(latents, k, call, (first, rows) => ({
              what: "a Jacobian product",
              run: () => product(part(latents, first, rows), part(tangents, first, rows), rows),
            }));
          },
        }),
    dispose: () => runtime.close(),
  };
}

/** A copy: what a runtime is given is its own. */
function part({ data, columns }: Matrix, first: number, rows: number): Float32Array {
  return data.slice(first * columns, (first + rows) * columns);
}
