#!/usr/bin/env node
/**
 * Makes this folder ready to run: `node scripts/setup.mjs [--check] [--ci] [--runtimes]`.
 *
 * Does what is missing and nothing else, one line a step: system packages (compiler, CMake, oneDNN, Eigen), npm
 * packages, the native addon, the TypeScript build. Called before every demo, test and bench, so a run that
 * finds nothing to do takes a fraction of a second.
 *
 *   --check     says what is missing, changes nothing; exit code 1 where something is
 *   --ci        also asks for clang-format and chromium, which only some checks need; going on without them is fine
 *   --runtimes  also asks for the optional runtimes that tests and benches compare with; going on without them is fine
 *
 * Node alone, no package: this is what installs them.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, delimiter, dirname, join } from "node:path";
import {
  addonFile,
  filesUnder,
  findCompiler,
  findProgram,
  fingerprint,
  isBuiltFrom,
  nativeFingerprint,
  nativeStamp,
  root,
  typescriptStamp,
  writeStamp,
} from "./toolchain.mjs";

const OLDEST_NODE = [20, 17];
/** Optional peers of the package, in the versions that are tested. Users install those that they want themselves. */
const RUNTIMES = {
  "onnxruntime-node": "1.30.0",
  "@tensorflow/tfjs": "4.22.0",
  "@tensorflow/tfjs-backend-wasm": "4.22.0",
};
const APT_OPTIONS = [
  "-y",
  "--no-install-recommends",
  "-o",
  "Acquire::Retries=3",
  "-o",
  "DPkg::Lock::Timeout=300",
];

function fail(...lines) {
  for (const line of lines) console.error(line);
  process.exit(1);
}

/** Runs a program with its output kept back; shows all of it where the program fails. */
function runQuietly(what, program, args, options = {}) {
  const run = spawnSync(program, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28, ...options });
  if (run.error) fail(`setup: ${what} did not start: ${run.error.message}`);
  if (run.status !== 0) {
    process.stderr.write(`${run.stdout ?? ""}${run.stderr ?? ""}`);
    fail(`setup: ${what} failed (${run.signal ?? `exit code ${run.status}`}); its messages are above.`);
  }
}

/** Runs a program whose output is worth watching. */
function runVisibly(what, program, args) {
  const run = spawnSync(program, args, { cwd: root, stdio: "inherit" });
  if (run.error) fail(`setup: ${what} did not start: ${run.error.message}`);
  if (run.status !== 0) fail(`setup: ${what} failed (${run.signal ?? `exit code ${run.status}`}).`);
}

// ---- system packages -----------------------------------------------------------------------------------------

/** True where one of `files` is in a folder that compilers search. */
function hasHeader(...files) {
  const variable = (name) => (process.env[name] ?? "").split(delimiter).filter(Boolean);
  const folders = [
    "/usr/include",
    "/usr/local/include",
    "/opt/homebrew/include",
    "/opt/intel/oneapi/dnnl/latest/include",
    ...variable("CPATH"),
    ...variable("CPLUS_INCLUDE_PATH"),
    ...["CMAKE_PREFIX_PATH", "DNNLROOT", "dnnl_ROOT"]
      .flatMap(variable)
      .map((prefix) => join(prefix, "include")),
  ];
  return folders.some((folder) => files.some((file) => existsSync(join(folder, file))));
}

/** Debian packages this machine lacks, and what each is for. */
function missingSystemPackages(ci) {
  const needed = [
    { name: "g++", purpose: "a C++20 compiler", found: findCompiler() !== undefined },
    { name: "cmake", purpose: "CMake 3.19 or newer", found: findProgram("cmake") !== undefined },
    { name: "make", purpose: "make or ninja", found: findProgram("make", "gmake", "ninja") !== undefined },
    {
      name: "libdnnl-dev",
      purpose: "oneDNN, headers and library",
      found: hasHeader("dnnl.hpp", "oneapi/dnnl/dnnl.hpp"),
    },
    {
      name: "libeigen3-dev",
      purpose: "Eigen, headers only",
      found: hasHeader("eigen3/Eigen/Core", "Eigen/Core"),
    },
  ];
  const wanted = [
    { name: "clang-format", purpose: "the format check", found: findProgram("clang-format") !== undefined },
    {
      name: "chromium",
      purpose: "the browser test of the report",
      found: findProgram("chromium", "chromium-browser", "google-chrome") !== undefined,
    },
  ];
  return { needed: needed.filter((p) => !p.found), wanted: ci ? wanted.filter((p) => !p.found) : [] };
}

