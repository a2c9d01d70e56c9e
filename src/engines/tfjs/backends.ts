/** The tfjs packages: which of them are here, which of them load, and why the others do not. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, sep } from "node:path";
import util from "node:util";
import { EngineError, InputError } from "../../errors.js";
import type { Tf, TfWasm } from "../../models/tfjs/tf.js";
import { oneLine } from "./maps.js";

/** What computes, in the order in which they are tried. */
export const TFJS_BACKENDS = ["gpu", "node", "wasm", "cpu"] as const;
export type TfjsBackend = (typeof TFJS_BACKENDS)[number];

export interface LoadedTfjs {
  readonly tf: Tf;
  readonly backend: TfjsBackend;
  /** For records. */
  readonly device: "cuda" | "cpu" | "wasm";
  readonly versions: Readonly<Record<string, string>>;
}

const TFJS = "@tensorflow/tfjs";
const WASM = "@tensorflow/tfjs-backend-wasm";
const NODE = "@tensorflow/tfjs-node";
const GPU = "@tensorflow/tfjs-node-gpu";

/** Packages that each backend needs. */
const packages: Readonly<Record<TfjsBackend, readonly string[]>> = {
  gpu: [GPU],
  node: [NODE],
  wasm: [TFJS, WASM],
  cpu: [TFJS],
};

const require = createRequire(import.meta.url);

/** Versions of the packages that `backend` needs, without loading them. Throws InputError naming those that are missing. */
export function findTfjs(backend: TfjsBackend): Record<string, string> {
  const versions: Record<string, string> = {};
  const missing: string[] = [];
  for (const name of packages[backend]) {
    const manifest = manifestOf(name);
    if (manifest === undefined) missing.push(name);
    else versions[name] = (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
  }
  if (missing.length > 0) {
    const are = missing.length === 1 ? "is" : "are";
    throw new InputError(`${missing.join(" and ")} ${are} not installed: npm install ${missing.join(" ")}`);
  }
  return versions;
}

function manifestOf(name: string): string | undefined {
  try {
    return require.resolve(`${name}/package.json`);
  } catch {
    return undefined;
  }
}

/** tfjs-node up to 4.22.0 calls a function of node:util that Node 23 took away: it loads, and fails when it computes. */
function checkNode(name: string, version: string): void {
  if (!isBroken(version, util)) return;
  throw new EngineError(
    `${name} ${version} needs util.isNullOrUndefined, which Node ${process.versions.node} has no more: use Node 22, or tfjs:wasm`,
  );
}

/** Whether this version calls what this `util` has not. */
export function isBroken(version: string, has: object): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return (major < 4 || (major === 4 && minor <= 22)) && !("isNullOrUndefined" in has);
}

/**
 * Loads tfjs and makes `backend` the one that computes. Throws as findTfjs, and EngineError with a sentence that says
 * what to do: a Node that the package does not run on, a binary that was not downloaded, a GPU that TensorFlow cannot
 * use.
 */
export async function loadTfjs(backend: TfjsBackend): Promise<LoadedTfjs> {
  const versions = findTfjs(backend);
  const [name] = packages[backend] as [string];
  if (backend === "gpu" || backend === "node") checkNode(name, versions[name]!);
  let tf: Tf;
  try {
    tf = require(name) as Tf;
    // Without it every use of the processor's backend advertises tfjs-node.
    tf.enableProdMode();
    if (backend === "wasm") {
      const wasm = require(WASM) as TfWasm;
      wasm.setWasmPaths(dirname(require.resolve(WASM)) + sep);
    }
    const wanted = backend === "gpu" || backend === "node" ? "tensorflow" : backend;
    if (!(await tf.setBackend(wanted))) throw new Error(`the backend "${wanted}" could not be started`);
    await tf.ready();
  } catch (error) {
    throw new EngineError(loadFailure(name, versions[name]!, oneLine(error)), { cause: error });
  }
  if (backend === "gpu" && tf.backend().isUsingGpuDevice !== true) {
    throw new EngineError(`${name} ${versions[name]} loads but finds no GPU it can use: ${cudaAdvice}`);
  }
  return { tf, backend, device: devices[backend], versions };
}

const devices = { gpu: "cuda", node: "cpu", wasm: "wasm", cpu: "cpu" } as const;

const cudaAdvice =
  "it brings TensorFlow 2.9, which needs CUDA 11.2 and cuDNN 8.1 on LD_LIBRARY_PATH and a driver for them";

/** What tfjs' message means and what helps. */
export function loadFailure(name: string, version: string, message: string): string {
  const what = `${name} ${version} cannot be loaded`;
  if (/libcuda|libcudnn|libcublas|libcufft|libcusolver|libcusparse|nvcuda|cudart/i.test(message)) {
    return `${what} (${message}): ${cudaAdvice}`;
  }
  if (/native addon module|tfjs_binding\.node|libtensorflow/i.test(message)) {
    return `${what}: its binary is not there; npm rebuild ${name} downloads it`;
  }
  return `${what} (${message})`;
}

/** What helps where no package of tfjs is here. */
export const INSTALL_TFJS = `npm install ${TFJS} ${WASM}`;

/**
 * The backends to try, in order: for what stands behind the colon of "tfjs:wasm" (null: all of them), among those that
 * compute on `device` ("auto", "cpu", "cuda", "cuda:0"). Throws InputError where no backend does.
 */
export function backendsOf(variant: string | null, device = "auto"): readonly TfjsBackend[] {
  const named = variant === null ? TFJS_BACKENDS : TFJS_BACKENDS.filter((backend) => backend === variant);
  if (named.length === 0) {
    throw new InputError(
      `engine is "tfjs:${variant}", expected tfjs or tfjs:${TFJS_BACKENDS.join(", tfjs:")}`,
    );
  }
  const onGpu = device.startsWith("cuda");
  const fit = named.filter((backend) => device === "auto" || (backend === "gpu") === onGpu);
  if (fit.length === 0) {
    throw new InputError(`device is "${device}", which tfjs:${variant} does not compute on`);
  }
  if (onGpu && device !== "cuda" && device !== "cuda:0") {
    throw new InputError(
      `device is "${device}", but tfjs takes the first GPU it sees: choose by CUDA_VISIBLE_DEVICES`,
    );
  }
  return fit;
}
