/**
 * Endpoints that stay on the device from the iteration to their deduplication, against the way over the host:
 * `node --test test/cuda/`. Node alone, and dist/.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { findAttractors } from "../../dist/dynamics/attractors.js";
import { latents } from "../../dist/dynamics/points.js";
import { STATUS } from "../../dist/dynamics/result.js";
import { engineOf } from "../../dist/engines/choose.js";
import { takeRows } from "../../dist/matrix.js";
import { native } from "../../dist/native.js";
import { corners, rotation } from "./maps.mjs";
import { noise, sized, skip } from "./setting.mjs";

const RULES = ["greedy", "components", "euclidean"];
const n = sized(50_000, 60);
// Some points are not at rest by then.
const iteration = {
  tolerance: 1e-6,
  maxIterations: 11,
  criterion: "residual",
  divergenceRatio: 1e4,
  traceRows: new Int32Array(0),
  threads: 1,
};
const options = (rule) => ({ rule, threshold: 0.99, distance: 0.01, threads: 1, device: 0 });
const bitsOf = ({ seconds: _seconds, ...bits }) => bits;

/** An engine of `model` on the device, and its iteration from `initial`, whose endpoints stay there. */
async function iterated(t, model, initial, more = {}) {
  t.after(() => model[Symbol.asyncDispose]());
  const engine = await engineOf(model, { device: "cuda", precision: "float32" });
  const result = await engine.iterate(initial, { ...iteration, keepConverged: true, ...more });
  t.after(() => result.converged?.dispose());
  return { engine, result, rows: convergedRows(result, initial) };
}

/** The rows that converged, from the host. */
function convergedRows({ endpoints, status }, initial) {
  const rows = Array.from(status.keys()).filter((i) => status[i] === STATUS.converged);
  return takeRows({ ...initial, data: endpoints }, Int32Array.from(rows));
}

const deduplicated = async (points, columns, rule) =>
  bitsOf(await native().deduplicate(points, columns, options(rule)).promise);

describe("endpoints that stay on CUDA", { skip }, () => {
  it("are those that converged, and have the same labels", async (t) => {
    const initial = noise(n, 3, 1);
    const { engine, result, rows } = await iterated(t, corners(3), initial);
    assert.ok(rows.rows > n / 2 && rows.rows < n, `${rows.rows} of ${n} converge`);
    assert.deepEqual([result.converged.rows, result.converged.columns], [rows.rows, 3]);
    for (const rule of RULES) {
      const found = await deduplicated(result.converged, 3, rule);
      assert.deepEqual(found, await deduplicated(rows.data, 3, rule), rule);
      assert.ok(found.representatives.length > 1);
    }
    const { converged: _converged, ...kept } = bitsOf(result);
    const alone = await engine.iterate(initial, iteration);
    assert.deepEqual(bitsOf(alone), kept);
    assert.equal("converged" in alone, false);
  });

  it("give attractors that the host's rows give", async (t) => {
    const model = corners(3);
    t.after(() => model[Symbol.asyncDispose]());
    const from = { a: latents(noise(n, 3, 2)), b: latents(noise(n, 3, 3)) };
    const run = await findAttractors(model, { from, maxIterations: 11, device: "cuda" });
    for (const { endpoints, status, label, representative, summary } of run.sets) {
      const rows = convergedRows({ endpoints: endpoints.data, status }, endpoints);
      const { representatives, labels } = await deduplicated(rows.data, 3, "greedy");
      assert.deepEqual(
        label.filter((one) => one >= 0),
        labels,
      );
      assert.deepEqual(takeRows(endpoints, representative), takeRows(rows, representatives));
      const euclidean = await deduplicated(rows.data, 3, "euclidean");
      assert.equal(summary.attractorsEuclidean, euclidean.representatives.length);
    }
  });

  it("may be none", async (t) => {
    const { result } = await iterated(t, rotation(0.7), noise(5, 2, 4));
    assert.deepEqual([result.converged.rows, result.converged.columns], [0, 2]);
    assert.deepEqual(
      await deduplicated(result.converged, 2, "greedy"),
      await deduplicated(new Float32Array(0), 2, "greedy"),
    );
    const model = rotation(0.7);
    t.after(() => model[Symbol.asyncDispose]());
    const run = await findAttractors(model, {
      from: { points: latents(noise(5, 2, 4)) },
      maxIterations: 11,
      device: "cuda",
    });
    assert.equal(run.attractors.rows, 0);
  });

  it("after an abort are what had converged", async (t) => {
    const signal = AbortSignal.abort();
    const { result } = await iterated(t, corners(3), noise(n, 3, 5), { signal });
    assert.equal(result.aborted, true);
    assert.equal(result.converged.rows, result.status.filter((one) => one === STATUS.converged).length);
  });

  it("serve several calls at once, and are freed when the last one ends", async (t) => {
    const { result, rows } = await iterated(t, corners(3), noise(n, 3, 6));
    const calls = [...RULES, ...RULES].map((rule) => deduplicated(result.converged, 3, rule));
    result.converged.dispose();
    result.converged.dispose();
    for (const [i, found] of (await Promise.all(calls)).entries()) {
      assert.deepEqual(found, await deduplicated(rows.data, 3, RULES[i % 3]));
    }
    assert.throws(() => result.converged.rows, /the points are disposed/);
    assert.throws(
      () => native().deduplicate(result.converged, 3, options("greedy")),
      /the points are disposed/,
    );
  });

  it("end where the job is aborted", async (t) => {
    const { result } = await iterated(t, corners(3), noise(n, 3, 7));
    const job = native().deduplicate(result.converged, 3, options("greedy"));
    job.abort();
    const { aborted, labels } = await job.promise;
    assert.ok(aborted);
    assert.ok(labels.length === 0 || labels.length === result.converged.rows);
  });

  it("are where they are, and as wide as they are", async (t) => {
    const { engine, result } = await iterated(t, corners(3), noise(5, 3, 8));
    const call = (columns, more) => () =>
      native().deduplicate(result.converged, columns, { ...options("greedy"), ...more });
    assert.throws(call(2, {}), /columns is 2, but the points have 3/);
    assert.throws(call(3, { device: -1 }), /"device" is -1, but the points are on device 0/);
    assert.throws(call(3, { threshold: 2 }), /"threshold" is a cosine/);
    assert.throws(() => native().deduplicate({ rows: 5, columns: 3 }, 3, options("greedy")), /Float32Array/);
    await assert.rejects(
      engine.iterate(noise(5, 3, 8), { ...iteration, keepConverged: 1 }),
      /"keepConverged" should be true or false/,
    );
  });

  it("do not stay where the CPU computes", async (t) => {
    const model = corners(3);
    t.after(() => model[Symbol.asyncDispose]());
    const engine = await engineOf(model, { device: "cpu" });
    const result = await engine.iterate(noise(5, 3, 9), { ...iteration, keepConverged: true });
    assert.equal("converged" in result, false);
  });
});