/** How this user may run apt-get: a prefix of the command line, or undefined where it takes a password nobody can type. */
function aptPrefix() {
  const environment = ["env", "DEBIAN_FRONTEND=noninteractive"];
  if (process.getuid?.() === 0) return environment;
  if (findProgram("sudo") === undefined) return undefined;
  const passwordless = spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0;
  return passwordless || (process.stdin.isTTY && process.stderr.isTTY) ? ["sudo", ...environment] : undefined;
}

function installSystemPackages({ needed, wanted }) {
  const names = (packages) => packages.map((p) => p.name).join(" ");
  const lacks = `this machine lacks ${[...needed, ...wanted].map((p) => p.purpose).join("; ")}`;
  const hasApt = findProgram("apt-get") !== undefined;
  const prefix = hasApt ? aptPrefix() : undefined;
  if (prefix === undefined && needed.length === 0) {
    console.error(`setup: going on although ${lacks}`);
    return;
  }
  if (!hasApt) {
    fail(
      `setup: ${lacks}, and has no apt-get to install it with.`,
      "Install it the way your system does (oneDNN: Fedora onednn-devel, Arch onednn, Homebrew onednn; Eigen: eigen3-devel, eigen) and run this again.",
    );
  }
  if (prefix === undefined) {
    fail(
      `setup: ${lacks}. Type this, then run setup again:`,
      `  sudo apt-get update && sudo apt-get install -y ${names([...needed, ...wanted])}`,
    );
  }
  // What apt-get says is many lines, of interest where it fails. (sudo asks for a password on the terminal itself.)
  const apt = (...args) => {
    const stdio = ["inherit", "pipe", "pipe"];
    const run = spawnSync(prefix[0], [...prefix.slice(1), "apt-get", ...args], { stdio, maxBuffer: 1 << 28 });
    const succeeded = run.status === 0;
    if (!succeeded) process.stderr.write(`${run.stdout ?? ""}${run.stderr ?? ""}`);
    return succeeded;
  };
  console.log(`setup: installing ${names([...needed, ...wanted])} with apt-get`);
  // A list that is a little old still installs: only the installation itself decides.
  if (!apt("update", "-q"))
    console.error("setup: apt-get update failed; trying with the lists that are there");
  if (needed.length > 0 && !apt("install", "-q", ...APT_OPTIONS, ...needed.map((p) => p.name))) {
    fail(`setup: apt-get could not install ${names(needed)}; its messages are above.`);
  }
  for (const { name, purpose } of wanted) {
    if (!apt("install", "-q", ...APT_OPTIONS, name)) {
      console.error(`setup: going on without ${name}: ${purpose} will be skipped`);
    }
  }
}

// ---- npm packages --------------------------------------------------------------------------------------------

/**
 * True where node_modules holds what package-lock.json names. npm keeps a lock file of what it installed in
 * node_modules; that, and not a mark of ours, is what an `npm install` by hand changes too.
 */
function npmPackagesAreInstalled() {
  const installedFile = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installedFile)) return false;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedFile, "utf8")).packages;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === "") return true;
    const there = installed[path];
    // Optional: packages for other systems, which npm rightly leaves out.
    if (there === undefined) return entry.optional === true || entry.devOptional === true;
    return there.version === entry.version && there.integrity === entry.integrity;
  });
}

/** Scripts are left out: binding.gyp would make npm build the addon, which is a step of its own. */
const NPM_OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund"];

/** The command line of npm: under `npm run` the one that was typed, otherwise the one on PATH. */
function npmCommand() {
  const running = process.env.npm_execpath;
  if (running && basename(running).startsWith("npm")) return [process.execPath, running];
  const npm = findProgram("npm");
  if (npm === undefined)
    fail("setup: npm was not found on PATH: it comes with Node (Debian, Ubuntu: package npm).");
  return [npm];
}

function installNpmPackages() {
  const [program, ...first] = npmCommand();
  runQuietly("npm ci", program, [...first, "ci", ...NPM_OPTIONS]);
}

