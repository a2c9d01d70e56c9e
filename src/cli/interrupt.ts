/** Ctrl-C: once asks for an orderly end, twice ends at once. */
export const INTERRUPTED = 130;

/** A signal that fires at the first SIGINT or SIGTERM. `release` gives the signals their usual meaning back. */
export function interruptSignal(): { signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    process.stderr.write("\nlatdyn: stopping; once more to end at once\n");
    controller.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return {
    signal: controller.signal,
    release() {
      process.off("SIGINT", onSignal);
      process.off("SIGTERM", onSignal);
    },
  };
}
