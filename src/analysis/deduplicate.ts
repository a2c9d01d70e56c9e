/** Which rows are the same, up to a rule: the step that makes endpoints into attractors, on any matrix. */
import { numberIn, oneOf } from "../check.js";
import { deviceNumber } from "../device.js";
import { RULES } from "../dynamics/options.js";
import type { Matrix } from "../matrix.js";
import { type DeduplicateResult, native } from "../native.js";
import { callOf, checkFinite, type DeviceOptions, runKernel } from "./kernel.js";

export interface DeduplicateOptions extends DeviceOptions {
  /** Default `greedy`, the paper's. */
  readonly rule?: (typeof RULES)[number];
  /** −1 … 1. Cosine above which (strictly) rows are equal: greedy, components. Default 0.99. */
  readonly threshold?: number;
  /** Above 0. Distance below which rows are equal: euclidean. Default 0.01, what a tolerance of 1e-6 comes to. */
  readonly distance?: number;
}

export type Deduplicated = Pick<DeduplicateResult, "representatives" | "labels">;

/**
 * Representatives of rows [N, k], ascending, and which of them each row joined ([N], an index into representatives).
 * In row order a row joins the representative most similar to it, the lowest of equals, or becomes one; `components`
 * joins whatever a chain of equal rows connects. Zero vectors are equal to one another only. No rows have none.
 * Throws InputError where an option or a value does not fit, AbortedError where the signal fires.
 */
export async function deduplicate(
  rows: Matrix,
  { rule = "greedy", threshold = 0.99, distance = 0.01, ...options }: DeduplicateOptions = {},
): Promise<Deduplicated> {
  oneOf("rule", rule, RULES);
  numberIn("threshold", threshold, "a cosine from -1 to 1", (value) => value >= -1 && value <= 1);
  numberIn("distance", distance, "a number above 0", (value) => value > 0 && value < Infinity);
  const call = callOf(options, ["rule", "threshold", "distance", "device"]);
  checkFinite("dedup: the matrix", rows);
  if (rows.rows === 0) return { representatives: new Int32Array(0), labels: new Int32Array(0) };
  const device = deviceNumber(options.device);
  return runKernel("dedup", call, (report) =>
    native().deduplicate(
      rows.data,
      rows.columns,
      { rule, threshold, distance, threads: call.threads, device },
      report,
    ),
  );
}
