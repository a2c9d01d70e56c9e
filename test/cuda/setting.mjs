/** What the tests of a device share: whether there is one, sizes that suit it, comparisons. */
import assert from "node:assert/strict";
import { native } from "../../dist/native.js";

const { reason, devices } = native().cuda();

/** Why tests of a device are skipped; false where they are not. */
export const skip = reason === null ? false : `skipped: no CUDA device (${reason})`;
export { devices };

/** Kernels on fibers (native/test/simt) take a thousand times as long as on a device. */
export const onFibers = devices[0]?.name === "the test machine";

/** `many` on a device, `few` on fibers. */
export const sized = (many, few) => (onFibers ? few : many);

export const noise = (rows, columns, seed) => ({
  data: native().noise(seed, 0, rows, columns, 1),
  rows,
  columns,
});

/** ‖a − b‖ / ‖b‖ */
export function relativeError(a, b) {
  assert.equal(a.length, b.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}

export function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb);
}

export const rowOf = ({ data, columns }, i) => data.subarray(i * columns, (i + 1) * columns);
