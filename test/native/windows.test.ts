import { describe, expect, it } from "vitest";
import { type NativeGraph, native } from "../../src/native.js";

/** Two rows of two numbers pooled by windows of two taps, as `lower` would give it to the addon. */
function pooled(op: "maxPool" | "maxPoolGrad", dilation: number, pad: number, outputs: number): NativeGraph {
  const attributes = {
    kernel: [2, 1],
    strides: [1, 1],
    pads: [pad, 0, 0, 0],
    dilations: [dilation, 1],
    ...(op === "maxPool" ? { countIncludePad: 0 } : {}),
  };
  const inputs = op === "maxPool" ? [0] : [0, 0];
  return {
    values: [{ shape: [1, 2, 2] }, { shape: [1, outputs, 2] }],
    nodes: [{ op, name: "pool", inputs, output: 1, attributes }],
    input: 0,
    output: 1,
  };
}

describe("windows that the addon is given", () => {
  it.each(["maxPool", "maxPoolGrad"] as const)("%s: one that holds no element is refused", (op) => {
    // Taps before the input and behind it, and nothing between them.
    for (const [dilation, pad, outputs] of [
      [7, 1, 1],
      [4, 2, 1],
      [1, 0, 3],
      // Longer than what it slides over.
      [5, 1, 2],
    ]) {
      const compile = () => native().compile(pooled(op, dilation, pad, outputs), {});
      expect(compile, `dilation ${dilation}`).toThrow(/lies outside the input/);
    }
  });
  it.each(["maxPool", "maxPoolGrad"] as const)("%s: one that reaches beyond the input is not", async (op) => {
    const plan = native().compile(pooled(op, 1, 1, 2), {});
    const rows = Float32Array.of(1, 5, 3, 4);
    const { output } = await native().apply(plan, rows, { threads: 1 }).promise;
    expect([...output]).toEqual([1, 5, 3, 5]);
    plan.dispose();
  });
});
