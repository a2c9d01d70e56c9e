/** What the job at hand counts, told as progress of the whole call. */
import type { CallOptions } from "../engines/engine.js";
import type { AttractorProgress } from "./options.js";

/** A job's own listener, for the phase and the set it belongs to; none where nobody listens. */
export type PhaseProgress = (phase: AttractorProgress["phase"], set: string) => CallOptions["onProgress"];

/** `started`: when the call began, as performance.now() counts. */
export function phaseProgress(
  onProgress: ((progress: AttractorProgress) => void) | undefined,
  started: number = performance.now(),
): PhaseProgress {
  return (phase, set) =>
    onProgress &&
    (({ finished, total, evaluations, seconds }) =>
      onProgress({
        phase,
        set,
        finished,
        total,
        rowsPerSecond: seconds > 0 ? finished / seconds : 0,
        mapEvaluations: evaluations,
        seconds: (performance.now() - started) / 1000,
      }));
}

/** For a call made of calls that count their own seconds: whatever they tell counts from `started`. */
export function countedFrom(
  started: number,
  onProgress: ((progress: AttractorProgress) => void) | undefined,
): ((progress: AttractorProgress) => void) | undefined {
  return (
    onProgress && ((progress) => onProgress({ ...progress, seconds: (performance.now() - started) / 1000 }))
  );
}

/** Passes on at most 10 calls a second, over all phases and sets. */
export function throttled(
  onProgress: ((progress: AttractorProgress) => void) | undefined,
): (progress: AttractorProgress) => void {
  let last = -Infinity;
  return (progress) => {
    const now = performance.now();
    if (onProgress === undefined || now - last < 100) return;
    last = now;
    onProgress(progress);
  };
}
