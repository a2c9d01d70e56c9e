import { describe, expect, it } from "vitest";
import { bandsOf, endsOf, QUANTILES, quantileOf } from "../../src/dynamics/bands.js";
import { data, latents, noise } from "../../src/dynamics/points.js";
import { defaultStore, type TrajectoryOptions, trajectories } from "../../src/dynamics/trajectories.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { affine, elementwise, rotation, scaling } from "../support/maps.js";
import { convergedEndpoints, referenceTensor } from "../support/references.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";

const rows = (...points: number[][]) => matrix(Float32Array.from(points.flat()), points[0].length);

describe("quantile bands", () => {
  it("interpolate between neighbours and leave out what is not finite", () => {
    expect(quantileOf(Float64Array.of(1, 2, 4), 0.5)).toBe(2);
    expect(quantileOf(Float64Array.of(1, 2, 4), 0.75)).toBe(3);
    expect(quantileOf(Float64Array.of(), 0.5)).toBeNaN();
    const bands = bandsOf([Float32Array.of(1, 5), Float32Array.of(3, Number.NaN)], 1);
    expect(bands.values[QUANTILES.indexOf(0.5)]).toBe(2);
    expect(bands.values[QUANTILES.length + QUANTILES.indexOf(0.05)]).toBe(5);
    expect(endsOf(bands)).toEqual({ first: 2, last: 5 });
    expect(endsOf(bandsOf([], 0))).toEqual({ first: null, last: null });
  });
});

describe("steps that are stored", () => {
  it("are few at first and far apart later", () => {
    expect(defaultStore(1)).toEqual([0, 1]);
    expect(defaultStore(2)).toEqual([0, 1, 2]);
    expect(defaultStore(60)).toEqual([0, 1, 2, 5, 10, 20, 50, 60]);
    expect(defaultStore(100)).toEqual([0, 1, 2, 5, 10, 20, 50, 100]);
  });
});

