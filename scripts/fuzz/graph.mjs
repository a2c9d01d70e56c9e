/**
 * Mutated graphs against the addon: what crosses the seam is not trusted. A crash ends the process, so this is also
 * what to run on an addon built with the sanitizers.
 */
import { LatdynError } from "../../dist/errors.js";
import { jacobianVectorGraph } from "../../dist/graph/differentiate.js";
import { elements } from "../../dist/graph/graph.js";
import { lower } from "../../dist/graph/lower.js";
import { optimize } from "../../dist/graph/optimize.js";
import { importOnnx } from "../../dist/models/onnx/import.js";
import { modelType } from "../../dist/models/onnx/schema.js";
import { native } from "../../dist/native.js";
import { onnxSeeds } from "./onnxSeeds.mjs";
import { mutateValue } from "./random.mjs";

/** Graphs whose values hold more than this are not run: that would only measure memory. */
const largestRun = 1_000_000;

const external = (_, __, length) => new Uint8Array(length);

function graphs() {
  return onnxSeeds().flatMap((message) => {
    const bytes = Uint8Array.from(modelType.encode(modelType.fromObject(message)).finish());
    const { graph } = importOnnx(bytes, "seed.onnx", { readExternal: external });
    const optimized = optimize(graph);
    return [graph, optimized, jacobianVectorGraph(optimized)].map(lower);
  });
}

/** The addon's own errors become this library's, so that anything else stands out. */
function compiled(graph, layout) {
  try {
    return native().compile(graph, { layout });
  } catch (error) {
    const refused = error instanceof TypeError || error?.constructor === Error;
    throw refused ? new LatdynError(error.message, { cause: error }) : error;
  }
}

export const graphFormat = {
  async open() {
    const sound = graphs();
    const ops = [...new Set(sound.flatMap(({ nodes }) => nodes.map(({ op }) => op)))];
    return {
      mutant(random) {
        const graph = structuredClone(random.pick(sound));
        for (let changes = random.integer(1, 3); changes > 0; changes--) mutateValue(random, graph, ops);
        const layout = random.pick(["lanes", "onednn"]);
        return { graph, layout };
      },
      async load({ graph, layout }) {
        const size = (graph.values ?? []).reduce(
          (sum, value) => sum + Math.abs(elements(value?.shape ?? [])),
          0,
        );
        if (!(size <= largestRun)) throw new LatdynError("fuzz: too large to be run");
        const plan = compiled(graph, layout);
        const row = new Float32Array(elements(graph.values[graph.input].shape)).fill(0.5);
        await native().apply(plan, row, { threads: 1 }).promise;
        plan.dispose();
      },
      async close() {},
    };
  },
};
