export interface Choices {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Whole number in [low, high]. */
  integer(low: number, high: number): number;
  pick<T>(items: readonly T[]): T;
}

export function seededRandom(seed: number): Choices;
