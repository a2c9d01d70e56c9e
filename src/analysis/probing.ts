/** Data-free probing: how well a few attractors, found from noise alone, rebuild the codes of real inputs. */
import { setImmediate as turn } from "node:timers/promises";
import { checkNames, wholeNumber } from "../check.js";
import { openData } from "../data/open.js";
import { deviceNumber } from "../device.js";
import { findAttractors } from "../dynamics/attractors.js";
import { drawPoints, type InitialPoints } from "../dynamics/initial.js";
import {
  type AttractorOptions,
  ITERATION_OPTIONS,
  type IterationOption,
  type ResolvedOptions,
  resolveOptions,
} from "../dynamics/options.js";
import {
  type DataSource,
  data,
  describeSource,
  type LatentsSource,
  latents,
  noise,
} from "../dynamics/points.js";
import { phaseProgress } from "../dynamics/progress.js";
import { type RunRecord, type SetResult, STATUS } from "../dynamics/result.js";
import { engineOf } from "../engines/choose.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { run } from "../engines/native.js";
import { AbortedError, InputError } from "../errors.js";
import { elements } from "../graph/graph.js";
import { type Matrix, row } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { native, type OmpSelection } from "../native.js";
import { bestTerms, orthonormalBasis } from "./orthonormal.js";
import { resolveSparsities } from "./sparsity.js";

/** The iteration's options are those of `findAttractors`. */
export interface ProbeOptions extends Pick<AttractorOptions, IterationOption> {
  /** Named sets of signals, at least one: inputs whose codes are rebuilt, or latents. */
  readonly data: Readonly<Record<string, DataSource | LatentsSource>>;
  /** Initial points from noise, each of which becomes an atom. Default: k, but at least 1000. */
  readonly atoms?: number;
  /** Standard deviation of the noise. Default 1. */
  readonly scale?: number;
  /** 1 … k, or shares of k below 1. Default: powers of two up to k, from 32 where k ≥ 256. */
  readonly sparsity?: readonly number[];
  /** Signals of each set, the first ones. Default 256. */
  readonly maxSignals?: number;
  /** Of the noise and of the baseline. Default 0. */
  readonly randomSeed?: number;
  /** Signals of each set whose reconstructions are kept for pictures. Default 8. */
  readonly pictures?: number;
  /** Bytes that matching pursuit may use beside its arguments and results. Default 2^30. */
  readonly memoryBudget?: number;
}

/** Mean squared errors, per element. */
export interface ProbeErrors {
  /** Of the rebuilt latent against the latent. */
  readonly latent: number;
  /** Of the decoded rebuilt latent against the decoded latent. */
  readonly decoded: number;
  /** Of the decoded rebuilt latent against the input; null where there are latents alone. */
  readonly input: number | null;
}

export interface ProbeAt {
  readonly sparsity: number;
  readonly attractors: ProbeErrors & { readonly earlyStops: number };
  readonly orthonormal: ProbeErrors;
}

/** Reconstructions of the first few signals, P of them, in the model's own units: [P, elements of the input shape]. */
export interface ProbePictures {
  readonly input: Matrix | null;
  readonly decoded: Matrix;
  /** One for each sparsity. */
  readonly attractors: readonly Matrix[];
  readonly orthonormal: readonly Matrix[];
}

/** S signals of k dimensions. */
export interface ProbeSet {
  readonly name: string;
  /** [S, k] */
  readonly signals: Matrix;
  /** Mean squared error of D(E(x)) against x: what all k coefficients reach; null where there are latents alone. */
  readonly reconstruction: number | null;
  /** Ascending. */
  readonly bySparsity: readonly ProbeAt[];
  /** Supports, and factors of the unit-length atoms, one for each sparsity. */
  readonly selections: readonly OmpSelection[];
  readonly pictures: ProbePictures;
}

export interface Probe {
  /** [N, k]: endpoints scaled to unit length; zero where the endpoint is zero or not finite. */
  readonly atoms: Matrix;
  /** Where the noise went. */
  readonly noise: SetResult;
  readonly sets: readonly ProbeSet[];
  readonly record: ProbeRecord;
}

export interface ProbeSetSummary {
  signals: number;
  reconstruction: number | null;
  /** By sparsity. */
  bySparsity: Record<string, Omit<ProbeAt, "sparsity">>;
}

