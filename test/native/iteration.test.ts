import { describe, expect, it } from "vitest";
import { type IterateOptions, native } from "../../src/native.js";

const options: Omit<IterateOptions, "threads"> = {
  tolerance: 1e-6,
  maxIterations: 5,
  criterion: "residual",
  divergenceRatio: 1e4,
  traceRows: new Int32Array(0),
};
const open = (values: number[], k: number, more: Partial<typeof options> = {}) =>
  native().openIteration(Float32Array.from(values), k, { ...options, ...more });

describe("an iteration driven from outside", () => {
  it("hands out points, takes what f made of them, and refills from one queue", () => {
    const iteration = open([1, 2, 3, 4, 5], 1);
    const first = iteration.open(2);
    const second = iteration.open(2);
    expect([...iteration.points(first)]).toEqual([1, 2]);
    expect([...iteration.points(second)]).toEqual([3, 4]);
    // 1 stays, so it is done; the only point that waits takes its place.
    iteration.advance(first, Float32Array.from([1, 20]));
    expect([...iteration.points(first)]).toEqual([5, 20]);
    // The others stay too: with nothing left to take their places the batches shrink.
    iteration.advance(second, Float32Array.from([30, 4]));
    expect([...iteration.points(second)]).toEqual([30]);
    expect([iteration.finished, iteration.evaluations]).toEqual([2, 4]);
    const { status, iterations, endpoints, residual } = iteration.close();
    expect([...status]).toEqual([0, 255, 255, 0, 255]);
    expect([...iterations]).toEqual([1, 1, 1, 1, 0]);
    expect([...endpoints]).toEqual([1, 20, 30, 4, 5]);
    expect([...residual]).toEqual([0, 18 ** 2, 27 ** 2, 0, 0]);
  });

  it("a batch that is opened when no point is left is empty", () => {
    const iteration = open([1], 1);
    iteration.open(3);
    expect(iteration.points(iteration.open(3))).toHaveLength(0);
    expect(open([], 2).close()).toMatchObject({ endpoints: new Float32Array(0), evaluations: 0 });
  });

  it("what it hands out and what it is given are copies", () => {
    const initial = Float32Array.from([8]);
    const iteration = native().openIteration(initial, 1, options);
    initial[0] = 99;
    const batch = iteration.open(1);
    iteration.points(batch)[0] = 99;
    const mapped = Float32Array.from([4]);
    iteration.advance(batch, mapped);
    mapped[0] = 99;
    expect([...iteration.points(batch)]).toEqual([4]);
  });

  it.each<[string, () => unknown, RegExp]>([
    ["rows that do not fill", () => open([1, 2, 3], 2), /3 elements, which do not make rows of 2/],
    ["no width", () => open([], 0), /k should be a whole number from 1/],
    ["no array", () => native().openIteration([1] as never, 1, options), /initial/],
    ["no options", () => native().openIteration(new Float32Array(1), 1, undefined as never), /options/],
    ["a row to trace that is not there", () => open([1], 1, { traceRows: Int32Array.of(1) }), /traceRows/],
    ["no criterion of that name", () => open([1], 1, { criterion: "mood" as never }), /criterion is "mood"/],
    ["a batch of nothing", () => open([1], 1).open(0), /rows should be a whole number from 1/],
    ["a batch before there is one", () => open([1], 1).points(0), /batch should be a whole number/],
    [
      "points of another batch",
      () => {
        const iteration = open([1], 1);
        iteration.open(1);
        return iteration.points(1);
      },
      /batch should be a whole number from 0 to 0/,
    ],
    [
      "too few numbers",
      () => {
        const iteration = open([1, 2], 2);
        iteration.advance(iteration.open(1), new Float32Array(1));
      },
      /mapped has 1 elements, expected 2/,
    ],
    [
      "numbers of another kind",
      () => {
        const iteration = open([1], 1);
        iteration.advance(iteration.open(1), new Float64Array(1) as never);
      },
      /mapped/,
    ],
    [
      "anything after the end",
      () => {
        const iteration = open([1], 1);
        iteration.close();
        return iteration.finished;
      },
      /the iteration is closed/,
    ],
    ["one that was never opened", () => Reflect.construct(open([1], 1).constructor, []).close(), /is closed/],
  ])("%s", (_, attempt, message) => {
    expect(attempt).toThrow(message);
  });
});
