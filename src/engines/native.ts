/** The default engine: the addon's plans, compiled when first needed and kept as long as the model. */
import { deviceError, deviceName } from "../device.js";
import { AbortedError, DeviceError, InputError } from "../errors.js";
import { jacobianVectorGraph, vectorJacobianGraph } from "../graph/differentiate.js";
import { elements, formatShape, type Graph } from "../graph/graph.js";
import { lower } from "../graph/lower.js";
import { type Matrix, row } from "../matrix.js";
import { type Autoencoder, graphOf } from "../models/autoencoder.js";
import {
  type CompileOptions,
  type CudaDevice,
  type NativeJob,
  type NativePlan,
  native,
  type PlanInfo,
  type Progress,
} from "../native.js";
import { packageVersion } from "../version.js";
import type { CallOptions, Engine, EngineDevice } from "./engine.js";

export interface NativeEngine extends Engine {
  readonly name: "native";
  readonly kernelDevice: string;
  /** The plan of f. Compiles it where that has not happened yet. */
  plan(): PlanInfo;
  dispose(): void;
}

const engines = new WeakMap<Autoencoder, Map<string, NativeEngine>>();

/**
 * The native engine of `model`, one per model and set of compile options: a second call gives the first one's.
 * Disposed with the model. Nothing is compiled before it is used.
 */
export function nativeEngine(model: Autoencoder, options: CompileOptions = {}): NativeEngine {
  let known = engines.get(model);
  if (known === undefined) {
    known = new Map();
    engines.set(model, known);
  }
  const { layout = "auto", isa = "auto", device = -1, precision = "float32" } = options;
  const key = [layout, isa, device, precision].join(" ");
  let engine = known.get(key);
  if (engine === undefined) {
    engine = createEngine(model, options, () => known.delete(key));
    model.onDispose(engine.dispose);
    known.set(key, engine);
  }
  return engine;
}

function createEngine(model: Autoencoder, options: CompileOptions, forget: () => void): NativeEngine {
  const plans = new Map<Graph, NativePlan>();
  // Only f is iterated, so only f is there in a precision that float32 has to finish.
  const { precision: _precision, ...strict } = options;
  const { device = -1 } = options;
  // A device that fails later is no longer in the list.
  const card = device < 0 ? undefined : native().cuda().devices[device];

  const planOf = (graph: Graph, compileOptions: CompileOptions): NativePlan => {
    let plan = plans.get(graph);
    if (plan === undefined) {
      plan = compile(model, graph, compileOptions);
      plans.set(graph, plan);
    }
    return plan;
  };

  const map = (): Graph => graphOf(model, "map");
  const planOfMap = (): NativePlan => planOf(map(), options);

  const applyGraph = async (
    graph: Graph,
    rows: Matrix,
    what: string,
    call: CallOptions,
    compileOptions: CompileOptions = strict,
  ): Promise<Matrix> => {
    checkWidth(model, graph, rows, what);
    const columns = elements(graph.values[graph.output].shape);
    if (rows.rows === 0) return { data: new Float32Array(0), rows: 0, columns };
    const plan = planOf(graph, compileOptions);
    const result = await run(call, (onProgress) =>
      native().apply(plan, rows.data, { threads: call.threads }, onProgress),
    );
    if (result.aborted)
      throw new AbortedError(`${model.name}: aborted`, undefined, { cause: call.signal?.reason });
    return { data: result.output, rows: rows.rows, columns };
  };

  /** Rows [z, v] for a graph that multiplies v by the Jacobian at z; made of f when first asked for. */
  const products = new Map<typeof jacobianVectorGraph, Graph>();
  const applyProduct = async (
    derive: typeof jacobianVectorGraph,
    latents: Matrix,
    vectors: Matrix,
    call: CallOptions,
  ): Promise<Matrix> => {
    checkWidth(model, map(), latents, "latents");
    checkWidth(model, map(), vectors, "vectors");
    if (vectors.rows !== latents.rows) {
      throw new InputError(`${model.name}: ${vectors.rows} vectors for ${latents.rows} latents`);
    }
    let graph = products.get(derive);
    if (graph === undefined) {
      graph = derive(map());
      products.set(derive, graph);
    }
    // The layout that suits f suits its derivatives, which hold a few times what f holds.
    const { info } = planOfMap();
    const layout = info.device === "cpu" ? { layout: info.layout } : {};
    return applyGraph(graph, beside(latents, vectors), "pairs", call, { ...strict, ...layout });
  };

  return {
    name: "native",
    kernelDevice: deviceName(device),
    plan: () => planOfMap().info,
    info() {
      const { info } = planOfMap();
      return {
        device: describeDevice(info, card),
        versions: {
          "latent-dynamics": packageVersion(),
          node: process.versions.node,
          ...(card === undefined ? { oneDNN: native().cpu().oneDnn } : { CUDA: card.driver }),
        },
      };
    },
    apply: async (latents, call) => applyGraph(map(), latents, "latents", call, options),
    encode: async (inputs, call) => applyGraph(graphOf(model, "encoder"), inputs, "inputs", call),
    decode: async (latents, call) => applyGraph(graphOf(model, "decoder"), latents, "latents", call),
    jacobianVector: (latents, tangents, call) => applyProduct(jacobianVectorGraph, latents, tangents, call),
    vectorJacobian: (latents, cotangents, call) =>
      applyProduct(vectorJacobianGraph, latents, cotangents, call),
    async iterate(initial, { threads, signal, onProgress, ...options }) {
      checkWidth(model, map(), initial, "latents");
      const plan = planOfMap();
      return run({ signal, onProgress }, (report) =>
        native().iterate(plan, initial.data, { ...options, threads }, report),
      );
    },
    async walk(initial, attractors, { threads, signal, onProgress, ...options }) {
      checkWidth(model, map(), initial, "latents");
      checkWidth(model, map(), attractors, "attractors");
      const plan = planOfMap();
      return run({ signal, onProgress }, (report) =>
        native().trajectory(plan, initial.data, attractors.data, { ...options, threads }, report),
      );
    },
    dispose() {
      forget();
      for (const plan of plans.values()) plan.dispose();
      plans.clear();
    },
  };
}

