/** Mutated ONNX models: bytes of encoded ones, and the messages before they are encoded. */

import { InputError } from "../../dist/errors.js";
import { elements } from "../../dist/graph/graph.js";
import { lower } from "../../dist/graph/lower.js";
import { optimize } from "../../dist/graph/optimize.js";
import { interpret } from "../../dist/graph/reference.js";
import { importOnnx } from "../../dist/models/onnx/import.js";
import { modelType } from "../../dist/models/onnx/schema.js";
import { onnxSeeds } from "./onnxSeeds.mjs";
import { mutateBytes, mutateValue } from "./random.mjs";

/** Graphs with more elements than this are not run: that would only measure the interpreter. */
const largestRun = 50_000;

const encode = (message) => Uint8Array.from(modelType.encode(modelType.fromObject(message)).finish());

/** Names that a node may read by mistake: each other's results make circles and loose ends. */
function namesOf(message) {
  const { node, initializer, input } = message.graph;
  const names = node.flatMap(({ input: from, output, opType }) => [...from, ...output, opType]);
  return [...names, ...initializer.map(({ name }) => name), ...input.map(({ name }) => name), "", "nothing"];
}

function external(location, offset, length) {
  if (location !== "weights.bin") throw new InputError(`fuzz: there is no file "${location}"`);
  if (offset + length > 64) throw new InputError(`fuzz: "${location}" holds 64 bytes`);
  return new Uint8Array(length);
}

export const onnxFormat = {
  async open() {
    const messages = onnxSeeds();
    const encoded = messages.map(encode);
    for (const bytes of encoded) run(bytes);
    return {
      mutant(random) {
        const which = random.integer(0, messages.length - 1);
        if (random.uniform() < 0.4) return mutateBytes(random, encoded[which], encoded);
        const message = structuredClone(messages[which]);
        const names = namesOf(message);
        for (let changes = random.integer(1, 3); changes > 0; changes--) mutateValue(random, message, names);
        try {
          return encode(message);
        } catch {
          // Not every message can be written; its bytes can be changed in any case.
          return mutateBytes(random, encoded[which], encoded);
        }
      },
      async load(bytes) {
        run(bytes);
      },
      async close() {},
    };
  },
};

/** Everything that happens to a file until native code sees it, and one row through what is small. */
function run(bytes) {
  const { graph } = importOnnx(bytes, "mutant.onnx", { readExternal: external });
  const optimized = optimize(graph);
  lower(optimized);
  const size = [graph, optimized]
    .flatMap(({ values }) => values)
    .reduce((sum, { shape }) => sum + elements(shape), 0);
  if (size > largestRun) return;
  const row = new Float32Array(elements(graph.values[graph.input].shape)).fill(0.5);
  interpret(graph, row, 1);
  interpret(optimized, row, 1);
}
