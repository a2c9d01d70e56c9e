/**
 * The door to the addon: loads it, gives it types, nothing else. Arguments are checked again on the native
 * side; everything long runs off the event loop on threads of its own.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { LatdynError } from "./errors.js";

/** A graph as the addon takes it; see `graph/lower.ts` for what each op's attributes are called. */
export interface NativeGraph {
  values: { shape: number[]; constant?: Float32Array }[];
  nodes: NativeNode[];
  input: number;
  output: number;
}
export interface NativeNode {
  op: string;
  name: string;
  inputs: number[];
  output: number;
  attributes: Record<string, number | number[]>;
  activation?: { kind: string; alpha: number; beta: number };
  /** Value added before the activation. */
  residual?: number;
}

export type Layout = "lanes" | "onednn";
export type Isa = "avx512" | "avx2" | "portable";
/** How products are computed: in float32, or on tensor cores from operands of 11 (tf32) or 8 (bf16) digits. */
export type Precision = "float32" | "tf32" | "bf16";

/** Kernels and plans that also run on CUDA. */
export interface DeviceChoice {
  /** Number of a CUDA device (see `NativeAddon.cuda`), or -1, the default: the CPU. */
  device?: number;
}

export interface CompileOptions extends DeviceChoice {
  /** Of the CPU. Default: chosen by working-set size; `PlanInfo.reason` says why. */
  layout?: Layout;
  /** Of the CPU. Default: the widest this processor has. */
  isa?: Isa;
  /** Of a CUDA device: what iterate() begins in; all else is float32. Default float32. */
  precision?: Precision;
}

interface AnyPlanInfo {
  inputElements: number;
  outputElements: number;
  /** Packed weights, shared by all jobs. */
  weightBytes: number;
  /** Nominal: 2 × multiply-adds of conv, convTranspose, linear and matmul, padding taps included. */
  flopsPerRow: number;
  /** Why this layout. */
  reason: string;
}

export interface CpuPlanInfo extends AnyPlanInfo {
  device: "cpu";
  layout: Layout;
  isa: Isa;
  /** Rows computed at once by one worker. */
  tileRows: number;
  /** Activations of one worker. */
  arenaBytes: number;
}

export interface CudaPlanInfo extends AnyPlanInfo {
  device: "cuda";
  /** Number of the device. */
  index: number;
  /** A launch for every operator or so, or one launch that keeps a row in shared memory. */
  layout: "kernels" | "fused";
  /** What iterate() begins in. */
  precision: Precision;
  /** Memory of the device for one row, beside input and output. */
  rowBytes: number;
  /** Launches that apply the map once. */
  launches: number;
}

export type PlanInfo = CpuPlanInfo | CudaPlanInfo;

/** Weights packed once, shared by any number of jobs at the same time. Freed by dispose() or by the collector. */
export interface NativePlan {
  readonly info: PlanInfo;
  dispose(): void;
}

export interface Progress {
  finished: number;
  total: number;
  /** Applications of the map so far, over all rows. */
  evaluations: number;
  seconds: number;
}

/** A running job. `promise` settles on the event loop; `abort()` takes effect within one tile step. */
export interface NativeJob<Result> {
  readonly promise: Promise<Result>;
  abort(): void;
}

export interface ApplyResult {
  /** [rows, outputElements], row-major. */
  output: Float32Array;
  aborted: boolean;
  seconds: number;
}

export interface IterateOptions {
  /** Residual below which a point has converged, squared Euclidean. */
  tolerance: number;
  maxIterations: number;
  criterion: "residual" | "relative" | "error-bound";
  divergenceRatio: number;
  /** Rows whose residual is recorded at every step. */
  traceRows: Int32Array;
  /** Of a plan on CUDA: whether `converged` is wanted. Default false. */
  keepConverged?: boolean;
  threads: number;
}

/** Points on a CUDA device, for calls that take them from there. Freed by dispose() or by the collector. */
export interface NativePoints {
  readonly rows: number;
  readonly columns: number;
  /** Calls that are reading them finish. */
  dispose(): void;
}

export interface IterateResult {
  /** [N, k]: the last iterate of each point. */
  endpoints: Float32Array;
  iterations: Int32Array;
  residual: Float32Array;
  /** 0 converged, 1 max-iterations, 2 cycle, 3 diverged, 4 non-finite, 255 not finished (aborted). */
  status: Uint8Array;
  /** Of a cycle, 2…16; else 0. */
  period: Uint8Array;
  /** One per traceRows entry: residual after each application. */
  traces: Float32Array[];
  /**
   * The endpoints that converged, in their order, where they lie: left out unless asked for, on the CPU, and where the
   * device has no room for them.
   */
  converged?: NativePoints;
  evaluations: number;
  aborted: boolean;
  seconds: number;
}

