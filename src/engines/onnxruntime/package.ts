/** The optional package onnxruntime-node: whether it is here, what it can do, and the part of its interface used here. */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { EngineError, InputError } from "../../errors.js";
import type { EngineState } from "../engine.js";

const PACKAGE = "onnxruntime-node";
/** Its own install script would fetch libraries for GPUs from elsewhere; those for the CPU are in the package. */
const INSTALL = `npm install --ignore-scripts ${PACKAGE}`;
/** Up to 1.24 only one thread can load it; 1.21 ends the process. */
const OLDEST = [1, 25] as const;

/** The sentence for a device that is not there. */
export const WITHOUT_CUDA =
  process.platform === "linux" && process.arch === "x64"
    ? `${PACKAGE} is installed without its CUDA provider: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild ${PACKAGE}`
    : `${PACKAGE} has no CUDA provider for ${process.platform} ${process.arch}`;

export interface OnnxTensor {
  readonly type: string;
  readonly data: ArrayLike<number>;
  readonly dims: readonly number[];
}

export interface OnnxSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Record<string, OnnxTensor>, fetches: readonly string[]): Promise<Record<string, OnnxTensor>>;
}

/** What onnxruntime-node exports, as far as it is used. */
export interface OnnxModule {
  readonly env: { logLevel?: string };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => OnnxTensor;
  readonly InferenceSession: {
    create(model: string | Uint8Array, options: object): Promise<OnnxSession>;
  };
}

export interface OnnxPackage {
  readonly version: string;
  /** Where it can compute: "cpu", and "cuda" where the library of that provider was installed. */
  readonly providers: readonly string[];
}

const require = createRequire(import.meta.url);

/**
 * Looks the package up without loading its native code. Throws InputError where it is not installed or too old.
 */
export function findOnnxRuntime(): OnnxPackage {
  let manifest: string;
  try {
    manifest = require.resolve(`${PACKAGE}/package.json`);
  } catch (error) {
    throw new InputError(`${PACKAGE} is not installed: ${INSTALL}`, { cause: error });
  }
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new InputError(
      `${PACKAGE} ${version} is installed, expected ${OLDEST.join(".")} or newer, which can run in threads: ` +
        `${INSTALL}@latest`,
    );
  }
  return { version, providers: hasCuda(dirname(manifest)) ? ["cpu", "cuda"] : ["cpu"] };
}

/** The CUDA provider is a library of its own, which only the package's install script downloads. */
function hasCuda(folder: string): boolean {
  const libraries = readdirSync(join(folder, "bin"), { recursive: true, encoding: "utf8" });
  const place = join(process.platform, process.arch);
  return libraries.some((path) => path.includes(place) && /onnxruntime_providers_cuda\.(so|dll)$/.test(path));
}

/** Loads the package. Throws InputError as findOnnxRuntime, and EngineError where its native code cannot be loaded. */
export function loadOnnxRuntime(): OnnxModule {
  const { version } = findOnnxRuntime();
  try {
    const loaded = require(PACKAGE) as OnnxModule;
    // What goes wrong is thrown; without this it is printed as well.
    loaded.env.logLevel = "fatal";
    return loaded;
  } catch (error) {
    throw new EngineError(`${PACKAGE} ${version} cannot be loaded: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Tries to load the package. Never throws. */
export function examineOnnxRuntime(): EngineState {
  const name = "onnxruntime";
  let version: string | null = null;
  try {
    const found = findOnnxRuntime();
    version = found.version;
    loadOnnxRuntime();
    return { name, usable: true, version, devices: found.providers, reason: null };
  } catch (error) {
    return { name, usable: false, version, devices: [], reason: (error as Error).message };
  }
}