/** Everything `--json` prints and probe.json holds. */
export interface ProbeRecord extends Omit<RunRecord, "summary" | "similarity" | "interrupted"> {
  dictionary: RunRecord["summary"][string] & {
    /** Endpoints that can be no atom: zero, or not finite. They are never chosen. */
    unusable: number;
  };
  summary: Record<string, ProbeSetSummary>;
}

const OWN: Record<Exclude<keyof ProbeOptions, IterationOption>, true> = {
  data: true,
  atoms: true,
  scale: true,
  sparsity: true,
  maxSignals: true,
  randomSeed: true,
  pictures: true,
  memoryBudget: true,
};
/** Elements that are decoded at a time: what bounds memory for models with large inputs. */
const DECODED = 2 ** 24;

/**
 * Iterates noise to its endpoints, takes them, converged or not, as the unit-length atoms of a dictionary, and
 * rebuilds the latents of each data set by orthogonal matching pursuit with few of them. Beside it stands the same
 * number of terms of a random orthonormal basis. Rows that no pursuit can fit further stop early and are counted.
 *
 * Throws InputError for options, files or models that do not fit, no signals, and a dictionary without a usable atom;
 * AbortedError where the signal fires.
 * Source: Fumero et al., section 4.2 (data-free weight probing).
 */
export async function probe(model: Autoencoder, options: ProbeOptions): Promise<Probe> {
  const resolved = resolveProbe(model, options);
  const { sparsities, iteration, source, sources, randomSeed, shared, budget } = resolved;
  const { threads, signal } = shared;
  const call: CallOptions = { threads, signal };
  const started = performance.now();
  const engine = await engineOf(model, { ...iteration, threads });
  const progress = phaseProgress(iteration.onProgress, started);

  const drawn: [string, InitialPoints][] = [];
  for (const [name, one] of Object.entries(sources)) {
    const points = await drawPoints(await capped(one, resolved.maxSignals), {
      model,
      engine,
      call: { ...call, onProgress: progress("encode", name) },
      drawn: new Map(),
    });
    const where = "from" in one && typeof one.from === "string" ? one.from : `data.${name}`;
    if (points.initial.rows === 0) {
      throw new InputError(`${where}: holds no rows, expected at least one signal`);
    }
    checkFinite(where, points.initial);
    drawn.push([name, points]);
  }
  const found = await findAttractors(model, { ...iteration, from: { noise: source } });
  const endpoints = found.sets[0];
  const { atoms, unusable } = unitLength(endpoints);
  if (unusable === atoms.rows) {
    throw new InputError(
      `${model.name}: none of the ${atoms.rows} endpoints can be an atom (all are zero or not finite), there is no dictionary`,
    );
  }
  const basis = await orthonormalBasis(model.latentDimension, { randomSeed, threads, signal });

  const sets: ProbeSet[] = [];
  for (const [name, { initial, inputs }] of drawn) {
    const pursuit = await run({ signal, onProgress: progress("pursue", name) }, (report) =>
      native().omp(
        atoms.data,
        initial.data,
        initial.columns,
        {
          sparsities: Int32Array.from(sparsities),
          threads,
          memoryBudget: budget,
          device: deviceNumber(engine.kernelDevice),
        },
        report,
      ),
    );
    if (pursuit.aborted)
      throw new AbortedError(`${model.name}: aborted`, undefined, { cause: signal?.reason });
    sets.push(
      await evaluate({
        name,
        signals: initial,
        inputs,
        atoms,
        basis,
        selections: pursuit.bySparsity,
        pictures: resolved.pictures,
        decoder: decoderOf(model, engine, { ...call, onProgress: progress("decode", name) }),
        signal,
      }),
    );
  }

  const seconds = (performance.now() - started) / 1000;
  const { summary, similarity: _similarity, interrupted: _interrupted, ...record } = found.record;
  return {
    atoms,
    noise: endpoints,
    sets,
    record: {
      ...record,
      options: {
        ...record.options,
        data: Object.fromEntries(Object.entries(sources).map(([name, one]) => [name, describeSource(one)])),
        sparsity: sparsities,
        maxSignals: resolved.maxSignals,
        randomSeed,
        memoryBudget: budget,
      },
      dictionary: { ...summary.noise, unusable },
      summary: Object.fromEntries(sets.map((set) => [set.name, summarize(set)])),
      timing: { ...found.record.timing, seconds },
    },
  };
}