/** Those that are not installed, or in another version, as npm writes them. */
function missingRuntimes() {
  return Object.entries(RUNTIMES).flatMap(([name, version]) => {
    const manifest = join(root, "node_modules", name, "package.json");
    const found = existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")).version : undefined;
    return found === version ? [] : [`${name}@${version}`];
  });
}

/**
 * All at once, those that are there too: npm removes what neither the lock file nor its command line names. Nothing
 * that the lock file names is changed. What cannot be installed is done without.
 */
function installRuntimes() {
  const [program, ...first] = npmCommand();
  const all = Object.entries(RUNTIMES).map(([name, version]) => `${name}@${version}`);
  // As development packages: npm leaves out optional peers, which is what the manifest calls them.
  const saving = ["--no-save", "--save-dev"];
  // Without a network that is to be known in seconds.
  const fetching = ["--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"];
  const args = [...first, "install", ...saving, ...fetching, ...NPM_OPTIONS, ...all];
  const run = spawnSync(program, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  const missing = missingRuntimes();
  if (missing.length === 0) return;
  const said = run.error?.message ?? run.stderr.match(/^npm error (code )?(.*)/m)?.[2];
  console.error(
    `setup: going on without ${missing.join(", ")}: the tests that need them will be skipped` +
      `${said ? ` (npm: ${said})` : ""}`,
  );
}

// ---- the two builds ------------------------------------------------------------------------------------------

function typescriptFingerprint() {
  const compiler = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages[
    "node_modules/typescript"
  ];
  return fingerprint(
    [...filesUnder("src", (file) => file.endsWith(".ts")), "tsconfig.json", "tsconfig.build.json"],
    [compiler?.version ?? ""],
  );
}

function buildTypescript(wanted) {
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  // From nothing: a file of dist/ whose source is gone would still be imported without complaint.
  rmSync(dirname(typescriptStamp), { recursive: true, force: true });
  runQuietly("tsc", process.execPath, [compiler, "-p", "tsconfig.build.json", "--pretty", "false"]);
  const command = join(root, "dist", "cli", "main.js");
  if (existsSync(command)) chmodSync(command, 0o755);
  mkdirSync(dirname(typescriptStamp), { recursive: true });
  writeStamp(typescriptStamp, wanted);
}

// ---- the steps, in order -------------------------------------------------------------------------------------

const options = process.argv.slice(2);
const unknown = options.find((option) => !["--check", "--ci", "--runtimes"].includes(option));
if (unknown !== undefined) {
  console.error(`setup: unknown option ${unknown}; there are --check, --ci and --runtimes`);
  process.exit(2);
}
const check = options.includes("--check");
const ci = options.includes("--ci");
const runtimes = options.includes("--runtimes");

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
  fail(
    `setup: this is Node ${process.versions.node}; latent-dynamics needs ${OLDEST_NODE.join(".")} or newer.`,
  );
}

const missing = missingSystemPackages(ci);
const steps = [
  {
    name: `system packages: ${[...missing.needed, ...missing.wanted].map((p) => `${p.name} (${p.purpose})`).join(", ")}`,
    isDone: () => missing.needed.length + missing.wanted.length === 0,
    run: () => installSystemPackages(missing),
  },
  { name: "npm packages (npm ci)", isDone: npmPackagesAreInstalled, run: installNpmPackages },
  {
    name: `runtimes for tests and benches: ${Object.keys(RUNTIMES).join(", ")}`,
    isDone: () => !runtimes || missingRuntimes().length === 0,
    run: installRuntimes,
  },
  {
    name: "the native addon (CMake)",
    isDone: () => isBuiltFrom(nativeStamp, addonFile, nativeFingerprint()),
    run: () => runVisibly("the native build", process.execPath, [join(root, "scripts", "build-native.mjs")]),
  },
  {
    name: "the TypeScript build (tsc)",
    isDone: () => isBuiltFrom(typescriptStamp, join(root, "dist", "index.js"), typescriptFingerprint()),
    run: () => buildTypescript(typescriptFingerprint()),
  },
];

let undone = 0;
for (const { name, isDone, run } of steps) {
  if (isDone()) continue;
  undone++;
  if (check) {
    console.log(`missing: ${name}`);
    continue;
  }
  console.log(`setup: ${name}`);
  const start = performance.now();
  run();
  console.log(`setup: done in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}
if (undone === 0) console.log("setup: everything is in place");
if (check && undone > 0) process.exitCode = 1;
