/**
 * What the scripts of this folder share: where the repository is, which programs this machine has, and the
 * fingerprint of a set of sources. Node alone: setup runs before anything is installed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository, wherever the script was called from (node-gyp calls from a folder of its own). */
export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

/** The addon that the CMake build makes, and that src/native.ts opens. */
export const addonFile = join(root, "build", "Release", "latent_dynamics.node");

/** The first of `names` that is an executable on PATH, or undefined. A name with a slash is looked up as it stands. */
export function findProgram(...names) {
  const suffixes = process.platform === "win32" ? [".exe", ".cmd", ".bat", ""] : [""];
  for (const name of names) {
    if (!name) continue;
    const folders = /[\\/]/.test(name) ? [""] : (process.env.PATH ?? "").split(delimiter);
    for (const folder of folders) {
      for (const suffix of suffixes) {
        const file = folder === "" ? name + suffix : join(folder, name + suffix);
        try {
          accessSync(file, constants.X_OK);
          if (statSync(file).isFile()) return file;
        } catch {
          // Not here: the next folder may have it.
        }
      }
    }
  }
  return undefined;
}

/** A C++ compiler: $CXX where it is set (its first word; the rest are flags), else the usual names. */
export function findCompiler() {
  const chosen = process.env.CXX?.trim().split(/\s+/)[0];
  return chosen ? findProgram(chosen) : findProgram("c++", "g++", "clang++");
}

/** Every file under `folder` (relative to the repository) whose path passes `keep`, sorted; [] where it is missing. */
export function filesUnder(folder, keep = () => true) {
  const top = join(root, folder);
  if (!existsSync(top)) return [];
  return readdirSync(top, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .filter(keep)
    .sort();
}

/** Runs a program in the repository with our output; where it fails the process ends, `script` having said of `what`. */
export function runOrExit(script, what, program, args, options = {}) {
  const result = spawnSync(program, args, { cwd: root, stdio: "inherit", ...options });
  if (result.error) {
    console.error(`${script}: ${what} did not start: ${result.error.message}`);
    process.exit(1);
  }
  if (result.status !== 0) {
    console.error(`${script}: ${what} failed (${result.signal ?? `exit code ${result.status}`}).`);
    process.exit(1);
  }
}

/**
 * SHA-256 over names and contents of `files` (relative to the repository) and over `extra`. Contents rather
 * than times: a fresh checkout, a branch switched forth and back or an unpacked archive all have new times.
 */
export function fingerprint(files, extra = []) {
  const hash = createHash("sha256");
  const add = (piece) => hash.update(`${piece.length}:`).update(piece);
  for (const file of files) {
    add(file);
    add(readFileSync(join(root, file)));
  }
  for (const text of extra) add(String(text));
  return hash.digest("hex");
}

/** Fingerprint of everything the addon is made of. */
export function nativeFingerprint() {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const files = [...filesUnder("native"), "CMakeLists.txt"].filter((file) => existsSync(join(root, file)));
  return fingerprint(files, [manifest.version, process.platform, process.arch]);
}

/** Where a fingerprint is kept beside what was built from it. */
export const nativeStamp = join(root, "build", ".latdyn-sources");
export const typescriptStamp = join(root, "dist", ".latdyn-sources");

/** True where `product` exists and was built from sources with this fingerprint. */
export function isBuiltFrom(stamp, product, wanted) {
  return existsSync(product) && existsSync(stamp) && readFileSync(stamp, "utf8").trim() === wanted;
}

export function writeStamp(stamp, value) {
  writeFileSync(stamp, `${value}\n`);
}
