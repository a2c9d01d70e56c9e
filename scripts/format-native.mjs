#!/usr/bin/env node
/**
 * Checks the layout of the C++ and CUDA sources against .clang-format; with --write, mends it. A machine
 * without clang-format says so and passes: the check runs on the machines that have it, CI among them.
 */
import { spawnSync } from "node:child_process";
import { filesUnder, findProgram, root } from "./toolchain.mjs";

const options = process.argv.slice(2);
const unknown = options.find((option) => option !== "--write");
if (unknown !== undefined) {
  console.error(`format-native: unknown option ${unknown}; the only one is --write`);
  process.exit(2);
}
const write = options.includes("--write");
const files = ["native", "bench/cuda"].flatMap((folder) =>
  filesUnder(folder, (file) => /\.(h|cpp|cu|cuh)$/.test(file)),
);
const program = findProgram(process.env.CLANG_FORMAT, "clang-format");
if (program === undefined) {
  console.log("skipped: no clang-format");
  process.exit(0);
}
if (files.length === 0) {
  console.error("format-native: there is no C++ file under native/ and bench/cuda/");
  process.exit(1);
}
const run = spawnSync(program, [...(write ? ["-i"] : ["--dry-run", "--Werror"]), ...files], {
  cwd: root,
  stdio: "inherit",
});
if (run.error) {
  console.error(`clang-format did not start: ${run.error.message}`);
  process.exit(1);
}
if (run.status !== 0) {
  const version = spawnSync(program, ["--version"], { encoding: "utf8" }).stdout?.trim();
  console.error(
    `The sources above are not formatted as .clang-format says (${version}): "npm run format" mends it.`,
  );
  process.exit(1);
}
console.log(`${files.length} C++ files ${write ? "formatted" : "are formatted"}`);
