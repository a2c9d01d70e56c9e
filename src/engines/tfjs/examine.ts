/** Which backends of tfjs load on this machine, for the doctor. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { InputError } from "../../errors.js";
import type { EngineState } from "../engine.js";
import { findTfjs, TFJS_BACKENDS, type TfjsBackend } from "./backends.js";

/** What the probe writes: a line of JSON, the last one of its output. */
export type ProbeResult = { readonly device: string } | { readonly reason: string };

const PROBE = fileURLToPath(new URL("../../../dist/engines/tfjs/probe.js", import.meta.url));
/** Milliseconds: the first load of tfjs-node-gpu may compile kernels for its GPU. */
const PATIENCE = 120_000;

/**
 * One entry a backend. Those whose packages are here are loaded, each in a process of its own: what they print, or
 * bring down with them, stays there. Never throws for what is missing.
 */
export async function examineTfjs(): Promise<EngineState[]> {
  return Promise.all(TFJS_BACKENDS.map(examineTfjsBackend));
}

export async function examineTfjsBackend(backend: TfjsBackend): Promise<EngineState> {
  const name = `tfjs:${backend}`;
  let version: string | null = null;
  const unusable = (reason: string): EngineState => ({ name, usable: false, version, devices: [], reason });
  try {
    version = Object.values(findTfjs(backend))[0]!;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return unusable(error.message);
  }
  const result = await probe(backend);
  if ("reason" in result) return unusable(result.reason);
  return { name, usable: true, version, devices: [result.device], reason: null };
}

function probe(backend: TfjsBackend): Promise<ProbeResult> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROBE, backend], { timeout: PATIENCE }, (error, stdout) => {
      const line = stdout.trimEnd().split("\n").at(-1) ?? "";
      if (error === null && line.startsWith("{")) {
        resolve(JSON.parse(line) as ProbeResult);
        return;
      }
      const how = error?.killed
        ? `does not answer within ${PATIENCE / 1000} s`
        : `brings its process down (${error?.signal ?? `exit code ${error?.code ?? 0}`})`;
      resolve({ reason: `tfjs:${backend} ${how}` });
    });
  });
}
