import type { MeasureNote } from "../dynamics/note.js";

/** Plain columns: text to the left, numbers to the right. */
export function table(headings: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === "number" ? count(cell) : cell)));
  const widths = headings.map((heading, i) => Math.max(heading.length, ...cells.map((row) => row[i].length)));
  const numeric = headings.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] === "number"));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join("  ")
      .trimEnd();
  return [line(headings), ...cells.map(line)].join("\n");
}

/** 12345.678 → "12,345.7"; whole numbers without a fraction. */
export function count(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 1 });
}

/** What to know before taking the figures for a result, a sentence or two a line. */
export function noteLines(notes: readonly MeasureNote[] = []): string[] {
  return notes.map(({ kind, set, text }) => `${kind}${set === undefined ? "" : ` (${set})`}: ${text}`);
}

export function megabytes(bytes: number): string {
  return `${count(bytes / 2 ** 20)} MiB`;
}
