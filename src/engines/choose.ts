/** Which engine computes a model: the one place where that is decided. */
import { availableParallelism } from "node:os";
import { DEFAULT_DEVICE, deviceNumber, type PrecisionChoice } from "../device.js";
import { InputError, UnsupportedOperatorError } from "../errors.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { type EngineChoice, engineChoice } from "../models/engineNames.js";
import type { CompileOptions, Isa, Layout } from "../native.js";
import { drive } from "./drive.js";
import type { Engine } from "./engine.js";
import { nativeEngine } from "./native.js";
import { RUNTIMES, type RuntimeName } from "./runtimes.js";

export interface EngineOptions {
  /** Default `auto`: the native engine where it can run the model, else the one that is made for the model's files. */
  readonly engine?: string;
  /**
   * auto, cpu, cuda or cuda:INDEX. `auto`: a CUDA device where there is one, else the CPU. Default: the CPU on the native
   * engine, what they see fit on others.
   */
  readonly device?: string;
  /** Threads of a runtime that computes here. Default: as many as the machine runs at once. */
  readonly threads?: number;
  /** How the native engine lays rows out on the CPU; for nothing else. Default `auto`. */
  readonly layout?: Layout | "auto";
  /** Instruction set of the native engine on the CPU; for nothing else. Default `auto`. */
  readonly isa?: Isa | "auto";
  /**
   * How iterations of the native engine begin on CUDA, before float32 finishes every point; for nothing else.
   * Default `auto`: tf32.
   */
  readonly precision?: PrecisionChoice;
}

/** Where the native engine cannot run a model: who is asked instead, by what the model is made from. */
const SUBSTITUTES = {
  graphs: null,
  onnx: "onnxruntime",
  tfjs: "tfjs",
  function: "function",
  process: "process",
} as const satisfies Record<Autoencoder["source"]["kind"], RuntimeName | null>;

const opened = new WeakMap<Autoencoder, Map<string, Promise<Engine>>>();

/**
 * The engine that the options ask for, one per model and options: a second call gives the first one's. Disposed with
 * the model. Throws InputError where there is no such engine or it cannot run the model, UnsupportedOperatorError where
 * the native graph cannot and nothing else can be loaded, EngineError where a runtime fails while it is opened,
 * DeviceError where a CUDA device was asked for and cannot be used.
 */
export async function engineOf(model: Autoencoder, options: EngineOptions = {}): Promise<Engine> {
  const choice = engineChoice(options.engine ?? "auto");
  const family = familyOf(model, choice);
  if (family === "native") return nativeEngine(model, compileOptions(options));
  refuse(options, ["layout", "isa", "precision"], `the native engine; ${model.name} runs on ${family}`);
  const { device = "auto", threads = availableParallelism() } = options;
  const variant = choice.includes(":") ? choice.slice(choice.indexOf(":") + 1) : null;
  const key = JSON.stringify([family, variant, device, threads]);
  let known = opened.get(model);
  if (known === undefined) {
    known = new Map();
    opened.set(model, known);
  }
  let engine = known.get(key);
  if (engine === undefined) {
    engine = open(model, family, { variant, device, threads }, choice === "auto");
    known.set(key, engine);
    // What could not be opened may be asked for again, once what was missing is there.
    engine.catch(() => known.delete(key));
  }
  return engine;
}

/** The device and what is for it. Throws InputError where something is for the other kind, and as deviceNumber. */
export function compileOptions(options: EngineOptions): CompileOptions {
  const device = deviceNumber(options.device);
  const where = options.device ?? DEFAULT_DEVICE;
  if (device < 0) {
    const here = where === "auto" ? ", which here is the CPU" : "";
    refuse(options, ["precision"], `CUDA; device is ${JSON.stringify(where)}${here}`);
    const { layout = "auto", isa = "auto" } = options;
    return { ...(layout === "auto" ? {} : { layout }), ...(isa === "auto" ? {} : { isa }) };
  }
  refuse(options, ["layout", "isa"], `the CPU; device is ${JSON.stringify(where)}`);
  const { precision = "auto" } = options;
  return { device, precision: precision === "auto" ? "tf32" : precision };
}

/** Throws InputError where one of the options asks for something: it is for `what` alone. */
function refuse(options: EngineOptions, names: readonly (keyof EngineOptions)[], what: string): void {
  for (const name of names) {
    const value = options[name] ?? "auto";
    if (value === "auto") continue;
    throw new InputError(`${name} is ${JSON.stringify(value)}, which is for ${what}`);
  }
}

/** Whether the model would be computed by the native engine. Throws as engineOf. */
function familyOf(model: Autoencoder, choice: EngineChoice): RuntimeName | "native" {
  const { source, map, unsupported } = model;
  const substitute = SUBSTITUTES[source.kind];
  if (choice === "native") {
    if (map === null) throw unsupported ?? new InputError(`${model.name}: has no graph to run`);
    return "native";
  }
  if (choice === "auto") {
    if (map !== null) return "native";
    if (substitute !== null && RUNTIMES[substitute] !== undefined) return substitute;
    throw unsupported ?? new InputError(`${model.name}: no engine of this build runs it`);
  }
  const family = choice.split(":")[0] as RuntimeName;
  const kind = RUNTIMES[family];
  if (kind === undefined) {
    const here = ["native", ...Object.keys(RUNTIMES)].join(", ");
    throw new InputError(
      `engine is ${JSON.stringify(choice)}, which this build does not have (it has ${here})`,
    );
  }
  if (kind.runs(source)) return family;
  const others = Object.entries(RUNTIMES).filter(([, other]) => other.runs(source));
  const able = [...(map === null ? [] : ["native"]), ...others.map(([name]) => name)];
  throw new InputError(
    `${model.name}: engine ${family} cannot run a model of format ${model.format}; ` +
      (able.length === 0 ? "none of this build can" : `${able.join(" and ")} can`),
  );
}

async function open(
  model: Autoencoder,
  family: RuntimeName,
  options: { variant: string | null; device: string; threads: number },
  asSubstitute: boolean,
): Promise<Engine> {
  const kind = RUNTIMES[family];
  if (kind === undefined) throw new InputError(`${model.name}: this build has no engine ${family}`);
  let engine: Engine;
  try {
    engine = drive(model.name, await kind.open(model, options));
  } catch (error) {
    const { unsupported } = model;
    if (!asSubstitute || !(unsupported instanceof UnsupportedOperatorError)) throw error;
    // Both belong together: what the native engine lacks, and why the other one does not help.
    throw new UnsupportedOperatorError(
      `${unsupported.message} (${family}: ${(error as Error).message})`,
      unsupported.operator,
      unsupported.node,
      { cause: error },
    );
  }
  try {
    model.onDispose(() => engine.dispose());
  } catch (error) {
    // The model was disposed of while it was being opened.
    await engine.dispose();
    throw error;
  }
  return engine;
}
