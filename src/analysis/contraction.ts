/** Whether a model's map contracts: before training, by how much noise shrinks; after it, by its Jacobians. */

import { availableParallelism } from "node:os";
import { checkNames, oneOf, wholeNumber } from "../check.js";
import { drawPoints } from "../dynamics/initial.js";
import { type JacobianOptions, spectra } from "../dynamics/jacobian.js";
import type { JacobianMethod } from "../dynamics/jacobianProducts.js";
import { computeOptions } from "../dynamics/options.js";
import { describeSource, noise, type PointSource } from "../dynamics/points.js";
import type { RunRecord } from "../dynamics/result.js";
import { engineOf } from "../engines/choose.js";
import { AbortedError, InputError } from "../errors.js";
import { elements } from "../graph/graph.js";
import { SCHEMES, type Scheme } from "../graph/initialise.js";
import type { Matrix } from "../matrix.js";
import { type Autoencoder, graphOf } from "../models/autoencoder.js";
import { native } from "../native.js";
import { deviationRatio, redrawWeights } from "./contractionInitialisation.js";
import { type Spread, spreadOf } from "./statistics.js";

export const PARTS = ["map", "encoder", "decoder"] as const;

export interface ContractionProgress {
  readonly phase: "initialise" | "differentiate";
  /** The scheme or the set of points at hand. */
  readonly set: string;
  readonly finished: number;
  readonly total: number;
  readonly rowsPerSecond: number;
  readonly seconds: number;
}

export interface ContractionOptions {
  /** Default: all four, or none for a model without graphs, whose weights are not known. */
  readonly schemes?: readonly Scheme[];
  /** Random initialisations of each scheme, at least 1. Default 32. */
  readonly seeds?: number;
  /** Inputs from N(0, I) that go through each of them, at least 2. Default 256. */
  readonly inputs?: number;
  /** What is initialised: f itself, the encoder or the decoder. Default `map`. */
  readonly part?: (typeof PARTS)[number];
  /** Named sets of points whose Jacobians are looked at beside `noise` and `far`, such as training latents. */
  readonly from?: Readonly<Record<string, PointSource>>;
  /** Points of `noise` and of `far`; 0 leaves the two out. Default 64. */
  readonly noise?: number;
  /** Standard deviation of `far`, above 0. Default 10. */
  readonly far?: number;
  /** Default 0. */
  readonly randomSeed?: number;
  /** Worker threads, 1 … 1024. Default: as many as the machine runs at once. */
  readonly threads?: number;
  /** Where the trained map and its Jacobians are computed. Default `auto`. */
  readonly device?: string;
  /** What computes them. Default `auto`. */
  readonly engine?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ContractionProgress) => void;
}

/** S seeds. */
export interface InitialisationResult {
  readonly scheme: Scheme;
  /** [S]: σ_out/σ_in; not finite where the network overflows. */
  readonly ratio: Float64Array;
}

/** N points. */
export interface LocalResult {
  readonly name: string;
  /** [N, k] */
  readonly points: Matrix;
  /** [N]; NaN where J_f is not finite. */
  readonly spectralNorm: Float64Array;
  /** [N]; NaN where J_f is not finite. */
  readonly spectralRadius: Float64Array;
}

/** What a distribution comes to, over its finite values. */
export interface Distribution extends Spread {
  /** Values below 1. */
  readonly belowOne: number;
  /** Values that are not finite, left out of everything else. */
  readonly notFinite: number;
}

export interface ContractionRecord extends Omit<RunRecord, "summary" | "similarity" | "interrupted"> {
  summary: {
    initialisation: Partial<Record<Scheme, Distribution>>;
    local: Record<
      string,
      { spectralNorm: Distribution; spectralRadius: Distribution; method: JacobianMethod }
    >;
  };
}

export interface Contraction {
  readonly initialisation: readonly InitialisationResult[];
  readonly local: readonly LocalResult[];
  readonly record: ContractionRecord;
}

const KNOWN: Record<keyof ContractionOptions, true> = {
  schemes: true,
  seeds: true,
  inputs: true,
  part: true,
  from: true,
  noise: true,
  far: true,
  randomSeed: true,
  threads: true,
  device: true,
  engine: true,
  signal: true,
  onProgress: true,
};

/**
 * Two pictures of contraction. At initialisation: σ_out/σ_in of N(0, I) inputs through the model with its weights
 * drawn anew, over seeds and schemes; below 1 noise shrinks. Locally, on the model as it is: spectral norms (and radii)
 * of J_f at given points, at N(0, I) noise (`noise`) and far away (`far`); where the norm is below 1 f brings close
 * points closer, whichever way they lie.
 *
 * Throws InputError for options and files that do not fit, and a model without weights; AbortedError where the signal
 * fires.
 * Source: Fumero et al., section 3 (contraction at initialisation, and the local contractiveness of trained models).
 */
