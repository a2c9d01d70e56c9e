#!/usr/bin/env node
/**
 * Builds the addon with cmake-js: `node scripts/build-native.mjs [--asan] [--tests] [--debug] [-DNAME=VALUE …]`.
 *
 *   (no option)  build/Release/latent_dynamics.node
 *   --asan       build-asan/Release/latent_dynamics.node, with the address and undefined-behaviour sanitizers
 *   --tests      also the C++ test programs (LATDYN_TESTS)
 *   --debug      CMake's Debug configuration instead of Release
 *   -DNAME=VALUE handed to CMake
 *
 * CMake's own tree is build/cmake, not build/: node-gyp writes a Makefile into build/ and must still find it
 * there after it has called this script.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { findCompiler, findProgram, nativeFingerprint, nativeStamp, root, writeStamp } from "./toolchain.mjs";

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}

/** Command-line arguments → CMake's cache entries and the folder to build in. */
function parseArguments(args) {
  const defines = [];
  let folder = "build";
  let configuration = "Release";
  for (const argument of args) {
    if (argument === "--asan") {
      defines.push("LATDYN_ASAN=ON");
      folder = "build-asan";
    } else if (argument === "--tests") {
      defines.push("LATDYN_TESTS=ON");
    } else if (argument === "--debug") {
      configuration = "Debug";
    } else if (/^-D[^=]+=./.test(argument)) {
      defines.push(argument.slice(2));
    } else {
      fail(`build-native: unknown option ${argument}; there are --asan, --tests, --debug and -DNAME=VALUE`);
    }
  }
  return { defines, folder: join(root, folder), configuration };
}

/** The cmake-js program, from wherever npm put it: here, or in the folder of the package that depends on us. */
function findCmakeJs() {
  try {
    const manifest = createRequire(import.meta.url).resolve("cmake-js/package.json");
    return join(dirname(manifest), "bin", "cmake-js");
  } catch {
    return undefined;
  }
}

const { defines, folder, configuration } = parseArguments(process.argv.slice(2));
const cmakeJs = findCmakeJs();
if (cmakeJs === undefined) {
  if (process.env.npm_lifecycle_event === "install" && !existsSync(join(root, "node_modules"))) {
    console.error(
      'The native build is left for later: node_modules is not there yet; "npm run setup" does both.',
    );
    process.exit(0);
  }
  fail('cmake-js is not installed: run "npm run setup" in the repository\'s folder.');
}
if (findProgram("cmake") === undefined) {
  fail(
    "cmake was not found on PATH: install it (Debian, Ubuntu: sudo apt-get install cmake) and run this again.",
  );
}
if (process.platform !== "win32" && findCompiler() === undefined) {
  fail(
    process.env.CXX
      ? `the C++ compiler named by CXX (${process.env.CXX}) was not found: unset CXX or name one that exists.`
      : "no C++ compiler was found on PATH: install one (Debian, Ubuntu: sudo apt-get install g++) and run this again.",
  );
}

const tree = join(folder, "cmake");
const cache = join(tree, "CMakeCache.txt");
const settingsFile = join(tree, ".latdyn-settings");
const settings = JSON.stringify({
  root,
  configuration,
  defines,
  compiler: process.env.CXX ?? "",
  // CMake remembers that it has found none.
  nvcc: findProgram("nvcc") ?? "",
  node: process.arch,
});
const configuredAs = existsSync(settingsFile) ? readFileSync(settingsFile, "utf8") : undefined;
if (configuredAs !== settings && existsSync(cache)) {
  // A tree configured otherwise, or in a folder that has moved since: CMake refuses or mixes the two.
  rmSync(tree, { recursive: true, force: true });
}
mkdirSync(tree, { recursive: true });
writeFileSync(settingsFile, settings);

// Inside node-gyp we run under its make, whose flags and job server are none of our make's business.
const { MAKEFLAGS, MFLAGS, MAKELEVEL, ...environment } = process.env;
const sources = nativeFingerprint();
const run = spawnSync(
  process.execPath,
  [
    cmakeJs,
    "build",
    ...["--directory", root, "--out", tree, "--config", configuration, "--log-level", "warn"],
    ...["--parallel", String(availableParallelism())],
    `--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(folder, "Release")}`,
    ...defines.map((define) => `--CD${define}`),
  ],
  { cwd: root, env: environment, stdio: "inherit" },
);
if (run.error) fail(`cmake-js did not start: ${run.error.message}`);
if (run.status !== 0) {
  fail(
    `The native build failed (${run.signal ?? `exit code ${run.status}`}): the compiler's messages are above.`,
  );
}
// Only the plain build is the one that setup compares with: the sanitizers' has a folder of its own.
if (folder === join(root, "build") && configuration === "Release" && defines.length === 0) {
  writeStamp(nativeStamp, sources);
} else if (folder === join(root, "build")) {
  rmSync(nativeStamp, { force: true });
}
