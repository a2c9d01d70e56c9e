/** A sentence that belongs to a measure's numbers. */
export interface MeasureNote {
  /** warning: the figures look like a result and may be none. note: they are partial or need a word. */
  readonly kind: "warning" | "note";
  readonly text: string;
}

export function noteThat(text: string): MeasureNote {
  return { kind: "note", text };
}