export async function contraction(
  model: Autoencoder,
  options: ContractionOptions = {},
): Promise<Contraction> {
  const started = performance.now();
  const resolved = resolve(options);
  const { threads, signal } = resolved;
  const progress =
    (phase: ContractionProgress["phase"], set: string, begun: number) =>
    ({ finished, total }: { finished: number; total: number }): void => {
      const now = performance.now();
      const rowsPerSecond = now > begun ? (1000 * finished) / (now - begun) : 0;
      resolved.onProgress?.({ phase, set, finished, total, rowsPerSecond, seconds: (now - started) / 1000 });
    };

  // Weights that only another engine knows cannot be drawn again.
  const schemes = resolved.schemes ?? (model.map === null ? [] : SCHEMES);
  const initialisation: InitialisationResult[] = [];
  for (const scheme of schemes) {
    const graph = graphOf(model, resolved.part);
    const inputs = normals(resolved, elements(graph.values[graph.input].shape));
    const report = progress("initialise", scheme, performance.now());
    const ratio = new Float64Array(resolved.seeds);
    for (let seed = 0; seed < resolved.seeds; seed++) {
      if (signal?.aborted) {
        throw new AbortedError(`${model.name}: aborted`, undefined, { cause: signal.reason });
      }
      const drawn = redrawWeights(graph, { scheme, seed, randomSeed: resolved.randomSeed });
      ratio[seed] = await deviationRatio(drawn, inputs, { threads, signal });
      report({ finished: seed + 1, total: resolved.seeds });
    }
    initialisation.push({ scheme, ratio });
  }

  const engine = await engineOf(model, { ...resolved.compute, threads });
  const local: LocalResult[] = [];
  const methods: JacobianMethod[] = [];
  for (const [name, source] of Object.entries(resolved.sources)) {
    const call = { threads, signal };
    const { initial } = await drawPoints(source, { model, engine, call, drawn: new Map() });
    const jacobianOptions: JacobianOptions = {
      threads,
      signal,
      engine,
      onProgress: progress("differentiate", name, performance.now()),
    };
    const { spectralNorm, spectralRadius, method } = await spectra(model, initial, jacobianOptions);
    local.push({ name, points: initial, spectralNorm, spectralRadius });
    methods.push(method);
  }

  const { device, versions } = engine.info();
  const mapEvaluations =
    (resolved.part === "map" ? schemes.length * resolved.seeds * resolved.inputs : 0) +
    local.reduce((sum, { points }) => sum + points.rows * model.latentDimension, 0);
  const seconds = (performance.now() - started) / 1000;
  return {
    initialisation,
    local,
    record: {
      model: {
        name: model.name,
        path: model.path,
        format: model.format,
        hash: model.hash,
        latentShape: [...model.latentShape],
        latentDimension: model.latentDimension,
        inputShape: model.inputShape === null ? null : [...model.inputShape],
      },
      options: {
        schemes,
        seeds: resolved.seeds,
        inputs: resolved.inputs,
        part: resolved.part,
        from: Object.fromEntries(
          Object.entries(resolved.sources).map(([name, source]) => [name, describeSource(source)]),
        ),
        randomSeed: resolved.randomSeed,
        engine: engine.name,
      },
      device: { ...device, threads },
      versions,
      summary: {
        initialisation: Object.fromEntries(
          initialisation.map(({ scheme, ratio }) => [scheme, distributionOf(ratio)]),
        ),
        local: Object.fromEntries(
          local.map(({ name, spectralNorm, spectralRadius }, i) => [
            name,
            {
              spectralNorm: distributionOf(spectralNorm),
              spectralRadius: distributionOf(spectralRadius),
              method: methods[i],
            },
          ]),
        ),
      },
      timing: {
        seconds,
        rowsPerSecond: seconds > 0 ? local.reduce((sum, set) => sum + set.points.rows, 0) / seconds : 0,
        mapEvaluations,
      },
    },
  };
}

function resolve(options: ContractionOptions) {
  checkNames(options, Object.keys(KNOWN), "option");
  const { schemes, from = {}, far = 10, onProgress, signal } = options;
  const randomSeed = wholeNumber("randomSeed", options.randomSeed ?? 0, 0, Number.MAX_SAFE_INTEGER);
  const points = wholeNumber("noise", options.noise ?? 64, 0, 2 ** 31 - 1);
  if (schemes?.length === 0) throw new InputError(`schemes is empty, expected some of ${SCHEMES.join(", ")}`);
  const own: Record<string, PointSource> =
    points === 0
      ? {}
      : { noise: noise(points, { randomSeed }), far: noise(points, { randomSeed, scale: far }) };
  for (const name of Object.keys(from)) {
    if (Object.hasOwn(own, name)) {
      throw new InputError(`a set of points is called "${name}", which is what this measure calls its own`);
    }
  }
  return {
    schemes: schemes?.map((scheme) => oneOf("scheme", scheme, SCHEMES)),
    seeds: wholeNumber("seeds", options.seeds ?? 32, 1, 2 ** 20),
    inputs: wholeNumber("inputs", options.inputs ?? 256, 2, 2 ** 24),
    part: oneOf("part", options.part ?? "map", PARTS),
    sources: { ...from, ...own },
    randomSeed,
    threads: wholeNumber("threads", options.threads ?? availableParallelism(), 1, 1024),
    compute: computeOptions(options),
    signal,
    onProgress,
  };
}

/** Of N(0, I), as wide as the part takes them. */
function normals(
  { randomSeed, inputs: rows }: { randomSeed: number; inputs: number },
  columns: number,
): Matrix {
  return { data: native().noise(randomSeed, 0, rows, columns, 1), rows, columns };
}

function distributionOf(values: Float64Array): Distribution {
  const finite = values.filter(Number.isFinite);
  return {
    ...spreadOf(finite),
    belowOne: finite.filter((value) => value < 1).length,
    notFinite: values.length - finite.length,
  };
}
