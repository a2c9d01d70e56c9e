/** Progress on stderr: a live line on a terminal, a JSON line per second with --json, nothing otherwise. */
import type { AttractorProgress } from "../dynamics/options.js";
import { count } from "./table.js";

/** What a line shows: the progress of an extraction, or of anything else that counts rows. */
export type ShownProgress = Omit<AttractorProgress, "phase" | "rowsPerSecond" | "mapEvaluations"> & {
  readonly phase: string;
  /** Left out where what is counted is no rows. */
  readonly rowsPerSecond?: number;
  readonly mapEvaluations?: number;
};

export interface ProgressLine {
  update(progress: ShownProgress): void;
  /** Takes the live line away again. */
  clear(): void;
}

const BAR = 24;

export function progressLine({ json }: { json: boolean }): ProgressLine {
  if (json) return jsonLines();
  if (process.stderr.isTTY) return liveLine();
  return { update: () => {}, clear: () => {} };
}

function jsonLines(): ProgressLine {
  let last = -Infinity;
  return {
    update(progress) {
      const now = performance.now();
      if (now - last < 1000) return;
      last = now;
      process.stderr.write(`${JSON.stringify(progress)}\n`);
    },
    clear: () => {},
  };
}

function liveLine(): ProgressLine {
  return {
    update(progress) {
      const line = formatProgress(progress);
      process.stderr.write(`\r\x1b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    },
    clear: () => process.stderr.write("\r\x1b[2K"),
  };
}

/** "iterate   ████████────────  512 / 2,000  61,234 rows/s  0:03 left  noise" */
export function formatProgress({ phase, set, finished, total, rowsPerSecond }: ShownProgress): string {
  const share = total > 0 ? finished / total : 1;
  const full = Math.round(share * BAR);
  const bar = "█".repeat(full) + "─".repeat(BAR - full);
  const rate = rowsPerSecond === undefined ? "" : `  ${count(Math.round(rowsPerSecond))} rows/s`;
  const left = rowsPerSecond ? `  ${clock((total - finished) / rowsPerSecond)} left` : "";
  return `${phase} ${bar}  ${count(finished)} / ${count(total)}${rate}${left}  ${set}`.trimEnd();
}

function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const minutes = Math.floor(whole / 60);
  const clockSeconds = String(whole % 60).padStart(2, "0");
  if (minutes < 60) return `${minutes}:${clockSeconds}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${clockSeconds}`;
}
