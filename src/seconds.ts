/** Seconds as a timer takes them: at most 2³¹ − 1 milliseconds, beyond which Node would not wait at all. */
export function milliseconds(seconds: number): number {
  return Math.min(1000 * seconds, 2 ** 31 - 1);
}
