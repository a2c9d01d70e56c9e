import { describe, expect, it } from "vitest";
import { elements, type Graph } from "../../src/graph/graph.js";
import { optimize } from "../../src/graph/optimize.js";
import { interpret } from "../../src/graph/reference.js";
import { type CompileOptions, native } from "../../src/native.js";
import { runNative } from "../support/native.js";
import { operatorCases, operatorGraph } from "../support/operatorGraphs.js";
import { seededRandom } from "../support/random.js";
import { randomGraph } from "../support/randomGraph.js";
import { sequenceCases } from "../support/sequenceGraphs.js";

const variants: CompileOptions[] = (["lanes", "onednn"] as const).flatMap((layout) =>
  native()
    .cpu()
    .isas.map((isa): CompileOptions => ({ layout, isa })),
);
const cases = { ...operatorCases, ...sequenceCases };
const seeds = 12;

const apply = (graph: Graph, options: CompileOptions, rows: Float32Array) => runNative(graph, rows, options);

/** Largest difference in units of the largest reference value. */
function error(found: Float32Array, expected: Float64Array): number {
  let difference = 0;
  let size = 1e-3;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(found[i]! - expected[i]!));
    size = Math.max(size, Math.abs(expected[i]!));
  }
  return difference / size;
}

for (const variant of variants) {
  describe(`${variant.layout} ${variant.isa ?? ""}`.trim(), () => {
    it("whole graphs agree with the float64 interpreter, before and after optimization", async () => {
      for (let seed = 0; seed < 40; seed++) {
        const random = seededRandom(31 * seed);
        const graph = randomGraph(random);
        const rows = random.floats(18 * elements(graph.values[graph.input]!.shape));
        const expected = interpret(graph, rows, 18);
        for (const same of [graph, optimize(graph)]) {
          expect(error(await apply(same, variant, rows), expected), `seed ${seed}`).toBeLessThan(1e-5);
        }
      }
    });

    for (const name of Object.keys(cases)) {
      it(`${name} agrees with the float64 interpreter`, async () => {
        for (let seed = 0; seed < seeds; seed++) {
          const random = seededRandom(1000 * seed + name.length);
          const graph = operatorGraph(name, random, cases);
          const count = random.pick([1, 2, 16, 19, 40]);
          const rows = random.floats(count * elements(graph.values[graph.input]!.shape));
          const found = await apply(graph, variant, rows);
          const expected = interpret(graph, rows, count);
          expect(found.length).toBe(expected.length);
          expect(error(found, expected), `seed ${seed}`).toBeLessThan(1e-5);
        }
      });

      it(`${name} gives a row the same bits wherever it stands`, async () => {
        for (let seed = 0; seed < 3; seed++) {
          const random = seededRandom(77 + 1000 * seed + name.length);
          const graph = operatorGraph(name, random, cases);
          const width = elements(graph.values[graph.input]!.shape);
          const rows = random.floats(37 * width);
          const together = await apply(graph, variant, rows);
          const out = together.length / 37;
          for (const i of [0, 5, 15, 16, 31, 36]) {
            const alone = await apply(graph, variant, rows.slice(i * width, (i + 1) * width));
            expect(Buffer.from(alone.buffer)).toEqual(
              Buffer.from(together.slice(i * out, (i + 1) * out).buffer),
            );
          }
        }
      });

      it(`${name} lets a NaN through`, async () => {
        const random = seededRandom(5 + name.length);
        const graph = operatorGraph(name, random, cases);
        const width = elements(graph.values[graph.input]!.shape);
        const rows = random.floats(2 * width).fill(Number.NaN, 0, width);
        const found = await apply(graph, variant, rows);
        const expected = interpret(graph, rows, 2);
        // Padding and constants may leave numbers in a row of NaN: the same ones as in the interpreter.
        for (let i = 0; i < expected.length; i++) {
          expect(Number.isNaN(found[i]!), `element ${i}`).toBe(Number.isNaN(expected[i]!));
        }
      });
    }
  });
}