describe("paths of a known map", () => {
  const start = rows([8, 0], [0, -4], [3, 4]);

  it("halve under z → z/2, and so do all curves", async () => {
    const run = await trajectories(scaling("half", 2, 0.5), {
      from: { points: latents(start) },
      steps: 6,
      store: "all",
      attractors: rows([0, 0]),
    });
    const [set] = run.sets;
    expect(Array.from(set.steps)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    for (let i = 0; i < 3; i++) {
      const length = [8, 4, 5][i];
      for (let t = 0; t <= 6; t++) {
        for (let c = 0; c < 2; c++) {
          expect(set.paths[(i * 7 + t) * 2 + c]).toBe(start.data[i * 2 + c] / 2 ** t);
        }
        expect(set.curves[i].norm[t]).toBeCloseTo(length / 2 ** t, 6);
        expect(set.curves[i].distance[t]).toBeCloseTo(length / 2 ** t, 6);
        if (t > 0) expect(set.curves[i].residual[t - 1]).toBeCloseTo((length / 2 ** t) ** 2, 6);
      }
      // (1 + ½ + … + 1/64) / 7
      expect(set.score?.[i]).toBeCloseTo((length * (2 - 1 / 64)) / 7, 6);
    }
    expect(set.summary).toMatchObject({ points: 3, steps: 6, nonFinite: 0 });
    expect(set.summary.norm.first).toBe(5);
    expect(set.summary.norm.last).toBeCloseTo(5 / 64, 6);
    expect(set.summary.score?.median).toBeCloseTo((5 * (2 - 1 / 64)) / 7, 6);
    expect(run.record.timing.mapEvaluations).toBe(18);
  });

  it("follow z → A·z + b, stored where asked", async () => {
    const model = affine("spiral", [0.5, -0.25, 0.25, 0.5], [1, 0]);
    const { sets } = await trajectories(model, {
      from: { points: latents(start) },
      steps: 9,
      store: [7, 0, 3, 3],
    });
    expect(Array.from(sets[0].steps)).toEqual([0, 3, 7]);
    for (let i = 0; i < 3; i++) {
      let [x, y] = [start.data[2 * i], start.data[2 * i + 1]];
      for (let t = 0; t <= 7; t++) {
        const s = [0, 3, 7].indexOf(t);
        if (s >= 0) {
          expect(sets[0].paths[(3 * i + s) * 2]).toBeCloseTo(x, 5);
          expect(sets[0].paths[(3 * i + s) * 2 + 1]).toBeCloseTo(y, 5);
        }
        [x, y] = [0.5 * x - 0.25 * y + 1, 0.25 * x + 0.5 * y];
      }
    }
    expect(sets[0].score).toBeNull();
    expect(sets[0].bands.distance).toBeNull();
    expect(sets[0].summary.distance).toBeNull();
  });

  it("keep their norm under a rotation, and their step", async () => {
    const { sets } = await trajectories(rotation("turn", 0.4), {
      from: { points: latents(start) },
      steps: 50,
    });
    const { norm, residual } = sets[0].curves[2];
    for (const value of norm) expect(value).toBeCloseTo(5, 4);
    for (const value of residual) expect(value).toBeCloseTo((10 * Math.sin(0.2)) ** 2, 3);
    expect(sets[0].summary.residual.last).toBeCloseTo(sets[0].summary.residual.first as number, 3);
  });

  it("stop being finite, are counted, and have no score", async () => {
    const model = elementwise("burst", 2, { kind: "leakyRelu", alpha: 1e30, beta: 0 });
    const options = { steps: 5, store: [], from: { points: latents(rows([1, 1], [-1, 2], [2, 2])) } };
    const scored = await trajectories(model, { ...options, attractors: rows([1, 1]) });
    expect(Array.from(scored.sets[0].score as Float64Array).map(Number.isNaN)).toEqual([false, true, false]);
    expect(scored.summary.points.nonFinite).toBe(1);
    expect(scored.summary.points.score?.mean).toBeCloseTo(Math.SQRT2 / 2, 6);
    const plain = await trajectories(model, options);
    expect(plain.summary.points).toMatchObject({ nonFinite: 1, score: null });
    expect(plain.sets[0].paths).toHaveLength(0);
    expect(JSON.stringify(scored.record)).not.toMatch(/NaN|Infinity/);
  });

  it("of no points are no error", async () => {
    const { summary } = await trajectories(scaling("half", 2, 0.5), {
      from: { none: noise(0) },
      attractors: rows([0, 0]),
    });
    expect(summary.none).toEqual({
      points: 0,
      steps: 100,
      nonFinite: 0,
      score: null,
      residual: { first: null, last: null },
      norm: { first: null, last: null },
      distance: { first: null, last: null },
    });
  });

  it("are the same bits on any number of threads, and for a point alone", async () => {
    const model = affine("spiral", [0.5, -0.25, 0.25, 0.5], [1, 0]);
    const options = { steps: 20, attractors: rows([1, 0], [0, 1]) };
    const all = await trajectories(model, { ...options, from: { n: noise(40) }, threads: 2 });
    const one = await trajectories(model, { ...options, from: { n: noise(40) }, threads: 1 });
    expect(one.sets[0].paths).toEqual(all.sets[0].paths);
    expect(one.sets[0].score).toEqual(all.sets[0].score);
    const first = await trajectories(model, { ...options, from: { n: noise(1) } });
    expect(first.sets[0].score?.[0]).toBe(all.sets[0].score?.[0]);
  });
});

describe("what trajectories refuse", () => {
  const from = { points: noise(3) };
  it.each<[string, TrajectoryOptions, RegExp]>([
    ["no steps", { from, steps: 0 }, /steps is 0/],
    ["a step beyond the end", { from, steps: 5, store: [6] }, /store is 6.*0 to 5/],
    ["a step that is none", { from, store: [0.5] }, /store is 0.5/],
    ["a store that is none", { from, store: "some" } as unknown as TrajectoryOptions, /store is "some"/],
    ["attractors of another width", { from, attractors: rows([1, 2, 3]) }, /3 elements a row, expected 2/],
    ["no attractors", { from, attractors: matrix(new Float32Array(0), 2) }, /attractors are empty/],
    ["attractors that are not finite", { from, attractors: rows([1, Number.NaN]) }, /row 0 holds NaN/],
    ["no points", { from: {} }, /from is empty/],
    ["an unknown option", { from, step: 3 } as unknown as TrajectoryOptions, /did you mean "steps"/],
  ])("%s", async (_, options, message) => {
    const refused = trajectories(scaling("half", 2, 0.5), options);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toBeInstanceOf(InputError);
  });

  it("to go on when the signal fires", async () => {
    const aborted = trajectories(scaling("half", 2, 0.5), { from, signal: AbortSignal.abort() });
    await expect(aborted).rejects.toBeInstanceOf(AbortedError);
  });
});

describe.skipIf(!hasShared)(
  `paths of trained models, against float64${hasShared ? "" : ", skipped: no shared folder"}`,
  () => {
    it.each(["mnist-conv-k2", "mnist-conv-k16", "mnist-conv-k128"])("%s", async (name) => {
      await using model = await loadAutoencoder(sharedPath("models", name));
      const k = model.latentDimension;
      for (const set of ["train", "noise"]) {
        const reference = await referenceTensor(name, `${set}.trajectory`);
        const expected = Float32Array.from(reference.data, Number);
        const initial = new Float32Array(8 * k);
        for (let i = 0; i < 8; i++) initial.set(expected.subarray(i * 41 * k, (i * 41 + 1) * k), i * k);
        const from = { points: latents(matrix(initial, k)) };
        const { sets } = await trajectories(model, { from, steps: 40, store: "all" });
        let worst = 0;
        for (let at = 0; at < 8 * 41; at++) {
          let [difference, size] = [0, 0];
          for (let c = at * k; c < (at + 1) * k; c++) {
            difference += (sets[0].paths[c] - expected[c]) ** 2;
            size += expected[c] ** 2;
          }
          worst = Math.max(worst, Math.sqrt(difference / size));
        }
        expect(worst).toBeLessThan(1e-3);
      }
    });

    it.each(["mnist-conv-k2", "mnist-conv-k16"])("%s: scores", async (name) => {
      await using model = await loadAutoencoder(sharedPath("models", name));
      const attractors = await convergedEndpoints(name, "train");
      const images = sharedPath("data", "mnist", "t10k-images-idx3-ubyte.gz");
      const { sets } = await trajectories(model, {
        from: { id: data(images, { count: 512 }) },
        steps: 60,
        store: [],
        curves: 0,
        attractors,
      });
      const expected = (await referenceTensor(name, "ood.id.trajectory_score")).data;
      const score = sets[0].score as Float64Array;
      const close = Array.from(score).filter(
        (value, i) => Math.abs(value - Number(expected[i])) <= 1e-4 * Number(expected[i]),
      );
      // A path beside the border of two basins may fall to the other side in single precision.
      expect(close.length).toBeGreaterThanOrEqual(Math.ceil(0.99 * 512));
    });
  },
);
