/** The runtime of a model that a child process computes. */
import type { ChildModel } from "../models/process/child.js";
import type { Runtime } from "./runtime.js";

export function processRuntime(
  child: ChildModel,
  shape: { latentDimension: number; inputElements: number | null },
): Runtime {
  const { hello, timeout } = child;
  return {
    ...shape,
    name: "process",
    device: hello.device,
    versions: hello.versions,
    batchRows: hello.batchRows,
    concurrency: 1,
    timeout,
    apply: (latents, rows) => child.ask("apply", latents, rows),
    ...(hello.inputShape === null
      ? {}
      : {
          encode: (inputs, rows) => child.ask("encode", inputs, rows),
          decode: (latents, rows) => child.ask("decode", latents, rows),
        }),
    close: () => child.close(),
  };
}
