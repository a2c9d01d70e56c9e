/**
 * Models on a CUDA device against the same on the CPU: `node --test test/cuda/`. Node, dist/ and protobufjs, which
 * reads ONNX. References of ../shared (or LATDYN_SHARED) are looked at where they are.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { oodScores } from "../../dist/analysis/ood.js";
import { probe } from "../../dist/analysis/probing.js";
import { readSafetensors } from "../../dist/data/safetensors.js";
import { findAttractors } from "../../dist/dynamics/attractors.js";
import { data, latents, noise as noisePoints } from "../../dist/dynamics/points.js";
import { STATUS, UNFINISHED } from "../../dist/dynamics/result.js";
import { trajectories } from "../../dist/dynamics/trajectories.js";
import { verifyAttractors } from "../../dist/dynamics/verification.js";
import { engineOf } from "../../dist/engines/choose.js";
import { compareEngines } from "../../dist/engines/compare.js";
import { row } from "../../dist/matrix.js";
import { loadAutoencoder } from "../../dist/models/load.js";
import { rotation } from "./maps.mjs";
import { cosine, devices, noise, onFibers, relativeError, sized, skip } from "./setting.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const example = here("../../examples/mnist/mnist-conv-k16");
const images = here("../../examples/mnist/train-images-1000.idx3-ubyte.gz");
const shared = process.env.LATDYN_SHARED ?? here("../../../shared");
const call = { threads: 2 };
const iteration = {
  tolerance: 1e-6,
  maxIterations: 3000,
  criterion: "residual",
  divergenceRatio: 1e4,
  traceRows: new Int32Array(0),
  ...call,
};

/** The model at `path`, until the test is over. */
async function open(t, path) {
  const model = await loadAutoencoder(path);
  t.after(() => model[Symbol.asyncDispose]());
  return model;
}

/** What is the same from run to run. */
const bitsOf = ({ seconds: _seconds, ...bits }) => bits;

/** Points that converged in both runs, and how many of them went to the same attractor. */
function compare(found, expected) {
  let [both, equal] = [0, 0];
  for (let i = 0; i < expected.status.length; i++) {
    if (found.status[i] !== STATUS.converged || expected.status[i] !== STATUS.converged) continue;
    both++;
    const a = row(found.attractors, found.label[i]);
    if (cosine(a, row(expected.attractors, expected.label[i])) > 0.99) equal++;
  }
  return { both, equal };
}

/** The largest ‖f(z) − z‖² of converged points, f being the CPU's. */
async function restlessness(cpu, { endpoints, status }) {
  const next = await cpu.apply(endpoints, call);
  let most = 0;
  for (let i = 0; i < endpoints.rows; i++) {
    if (status[i] !== STATUS.converged) continue;
    const [z, w] = [row(endpoints, i), row(next, i)];
    most = Math.max(
      most,
      z.reduce((sum, value, j) => sum + (w[j] - value) ** 2, 0),
    );
  }
  return most;
}

