/** The runtime of a model that is a function. */
import type { RowFunctions } from "../models/source.js";
import type { Runtime } from "./runtime.js";

export function functionRuntime(
  { apply, encode, decode, jacobianVector, batchRows, timeout }: RowFunctions,
  shape: { latentDimension: number; inputElements: number | null },
): Runtime {
  return {
    ...shape,
    name: "function",
    device: "cpu",
    versions: {},
    batchRows,
    concurrency: 1,
    timeout,
    apply: async (latents, rows) => apply(latents, rows),
    ...(encode === null ? {} : { encode: async (inputs, rows) => encode(inputs, rows) }),
    ...(decode === null ? {} : { decode: async (latents, rows) => decode(latents, rows) }),
    ...(jacobianVector === null
      ? {}
      : { jacobianVector: async (latents, tangents, rows) => jacobianVector(latents, tangents, rows) }),
    close: async () => undefined,
  };
}
