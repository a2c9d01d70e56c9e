/** Options of an extraction: their names, defaults and ranges. Checked once, where they enter. */
import { availableParallelism } from "node:os";
import { checkNames, numberIn, oneOf, show, wholeNumber } from "../check.js";
import { checkDevice, PRECISIONS, type PrecisionChoice } from "../device.js";
import { InputError } from "../errors.js";
import { type EngineChoice, engineChoice } from "../models/engineNames.js";
import type { Isa, Layout } from "../native.js";
import { isSetName, type PointSource } from "./points.js";

export const CRITERIA = ["residual", "relative", "error-bound"] as const;
export const RULES = ["greedy", "components", "euclidean"] as const;
export const LAYOUTS = ["auto", "lanes", "onednn"] as const;
export const ISAS = ["auto", "avx512", "avx2", "portable"] as const;

/** Named sets of defaults; options given beside a preset win. `foundation`: large models, as in the paper. */
export const PRESETS = {
  default: { tolerance: 1e-6, maxIterations: 3000 },
  foundation: { tolerance: 1e-5, maxIterations: 500 },
} as const;

export interface AttractorProgress {
  /**
   * iterate to rest, or `walk` a fixed number of steps; `compare`: nearest neighbours of two sets; `neighbours`: the K
   * nearest; `decompose`: singular values; `pursue`: matching pursuit.
   */
  readonly phase:
    | "encode"
    | "iterate"
    | "deduplicate"
    | "verify"
    | "walk"
    | "decode"
    | "compare"
    | "neighbours"
    | "mahalanobis"
    | "decompose"
    | "pursue";
  /** The set at hand. */
  readonly set: string;
  /** Points of this phase that are done, of `total`; over all sets where the phase is "iterate". */
  readonly finished: number;
  readonly total: number;
  /** Finished points per second in this phase. */
  readonly rowsPerSecond: number;
  /** Applications of f so far. */
  readonly mapEvaluations: number;
  /** Since the start of the call. */
  readonly seconds: number;
}

export interface AttractorOptions {
  /** Named sets of initial points, at least one. Names are letters, digits, "_" and "-". */
  readonly from: Readonly<Record<string, PointSource>>;
  readonly preset?: keyof typeof PRESETS;
  /** Above 0. Residual (squared step length) below which a point has converged. Default 1e-6. */
  readonly tolerance?: number;
  /** At least 1. Applications of f before a point is given up. Default 3000. */
  readonly maxIterations?: number;
  /** `residual`: r < tolerance. `relative`: r ≤ tolerance·‖z‖². `error-bound`: √r·ρ/(1−ρ), ρ the observed rate. */
  readonly criterion?: (typeof CRITERIA)[number];
  /** Above 1; Infinity turns the rule off. A point with ‖z‖ above this times max(1, ‖z₀‖) has diverged. Default 1e4. */
  readonly divergenceRatio?: number;
  /** −1 … 1. Cosine above which endpoints are one attractor (greedy, components). Default 0.99. */
  readonly threshold?: number;
  /** How endpoints become attractors. Default `greedy`, the paper's. */
  readonly rule?: (typeof RULES)[number];
  /** Above 0. Distance below which endpoints are one attractor under the Euclidean rule. Default 10·√tolerance. */
  readonly distance?: number;
  /** Worker threads, 1 … 1024. Default: as many as the machine runs at once. */
  readonly threads?: number;
  /**
   * auto, cpu, cuda or cuda:INDEX. `auto`: a CUDA device where there is one, else the CPU. Default: the CPU on the native
   * engine, what they see fit on others.
   */
  readonly device?: string;
  /** What computes f, by name (`ENGINES`). Default `auto`: the native engine where it can run the model. */
  readonly engine?: string;
  /** How the native engine lays rows out on the CPU. Default `auto`: by working-set size. */
  readonly layout?: Layout | "auto";
  /** Instruction set of the native engine on the CPU. Default `auto`: the widest there is. */
  readonly isa?: Isa | "auto";
  /**
   * How points iterate on CUDA before each is finished in float32, where all its last numbers come from. Default `auto`:
   * tf32.
   */
  readonly precision?: PrecisionChoice;
  /** Points of each set whose residual is kept at every step, evenly chosen. Default 32. */
  readonly traces?: number;
  readonly signal?: AbortSignal;
  /** Called at most 10 times a second. */
  readonly onProgress?: (progress: AttractorProgress) => void;
}

