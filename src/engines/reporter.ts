/** Progress of what is not a job of the addon, at the addon's pace. */
import type { Progress } from "../native.js";

const INTERVAL = 100;

/** Passes on at most 10 calls a second; none where there is nobody to tell. */
export function reporter(
  onProgress: ((progress: Progress) => void) | undefined,
  total: number,
): (finished: number, evaluations: number) => void {
  const start = performance.now();
  let last = start;
  return (finished, evaluations) => {
    const now = performance.now();
    if (onProgress === undefined || now - last < INTERVAL) return;
    last = now;
    onProgress({ finished, total, evaluations, seconds: (now - start) / 1000 });
  };
}
