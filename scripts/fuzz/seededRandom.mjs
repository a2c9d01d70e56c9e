/** Seeded random choices (mulberry32): the same on every machine. Of fuzzing, and of tests (test/support/random.ts). */
export function seededRandom(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (low, high) => low + Math.floor(uniform() * (high - low + 1));
  return { uniform, integer, pick: (items) => items[integer(0, items.length - 1)] };
}
