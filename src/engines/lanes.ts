/** Several loops at the same time that stand or fall together. */

/**
 * Runs `work` `count` times at once, each with a signal that fires where the caller's does or another one failed, and
 * waits for all of them. Throws what the first of them threw.
 */
export async function inLanes(
  count: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  let first: { error: unknown } | undefined;
  const guarded = async (): Promise<void> => {
    try {
      await work(either);
    } catch (error) {
      first ??= { error };
      failed.abort();
    }
  };
  await Promise.all(Array.from({ length: count }, guarded));
  if (first !== undefined) throw first.error;
}
