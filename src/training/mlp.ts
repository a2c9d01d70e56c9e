/** Small autoencoders of linear layers, trained on rows of numbers. */
import { availableParallelism } from "node:os";
import { checkNames, numberIn, oneOf, wholeNumber } from "../check.js";
import type { TensorToWrite } from "../data/safetensors.js";
import type { CallOptions } from "../engines/engine.js";
import { run } from "../engines/native.js";
import { AbortedError, InputError } from "../errors.js";
import { drawConstant } from "../graph/initialise.js";
import { type Matrix, takeRows } from "../matrix.js";
import { native } from "../native.js";

export const MLP_ACTIVATIONS = ["gelu", "relu", "silu", "tanh"] as const;
export type MlpActivation = (typeof MLP_ACTIVATIONS)[number];

export interface MlpOptions extends Partial<CallOptions> {
  /** k, 1 … 65,536. Default: a quarter of the columns, at most 16. */
  readonly latentDimension?: number;
  /** Widths of the hidden layers of the encoder; the decoder has them in reverse. May be empty. Default [256]. */
  readonly hidden?: readonly number[];
  /** Default gelu: smooth, so that Jacobians mean something everywhere. */
  readonly activation?: MlpActivation;
  /** Passes over the rows. Default 100. */
  readonly epochs?: number;
  /** Rows of a step. Default 256. */
  readonly batchRows?: number;
  /** Default 1e-3. */
  readonly learningRate?: number;
  /** Added to the gradient. Default 1e-4: what makes the map contract. */
  readonly weightDecay?: number;
  /** Of the weights and of the order of the rows. Default 0. */
  readonly randomSeed?: number;
}

export interface TrainedMlp {
  /** k */
  readonly latentDimension: number;
  /** What config.json says of it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Named as PyTorch's Sequential does. */
  readonly tensors: Readonly<Record<string, TensorToWrite>>;
  /** Of each epoch: mean squared error per element of the standardised rows. */
  readonly losses: Float64Array;
  /** Rows that were trained on, and those kept out of it. */
  readonly rows: number;
  readonly heldOut: number;
  /** Share of the variance of the rows kept out that the network does not give back; null where there are too few. */
  readonly unexplained: number | null;
  readonly seconds: number;
}

const OPTIONS = [
  ...["latentDimension", "hidden", "activation", "epochs", "batchRows", "learningRate", "weightDecay"],
  ...["randomSeed", "threads", "signal", "onProgress"],
];

/** Rows of the noise stream that weights are drawn from, past all rows of points. */
const FIRST_ROW = 2 ** 32;
/** One row in so many is kept out of training, where there are at least twice as many. */
const HELD_OUT = 10;

type Resolved = Required<Omit<MlpOptions, "latentDimension" | "signal" | "onProgress">> &
  Pick<MlpOptions, "latentDimension" | "signal" | "onProgress">;

/** Options with their defaults. Throws InputError naming the one that does not fit. */
export function resolveMlp(options: MlpOptions = {}): Resolved {
  checkNames(options, OPTIONS, "option");
  const { hidden = [256], signal, onProgress } = options;
  const positive = (name: string, value: number) =>
    numberIn(name, value, "a number above 0", (given) => given > 0 && given < Infinity);
  return {
    ...(options.latentDimension === undefined
      ? {}
      : { latentDimension: wholeNumber("latentDimension", options.latentDimension, 1, 65_536) }),
    hidden: hidden.map((width) => wholeNumber("a hidden width", width, 1, 2 ** 20)),
    activation: oneOf("activation", options.activation ?? "gelu", MLP_ACTIVATIONS),
    epochs: wholeNumber("epochs", options.epochs ?? 100, 1, 1_000_000),
    batchRows: wholeNumber("batchRows", options.batchRows ?? 256, 1, 2 ** 24),
    learningRate: positive("learningRate", options.learningRate ?? 1e-3),
    weightDecay: numberIn(
      "weightDecay",
      options.weightDecay ?? 1e-4,
      "a number of at least 0",
      (v) => v >= 0 && v < Infinity,
    ),
    randomSeed: wholeNumber("randomSeed", options.randomSeed ?? 0, 0, Number.MAX_SAFE_INTEGER),
    threads: wholeNumber("threads", options.threads ?? availableParallelism(), 1, 1024),
    ...{ signal, onProgress },
  };
}

/**
 * Trains an autoencoder of linear layers d → hidden → k → hidden → d on rows [N, d], by Adam on the mean squared error
 * of the rows standardised column by column; standardising is then made part of the first and the last layer, so the
 * network takes and gives rows as they are. One row in ten is kept out and tells how much is left unexplained.
 *
 * Throws InputError where options do not fit, there are fewer than two rows, an element is not finite, or the loss does
 * not stay finite; AbortedError where the signal fires.
 */
