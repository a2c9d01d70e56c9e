/** A sentence that belongs to numbers. */
export interface MeasureNote {
  /** warning: the figures look like a result and may be none. note: they are partial or need a word. */
  readonly kind: "warning" | "note";
  /** The set of points it speaks of; left out where it is about the whole. */
  readonly set?: string;
  readonly text: string;
}

export function noteThat(text: string): MeasureNote {
  return { kind: "note", text };
}

/** The same sentences, with the set they speak of. */
export function notesOn(set: string, notes: readonly MeasureNote[]): MeasureNote[] {
  return notes.map(({ kind, text }) => ({ kind, set, text }));
}
