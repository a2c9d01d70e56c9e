import { describe, expect, it } from "vitest";
import { deviceText, layoutText, precisionText } from "../../src/report/device.js";

const native = { engine: "native" };

describe("where f was computed, in words", () => {
  it.each([
    [{ kind: "cpu", isa: "avx2", layout: "lanes" }, native, "cpu, avx2", "lanes layout"],
    [
      { kind: "cuda", index: 1, name: "NVIDIA H100", layout: "fused", precision: "tf32" },
      native,
      "cuda:1, NVIDIA H100",
      "fused layout, tf32, then float32",
    ],
    [
      { kind: "cuda", index: 0, name: "NVIDIA H100", layout: "kernels", precision: "float32" },
      native,
      "cuda:0, NVIDIA H100",
      "kernels layout, float32",
    ],
    [
      { kind: "cuda:0", batchRows: 256, concurrency: 2 },
      { engine: "onnxruntime" },
      "cuda:0, onnxruntime",
      "batches of 256 rows, 2 at the same time",
    ],
    [{ kind: "cpu" }, { engine: "function" }, "cpu, function", "batches of 1 row"],
  ])("%j", (device, options, where, how) => {
    const computed = { device: { ...device, threads: 2 }, options };
    expect([deviceText(computed), layoutText(computed)]).toEqual([where, how]);
  });

  it("float32 needs no finishing", () => {
    expect([precisionText({}), precisionText({ precision: "bf16" })]).toEqual([
      "float32",
      "bf16, then float32",
    ]);
  });
});
