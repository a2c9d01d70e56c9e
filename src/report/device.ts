/** Where f was computed, in words. */
import type { JacobianMethod } from "../dynamics/jacobianProducts.js";
import { type MeasureNote, noteThat } from "../dynamics/note.js";
import type { RunRecord } from "../dynamics/result.js";
import { countOf } from "./format.js";

/** What a result by JacobianMethod "central differences" has to say of itself. */
export const DIFFERENCES =
  "The engine has no derivatives, so Jacobians come from central differences (relative error about 1e-4 where f is smooth).";

/** That sentence where it is true. */
export function differenceNotes(method: JacobianMethod | undefined): MeasureNote[] {
  return method === "central differences" ? [noteThat(DIFFERENCES)] : [];
}

type Computed = Pick<RunRecord, "device" | "options">;

/** "cpu, avx512", or of an engine without instruction sets its name: "cpu, function". */
export function deviceText({ device, options }: Computed): string {
  return `${device.kind}, ${device.isa ?? String(options.engine)}`;
}

/** How rows are put together: "lanes layout", or "batches of 256 rows". */
export function layoutText({ device: { layout, batchRows = 1, concurrency = 1 } }: Computed): string {
  if (layout !== undefined) return `${layout} layout`;
  const together = concurrency > 1 ? `, ${concurrency} at the same time` : "";
  return `batches of ${countOf(batchRows, "row")}${together}`;
}