/**
 * An iteration whose map someone else computes. Decides what the native loop decides, on one thread, as it is told:
 * a call takes about as long as reading the batch does.
 */
export interface NativeIteration {
  /** A new batch of at most `rows` points of the queue; its number. Batches out at the same time share the queue. */
  open(rows: number): number;
  /** The points [n, k] that f is to be applied to, a new array; empty where the batch is done. */
  points(batch: number): Float32Array;
  /** Takes f of those points. Throws Error where there are not as many numbers. */
  advance(batch: number, mapped: Float32Array): void;
  readonly finished: number;
  readonly evaluations: number;
  /** The result; points still on their way are unfinished ones. Nothing may be called after it. */
  close(): Omit<IterateResult, "aborted" | "seconds">;
}

export interface DeduplicateOptions extends DeviceChoice {
  rule: "greedy" | "components" | "euclidean";
  /** Cosine above which two rows are equal (greedy, components). */
  threshold: number;
  /** Distance below which two rows are equal (euclidean). */
  distance: number;
  threads: number;
}

export interface DeduplicateResult {
  /** Row indices of the representatives, ascending. */
  representatives: Int32Array;
  /** [N]: index into representatives. */
  labels: Int32Array;
  aborted: boolean;
  seconds: number;
}

export interface NearestOptions extends DeviceChoice {
  metric: "cosine" | "euclidean";
  threads: number;
}

/**
 * Per row of each set, its nearest row of the other (the lowest of equals) and their cosine or Euclidean
 * distance, as float64 arithmetic on the float32 rows gives them.
 */
export interface NearestResult {
  /** [rows of a]: row of b. Empty, as the others, where aborted. */
  aIndex: Int32Array;
  /** [rows of a] */
  aValue: Float64Array;
  /** [rows of b]: row of a. */
  bIndex: Int32Array;
  /** [rows of b] */
  bValue: Float64Array;
  aborted: boolean;
  seconds: number;
}

export interface OmpOptions extends DeviceChoice {
  /** How many atoms to choose: ascending, each at least 1. All of them come from one pass. */
  sparsities: Int32Array;
  threads: number;
  /** Bytes for everything but the arguments and the result. */
  memoryBudget: number;
}

/** What `sparsity` atoms make of the signals. */
export interface OmpSelection {
  sparsity: number;
  /** [signals, sparsity]: atoms in the order of selection; −1 after an early stop. */
  support: Int32Array;
  /** [signals, sparsity]: factors of the atoms as given, not of the unit-length ones; 0 after an early stop. */
  coefficients: Float32Array;
  /** [signals]: ||signal − combination||, with the coefficients in double. */
  residualNorm: Float64Array;
  /** Mean of the squared residual per element, over all signals; 0 where there is none. */
  meanSquaredError: number;
  /** Signals with fewer than `sparsity` atoms. */
  earlyStops: number;
}

export interface OmpResult {
  /** One for each sparsity; empty where aborted. */
  bySparsity: OmpSelection[];
  aborted: boolean;
  seconds: number;
}

export interface SingularValuesResult {
  /** min(rows, columns) of them, descending; empty where aborted. */
  values: Float64Array;
  aborted: boolean;
  seconds: number;
}

export interface MahalanobisResult {
  /** [queries]; empty where aborted. */
  distance: Float64Array;
  /** Share of the scaled identity in the covariance, 0 … 1. */
  shrinkage: number;
  /** The covariance has no inverse in double, so there are no distances. */
  singular: boolean;
  aborted: boolean;
  seconds: number;
}

export interface OrthonormalResult {
  /** [k, k]: k orthonormal vectors, one after the other; empty where aborted. */
  basis: Float64Array;
  aborted: boolean;
  seconds: number;
}

export interface KnnOptions extends DeviceChoice {
  /** K; above the number of reference rows: all of them. */
  neighbours: number;
  /** Of the distances to the K nearest rows: their mean, or the K-th. */
  rule: "mean" | "kth";
  /** Rows divided by their length first; a zero vector stays one. */
  normalise: boolean;
  threads: number;
}

export interface KnnResult {
  /** [queries]; NaN for those that an abort left out. */
  score: Float64Array;
  /** K as it was used. */
  neighbours: number;
  /** K was larger than the reference, so the whole of it was used. */
  wholeReference: boolean;
  aborted: boolean;
  seconds: number;
}

export interface EigenvaluesOptions {
  /** Also the last components of the eigenvectors. */
  lastComponents: boolean;
  /** Also the largest singular values. */
  norm: boolean;
  threads: number;
}

/** Per matrix; NaN throughout where it holds a value that is not finite. */
export interface EigenvaluesResult {
  /** [N, k], by falling modulus. */
  real: Float64Array;
  /** [N, k] */
  imaginary: Float64Array;
  /** [N, k]: modulus of the last component of each eigenvector of unit length; empty unless asked for. */
  lastComponents: Float64Array;
  /** [N]: largest singular value; empty unless asked for. */
  norm: Float64Array;
  aborted: boolean;
  seconds: number;
}

