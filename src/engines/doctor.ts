/** What this machine can run. */
import { availableParallelism, cpus, freemem, release, totalmem, type } from "node:os";
import { addonPath, type CpuInfo, type CudaInfo, native } from "../native.js";
import { packageVersion } from "../version.js";
import type { EngineState } from "./engine.js";
import { examineOnnxRuntime } from "./onnxruntime/package.js";
import { examineTfjs } from "./tfjs/examine.js";

export interface MachineDescription {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly cpu: { model: string; threads: number };
  /** Bytes. */
  readonly memory: { total: number; free: number };
  /** The native engine; `info` is null where it cannot be loaded, `reason` says why. */
  readonly native: { usable: boolean; path: string; reason: string | null; info: CpuInfo | null };
  /** `reason` says why it is not usable; null where it is. */
  readonly cuda: CudaInfo & { usable: boolean };
  /** The engines beside the native one that need a package. */
  readonly engines: readonly EngineState[];
}

/** Never throws for a machine on which something is missing: saying so is what it is for. */
export async function examineMachine(): Promise<MachineDescription> {
  return {
    version: packageVersion(),
    node: process.versions.node,
    platform: `${type()} ${release()} ${process.arch}`,
    cpu: { model: cpus()[0]?.model.trim() ?? "unknown", threads: availableParallelism() },
    memory: { total: totalmem(), free: freemem() },
    native: examineNative(),
    cuda: examineCuda(),
    engines: [examineOnnxRuntime(), ...(await examineTfjs())],
  };
}

function examineNative(): MachineDescription["native"] {
  try {
    return { usable: true, path: addonPath(), reason: null, info: native().cpu() };
  } catch (error) {
    return { usable: false, path: addonPath(), reason: (error as Error).message, info: null };
  }
}

function examineCuda(): MachineDescription["cuda"] {
  try {
    const info = native().cuda();
    return { ...info, usable: info.reason === null };
  } catch {
    const reason = "the native engine cannot be loaded";
    return { library: "", given: false, built: false, usable: false, reason, devices: [] };
  }
}
