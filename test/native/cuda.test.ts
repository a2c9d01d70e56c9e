/**
 * The kernels of native/cuda without a device: the same sources as plain C++ on fibers (native/test/simt/simt.h), each
 * against the CPU's kernel under several orders of the threads. Built here, in the tree of the addon's build.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { buildPrograms, hasBuildTree as built, buildTree as tree } from "../support/buildPrograms.js";

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
    buildPrograms("cuda_tests");
  }, 600_000);

  it.each(PROGRAMS)("%s", { timeout: 300_000 }, (name) => {
    const { status, signal, stdout } = spawnSync(join(tree, `${name}_test`), { encoding: "utf8" });
    expect(stdout).toMatch(new RegExp(`^${name}: passed$`, "m"));
    expect({ status, signal }).toEqual({ status: 0, signal: null });
  });
});
