import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder of the larger models and reference tensors, beside the repository or where LATDYN_SHARED says. */
export const sharedFolder =
  process.env.LATDYN_SHARED ?? resolve(fileURLToPath(new URL("../../../shared", import.meta.url)));

export function sharedPath(...parts: string[]): string {
  return join(sharedFolder, ...parts);
}

/** Whether the shared folder is here; tests that need it are skipped, by name, where it is not. */
export const hasShared = existsSync(sharedPath("models")) && existsSync(sharedPath("reference"));
