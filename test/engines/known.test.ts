import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe } from "vitest";
import { engineOf } from "../../src/engines/choose.js";
import { drive } from "../../src/engines/drive.js";
import { nativeEngine } from "../../src/engines/native.js";
import { openOnnxRuntime } from "../../src/engines/onnxruntime.js";
import { fromFunction } from "../../src/models/fromFunction.js";
import { fromProcess } from "../../src/models/fromProcess.js";
import { affine } from "../support/maps.js";
import { floats, onnxModel } from "../support/onnxBuilder.js";
import { hasOnnxRuntime } from "../support/runtimes.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { applyAffine, testKnownMaps } from "./knownMaps.js";

const child = fileURLToPath(new URL("children/child.py", import.meta.url));

for (const layout of ["lanes", "onednn"] as const) {
  testKnownMaps(`native, ${layout}`, ({ name, matrix, offset }) =>
    nativeEngine(affine(name, matrix, offset), { layout }),
  );
}

describe.skipIf(!hasOnnxRuntime)("with onnxruntime-node", () => {
  const folder = temporaryFolder();
  testKnownMaps("onnxruntime", async ({ name, matrix, offset }) => {
    const k = offset.length;
    const map = join(folder, `${name}.onnx`);
    const model = onnxModel({
      inputs: { x: ["batch", k] },
      initializers: { a: floats([k, k], matrix), b: floats([k], offset) },
      nodes: [{ op: "Gemm", inputs: ["x", "a", "b"], outputs: ["y"], attributes: { transB: { i: 1 } } }],
    });
    writeFileSync(map, model);
    return drive(name, { ...(await openOnnxRuntime({ map }, { threads: 2 })), batchRows: 5 });
  });
});

testKnownMaps("function", (map) =>
  engineOf(
    fromFunction({
      latentShape: [map.offset.length],
      apply: (latents) => applyAffine(map, latents),
      batchRows: 5,
    }),
  ),
);

testKnownMaps("function, answering later", (map) =>
  engineOf(
    fromFunction({
      latentShape: [map.offset.length],
      apply: async (latents) => {
        await Promise.resolve();
        return applyAffine(map, latents);
      },
      batchRows: 5,
    }),
  ),
);

testKnownMaps("process", async (map) => {
  const [matrix, offset] = [map.matrix, map.offset].map((numbers) => [...Float32Array.from(numbers)]);
  // Python's JSON reads NaN, JavaScript's does not write it.
  const text = (numbers: number[] | undefined): string => `[${numbers?.join(", ")}]`;
  const options = `{"matrix": ${text(matrix)}, "offset": ${text(offset)}}`;
  return engineOf(await fromProcess({ command: "python3", args: [child, options] }));
});