function compile(model: Autoencoder, graph: Graph, options: CompileOptions): NativePlan {
  const lowered = lower(graph);
  const addon = native();
  try {
    return addon.compile(lowered, options);
  } catch (error) {
    const { device = -1 } = options;
    const what = `${graph.name}${device < 0 ? "" : ` on ${deviceName(device)}`}: ${(error as Error).message}`;
    if (deviceError(error) instanceof DeviceError) {
      throw new DeviceError(`${model.name}: cannot put ${what}`, { cause: error });
    }
    throw new InputError(`${model.name}: the native engine cannot run ${what}`, { cause: error });
  }
}

function describeDevice(info: PlanInfo, card: CudaDevice | undefined): EngineDevice {
  const { layout, reason } = info;
  if (info.device === "cpu") return { kind: "cpu", isa: info.isa, layout, reason, tileRows: info.tileRows };
  const { index, precision } = info;
  return { kind: "cuda", name: card?.name, index, layout, precision, reason };
}

/** [a, b], row by row. */
function beside(a: Matrix, b: Matrix): Matrix {
  const columns = a.columns + b.columns;
  const data = new Float32Array(a.rows * columns);
  for (let i = 0; i < a.rows; i++) {
    data.set(row(a, i), i * columns);
    data.set(row(b, i), i * columns + a.columns);
  }
  return { data, rows: a.rows, columns };
}

function checkWidth(model: Autoencoder, graph: Graph, rows: Matrix, what: string): void {
  const shape = graph.values[graph.input].shape;
  if (rows.columns !== elements(shape)) {
    throw new InputError(
      `${model.name}: ${what} have ${rows.columns} elements a row, expected ${elements(shape)} (${formatShape(shape)})`,
    );
  }
}

/**
 * Starts a job, ties it to the signal, and makes an error thrown by onProgress the caller's. Throws DeviceError where a
 * device failed.
 */
export async function run<Result>(
  { signal, onProgress }: Pick<CallOptions, "signal" | "onProgress">,
  start: (onProgress?: (progress: Progress) => void) => NativeJob<Result>,
): Promise<Result> {
  let job: NativeJob<Result> | undefined;
  let failure: { error: unknown } | undefined;
  const report =
    onProgress &&
    ((progress: Progress): void => {
      if (failure !== undefined) return;
      try {
        onProgress(progress);
      } catch (error) {
        failure = { error };
        job?.abort();
      }
    });
  job = start(report);
  const { promise } = job;
  const abort = (): void => job?.abort();
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  try {
    const result = await promise;
    if (failure !== undefined) throw failure.error;
    return result;
  } catch (error) {
    throw deviceError(error);
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
