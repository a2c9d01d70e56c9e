#!/usr/bin/env node
/**
 * Looks for races in the CUDA kernels, without a device: `node scripts/test-races.mjs [ctest options]` builds the
 * test programs of native/cuda over fibers with LATDYN_RACES (native/test/simt/races.cpp) and runs them. A program
 * in which threads of a kernel race fails, with the two accesses of each race.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { root, runOrExit } from "./toolchain.mjs";

const tree = join(root, "build", "races");
const run = (what, program, args, options) => runOrExit("test-races", what, program, args, options);

run("CMake", "cmake", ["-S", root, "-B", tree, "-DLATDYN_RACES=ON"]);
run("the build", "cmake", [
  "--build",
  tree,
  "--target",
  "cuda_tests",
  "--parallel",
  String(availableParallelism()),
]);
run("a test", "ctest", ["--output-on-failure", "--timeout", "1200", ...process.argv.slice(2)], { cwd: tree });