export interface TrajectoryOptions {
  /** N: applications of f for every row. A path has N + 1 points, both ends included. */
  steps: number;
  /** Steps whose points are kept, ascending, 0 … steps. */
  storeSteps: Int32Array;
  /** Rows whose curves are kept, ascending. */
  curveRows: Int32Array;
  threads: number;
}

export interface TrajectoryCurve {
  /** [steps]: squared length of each step. */
  residual: Float32Array;
  /** [steps + 1]: Euclidean norm of each point. */
  norm: Float32Array;
  /** [steps + 1]: distance to the nearest attractor; empty where there are no attractors. */
  distance: Float32Array;
}

export interface TrajectoryResult {
  /**
   * [rows]: mean over the path of the distance to the nearest attractor; empty where there are no attractors. NaN for
   * a path on which a point is not finite, and for one that an abort cut short.
   */
  score: Float64Array;
  /** [rows, storeSteps, k] */
  stored: Float32Array;
  /** One per curveRows entry. */
  curves: TrajectoryCurve[];
  evaluations: number;
  aborted: boolean;
  seconds: number;
}

export interface ScorePathsResult {
  /** [rows]; NaN as in TrajectoryResult. */
  score: Float64Array;
  aborted: boolean;
  seconds: number;
}

export interface TrainMlpOptions {
  /** Widths from the input to the output, which are equal: linear layers lie between them. */
  widths: number[];
  /** Per layer, whether `activation` follows. */
  activated: boolean[];
  activation: "relu" | "tanh" | "gelu" | "silu";
  epochs: number;
  batchRows: number;
  learningRate: number;
  /** Added to the gradient (Adam, not decoupled). */
  weightDecay: number;
  /** Of the order of the rows. */
  randomSeed: number;
  threads: number;
}

export interface TrainMlpResult {
  /** Layer after layer: weight [out, in], then bias [out]. */
  parameters: Float32Array;
  /** Of each epoch, the mean of (output − input)² over its steps. */
  losses: Float64Array;
  aborted: boolean;
  seconds: number;
}

export interface CpuInfo {
  /** Widest instruction set the kernels will use here. */
  isa: Isa;
  /** Instruction sets that can be asked for here. */
  isas: Isa[];
  threads: number;
  l2Bytes: number;
  /** Version of the oneDNN library that is loaded, "2.6.3". */
  oneDnn: string;
}

export interface CudaDevice {
  name: string;
  /** Bytes. */
  memory: number;
  /** Compute capability, "9.0". */
  capability: string;
  multiprocessors: number;
  /** Version of CUDA that the driver runs, "13.0". */
  driver: string;
}

export interface CudaInfo {
  /** The CUDA library's file. */
  library: string;
  /** LATDYN_CUDA_LIBRARY names it: it is opened whether or not there is a driver. */
  given: boolean;
  /** It exists. */
  built: boolean;
  /** Why it cannot be used; null where it can. */
  reason: string | null;
  devices: CudaDevice[];
}

