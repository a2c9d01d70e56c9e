/** Derivatives of whole graphs, on every native variant. */
import { describe, expect, it } from "vitest";
import { jacobianVectorGraph, vectorJacobianGraph } from "../../src/graph/differentiate.js";
import { elements } from "../../src/graph/graph.js";
import { lower } from "../../src/graph/lower.js";
import { interpret } from "../../src/graph/reference.js";
import { type CompileOptions, native } from "../../src/native.js";
import { seededRandom } from "../support/random.js";
import { randomGraph } from "../support/randomGraph.js";

const variants: CompileOptions[] = (["lanes", "onednn"] as const).flatMap((layout) =>
  native()
    .cpu()
    .isas.map((isa): CompileOptions => ({ layout, isa })),
);

describe("derivatives of random graphs agree with the float64 interpreter", () => {
  for (const variant of variants) {
    it(`${variant.layout} ${variant.isa ?? ""}`.trim(), async () => {
      for (let seed = 0; seed < 25; seed++) {
        const random = seededRandom(9000 + seed);
        const graph = randomGraph(random);
        for (const product of [jacobianVectorGraph(graph), vectorJacobianGraph(graph)]) {
          const count = 17;
          const rows = random.floats(count * elements(product.values[product.input].shape));
          const plan = native().compile(lower(product), variant);
          const { output } = await native().apply(plan, rows, { threads: 1 }).promise;
          plan.dispose();
          const expected = interpret(product, rows, count);
          const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
          const error = output.reduce(
            (most, value, i) => Math.max(most, Math.abs(value - expected[i]) / size),
            0,
          );
          expect(error, `seed ${seed}, ${product.name}`).toBeLessThan(2e-5);
        }
      }
    });
  }
});
