/** Nearest neighbours of two sets in both directions: what similarity, memorization and coverage are made of. */
import { deviceNumber } from "../device.js";
import type { Matrix } from "../matrix.js";
import { type NearestOptions, type NearestResult, native } from "../native.js";
import { callOf, checkFinite, checkRows, checkWidths, type DeviceOptions, runKernel } from "./kernel.js";

export type Neighbours = Pick<NearestResult, "aIndex" | "aValue" | "bIndex" | "bValue">;

/**
 * For each row of a [A, k] its nearest row of b [B, k], and the other way round; the lowest of equals. Cosine: the
 * largest, 0 between a zero vector and another one, 1 between two zero vectors. Euclidean: the smallest distance, not
 * squared. As float64 arithmetic on the float32 rows gives them. `what` begins the messages.
 * Throws InputError where the widths differ, a set is empty, or a value is not finite; AbortedError where the signal
 * fires; DeviceError where a CUDA device was asked for and cannot do it. A·B·k multiply-adds, memory O((A + B)·k).
 */
export async function nearest(
  what: string,
  a: Matrix,
  b: Matrix,
  metric: NearestOptions["metric"],
  options: DeviceOptions = {},
): Promise<Neighbours> {
  checkWidths(what, a, b);
  for (const [name, set] of [["first", a] as const, ["second", b] as const]) {
    checkRows(`${what}: the ${name} set`, set);
    checkFinite(`${what}: the ${name} set`, set);
  }
  const call = callOf(options, ["device"]);
  const device = deviceNumber(options.device);
  return runKernel(what, call, (onProgress) =>
    native().nearest(a.data, b.data, a.columns, { metric, threads: call.threads, device }, onProgress),
  );
}