interface ResolvedProbe {
  readonly sources: ProbeOptions["data"];
  readonly source: ReturnType<typeof noise>;
  readonly sparsities: number[];
  readonly maxSignals: number;
  readonly pictures: number;
  readonly randomSeed: number;
  readonly budget: number;
  readonly iteration: Pick<AttractorOptions, IterationOption>;
  readonly shared: ResolvedOptions;
}

function resolveProbe(model: Autoencoder, options: ProbeOptions): ResolvedProbe {
  if (typeof options !== "object" || options === null) {
    throw new InputError("options are missing: expected an object with at least { data }");
  }
  checkNames(options, [...Object.keys(OWN), ...Object.keys(ITERATION_OPTIONS)], "option");
  const {
    data: sources,
    atoms = Math.max(1000, model.latentDimension),
    scale = 1,
    sparsity,
    maxSignals = 256,
    randomSeed = 0,
    pictures = 8,
    memoryBudget = 2 ** 30,
    ...iteration
  } = options;
  if (Object.keys(sources ?? {}).length === 0) {
    throw new InputError(
      'data is empty: expected at least one set of signals, such as { data: data("images.npy") }',
    );
  }
  // Also checks the names of the sets.
  const shared = resolveOptions({ ...iteration, from: sources });
  for (const [name, { kind }] of Object.entries(sources)) {
    if (kind !== "data" && kind !== "latents") {
      throw new InputError(`data.${name} is a source of ${kind}, expected data() or latents()`);
    }
  }
  return {
    sources,
    source: noise(wholeNumber("atoms", atoms, 1, 2 ** 31 - 1), { randomSeed, scale }),
    sparsities: resolveSparsities(sparsity, model.latentDimension),
    maxSignals: wholeNumber("maxSignals", maxSignals, 1, 2 ** 31 - 1),
    pictures: wholeNumber("pictures", pictures, 0, 1000),
    randomSeed,
    budget: wholeNumber("memoryBudget", memoryBudget, 1, Number.MAX_SAFE_INTEGER),
    iteration,
    shared,
  };
}

/** The source's first `most` rows, without reading or encoding the others where that can be helped. */
async function capped(source: DataSource | LatentsSource, most: number): Promise<DataSource | LatentsSource> {
  if (source.count !== undefined && source.count <= most) return source;
  if (source.kind === "latents") {
    if (typeof source.from !== "string")
      return latents(source.from, { count: Math.min(most, source.from.rows) });
    const available = (await openData(source.from, { count: source.count })).rows;
    return latents(source.from, { count: Math.min(most, available) });
  }
  const opened =
    typeof source.from === "string" ? await openData(source.from, { count: source.count }) : source.from;
  return data(opened, { count: Math.min(most, opened.rows) });
}

function checkFinite(where: string, { data: values, columns }: Matrix): void {
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `${where}: the latent of row ${Math.floor(bad / columns)} holds ${values[bad]}, expected finite numbers`,
    );
  }
}

function unitLength({ endpoints, status }: SetResult): { atoms: Matrix; unusable: number } {
  const { rows, columns } = endpoints;
  const atoms: Matrix = { data: new Float32Array(rows * columns), rows, columns };
  let unusable = 0;
  for (let i = 0; i < rows; i++) {
    const from = row(endpoints, i);
    let squared = 0;
    for (let c = 0; c < columns; c++) squared += from[c] * from[c];
    if (status[i] === STATUS.nonFinite || !Number.isFinite(squared) || squared === 0) {
      unusable++;
      continue;
    }
    const factor = 1 / Math.sqrt(squared);
    for (let c = 0; c < columns; c++) atoms.data[i * columns + c] = from[c] * factor;
  }
  return { atoms, unusable };
}

type Decoder = { readonly columns: number; decode(rows: Matrix): Promise<Matrix> };

/** A square map has no decoder: what it gives is compared as it is. */
function decoderOf(model: Autoencoder, engine: Engine, call: CallOptions): Decoder {
  if (model.inputShape === null) {
    return { columns: model.latentDimension, decode: async (rows) => rows };
  }
  return { columns: elements(model.inputShape), decode: (rows) => engine.decode(rows, call) };
}

