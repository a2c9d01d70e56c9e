/** Small seeded generator (mulberry32) for tests: the same numbers on every machine. */
export interface Random {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Whole number in [low, high]. */
  integer(low: number, high: number): number;
  /** Roughly N(0, 1): sum of twelve uniforms. */
  normal(): number;
  pick<T>(items: readonly T[]): T;
  floats(length: number, scale?: number): Float32Array;
}

export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (low: number, high: number) => low + Math.floor(uniform() * (high - low + 1));
  const normal = () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += uniform();
    return sum;
  };
  return {
    uniform,
    integer,
    normal,
    pick: (items) => items[integer(0, items.length - 1)]!,
    floats: (length, scale = 1) => Float32Array.from({ length }, () => normal() * scale),
  };
}
