/** The engines by their names, as options and the command line have them. */
import { InputError } from "../errors.js";

/** What `--engine` and the option `engine` take. */
export const ENGINES = [
  "auto",
  "native",
  "onnxruntime",
  "tfjs",
  "tfjs:gpu",
  "tfjs:node",
  "tfjs:wasm",
  "tfjs:cpu",
  "function",
  "process",
] as const;

export type EngineChoice = (typeof ENGINES)[number];

/** Throws InputError for what is no engine. "onnx" is short for "onnxruntime". */
export function engineChoice(engine: string): EngineChoice {
  const name = engine === "onnx" ? "onnxruntime" : engine;
  if ((ENGINES as readonly string[]).includes(name)) return name as EngineChoice;
  throw new InputError(`engine is ${JSON.stringify(engine)}, expected one of ${ENGINES.join(", ")}`);
}
