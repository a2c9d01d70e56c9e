/** The engines beside the native one: which models each can run, and how it is opened. One entry an engine. */
import { InputError } from "../errors.js";
import { elements } from "../graph/graph.js";
import type { Autoencoder } from "../models/autoencoder.js";
import type { ModelSource } from "../models/source.js";
import { functionRuntime } from "./function.js";
import { openOnnxRuntime } from "./onnxruntime.js";
import { processRuntime } from "./process.js";
import type { Runtime } from "./runtime.js";
import { backendsOf } from "./tfjs/backends.js";
import { openLiveTfjs, openTfjs } from "./tfjs.js";

export interface OpenOptions {
  /** What stands behind the colon of `--engine`: "gpu" of "tfjs:gpu"; null where there is nothing. */
  readonly variant: string | null;
  /** "auto" (as the runtime sees fit), "cpu", "cuda" or "cuda:INDEX". */
  readonly device: string;
  /** Threads in all, at least 1. */
  readonly threads: number;
}

export interface RuntimeKind {
  /** Whether it can run what the model is made from. */
  runs(source: ModelSource): boolean;
  /** Throws InputError where a package is missing or the model does not fit, EngineError where the runtime fails. */
  open(model: Autoencoder, options: OpenOptions): Promise<Runtime>;
}

export type RuntimeName = "onnxruntime" | "tfjs" | "function" | "process";

export const RUNTIMES: Partial<Record<RuntimeName, RuntimeKind>> = {
  onnxruntime: {
    runs: ({ kind }) => kind === "onnx",
    async open(model, { device, threads }) {
      const { latentShape, inputShape } = model;
      return openOnnxRuntime(sourceOf(model, "onnx").files, {
        threads,
        device: device === "auto" ? "cpu" : device,
        latentShape,
        ...(inputShape === null ? {} : { inputShape }),
      });
    },
  },
  tfjs: {
    runs: ({ kind }) => kind === "tfjs",
    async open(model, { variant, device, threads }) {
      const { tfjs, live } = sourceOf(model, "tfjs");
      if (live !== null) {
        if (variant !== null) {
          throw new InputError(
            `${model.name}: engine is "tfjs:${variant}", but live models compute where their own tfjs does: use "tfjs"`,
          );
        }
        return openLiveTfjs(tfjs, live);
      }
      return openTfjs(tfjs, { backends: backendsOf(variant, device), threads });
    },
  },
  function: {
    runs: ({ kind }) => kind === "function",
    async open(model) {
      return functionRuntime(sourceOf(model, "function").functions, shapeOf(model));
    },
  },
  process: {
    runs: ({ kind }) => kind === "process",
    async open(model) {
      return processRuntime(sourceOf(model, "process").child, shapeOf(model));
    },
  },
};

/** The model's source, which `runs` has found to be of this kind. */
function sourceOf<Kind extends ModelSource["kind"]>(
  { name, source }: Autoencoder,
  kind: Kind,
): Extract<ModelSource, { kind: Kind }> {
  if (source.kind !== kind) throw new Error(`${name}: is made from ${source.kind}, expected ${kind}`);
  return source as Extract<ModelSource, { kind: Kind }>;
}

function shapeOf({ latentDimension, inputShape }: Autoencoder) {
  return { latentDimension, inputElements: inputShape === null ? null : elements(inputShape) };
}
