/** A graph through the native engine's plans, without an engine. */
import type { Graph } from "../../src/graph/graph.js";
import { lower } from "../../src/graph/lower.js";
import { type CompileOptions, native } from "../../src/native.js";

/** The graph's output for rows of its input, on one thread. */
export async function runNative(
  graph: Graph,
  rows: Float32Array,
  options: CompileOptions = {},
): Promise<Float32Array> {
  const plan = native().compile(lower(graph), options);
  try {
    return (await native().apply(plan, rows, { threads: 1 }).promise).output;
  } finally {
    plan.dispose();
  }
}
