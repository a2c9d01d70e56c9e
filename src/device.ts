/** Where things compute, by name: the one place that turns `--device` into the number the addon takes. */
import { DeviceError, InputError } from "./errors.js";
import { DEVICE_FAILURE, native } from "./native.js";

/**
 * What computes where nobody says: the addon's kernels and plans. The CPU, as long as no kernel has been measured on a
 * device; "auto" is meant to take its place then. (Other engines choose by themselves.)
 */
export const DEFAULT_DEVICE = "cpu";

/** As they are named in options, help and messages. */
export const DEVICES = "auto, cpu, cuda or cuda:INDEX";

/** How the iteration of a model begins on a CUDA device; every point is finished in float32. */
export const PRECISIONS = ["auto", "float32", "tf32", "bf16"] as const;
export type PrecisionChoice = (typeof PRECISIONS)[number];

const NAME = /^(?:auto|cpu|cuda(?::(\d{1,2}))?)$/;

/** `device`, where it is the name of one, whether or not that is there. Throws InputError. */
export function checkDevice(device: string): string {
  if (NAME.test(device)) return device;
  throw new InputError(`device is ${JSON.stringify(device)}, expected ${DEVICES}`);
}

/**
 * The number of a CUDA device, or -1 for the CPU. Throws InputError where `device` is no name of a device or names one
 * that is not there, DeviceError where CUDA cannot be used.
 */
export function deviceNumber(device: string = DEFAULT_DEVICE): number {
  checkDevice(device);
  if (device === "cpu") return -1;
  const { reason, devices } = native().cuda();
  if (device === "auto") return reason === null && devices.length > 0 ? 0 : -1;
  if (reason !== null) throw new DeviceError(`device is ${JSON.stringify(device)}: ${reason}`);
  const index = Number(NAME.exec(device)?.[1] ?? 0);
  if (index >= devices.length) {
    throw new InputError(
      `device is ${JSON.stringify(device)}, expected an index below ${devices.length}, the number of devices`,
    );
  }
  return index;
}

/** The other way round. */
export function deviceName(number: number): string {
  return number < 0 ? "cpu" : `cuda:${number}`;
}

/** `error`, as a DeviceError where a device is what failed. */
export function deviceError(error: unknown): unknown {
  const failed = error instanceof Error && (error as NodeJS.ErrnoException).code === DEVICE_FAILURE;
  return failed ? new DeviceError(error.message, { cause: error }) : error;
}
