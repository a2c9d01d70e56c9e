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

interface Computed {
  readonly device: RunRecord["device"];
  readonly options: { readonly engine?: unknown };
}

/** "cpu, avx512", "cuda:0, NVIDIA H100", or of an engine without instruction sets its name: "cpu, function". */
export function deviceText({ device, options }: Computed): string {
  const { kind, index, name, isa } = device;
  if (index !== undefined) return `${kind}:${index}, ${name ?? "a card without a name"}`;
  return `${kind}, ${isa ?? String(options.engine)}`;
}

/** How rows are put together: "lanes layout", "fused layout, tf32, then float32", or "batches of 256 rows". */
export function layoutText({ device }: Computed): string {
  const { layout, batchRows = 1, concurrency = 1 } = device;
  if (layout !== undefined) {
    return [`${layout} layout`, ...(device.precision === undefined ? [] : [precisionText(device)])].join(
      ", ",
    );
  }
  const together = concurrency > 1 ? `, ${concurrency} at the same time` : "";
  return `batches of ${countOf(batchRows, "row")}${together}`;
}

/** In what points iterate, and in what they are finished. */
export function precisionText({ precision = "float32" }: { readonly precision?: string }): string {
  return precision === "float32" ? precision : `${precision}, then float32`;
}
