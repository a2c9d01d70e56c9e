/** Where a kernel on plain matrices runs. */
import { DeviceError, InputError } from "../errors.js";
import { DEVICE_FAILURE, native } from "../native.js";
import type { MeasureOptions } from "./kernel.js";

export interface DeviceOptions extends MeasureOptions {
  /**
   * `cpu` (default), `cuda` or `cuda:INDEX`, or `auto`: the first CUDA device, the CPU where there is none. Results are
   * the same: indices exactly, values to 1e-12.
   */
  readonly device?: string;
}

/**
 * The number of a CUDA device, or -1 for the CPU. Throws InputError where `device` is no name of a device or names one
 * that is not there, DeviceError where CUDA cannot be used.
 */
export function deviceNumber(device = "cpu"): number {
  if (device === "cpu") return -1;
  const named = /^cuda(?::(\d{1,2}))?$/.exec(device);
  if (device !== "auto" && named === null) {
    throw new InputError(`device is ${JSON.stringify(device)}, expected auto, cpu, cuda or cuda:INDEX`);
  }
  const { reason, devices } = native().cuda();
  if (named === null) return reason === null && devices.length > 0 ? 0 : -1;
  if (reason !== null) throw new DeviceError(`device is ${JSON.stringify(device)}: ${reason}`);
  const index = Number(named[1] ?? 0);
  if (index >= devices.length) {
    throw new InputError(
      `device is ${JSON.stringify(device)}, expected an index below ${devices.length}, the number of devices`,
    );
  }
  return index;
}

/** `error`, as a DeviceError where a device is what failed. */
export function deviceError(error: unknown): unknown {
  const failed = error instanceof Error && (error as NodeJS.ErrnoException).code === DEVICE_FAILURE;
  return failed ? new DeviceError(error.message, { cause: error }) : error;
}
