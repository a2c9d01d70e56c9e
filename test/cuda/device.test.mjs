/**
 * The kernels on a CUDA device through the addon, against the CPU's: `node --test test/cuda/`. Node alone, and dist/:
 * no packages, so that a bare machine can run it.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { deduplicate } from "../../dist/analysis/deduplicate.js";
import { knnScore } from "../../dist/analysis/knn.js";
import { nearest } from "../../dist/analysis/nearest.js";
import { matchingPursuit } from "../../dist/analysis/omp.js";
import { native } from "../../dist/native.js";
import { devices, noise, sized, skip } from "./setting.mjs";

/** Rows around some of `centres`. */
function clustered(rows, centres, spread, seed) {
  const x = noise(rows, centres.columns, seed);
  for (let i = 0; i < x.data.length; i++) {
    const row = Math.floor(i / x.columns);
    const centre = (row * 7919) % centres.rows;
    x.data[i] = centres.data[centre * x.columns + (i % x.columns)] + spread * x.data[i];
  }
  return x;
}

/** The same call on the CPU and twice on the device. */
async function both(call) {
  const cpu = await call("cpu");
  const first = await call("cuda");
  assert.deepEqual(bitsOf(await call("auto")), bitsOf(first), "two runs differ");
  return { cpu, cuda: first };
}

/** What is the same from run to run. */
function bitsOf(result) {
  if (Array.isArray(result)) return result;
  const { seconds: _seconds, ...bits } = result;
  return bits;
}

function close(found, expected, tolerance) {
  assert.equal(found.length, expected.length);
  for (let i = 0; i < found.length; i++) {
    assert.ok(
      Math.abs(found[i] - expected[i]) <= tolerance * Math.abs(expected[i]),
      `${i}: ${found[i]}, expected ${expected[i]}`,
    );
  }
}

describe("CUDA", { skip }, () => {
  it("says what devices there are", () => {
    assert.ok(devices.length > 0 && devices.every(({ name, memory }) => name !== "" && memory > 0));
  });

  for (const metric of ["cosine", "euclidean"]) {
    it(`nearest, ${metric}`, async () => {
      const a = noise(sized(3000, 300), 64, 1);
      const b = noise(sized(2000, 200), 64, 2);
      const { cpu, cuda } = await both((device) => nearest("nearest", a, b, metric, { device }));
      for (const key of ["aIndex", "bIndex", "aValue", "bValue"]) assert.deepEqual(cuda[key], cpu[key]);
    });
  }

  it("knn", async () => {
    const reference = noise(sized(5000, 500), 32, 3);
    const queries = noise(sized(700, 70), 32, 4);
    for (const rule of ["mean", "kth"]) {
      for (const normalise of [false, true]) {
        const { cpu, cuda } = await both((device) =>
          knnScore(reference, queries, { neighbours: 50, rule, normalise, device }),
        );
        close(cuda.score, cpu.score, 1e-12);
      }
    }
  });

  it("dedup", async () => {
    const rows = clustered(sized(20000, 1000), noise(sized(300, 60), 16, 5), 0.02, 6);
    for (const rule of ["greedy", "components", "euclidean"]) {
      const { cpu, cuda } = await both((device) => deduplicate(rows, { rule, distance: 0.3, device }));
      assert.deepEqual(cuda.representatives, cpu.representatives);
      assert.deepEqual(cuda.labels, cpu.labels);
    }
  });

  it("omp", async () => {
    const dictionary = noise(sized(500, 100), 128, 7);
    const signals = noise(sized(100, 20), 128, 8);
    const { cpu, cuda } = await both((device) =>
      matchingPursuit(dictionary, signals, { sparsities: [1, 10, 40], device }),
    );
    assert.deepEqual(cuda, cpu);
  });

  it("scores of paths", async () => {
    const paths = noise(40 * 25, 20, 9);
    const attractors = noise(60, 20, 10);
    const score = async (device) =>
      (await native().scorePaths(paths.data, 25, 20, attractors.data, { threads: 2, device }).promise).score;
    close(await score(0), await score(-1), 1e-12);
  });

  it("ends where the signal fires", async () => {
    const a = noise(sized(40000, 2000), 512, 11);
    const controller = new AbortController();
    const call = nearest("nearest", a, a, "cosine", { device: "cuda", signal: controller.signal });
    controller.abort();
    await assert.rejects(call, { name: "AbortedError" });
  });

  it("says what was wrong with rows", async () => {
    const bad = native().nearest(Float32Array.of(1, Number.NaN), Float32Array.of(1, 2), 2, {
      metric: "cosine",
      threads: 1,
      device: 0,
    });
    await assert.rejects(bad.promise, /a: row 0 holds NaN in column 1/);
  });
});