export async function trainMlp(rows: Matrix, options: MlpOptions = {}): Promise<TrainedMlp> {
  const resolved = resolveMlp(options);
  const { hidden, activation, threads, signal, onProgress } = resolved;
  const latentDimension = resolved.latentDimension ?? Math.min(16, Math.ceil(rows.columns / 4));
  if (rows.rows < 2) throw new InputError(`training takes at least two rows, found ${rows.rows}`);
  const bad = rows.data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `row ${Math.floor(bad / rows.columns)} to train on holds ${rows.data[bad]}, expected finite numbers`,
    );
  }
  const { scaled, mean, deviation } = standardised(rows);
  const [kept, held] = split(scaled);
  const widths = [rows.columns, ...hidden, latentDimension, ...hidden.toReversed(), rows.columns];
  const activated = widths.slice(1).map((_, i) => i !== hidden.length && i !== widths.length - 2);
  const { epochs, batchRows, learningRate, weightDecay, randomSeed } = resolved;
  const result = await run({ signal, onProgress }, (report) => {
    try {
      return native().trainMlp(
        kept.data,
        initialParameters(widths, randomSeed),
        { widths, activated, activation, epochs, batchRows, learningRate, weightDecay, randomSeed, threads },
        report,
      );
    } catch (error) {
      throw new InputError(`training: ${(error as Error).message}`, { cause: error });
    }
  }).catch((error: unknown) => {
    if (error instanceof Error && error.message.startsWith("the loss is no longer finite")) {
      throw new InputError(error.message, { cause: error });
    }
    throw error;
  });
  if (result.aborted) throw new AbortedError("training: aborted", undefined, { cause: signal?.reason });
  return {
    latentDimension,
    config: {
      architecture: "mlp",
      input_shape: [rows.columns],
      latent_dim: latentDimension,
      hidden_activation: activation,
      output_activation: "none",
    },
    tensors: tensorsOf(result.parameters, widths, hidden.length + 1, { mean, deviation }),
    losses: result.losses,
    rows: kept.rows,
    heldOut: held.rows,
    unexplained:
      held.rows < 2
        ? null
        : await unexplained(held, result.parameters, { widths, activated, activation, threads }),
    seconds: result.seconds,
  };
}

function standardised({ data, rows, columns }: Matrix) {
  const mean = new Float64Array(columns);
  const deviation = new Float64Array(columns);
  for (let i = 0; i < rows * columns; i++) mean[i % columns] += data[i] / rows;
  for (let i = 0; i < rows * columns; i++)
    deviation[i % columns] += (data[i] - mean[i % columns]) ** 2 / rows;
  for (let c = 0; c < columns; c++) {
    deviation[c] = Math.sqrt(deviation[c]);
    // A column that does not vary stays where it is.
    if (!(deviation[c] > 1e-6 * Math.abs(mean[c]))) deviation[c] = 1;
  }
  const scaled = data.map((value, i) => (value - mean[i % columns]) / deviation[i % columns]);
  return { scaled: { data: scaled, rows, columns }, mean, deviation };
}

function split(all: Matrix): [kept: Matrix, held: Matrix] {
  if (all.rows < 2 * HELD_OUT) return [all, { ...all, rows: 0, data: new Float32Array(0) }];
  const indices = Array.from({ length: all.rows }, (_, i) => i);
  return [
    takeRows(
      all,
      indices.filter((i) => i % HELD_OUT !== HELD_OUT - 1),
    ),
    takeRows(
      all,
      indices.filter((i) => i % HELD_OUT === HELD_OUT - 1),
    ),
  ];
}

/** As PyTorch's linear layers begin. */
function initialParameters(widths: readonly number[], randomSeed: number): Float32Array {
  const parts = widths.slice(1).flatMap((out, i) => {
    const ins = widths[i];
    const normals = (ordinal: number, length: number) =>
      native().noise(randomSeed, FIRST_ROW + 2 * i + ordinal, 1, length, 1);
    return [
      drawConstant({ kind: "weight", in: ins, out }, "pytorch", normals(0, ins * out)),
      drawConstant({ kind: "bias", in: ins }, "pytorch", normals(1, out)),
    ];
  });
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Named tensors, with (x − mean)/deviation in the first layer and its inverse in the last. */
function tensorsOf(
  parameters: Float32Array,
  widths: readonly number[],
  encoderLayers: number,
  { mean, deviation }: { mean: Float64Array; deviation: Float64Array },
): Record<string, TensorToWrite> {
  const tensors: Record<string, TensorToWrite> = {};
  const last = widths.length - 2;
  let at = 0;
  for (let i = 0; i <= last; i++) {
    const [ins, outs] = [widths[i], widths[i + 1]];
    const weight = Float64Array.from(parameters.subarray(at, at + ins * outs));
    const bias = Float64Array.from(parameters.subarray(at + ins * outs, at + (ins + 1) * outs));
    at += (ins + 1) * outs;
    if (i === 0) {
      for (let o = 0; o < outs; o++) {
        for (let c = 0; c < ins; c++) {
          weight[o * ins + c] /= deviation[c];
          bias[o] -= weight[o * ins + c] * mean[c];
        }
      }
    }
    if (i === last) {
      for (let o = 0; o < outs; o++) {
        for (let c = 0; c < ins; c++) weight[o * ins + c] *= deviation[o];
        bias[o] = bias[o] * deviation[o] + mean[o];
      }
    }
    const name = i < encoderLayers ? `encoder.${2 * i}` : `decoder.${2 * (i - encoderLayers)}`;
    tensors[`${name}.weight`] = { data: Float32Array.from(weight), shape: [outs, ins] };
    tensors[`${name}.bias`] = { data: Float32Array.from(bias), shape: [outs] };
  }
  return tensors;
}

/** Σ(output − x)² / Σx² of standardised rows: one epoch of a network that does not move measures it. */
async function unexplained(
  held: Matrix,
  parameters: Float32Array,
  shape: { widths: number[]; activated: boolean[]; activation: MlpActivation; threads: number },
): Promise<number> {
  const still = { epochs: 1, batchRows: held.rows, learningRate: 0, weightDecay: 0, randomSeed: 0 };
  const { losses } = await native().trainMlp(held.data, parameters, { ...shape, ...still }).promise;
  const squares = held.data.reduce((sum, value) => sum + value * value, 0) / held.data.length;
  return losses[0] / squares;
}
