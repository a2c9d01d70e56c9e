import { describe, expect, it } from "vitest";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { data, latents } from "../../src/dynamics/points.js";
import { engineOf } from "../../src/engines/choose.js";
import { nativeEngine } from "../../src/engines/native.js";
import { EngineError, InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { type FunctionOptions, fromFunction } from "../../src/models/fromFunction.js";

const call = { threads: 1 };
const halve = (rows: Float32Array): Float32Array => rows.map((value) => value / 2);
/** D: each number twice. E: every other one, halved. */
const decode = (rows: Float32Array): Float32Array => Float32Array.from([...rows].flatMap((z) => [z, z]));
const encode = (rows: Float32Array): Float32Array => rows.filter((_, i) => i % 2 === 0).map((x) => x / 2);

describe("fromFunction", () => {
  it("a square map: shapes, and a record that says what computed", async () => {
    const model = fromFunction({ latentShape: [3, 1], apply: halve });
    expect(model).toMatchObject({
      name: "function",
      format: "function",
      latentShape: [3, 1],
      latentDimension: 3,
      inputShape: null,
      map: null,
    });
    const points = matrix(Float32Array.from([1, 2, 3]), 3);
    const run = await findAttractors(model, { from: { points: latents(points) } });
    expect(run.record).toMatchObject({
      options: { engine: "function" },
      device: { kind: "cpu", batchRows: 256, concurrency: 1 },
      summary: { points: { converged: 1 } },
    });
    await expect((await engineOf(model)).decode(points, call)).rejects.toThrow(
      "is a square map, it has no decoder",
    );
  });

  it("an autoencoder: f is E∘D where there is no other, and points come from data", async () => {
    const model = fromFunction({ latentShape: [2], inputShape: [1, 2, 2], encode, decode });
    const inputs = matrix(Float32Array.from([4, 4, 8, 8]), 4);
    const run = await findAttractors(model, { from: { inputs: data(inputs) } });
    expect([...run.sets[0]!.initial.data]).toEqual([2, 4]);
    const engine = await engineOf(model);
    expect([...(await engine.apply(run.sets[0]!.initial, call)).data]).toEqual([1, 2]);
    expect([...(await engine.decode(run.sets[0]!.initial, call)).data]).toEqual([2, 2, 4, 4]);
  });

  it("gives the function arrays of its own, and takes batches of the size it asks for", async () => {
    const sizes: number[] = [];
    const model = fromFunction({
      latentShape: [1],
      batchRows: 2,
      apply: (rows, count) => {
        sizes.push(count);
        rows.fill(7);
        return rows;
      },
    });
    const points = matrix(Float32Array.from([1, 2, 3]), 1);
    const { iterations, endpoints } = await (await engineOf(model)).iterate(points, {
      ...call,
      tolerance: 1e-6,
      maxIterations: 10,
      criterion: "residual",
      divergenceRatio: 1e4,
      traceRows: new Int32Array(0),
    });
    expect([...iterations]).toEqual([2, 2, 2]);
    expect([...endpoints]).toEqual([7, 7, 7]);
    expect([...points.data]).toEqual([1, 2, 3]);
    expect(sizes).toEqual([2, 2, 1, 1]);
  });

  it("is hashed by its shapes and its source", () => {
    const hashOf = (options: Partial<FunctionOptions>): string =>
      fromFunction({ latentShape: [2], apply: halve, ...options }).hash;
    expect(hashOf({})).toMatch(/^[0-9a-f]{64}$/);
    expect(hashOf({ batchRows: 3, name: "other" })).toBe(hashOf({}));
    expect(hashOf({ latentShape: [1, 2] })).not.toBe(hashOf({}));
    expect(hashOf({ apply: (rows) => rows })).not.toBe(hashOf({}));
  });

  it("times out", async () => {
    const model = fromFunction({
      latentShape: [1],
      timeout: 0.02,
      apply: () => new Promise(() => undefined),
    });
    await expect((await engineOf(model)).apply(matrix(new Float32Array(1), 1), call)).rejects.toThrow(
      new EngineError("function: function did not answer when asked for f, waited 0.02 s"),
    );
  });

  it("gives its own Jacobian products", async () => {
    const model = fromFunction({
      latentShape: [1],
      apply: halve,
      jacobianVector: (_, tangents) => halve(tangents),
    });
    const one = matrix(Float32Array.from([1, 2]), 1);
    const product = (await engineOf(model)).jacobianVector?.bind(await engineOf(model));
    expect([...((await product?.(one, one, call))?.data ?? [])]).toEqual([0.5, 1]);
    await expect(product?.(one, matrix(new Float32Array(1), 1), call)).rejects.toThrow(
      "1 vectors for 2 latents",
    );
  });

  it("no other engine runs it", async () => {
    const model = fromFunction({ latentShape: [1], apply: halve, name: "halving" });
    const sentence = 'halving: is a function, which the engine "function" runs and no other';
    await expect(engineOf(model, { engine: "native" })).rejects.toThrow(new InputError(sentence));
    await expect(engineOf(model, { engine: "process" })).rejects.toThrow(
      "halving: engine process cannot run a model of format function; function can",
    );
    const one = matrix(Float32Array.from([1]), 1);
    await expect(nativeEngine(model).apply(one, call)).rejects.toThrow(sentence);
    await expect(engineOf(model, { layout: "lanes" })).rejects.toThrow(
      'layout is "lanes", which is for the native engine; halving runs on function',
    );
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["no options", undefined as never, /options are missing/],
    [
      "an unknown name",
      { latentShape: [1], aply: halve },
      /unknown option "aply" \(did you mean "apply"\?\)/,
    ],
    ["no shape", { apply: halve }, /latentShape is undefined, expected whole numbers of at least 1/],
    ["a shape of nothing", { latentShape: [0], apply: halve }, /latentShape is \[0\]/],
    ["no function", { latentShape: [1] }, /apply is missing/],
    ["something else", { latentShape: [1], apply: 3 }, /apply is 3, expected a function/],
    ["half an autoencoder", { latentShape: [1], inputShape: [2], apply: halve, decode }, /go together/],
    ["parts without a shape", { latentShape: [1], encode, decode }, /go together/],
    ["no rows", { latentShape: [1], apply: halve, batchRows: 0 }, /batchRows is 0, expected a whole number/],
    ["no time", { latentShape: [1], apply: halve, timeout: -1 }, /timeout is -1, expected seconds above 0/],
  ])("%s", (_, options, message) => {
    expect(() => fromFunction(options as never)).toThrow(InputError);
    expect(() => fromFunction(options as never)).toThrow(message);
  });
});
