import { describe, expect, it } from "vitest";
import { AbortedError, InputError } from "../../src/errors.js";
import { type Matrix, matrix } from "../../src/matrix.js";
import { native, type TrainMlpOptions } from "../../src/native.js";
import { trainMlp } from "../../src/training/mlp.js";
import { seededRandom } from "../support/random.js";

type Activation = TrainMlpOptions["activation"];

/** Abramowitz and Stegun 7.1.26 is not enough here: the series of erf, to rounding, for |x| below 6. */
function erf(x: number): number {
  let [sum, term] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const FUNCTIONS: Record<Activation, (x: number) => number> = {
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  silu: (x) => x / (1 + Math.exp(-x)),
};

interface Network {
  widths: number[];
  activated: boolean[];
  activation: Activation;
}

/** Mean over all elements of (output − input)², the obvious way in float64. */
function loss({ widths, activated, activation }: Network, parameters: Float64Array, rows: Matrix): number {
  let sum = 0;
  for (let i = 0; i < rows.rows; i++) {
    let x = Array.from(rows.data.subarray(i * rows.columns, (i + 1) * rows.columns));
    const input = x;
    let at = 0;
    for (let layer = 0; layer + 1 < widths.length; layer++) {
      const [ins, outs] = [widths[layer]!, widths[layer + 1]!];
      const from = x;
      x = Array.from({ length: outs }, (_, o) => {
        let y = parameters[at + ins * outs + o]!;
        for (let c = 0; c < ins; c++) y += parameters[at + o * ins + c]! * from[c]!;
        return activated[layer] ? FUNCTIONS[activation](y) : y;
      });
      at += (ins + 1) * outs;
    }
    sum += x.reduce((all, value, c) => all + (value - input[c]!) ** 2, 0);
  }
  return sum / (rows.rows * rows.columns);
}

/** Adam as the paper has it, on gradients by central differences. */
function adam(
  network: Network,
  start: Float32Array,
  rows: Matrix,
  steps: number,
  rate: number,
  decay: number,
) {
  const parameters = Float64Array.from(start);
  const mean = new Float64Array(start.length);
  const square = new Float64Array(start.length);
  const losses = [];
  for (let t = 1; t <= steps; t++) {
    losses.push(loss(network, parameters, rows));
    const gradient = parameters.map((value, p) => {
      const h = 1e-5;
      const moved = (by: number) => {
        const at = parameters.slice();
        at[p] = value + by;
        return loss(network, at, rows);
      };
      return (moved(h) - moved(-h)) / (2 * h) + decay * value;
    });
    gradient.forEach((g, p) => {
      mean[p] = 0.9 * mean[p]! + 0.1 * g;
      square[p] = 0.999 * square[p]! + 0.001 * g * g;
      const [m, s] = [mean[p]! / (1 - 0.9 ** t), square[p]! / (1 - 0.999 ** t)];
      parameters[p] = parameters[p]! - (rate * m) / (Math.sqrt(s) + 1e-8);
    });
  }
  return { parameters, losses };
}

const random = seededRandom(7);
const network = (activation: Activation): Network => ({
  widths: [5, 4, 2, 4, 5],
  activated: [true, false, true, false],
  activation,
});
const count = 5 * 4 + 4 + 4 * 2 + 2 + 2 * 4 + 4 + 4 * 5 + 5;

describe("training", () => {
  it.each(["relu", "tanh", "gelu", "silu"] as const)("takes Adam's steps through %s", async (activation) => {
    const rows = matrix(random.floats(9 * 5), 5);
    const start = random.floats(count, 0.5);
    const [rate, decay, steps] = [0.01, 0.05, 12];
    const shape = network(activation);
    const { parameters, losses } = await native().trainMlp(rows.data, start, {
      ...shape,
      ...{ epochs: steps, batchRows: 9, learningRate: rate, weightDecay: decay, randomSeed: 1, threads: 1 },
    }).promise;
    const plain = adam(shape, start, rows, steps, rate, decay);
    losses.forEach((value, t) => {
      expect(Math.abs(value / plain.losses[t]! - 1)).toBeLessThan(1e-4);
    });
    // Adam divides by the size of a gradient: one close to zero has no sure direction.
    const apart = Array.from(parameters, (value, p) => Math.abs(value - plain.parameters[p]!));
    expect(apart.filter((by) => by > 1e-3).length).toBeLessThanOrEqual(1);
  });

  it("gives the same bits on any number of threads, in steps of shards and ragged ends", async () => {
    const rows = random.floats(333 * 5);
    const start = random.floats(count, 0.5);
    const once = (threads: number) =>
      native().trainMlp(rows, start, {
        ...network("gelu"),
        ...{ epochs: 3, batchRows: 150, learningRate: 0.01, weightDecay: 0, randomSeed: 4, threads },
      }).promise;
    const one = await once(1);
    const three = await once(3);
    expect(three.parameters).toEqual(one.parameters);
    expect(three.losses).toEqual(one.losses);
    expect(one.losses).toHaveLength(3);
  });

  it("finds the plane that rows lie in", async () => {
    // Rank 2 in 8 dimensions, far from the origin: linear layers give it back.
    const codes = random.floats(600 * 2);
    const directions = random.floats(2 * 8);
    const rows = matrix(
      Float32Array.from({ length: 600 * 8 }, (_, i) => {
        const [r, c] = [Math.floor(i / 8), i % 8];
        return 100 + codes[2 * r]! * directions[c]! + codes[2 * r + 1]! * directions[8 + c]!;
      }),
      8,
    );
    const options = { latentDimension: 2, hidden: [], epochs: 300, learningRate: 0.01, weightDecay: 0 };
    const found = await trainMlp(rows, { ...options, threads: 1 });
    expect(found.rows).toBe(540);
    expect(found.heldOut).toBe(60);
    expect(found.unexplained).toBeLessThan(1e-3);
    const [weight, bias] = [found.tensors["encoder.0.weight"]!, found.tensors["decoder.0.bias"]!];
    expect(weight.shape).toEqual([2, 8]);
    // The rows' own scale is in the layers: what comes out is about 100.
    for (const value of bias.data as Float32Array) expect(Math.abs(value - 100)).toBeLessThan(10);
    const narrow = await trainMlp(rows, { ...options, latentDimension: 1, epochs: 100, threads: 1 });
    expect(narrow.unexplained).toBeGreaterThan(0.05);
  });

  it("names what does not fit, and stops when the signal fires", async () => {
    const rows = matrix(random.floats(40), 4);
    await expect(trainMlp(matrix(random.floats(4), 4))).rejects.toThrow(/at least two rows, found 1/);
    await expect(trainMlp(rows, { latentDimension: 0 })).rejects.toThrow(/latentDimension is 0/);
    await expect(trainMlp(rows, { hidden: [0] })).rejects.toThrow(/hidden width is 0/);
    await expect(trainMlp(rows, { epoch: 3 } as object)).rejects.toThrow(/did you mean "epochs"/);
    const bad = matrix(Float32Array.of(1, 2, 3, Number.NaN), 2);
    await expect(trainMlp(bad)).rejects.toThrow(/row 1 to train on holds NaN/);
    await expect(trainMlp(rows, { learningRate: 1e30, epochs: 50, threads: 1 })).rejects.toThrow(
      /no longer finite in epoch \d+: a smaller learning rate/,
    );
    await expect(trainMlp(rows, { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(AbortedError);
    await expect(trainMlp(rows, { activation: "mish" as "gelu" })).rejects.toBeInstanceOf(InputError);
  });
});
