/**
 * gpu.sh on a small repository of its own with programs that are ours: what it goes on after, what it keeps and what it
 * says, without a compiler or a device.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryFolder } from "../support/temporaryFolder.js";

const script = fileURLToPath(new URL("../../scripts/gpu.sh", import.meta.url));
let root: string;

function program(path: string, body: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), `#!/bin/bash\n${body}\n`);
  chmodSync(join(root, path), 0o755);
}

function gpu(...args: string[]) {
  return spawnSync("bash", [join(root, "scripts", "gpu.sh"), "--out", join(root, "out"), ...args], {
    encoding: "utf8",
    env: { PATH: `${join(root, "bin")}:/usr/bin:/bin`, HOME: root },
  });
}

const kept = (name: string) => readFileSync(join(root, "out", name), "utf8");

beforeEach(() => {
  root = temporaryFolder();
  mkdirSync(join(root, "scripts"));
  copyFileSync(script, join(root, "scripts", "gpu.sh"));
  for (const name of ["a", "b", "c"]) program(`native/test/cuda_${name}_test.cpp`, "");
  program("test/cuda/device.test.mjs", "");
  program("bin/nvcc", "");
  program("bin/nvidia-smi", "echo 9.0");
  // Configures, then builds all but one test program.
  program("made/cuda_a_test_on_device", "echo cuda_a: passed");
  program("made/cuda_b_test_on_device", "echo skipped: no CUDA device; exit 77");
  program("made/cuda_bench", `echo "{\\"row\\": \\"$*\\"}"`);
  program(
    "bin/cmake",
    `echo "$@" >> cmake.txt\nif [ "$1" = --build ]; then cp made/* .gpu/build/; else mkdir -p .gpu/build; fi`,
  );
  // Peers and the report.
  program(
    "bin/python3",
    `case $1 in *report.py) echo "table of $(grep -c row "$2") rows" ;; *) echo "{\\"peer\\": \\"$*\\"}" ;; esac`,
  );
  program("pack/bin/node", 'echo "node $*"');
  mkdirSync(join(root, "pack", "dist"));
  mkdirSync(join(root, "pack", "node_modules"));
  mkdirSync(join(root, ".gpu"));
  const packed = spawnSync("tar", ["-C", join(root, "pack"), "-cJf", join(root, ".gpu", "pack.tar.xz"), "."]);
  expect(packed.status).toBe(0);
});

describe("gpu.sh", () => {
  it("builds for the card, tests, measures in two sizes and keeps every line", () => {
    program("made/cuda_c_test_on_device", "echo cuda_c: passed");
    const { status, stdout } = gpu();
    expect({ status, stdout }).toMatchObject({ status: 0 });
    expect(readFileSync(join(root, "cmake.txt"), "utf8")).toMatch(/CUDA_ARCHITECTURES=90a-real/);
    // The order in which they run.
    const parts = [...stdout.matchAll(/^== (.*)$/gm)].map(([, name]) => name);
    const benches = ["limits", "extraction", "convolutions", "kernels"].concat(
      ["extraction", "convolutions", "kernels"].map((name) => `peers of ${name}`),
    );
    expect(parts).toEqual([
      "build",
      "kernel tests",
      "tests through the addon",
      ...benches.map((name) => `${name}-quick`),
      ...benches,
    ]);
    expect(stdout).toMatch(/node --test .*test\/cuda\/device\.test\.mjs/);
    expect(kept("gpu-rows-quick.jsonl").match(/--quick/g)).toHaveLength(3);
    expect(kept("gpu-rows.jsonl")).not.toMatch(/--quick/);
    expect(kept("gpu-peers.jsonl").trim().split("\n")).toHaveLength(4);
    expect(kept("gpu-table.txt")).toBe("table of 3 rows\n");
    expect(kept("gpu-run.log")).toBe(stdout);
    expect(stdout).toMatch(/gpu: done in \d+ s\n$/);
  });

  it("goes on after what fails, and names all of it", () => {
    program("made/cuda_a_test_on_device", "echo wrong; exit 1");
    program(
      "bin/cmake",
      'echo "x.cu(3): error: expected a ;"; [ "$1" = --build ] || mkdir -p .gpu/build; exit 1',
    );
    program(".gpu/build/cuda_a_test_on_device", "echo wrong; exit 1");
    program(".gpu/build/cuda_bench", 'echo "{\\"row\\": 1}"; exit 1');
    const { status, stdout } = gpu("--quick");
    expect(status).toBe(1);
    expect(stdout).toMatch(/error: expected a ;/);
    expect(stdout).toMatch(/cuda_a_test: exit code 1 after \d+ s/);
    expect(stdout).toMatch(/cuda_b_test: was not built/);
    expect(stdout).toMatch(
      /gpu: failed: build, kernel tests, extraction-quick, convolutions-quick, kernels-quick \(\d+ s in all\)\n$/,
    );
    // Rows of a program that failed later are there all the same.
    expect(kept("gpu-rows-quick.jsonl").trim().split("\n")).toHaveLength(3);
    expect(existsSync(join(root, "out", "gpu-rows.jsonl"))).toBe(false);
  });

  it("without a device builds and tests, and says that it measures nothing", () => {
    program("made/cuda_c_test_on_device", "exit 77");
    program("bin/nvidia-smi", "exit 9");
    const { status, stdout } = gpu();
    expect(status).toBe(0);
    expect(stdout).toMatch(/== benches\nskipped: no CUDA device\n/);
    expect(readFileSync(join(root, "cmake.txt"), "utf8")).toMatch(/CUDA_ARCHITECTURES=90a-real/);
  });

  it("names an option it does not know, and a pack that is not there", () => {
    expect(gpu("--fast")).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/unknown option --fast/),
    });
    rmSync(join(root, ".gpu", "pack.tar.xz"));
    expect(gpu()).toMatchObject({ status: 1, stdout: expect.stringMatching(/pack\.tar\.xz is missing/) });
  });
});