interface Evaluation {
  readonly name: string;
  readonly signals: Matrix;
  readonly inputs: Matrix | null;
  readonly atoms: Matrix;
  readonly basis: Float64Array;
  readonly selections: readonly OmpSelection[];
  readonly pictures: number;
  readonly decoder: Decoder;
  readonly signal: AbortSignal | undefined;
}

async function evaluate(given: Evaluation): Promise<ProbeSet> {
  const { name, signals, inputs, atoms, basis, selections, signal } = given;
  const shown = Math.min(given.pictures, signals.rows);
  const baseline = bestTerms(
    basis,
    signals,
    selections.map(({ sparsity }) => sparsity),
    signal,
  );
  const bySparsity: ProbeAt[] = [];
  const attractors: Matrix[] = [];
  const orthonormal: Matrix[] = [];
  for (const selection of selections) {
    const chosen = await compare(await combine(selection, atoms, signals.rows), given, shown);
    const plain = await baseline.next();
    if (plain.done) throw new Error("the baseline gave fewer sparsities than were asked for");
    const random = await compare(plain.value, given, shown);
    bySparsity.push({
      sparsity: selection.sparsity,
      attractors: { ...chosen.errors, earlyStops: selection.earlyStops },
      orthonormal: random.errors,
    });
    attractors.push(chosen.shown);
    orthonormal.push(random.shown);
  }
  const whole = await compare(signals, given, shown);
  return {
    name,
    signals,
    reconstruction: whole.errors.input,
    bySparsity,
    selections,
    pictures: {
      input: inputs === null ? null : firstRows(inputs, shown),
      decoded: whole.shown,
      attractors,
      orthonormal,
    },
  };
}

/** Σ coefficient·atom for every signal, in float64: [S, k]. */
async function combine(
  { sparsity, support, coefficients }: OmpSelection,
  atoms: Matrix,
  signals: number,
): Promise<Matrix> {
  const k = atoms.columns;
  const out = new Float32Array(signals * k);
  const sum = new Float64Array(k);
  for (let i = 0; i < signals; i++) {
    await turn();
    sum.fill(0);
    for (let m = i * sparsity; m < (i + 1) * sparsity; m++) {
      if (support[m] < 0) continue;
      const from = support[m] * k;
      for (let c = 0; c < k; c++) sum[c] += coefficients[m] * atoms.data[from + c];
    }
    out.set(sum, i * k);
  }
  return { data: out, rows: signals, columns: k };
}

/** Errors of rebuilt latents [S, k], decoded in blocks, and the first `shown` of them decoded. */
async function compare(
  rebuilt: Matrix,
  { signals, inputs, decoder }: Evaluation,
  shown: number,
): Promise<{ errors: ProbeErrors; shown: Matrix }> {
  const { rows } = signals;
  const pictures = new Float32Array(shown * decoder.columns);
  const block = Math.max(1, Math.floor(DECODED / decoder.columns));
  let [decoded, input] = [0, 0];
  for (let first = 0; first < rows; first += block) {
    const end = Math.min(rows, first + block);
    const x = await decoder.decode(rowsFrom(rebuilt, first, end));
    const reference = rebuilt === signals ? x : await decoder.decode(rowsFrom(signals, first, end));
    decoded += squaredDistance(x.data, reference.data);
    if (inputs !== null) input += squaredDistance(x.data, rowsFrom(inputs, first, end).data);
    if (first < shown) {
      pictures.set(
        x.data.subarray(0, (Math.min(end, shown) - first) * decoder.columns),
        first * decoder.columns,
      );
    }
  }
  const count = rows * decoder.columns;
  return {
    errors: {
      latent: squaredDistance(rebuilt.data, signals.data) / signals.data.length,
      decoded: decoded / count,
      input: inputs === null ? null : input / count,
    },
    shown: { data: pictures, rows: shown, columns: decoder.columns },
  };
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum;
}

function rowsFrom({ data: all, columns }: Matrix, first: number, end: number): Matrix {
  return { data: all.subarray(first * columns, end * columns), rows: end - first, columns };
}

function firstRows(from: Matrix, count: number): Matrix {
  return rowsFrom(from, 0, count);
}

function summarize({ signals, reconstruction, bySparsity }: ProbeSet): ProbeSetSummary {
  return {
    signals: signals.rows,
    reconstruction,
    bySparsity: Object.fromEntries(bySparsity.map(({ sparsity, ...errors }) => [sparsity, errors])),
  };
}