describe("a model on CUDA", { skip }, () => {
  const n = sized(2000, 5);

  it("f, the encoder and the decoder give what the CPU gives", async (t) => {
    const model = await open(t, example);
    const cpu = await engineOf(model, { device: "cpu" });
    const cuda = await engineOf(model, { device: "cuda" });
    const z = noise(n, 16, 1);
    const f = await cuda.apply(z, call);
    assert.ok(relativeError(f.data, (await cpu.apply(z, call)).data) < 1e-5);
    assert.deepEqual(await cuda.apply(z, call), f, "two runs differ");
    const decoded = await cpu.decode(z, call);
    assert.ok(relativeError((await cuda.decode(z, call)).data, decoded.data) < 1e-5);
    const encoded = await cpu.encode(decoded, call);
    assert.ok(relativeError((await cuda.encode(decoded, call)).data, encoded.data) < 1e-5);
    assert.deepEqual(await cuda.apply({ ...z, data: new Float32Array(0), rows: 0 }, call), {
      data: new Float32Array(0),
      rows: 0,
      columns: 16,
    });
  });

  it("a row's bits depend on the row alone", async (t) => {
    const model = await open(t, example);
    const cuda = await engineOf(model, { device: "cuda" });
    const z = noise(n, 16, 2);
    const backwards = { ...z, data: Float32Array.from(z.data) };
    for (let i = 0; i < n; i++) row(backwards, i).set(row(z, n - 1 - i));
    const [one, other] = [await cuda.apply(z, call), await cuda.apply(backwards, call)];
    for (let i = 0; i < n; i++) assert.deepEqual(row(one, i), row(other, n - 1 - i));
    const last = await cuda.apply({ ...z, data: row(z, n - 1), rows: 1 }, call);
    assert.deepEqual(last.data, row(one, n - 1));
  });

  // Basins have borders, and 8 digits are enough to step over one.
  for (const [precision, agreement] of [
    ["float32", 0.995],
    ["tf32", 0.995],
    ["bf16", 0.9],
  ]) {
    it(`attractors, beginning in ${precision}`, async (t) => {
      const model = await open(t, example);
      const from = {
        noise: noisePoints(sized(n, precision === "bf16" ? 2 : n), { randomSeed: 3 }),
        ...sized({ data: data(images) }, {}),
      };
      const options = { from, traces: 2 };
      const run = await findAttractors(model, { ...options, device: "cuda", precision });
      const again = await findAttractors(model, { ...options, device: "cuda", precision });
      const expected = await findAttractors(model, { ...options, device: "cpu" });
      const cpu = await engineOf(model, { device: "cpu" });
      for (const [s, found] of run.sets.entries()) {
        for (const key of ["endpoints", "iterations", "residual", "status", "period", "label", "traces"]) {
          assert.deepEqual(again.sets[s][key], found[key], `two runs differ in ${key}`);
        }
        const { converged } = expected.sets[s].summary;
        const { both, equal } = compare(found, expected.sets[s]);
        assert.ok(both >= 0.99 * converged && both > 0, `${both} of ${converged} converge in both`);
        assert.ok(equal >= agreement * both, `${equal} of ${both} converged points have the same attractor`);
        assert.ok((await restlessness(cpu, found)) < 1e-5);
        // The last step is one of float32, and it is what the residual is of.
        for (const { row: point, residual } of found.traces) {
          assert.equal(residual.length, found.iterations[point]);
          assert.equal(residual.at(-1), found.residual[point]);
          assert.equal(found.status[point] === STATUS.converged, found.residual[point] < 1e-6);
        }
        if (precision !== "float32") continue;
        const same = found.iterations.filter((count, i) => count === expected.sets[s].iterations[i]).length;
        assert.ok(same >= 0.98 * found.iterations.length, `${same} points take the same number of steps`);
      }
    });
  }

  it("says in the record where it computed", async (t) => {
    const model = await open(t, example);
    const options = { from: { noise: noisePoints(1) }, device: "auto" };
    const { record } = await findAttractors(model, options);
    const { name, driver } = devices[0];
    assert.equal(record.options.device, "cuda:0");
    assert.equal(record.options.precision, "auto");
    assert.deepEqual(
      { ...record.device, layout: undefined, reason: undefined },
      {
        kind: "cuda",
        name,
        index: 0,
        precision: "tf32",
        threads: record.device.threads,
        layout: undefined,
        reason: undefined,
      },
    );
    assert.ok(["kernels", "fused"].includes(record.device.layout));
    assert.notEqual(record.device.reason, "");
    assert.equal(record.versions.CUDA, driver);
    const silent = await findAttractors(model, { from: { noise: noisePoints(1) } });
    assert.equal(silent.record.device.kind, "cpu");
  });

  it("products with the Jacobian, and verified attractors", async (t) => {
    const model = await open(t, example);
    const cpu = await engineOf(model, { device: "cpu" });
    const cuda = await engineOf(model, { device: "cuda" });
    const rows = sized(500, 3);
    const [z, v] = [noise(rows, 16, 4), noise(rows, 16, 5)];
    for (const product of ["jacobianVector", "vectorJacobian"]) {
      const found = await cuda[product](z, v, call);
      assert.ok(relativeError(found.data, (await cpu[product](z, v, call)).data) < 1e-4, product);
      assert.deepEqual(await cuda[product](z, v, call), found, "two runs differ");
    }
    const from = { noise: noisePoints(sized(500, 1)) };
    const run = await findAttractors(model, { from });
    const expected = await verifyAttractors(model, run, { engine: cpu });
    const [{ verification }] = (await verifyAttractors(model, run, { engine: cuda })).sets;
    assert.deepEqual(verification.verified, expected.sets[0].verification.verified);
    const radius = expected.sets[0].verification.spectralRadius;
    assert.ok(relativeError(verification.spectralRadius, radius) < 1e-3);
  });

  it("trajectories: points, scores and curves", async (t) => {
    const model = await open(t, example);
    const options = {
      from: { noise: noisePoints(sized(1000, 3), { randomSeed: 6 }) },
      steps: sized(50, 4),
      store: "all",
      attractors: noise(7, 16, 7),
      curves: 2,
    };
    const [found] = (await trajectories(model, { ...options, device: "cuda" })).sets;
    const [expected] = (await trajectories(model, { ...options, device: "cpu" })).sets;
    assert.ok(relativeError(found.paths, expected.paths) < 1e-4);
    assert.ok(relativeError(found.score, expected.score) < 1e-4);
    assert.deepEqual(found.curveRows, expected.curveRows);
    for (const [i, curve] of found.curves.entries()) {
      for (const key of ["norm", "distance"]) {
        assert.ok(relativeError(curve[key], expected.curves[i][key]) < 1e-4, key);
      }
      assert.ok(relativeError(curve.residual, expected.curves[i].residual) < 1e-3);
    }
    assert.deepEqual((await trajectories(model, { ...options, device: "cuda" })).sets[0], found);
    const unscored = await trajectories(model, { ...options, attractors: undefined, device: "cuda" });
    assert.equal(unscored.sets[0].score, null);
  });

  it("measures take their kernels to the device that the model is on", async (t) => {
    const model = await open(t, example);
    const [cpu, cuda] = [
      await engineOf(model, { device: "cpu" }),
      await engineOf(model, { device: "cuda", precision: "float32" }),
    ];
    assert.deepEqual([cpu.kernelDevice, cuda.kernelDevice], ["cpu", "cuda:0"]);
    const signals = noise(3, 16, 12);
    const options = {
      data: { signals: latents(signals) },
      atoms: 5,
      sparsity: [1, 3],
      maxIterations: 1,
      pictures: 0,
      precision: "float32",
    };
    const found = await probe(model, { ...options, device: "cuda" });
    const { precision: _precision, ...plain } = options;
    const expected = await probe(model, { ...plain, device: "cpu" });
    for (const [i, { support, coefficients }] of found.sets[0].selections.entries()) {
      assert.deepEqual(support, expected.sets[0].selections[i].support);
      assert.ok(relativeError(coefficients, expected.sets[0].selections[i].coefficients) < 1e-3);
    }
    const ood = {
      train: noise(9, 16, 13),
      attractors: noise(2, 16, 14),
      id: { inputs: null, latents: signals },
      ood: { far: { inputs: null, latents: noise(3, 16, 15) } },
    };
    const scores = async (engine) => (await oodScores(engine, ood, { steps: 2, neighbours: 3 })).scores.far;
    const [there, here] = [await scores(cuda), await scores(cpu)];
    assert.ok(relativeError(there.knn, here.knn) < 1e-12);
    assert.ok(relativeError(there.trajectory, here.trajectory) < 1e-4);
  });

  it("is measured beside the CPU", async (t) => {
    const model = await open(t, example);
    const { engines, reference } = await compareEngines(model, { device: "cuda", rows: 2, threads: 1 });
    const [first, second] = engines;
    assert.deepEqual([first.engine, second.engine, reference], ["native", "native, cuda:0", "native"]);
    assert.equal(second.device.name, devices[0].name);
    assert.ok(second.relativeError < 1e-5 && second.rowsPerSecond.median > 0);
  });

  it("two jobs at once give what each gives alone", async (t) => {
    const model = await open(t, example);
    const cuda = await engineOf(model, { device: "cuda" });
    const [a, b] = [noise(n, 16, 8), noise(n, 16, 9)];
    const alone = [await cuda.iterate(a, iteration), await cuda.apply(b, call)];
    const together = await Promise.all([cuda.iterate(a, iteration), cuda.apply(b, call)]);
    assert.deepEqual(bitsOf(together[0]), bitsOf(alone[0]));
    assert.deepEqual(together[1], alone[1]);
  });

  it("tells how far it is, and ends where the signal fires", async (t) => {
    const model = rotation(0.7);
    t.after(() => model[Symbol.asyncDispose]());
    const controller = new AbortController();
    const seen = [];
    const call = findAttractors(model, {
      from: { points: latents({ data: Float32Array.of(1, 0, 0, 2, 3, 3), rows: 3, columns: 2 }) },
      device: "cuda",
      // With 11 digits of its sine it would shrink the plane, and come to rest.
      precision: "float32",
      tolerance: 1e-30,
      maxIterations: 2 ** 30,
      divergenceRatio: Number.POSITIVE_INFINITY,
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.phase !== "iterate") return;
        seen.push(progress);
        if (progress.mapEvaluations > 0) controller.abort();
      },
    });
    const { partial } = await call.then(assert.fail, (error) => {
      assert.equal(error.name, "AbortedError");
      return error;
    });
    assert.ok(seen.some(({ mapEvaluations }) => mapEvaluations > 0));
    assert.ok(seen.every(({ finished, total }) => finished === 0 && total === 3));
    assert.equal(partial.record.interrupted, true);
    const [{ status, endpoints, iterations }] = partial.sets;
    for (const [i, length] of [1, 2, Math.sqrt(18)].entries()) {
      assert.equal(status[i], UNFINISHED);
      assert.ok(iterations[i] > 0);
      assert.ok(Math.abs(Math.hypot(...row(endpoints, i)) - length) < 0.5 * length);
    }
  });

  it("ends before it begins where the signal has fired", async (t) => {
    const model = await open(t, example);
    const signal = AbortSignal.abort();
    const cuda = await engineOf(model, { device: "cuda" });
    await assert.rejects(cuda.apply(noise(4, 16, 11), { ...call, signal }), { name: "AbortedError" });
    const iterated = await cuda.iterate(noise(4, 16, 11), { ...iteration, signal });
    assert.equal(iterated.aborted, true);
    assert.deepEqual(iterated.status, new Uint8Array(4).fill(UNFINISHED));
    const from = { noise: noisePoints(3) };
    for (const begun of [
      findAttractors(model, { from, device: "cuda", signal }),
      trajectories(model, { from, device: "cuda", signal }),
    ]) {
      await assert.rejects(begun, { name: "AbortedError" });
    }
  });

  it("says what does not fit", async (t) => {
    const model = await open(t, example);
    const from = { noise: noisePoints(1) };
    await assert.rejects(findAttractors(model, { from, device: "cuda:63" }), {
      name: "InputError",
      message: `device is "cuda:63", expected an index below ${devices.length}, the number of devices`,
    });
    await assert.rejects(findAttractors(model, { from, device: "cuda", layout: "lanes" }), {
      message: 'layout is "lanes", which is for the CPU; device is "cuda"',
    });
    const engine = await engineOf(model, { device: "cuda" });
    await assert.rejects(engine.apply(noise(1, 15, 1), call), /latents have 15 elements a row, expected 16/);
    // One engine for a model and its options, another for others.
    assert.equal(await engineOf(model, { device: "cuda:0", precision: "tf32" }), engine);
    assert.notEqual(await engineOf(model, { device: "cuda", precision: "bf16" }), engine);
    engine.dispose();
    assert.equal((await engine.apply(noise(1, 16, 1), call)).rows, 1);
  });
});