/** Options with every default filled in. */
export interface ResolvedOptions {
  readonly from: Readonly<Record<string, PointSource>>;
  readonly preset: keyof typeof PRESETS;
  readonly tolerance: number;
  readonly maxIterations: number;
  readonly criterion: (typeof CRITERIA)[number];
  readonly divergenceRatio: number;
  readonly threshold: number;
  readonly rule: (typeof RULES)[number];
  readonly distance: number;
  readonly threads: number;
  /** Undefined: not asked for. */
  readonly device: string | undefined;
  readonly engine: EngineChoice;
  readonly layout: Layout | "auto";
  readonly isa: Isa | "auto";
  readonly precision: PrecisionChoice;
  readonly traces: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: AttractorProgress) => void) | undefined;
}

/** Options of the iteration itself, which every measure that iterates takes too. */
export type IterationOption = Exclude<keyof AttractorOptions, "from" | "traces">;

export const ITERATION_OPTIONS: Record<IterationOption, true> = {
  preset: true,
  tolerance: true,
  maxIterations: true,
  criterion: true,
  divergenceRatio: true,
  threshold: true,
  rule: true,
  distance: true,
  threads: true,
  device: true,
  engine: true,
  layout: true,
  isa: true,
  precision: true,
  signal: true,
  onProgress: true,
};

const KNOWN: Record<keyof AttractorOptions, true> = { from: true, ...ITERATION_OPTIONS, traces: true };

/** Throws InputError naming the option, what was given and what is expected. */
export function resolveOptions(options: AttractorOptions): ResolvedOptions {
  if (typeof options !== "object" || options === null) {
    throw new InputError("options are missing: expected an object with at least { from }");
  }
  checkNames(options, Object.keys(KNOWN), "option");
  const preset = oneOf(
    "preset",
    options.preset ?? "default",
    Object.keys(PRESETS) as (keyof typeof PRESETS)[],
  );
  const tolerance = numberIn(
    "tolerance",
    options.tolerance ?? PRESETS[preset].tolerance,
    "a number above 0",
    (v) => v > 0 && v < Infinity,
  );
  return {
    from: checkSets(options.from),
    preset,
    tolerance,
    maxIterations: wholeNumber(
      "maxIterations",
      options.maxIterations ?? PRESETS[preset].maxIterations,
      1,
      2 ** 31 - 1,
    ),
    criterion: oneOf("criterion", options.criterion ?? "residual", CRITERIA),
    divergenceRatio: numberIn(
      "divergenceRatio",
      options.divergenceRatio ?? 1e4,
      "a number above 1",
      (v) => v > 1,
    ),
    threshold: numberIn(
      "threshold",
      options.threshold ?? 0.99,
      "a cosine from -1 to 1",
      (v) => v >= -1 && v <= 1,
    ),
    rule: oneOf("rule", options.rule ?? "greedy", RULES),
    distance: numberIn(
      "distance",
      options.distance ?? 10 * Math.sqrt(tolerance),
      "a number above 0",
      (v) => v > 0 && v < Infinity,
    ),
    threads: wholeNumber("threads", options.threads ?? availableParallelism(), 1, 1024),
    ...computeOptions(options),
    layout: oneOf("layout", options.layout ?? "auto", LAYOUTS),
    isa: oneOf("isa", options.isa ?? "auto", ISAS),
    precision: oneOf("precision", options.precision ?? "auto", PRECISIONS),
    traces: wholeNumber("traces", options.traces ?? 32, 0, 2 ** 20),
    signal: options.signal,
    onProgress: options.onProgress,
  };
}

/** Where and by what a model is computed, checked; for calls that take no other options of an extraction. */
export function computeOptions({ engine, device }: { engine?: string; device?: string }): {
  engine: EngineChoice;
  device: string | undefined;
} {
  return {
    engine: engineChoice(engine ?? "auto"),
    device: device === undefined ? undefined : checkDevice(device),
  };
}

function checkSets(from: AttractorOptions["from"]): AttractorOptions["from"] {
  const names = Object.keys(from ?? {});
  if (names.length === 0) {
    throw new InputError(
      "from is empty: expected at least one set of points, such as { noise: noise(1000) }",
    );
  }
  for (const name of names) {
    if (!isSetName(name)) {
      throw new InputError(
        `a set of points is called ${show(name)}, expected a letter and then letters, digits, "_" or "-"`,
      );
    }
    if (typeof from[name]?.kind !== "string") {
      throw new InputError(
        `from.${name} is not a source of points: make one with noise(), matched(), data() or latents()`,
      );
    }
  }
  return from;
}
