/**
 * The kernels of native/cuda without a device: the same sources as plain C++ on fibers (native/test/simt/simt.h), each
 * against the CPU's kernel under several orders of the threads. Built here, in the tree of the addon's build.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

const tree = fileURLToPath(new URL("../../build/cmake/", import.meta.url));
const built = existsSync(join(tree, "CMakeCache.txt"));
const PROGRAMS = [
  "simt",
  ...[
    "noise",
    "product",
    "products",
    "graph",
    "nearest",
    "knn",
    "dedup",
    "fused",
    "trajectory",
    "omp",
    "iteration",
    "walk",
  ].map((name) => `cuda_${name}`),
];

describe.skipIf(!built)("kernels for CUDA on the host", () => {
  beforeAll(() => {
    const jobs = String(availableParallelism());
    const { status, stdout, stderr } = spawnSync(
      "cmake",
      ["--build", tree, "--target", "cuda_tests", "--parallel", jobs],
      { encoding: "utf8", maxBuffer: 1 << 26 },
    );
    if (status !== 0) throw new Error(`the build of cuda_tests failed:\n${stdout}${stderr}`);
  }, 600_000);

  it.each(PROGRAMS)("%s", { timeout: 300_000 }, (name) => {
    const { status, signal, stdout } = spawnSync(join(tree, `${name}_test`), { encoding: "utf8" });
    expect(stdout).toMatch(new RegExp(`^${name}: passed$`, "m"));
    expect({ status, signal }).toEqual({ status: 0, signal: null });
  });
});