describe("references on CUDA", {
  skip: skip || (onFibers ? "skipped: takes too long on fibers" : false),
}, () => {
  for (const name of ["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"]) {
    const [folder, file] = [join(shared, "models", name), join(shared, "reference", `${name}.safetensors`)];
    const missing = existsSync(folder) && existsSync(file) ? false : `skipped: ${name} is not in ${shared}`;
    it(name, { skip: missing }, async (t) => {
      const { tensors } = await readSafetensors(file);
      const model = await open(t, folder);
      const k = model.latentDimension;
      for (const set of ["train", "noise"]) {
        const tensor = (key) => tensors.get(`${set}.${key}`);
        const seeds = { data: tensor("seeds").data, rows: tensor("seeds").shape[0], columns: k };
        const step = await (await engineOf(model, { device: "cuda" })).apply(seeds, call);
        assert.ok(relativeError(step.data, tensor("step1").data) < 1e-5);
        const options = { from: { [set]: latents(seeds) } };
        const [found] = (await findAttractors(model, { ...options, device: "cuda" })).sets;
        const [cpu] = (await findAttractors(model, { ...options, device: "cpu" })).sets;
        const { both, equal } = compare(found, cpu);
        assert.ok(both > 0.5 * seeds.rows && equal >= 0.995 * both, `${set}: ${equal} of ${both}`);
        const [status, ends] = [tensor("f64.status").data, tensor("f64.fixed_points").data];
        let [converged, close] = [0, 0];
        for (let i = 0; i < seeds.rows; i++) {
          if (status[i] !== 0 || found.status[i] !== STATUS.converged) continue;
          converged++;
          if (cosine(row(found.endpoints, i), ends.subarray(i * k, (i + 1) * k)) > 0.999) close++;
        }
        assert.ok(close >= 0.99 * converged, `${set}: ${close} of ${converged} end where float64 ends`);
      }
    });
  }
});
