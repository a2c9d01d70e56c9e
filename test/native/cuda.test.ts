/**
 * The kernels of native/cuda without a device: the same sources as plain C++ on fibers (native/test/simt/simt.h), each
 * against the CPU's kernel under several orders of the threads; and all of them together as the library that the addon
 * opens. Built here, in the tree of the addon's build.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { buildPrograms, hasBuildTree as built, buildTree as tree } from "../support/buildPrograms.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const fileOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const library = join(tree, "liblatdyn_cuda_on_host.so");
const example = fileOf("../../examples/mnist/mnist-conv-k16");
const folder = temporaryFolder();
const PROGRAMS = [
  "simt",
  ...[
    "noise",
    "product",
    "windows",
    "patches",
    "matmul",
    "graph",
    "nearest",
    "knn",
    "converged",
    "dedup",
    "fused",
    "fused_rows",
    "trajectory",
    "omp",
    "iteration",
    "iteration_phases",
    "iteration_jobs",
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

  describe("as the library that the addon opens", () => {
    it.each(["device", "models", "resident"])("test/cuda/%s.test.mjs", { timeout: 300_000 }, (name) => {
      const args = ["--test", "--test-reporter=tap", fileOf(`../cuda/${name}.test.mjs`)];
      const { status, stdout } = onHost(args);
      expect({ status, stdout }).toMatchObject({ status: 0 });
      expect(stdout).not.toMatch(/no CUDA device/);
    });

    it("doctor says so", () => {
      const { status, stdout } = onHost([fileOf("../../dist/cli/main.js"), "doctor", "--json"]);
      expect(status).toBe(0);
      expect(JSON.parse(stdout).cuda).toMatchObject({
        library,
        given: true,
        built: true,
        usable: true,
        reason: null,
        devices: [{ name: "the test machine", capability: "9.0" }],
      });
    });

    it.each(["attractors", "inspect"])("%s says where it computes", { timeout: 120_000 }, (command) => {
      const more =
        command === "attractors"
          ? ["--from", "a=noise:1", "--from", "b=noise:2", "--out", join(folder, "run")]
          : [];
      const main = [fileOf("../../dist/cli/main.js"), command, example, "--device", "cuda", ...more];
      const { status, stdout, stderr } = onHost(main);
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(stdout).toMatch(/cuda:0/);
      expect(stdout).toMatch(/(kernels|fused) layout.*tf32, then float32/);
      if (command === "attractors") {
        expect(readFileSync(join(folder, "run", "report.html"), "utf8")).toMatch(/cuda:0, the test machine/);
      }
    });

    it.each([0, 1, 7])(
      "launch %i fails: a typed error, and the CPU goes on",
      { timeout: 120_000 },
      (launch) => {
        const { status, stdout, stderr } = onHost([fileOf("../cuda/children/broken.mjs"), example], {
          LATDYN_SIMT_FAIL_LAUNCH: String(launch),
        });
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
        const { first, second, third, ...rest } = JSON.parse(stdout);
        expect(first).toMatchObject({
          name: "DeviceError",
          message: expect.stringMatching(/illegal memory access/),
        });
        expect(second).toMatchObject({
          name: "DeviceError",
          message: expect.stringMatching(/a device failed earlier in this process/),
        });
        expect(third).toMatchObject({
          name: "DeviceError",
          message: expect.stringMatching(/a device failed earlier in this process/),
        });
        expect(rest).toMatchObject({
          converged: 2,
          kind: "cpu",
          reason: expect.stringMatching(/a device failed earlier/),
        });
      },
    );

    it("endpoints that do not fit are deduplicated over the host", { timeout: 120_000 }, () => {
      const program = [fileOf("../cuda/children/resident.mjs")];
      const there = onHost(program);
      expect(there).toMatchObject({ status: 0, stderr: "" });
      const over = onHost(program, { LATDYN_SIMT_MEMORY: "1600000" });
      expect(over.stderr).toBe(
        "latdyn: not enough device memory for 3000 rows at once: endpoints do not stay on the device\n",
      );
      expect(over).toMatchObject({ status: 0, stdout: there.stdout });
      expect(JSON.parse(there.stdout).attractors).toBeGreaterThan(4);
    });

    it("endpoints that nobody holds are freed", { timeout: 120_000 }, () => {
      const kept = (how: string): unknown => {
        const args = [fileOf("../cuda/children/collected.mjs"), "12", how];
        const { stdout } = onHost(args, { LATDYN_SIMT_MEMORY: "500000" });
        return JSON.parse(stdout);
      };
      expect(kept("collect")).toEqual({ kept: 12, held: 0 });
      expect(kept("hold")).toEqual({ kept: expect.toSatisfy((count) => count > 0 && count < 12), held: 12 });
    });

    it("weights that do not fit are an error that says so", () => {
      const main = [fileOf("../../dist/cli/main.js"), "inspect", example, "--device", "cuda"];
      const { status, stderr } = onHost(main, { LATDYN_SIMT_MEMORY: "100000" });
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: expect.stringMatching(/^latdyn: .*out of memory\n$/),
      });
    });

    it("a file that is none is an error that names it", () => {
      const { status, stdout } = onHost([fileOf("../../dist/cli/main.js"), "doctor"], {
        LATDYN_CUDA_LIBRARY: fileOf("cuda.test.ts"),
      });
      expect(status).toBe(0);
      expect(stdout).toMatch(/cuda\s+built, not usable: the CUDA library does not load: .*cuda\.test\.ts/);
    });
  });
});

function onHost(args: readonly string[], env: Record<string, string> = {}) {
  return spawnSync(process.execPath, args, {
    encoding: "utf8",
    // The runner of this test is one too, and node's takes its children for its own.
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      NODE_OPTIONS: undefined,
      LATDYN_CUDA_LIBRARY: library,
      ...env,
    },
  });
}