export interface NativeAddon {
  readonly version: string;
  cpu(): CpuInfo;
  /** Opens the CUDA library where there is a driver. */
  cuda(): CudaInfo;
  /** Throws where the graph cannot be run; its `code` is DEVICE_FAILURE where the device is what cannot. */
  compile(graph: NativeGraph, options: CompileOptions): NativePlan;
  /** input [rows, inputElements]. */
  apply(
    plan: NativePlan,
    input: Float32Array,
    options: { threads: number },
    onProgress?: (progress: Progress) => void,
  ): NativeJob<ApplyResult>;
  /** initial [N, k]; the plan's input and output must both have k elements. */
  iterate(
    plan: NativePlan,
    initial: Float32Array,
    options: IterateOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<IterateResult>;
  /** initial [N, k]. */
  openIteration(
    initial: Float32Array,
    k: number,
    options: Omit<IterateOptions, "threads" | "keepConverged">,
  ): NativeIteration;
  /** N(0, scale²) from Philox4x32-10 keyed by (randomSeed, row, column): [rows, columns], rows counted from firstRow. */
  noise(randomSeed: number, firstRow: number, rows: number, columns: number, scale: number): Float32Array;
  /** Progress counts rows that have met the representatives before them. NativePoints are on `options.device`. */
  deduplicate(
    points: Float32Array | NativePoints,
    columns: number,
    options: DeduplicateOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<DeduplicateResult>;
  /**
   * a [N, columns], b [M, columns], at least one row each. A zero vector has cosine 0 with any other and 1 with a
   * zero vector. Memory O((N + M)·columns), never N × M. Progress counts rows of the larger set.
   */
  nearest(
    a: Float32Array,
    b: Float32Array,
    columns: number,
    options: NearestOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<NearestResult>;
  /**
   * Orthogonal matching pursuit with scikit-learn's semantics: dictionary [atoms, dimension], scaled to unit
   * length inside, signals [S, dimension]. A step takes the atom of the largest |correlation| with the residual
   * (the first of equals) and fits all chosen ones by least squares. A signal stops early where its residual is
   * zero up to rounding, where no atom of any length is left, and where the next atom lies within 2⁻²¹ of the
   * chosen ones' span. The same bits whatever the threads, the budget and the other signals.
   */
  omp(
    dictionary: Float32Array,
    signals: Float32Array,
    dimension: number,
    options: OmpOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<OmpResult>;
  /**
   * Of rows [N, columns], at least one, less their mean where `centred`. Exact to about 1e-8 of the largest.
   * Memory O(N·columns + min(N, columns)²).
   */
  singularValues(
    rows: Float32Array,
    columns: number,
    options: { centred: boolean; threads: number },
    onProgress?: (progress: Progress) => void,
  ): NativeJob<SingularValuesResult>;
  /**
   * Distance of each query [Q, columns] to the mean of the reference [N, columns] under its covariance, shrunk as
   * Ledoit and Wolf (2004) do. Throws where there are fewer than two reference rows, or all are equal.
   * Memory O((N + columns)·columns).
   */
  mahalanobis(
    reference: Float32Array,
    queries: Float32Array,
    columns: number,
    options: { threads: number },
    onProgress?: (progress: Progress) => void,
  ): NativeJob<MahalanobisResult>;
  /**
   * Q of the QR decomposition of the k × k matrix of normals whose row r is row firstRow + r of the stream of
   * noise(); k up to 16,384, O(k³). Progress counts to 2k.
   */
  orthonormalBasis(
    randomSeed: number,
    firstRow: number,
    k: number,
    options: { threads: number },
    onProgress?: (progress: Progress) => void,
  ): NativeJob<OrthonormalResult>;
  /**
   * Euclidean distances of queries [Q, columns] to their K nearest rows of reference [N, columns], in float64. Memory
   * O(N·columns) and some MiB a thread, never N × Q. Progress counts queries.
   */
  knnScore(
    reference: Float32Array,
    queries: Float32Array,
    columns: number,
    options: KnnOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<KnnResult>;
  /** Of square matrices [N, k, k], row-major, k up to 16,384, in double; O(k³) each. Progress counts matrices. */
  eigenvalues(
    matrices: Float64Array,
    k: number,
    options: EigenvaluesOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<EigenvaluesResult>;
  /**
   * initial [rows, k], attractors [A, k] (A may be 0: no scores). Walks every row `steps` applications of f and keeps
   * only what is asked for. The plan's input and output must both have k elements.
   */
  trajectory(
    plan: NativePlan,
    initial: Float32Array,
    attractors: Float32Array,
    options: TrajectoryOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<TrajectoryResult>;
  /** The score of paths [rows, points, columns] walked by another engine, against attractors [A, columns], A >= 1. */
  scorePaths(
    paths: Float32Array,
    points: number,
    columns: number,
    attractors: Float32Array,
    options: { threads: number } & DeviceChoice,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<ScorePathsResult>;
  /**
   * Adam (betas 0.9 and 0.999, epsilon 1e-8) on the mean of (output − input)² over rows [N, widths[0]], from
   * `parameters` on. The same bits whatever the threads. Progress counts rows over all epochs.
   */
  trainMlp(
    rows: Float32Array,
    parameters: Float32Array,
    options: TrainMlpOptions,
    onProgress?: (progress: Progress) => void,
  ): NativeJob<TrainMlpResult>;
  /** GFLOP/s of oneDNN's single-precision GEMM size³ on `threads` threads: best of `repeats`. Blocks. */
  measureGemm(size: number, threads: number, repeats: number): number;
}

/** Where the addon is looked for: LATDYN_ADDON, or the package's own build. */
export function addonPath(): string {
  return (
    process.env.LATDYN_ADDON ??
    fileURLToPath(new URL("../build/Release/latent_dynamics.node", import.meta.url))
  );
}

/** What the `code` of an error says where a CUDA device failed, or cannot be used. */
export const DEVICE_FAILURE = "ERR_LATDYN_DEVICE";

let loaded: NativeAddon | undefined;

/** The addon. Throws LatdynError with the command to type where it has not been built. */
export function native(): NativeAddon {
  if (loaded === undefined) {
    const file = addonPath();
    if (!existsSync(file)) {
      throw new LatdynError(
        `the native addon is not built (${file} is missing): run "npm run setup" in the package's folder`,
      );
    }
    loaded = createRequire(import.meta.url)(file) as NativeAddon;
  }
  return loaded;
}
