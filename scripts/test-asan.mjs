#!/usr/bin/env node
/**
 * The tests that reach native code, once more, on an addon built with the address and undefined-behaviour
 * sanitizers: `node scripts/test-asan.mjs [vitest options]`. Then the C++ test programs, built the same way.
 * The first report of a sanitizer ends the run.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { findCompiler, root, runOrExit } from "./toolchain.mjs";

const FOLDERS = ["test/native", "test/engines", "test/dynamics", "test/scripts/fuzz.test.ts"];

const run = (what, program, args, options) => runOrExit("test-asan", what, program, args, options);

/** The sanitizer's runtime. Node is not built with it, so it has to be there before node's first instruction. */
function findRuntime() {
  const compiler = findCompiler();
  const answer =
    compiler && spawnSync(compiler, ["-print-file-name=libasan.so"], { encoding: "utf8" }).stdout?.trim();
  // A compiler that does not have the file repeats the bare name.
  if (!answer || !isAbsolute(answer) || !existsSync(answer)) {
    console.error(
      `test-asan: ${compiler ?? "the C++ compiler"} has no libasan.so: GCC's is needed (package g++).`,
    );
    process.exit(1);
  }
  return answer;
}

const sanitizers = {
  // Node itself never frees some of what it allocates, so leaks are not looked for. A test that asks for more
  // memory than there is must meet std::bad_alloc, as it does without the sanitizer.
  ASAN_OPTIONS:
    "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1:strict_string_checks=1",
  UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
};

run("the build", process.execPath, [join(root, "scripts", "build-native.mjs"), "--asan", "--tests"]);

const folders = FOLDERS.filter((folder) => existsSync(join(root, folder)));
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
run("vitest", process.execPath, [vitest, "run", ...folders, ...process.argv.slice(2)], {
  env: {
    ...process.env,
    ...sanitizers,
    LD_PRELOAD: findRuntime(),
    LATDYN_ADDON: join(root, "build-asan", "Release", "latent_dynamics.node"),
  },
});
run("ctest", "ctest", ["--output-on-failure"], {
  cwd: join(root, "build-asan", "cmake"),
  env: { ...process.env, ...sanitizers },
});
