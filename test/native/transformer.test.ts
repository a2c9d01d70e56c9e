/** A whole transformer on every native variant: itself, its derivatives, and sizes beyond one block of a kernel. */
import { describe, expect, it } from "vitest";
import { type GraphBuilder, graphBuilder } from "../../src/graph/builder.js";
import { jacobianVectorGraph, vectorJacobianGraph } from "../../src/graph/differentiate.js";
import { elements, type Graph, type Shape, type ValueId } from "../../src/graph/graph.js";
import { lower } from "../../src/graph/lower.js";
import { interpret } from "../../src/graph/reference.js";
import { type CompileOptions, native } from "../../src/native.js";
import { type Random, seededRandom } from "../support/random.js";

const variants: CompileOptions[] = (["lanes", "onednn"] as const).flatMap((layout) =>
  native()
    .cpu()
    .isas.map((isa): CompileOptions => ({ layout, isa })),
);

/** Nodes of a transformer, with seeded weights. */
function layers(graph: GraphBuilder, random: Random) {
  const constant = (shape: Shape, scale: number) =>
    graph.constant("c", shape, random.floats(elements(shape), scale));
  const linear = (x: ValueId, outputs: number, more: { residual?: ValueId; gelu?: boolean } = {}) => {
    const inputs = graph.shapeOf(x).at(-1)!;
    const weight = constant([outputs, inputs], 1 / Math.sqrt(inputs));
    return graph.node({
      op: "linear",
      name: "linear",
      inputs: [x, weight, constant([outputs], 0.1)],
      ...(more.residual === undefined ? {} : { residual: more.residual }),
      ...(more.gelu ? { activation: { kind: "gelu", alpha: 0, beta: 0 } } : {}),
    });
  };
  const norm = (x: ValueId) => {
    const width = graph.shapeOf(x).at(-1)!;
    const scale = graph.constant(
      "scale",
      [width],
      random.floats(width, 0.1).map((v) => 1 + v),
    );
    const inputs = [x, scale, constant([width], 0.1)];
    return graph.node({ op: "layerNorm", name: "norm", inputs, dimensions: 1, epsilon: 1e-5 });
  };
  /** Heads of one packed projection: [tokens, 3·heads·depth] → attention → [tokens, heads·depth]. */
  const attention = (x: ValueId, heads: number) => {
    const [tokens, width] = graph.shapeOf(x) as [number, number];
    const depth = width / heads;
    const packed = graph.node({ op: "reshape", name: "split", inputs: [linear(x, 3 * width)] }, [
      tokens,
      3,
      heads,
      depth,
    ]);
    const turned = graph.node({
      op: "transpose",
      name: "by head",
      inputs: [packed],
      permutation: [1, 2, 0, 3],
    });
    const part = (index: number) => {
      const one = graph.node({ op: "gather", name: "part", inputs: [turned], axis: 0, indices: [index] });
      return graph.node({ op: "reshape", name: "squeeze", inputs: [one] }, [heads, tokens, depth]);
    };
    const inputs = [part(0), part(1), part(2)];
    const attended = graph.node({ op: "attention", name: "heads", inputs, scale: 1 / Math.sqrt(depth) });
    const back = graph.node({ op: "transpose", name: "back", inputs: [attended], permutation: [1, 0, 2] });
    return graph.node({ op: "reshape", name: "join", inputs: [back] }, [tokens, width]);
  };
  return { linear, norm, attention };
}

function transformer(tokens: number, width: number, heads: number, depth = 2): Graph {
  const graph = graphBuilder("transformer");
  const x = graph.input("tokens", [tokens, width]);
  const { linear, norm, attention } = layers(graph, seededRandom(tokens * width));
  let y = x;
  for (let layer = 0; layer < depth; layer++) {
    y = linear(attention(norm(y), heads), width, { residual: y });
    y = linear(linear(norm(y), 4 * width, { gelu: true }), width, { residual: y });
  }
  return graph.finish(x, norm(y));
}

async function apply(graph: Graph, rows: Float32Array, options: CompileOptions, threads = 1) {
  const plan = native().compile(lower(graph), options);
  try {
    return (await native().apply(plan, rows, { threads }).promise).output;
  } finally {
    plan.dispose();
  }
}

/** Largest difference in units of the largest expected value. */
function error(found: Float32Array, expected: Float64Array): number {
  let [difference, size] = [0, 1e-3];
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(found[i]! - expected[i]!));
    size = Math.max(size, Math.abs(expected[i]!));
  }
  return difference / size;
}

const small = transformer(9, 24, 3);
const smallRows = seededRandom(1).floats(19 * 9 * 24);

describe("a transformer", () => {
  for (const variant of variants) {
    const name = `${variant.layout} ${variant.isa}`;

    it(`${name}: agrees with the float64 interpreter`, async () => {
      expect(error(await apply(small, smallRows, variant), interpret(small, smallRows, 19))).toBeLessThan(
        1e-5,
      );
    });

    it(`${name}: its derivatives agree with the float64 interpreter`, async () => {
      for (const product of [jacobianVectorGraph(small), vectorJacobianGraph(small)]) {
        const rows = seededRandom(2).floats(17 * elements(product.values[product.input]!.shape));
        expect(error(await apply(product, rows, variant), interpret(product, rows, 17))).toBeLessThan(2e-5);
      }
    });

    it(`${name}: a row has the same bits beside others, on two threads, and beside NaN`, async () => {
      const width = 9 * 24;
      const together = await apply(small, smallRows, variant, 2);
      const spoiled = smallRows.slice().fill(Number.NaN, 0, 3 * width);
      const beside = await apply(small, spoiled, variant, 2);
      expect(beside.subarray(0, 3 * width).every(Number.isNaN)).toBe(true);
      expect(beside.subarray(3 * width)).toEqual(together.subarray(3 * width));
      for (const row of [0, 7, 18]) {
        const alone = await apply(small, smallRows.slice(row * width, (row + 1) * width), variant);
        expect(Buffer.from(alone.buffer)).toEqual(
          Buffer.from(together.slice(row * width, (row + 1) * width).buffer),
        );
      }
    });
  }
});

/** q, k and v are linear in x [sources, depth]; q has the first `targets` rows only. */
function attentionGraph(
  [targets, sources, depth, width]: readonly [number, number, number, number],
  bias?: Float32Array,
): Graph {
  const graph = graphBuilder("attention");
  const x = graph.input("x", [sources, depth]);
  const { linear } = layers(graph, seededRandom(sources + depth));
  const indices = Array.from({ length: targets }, (_, i) => i);
  const q = graph.node({ op: "gather", name: "targets", inputs: [linear(x, depth)], axis: 0, indices });
  const inputs = [q, linear(x, depth), linear(x, width)];
  if (bias) inputs.push(graph.constant("bias", [targets, sources], bias));
  return graph.finish(x, graph.node({ op: "attention", name: "attention", inputs, scale: 0.7 }));
}

describe("beyond one block of a kernel", () => {
  const onDnn = variants.filter(({ layout }) => layout === "onednn");
  const widest = variants.find(({ layout }) => layout === "lanes")!;

  for (const sizes of [
    [130, 450, 20, 70],
    [50, 193, 7, 1],
    [1, 200, 33, 50],
  ] as const) {
    it(`attention of ${sizes.join(", ")}`, async () => {
      const [targets, sources, depth] = sizes;
      const random = seededRandom(sources);
      // Causal, and the first target sees nothing of its first block.
      const mask = random.floats(targets * sources);
      for (let i = 0; i < targets; i++) {
        for (let j = 0; j < sources; j++) {
          const hidden = i === 0 ? j < sources - 1 : j > i + sources / 2;
          if (hidden) mask[i * sources + j] = Number.NEGATIVE_INFINITY;
        }
      }
      const rows = random.floats(2 * sources * depth);
      for (const graph of [attentionGraph(sizes), attentionGraph(sizes, mask)]) {
        const expected = interpret(graph, rows, 2);
        for (const variant of [...onDnn, widest]) {
          expect(
            error(await apply(graph, rows, variant), expected),
            `${variant.layout} ${variant.isa}`,
          ).toBeLessThan(1e-5);
        }
      }
    });
  }

  it("products of one vector and of many, with long reductions, an addend and a function", async () => {
    for (const [tokens, inputs, outputs] of [
      [1, 2100, 230],
      [1, 40, 400],
      [13, 1500, 101],
    ] as const) {
      const graph = graphBuilder("long");
      const random = seededRandom(inputs);
      const x = graph.input("x", [tokens, inputs]);
      const { linear } = layers(graph, random);
      const residual = linear(x, outputs);
      const y = linear(linear(x, inputs), outputs, { residual, gelu: true });
      const long = graph.finish(x, y);
      const rows = random.floats(2 * tokens * inputs);
      const expected = interpret(long, rows, 2);
      for (const variant of [...onDnn, widest]) {
        expect(
          error(await apply(long, rows, variant), expected),
          `${variant.layout} ${variant.isa}`,
        ).toBeLessThan(1e-5);
      }
    }
  });
});

describe("reshapes, transposes and slices as strides", () => {
  const onDnn = variants.filter(({ layout }) => layout === "onednn");

  it("chains of them give what copies would", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = seededRandom(seed);
      const graph = graphBuilder("views");
      const x = graph.input("x", [4, 6, 10]);
      const { linear } = layers(graph, random);
      const values = [linear(x, 10)];
      for (let step = 0; step < 8; step++) {
        const from = random.pick(values);
        const shape = graph.shapeOf(from);
        const kind = random.integer(0, 3);
        if (kind === 0) {
          const permutation = shape.map((_, i) => i);
          for (let i = permutation.length - 1; i > 0; i--) {
            const j = random.integer(0, i);
            [permutation[i], permutation[j]] = [permutation[j]!, permutation[i]!];
          }
          values.push(graph.node({ op: "transpose", name: "t", inputs: [from], permutation }));
        } else if (kind === 1) {
          const axis = random.integer(0, shape.length - 1);
          const [first, by] = [random.integer(0, shape[axis]! - 1), random.pick([1, 1, 2, -1])];
          const indices: number[] = [];
          for (let i = first; i >= 0 && i < shape[axis]!; i += by) indices.push(i);
          values.push(graph.node({ op: "gather", name: "g", inputs: [from], axis, indices }));
        } else if (kind === 2) {
          const total = elements(shape);
          const divisor = random.pick([1, 2, 3, 4, 5, 6].filter((d) => total % d === 0));
          const shapes: Shape[] = [
            [total],
            [divisor, total / divisor],
            [total / divisor, 1, divisor],
            [...shape, 1],
          ];
          values.push(graph.node({ op: "reshape", name: "r", inputs: [from] }, random.pick(shapes)));
        } else {
          values.push(linear(from, random.integer(1, 9)));
        }
      }
      // All of them are read at the end, so that memory that was reused too early shows.
      const flat = values.map((id) =>
        graph.node({ op: "reshape", name: "flat", inputs: [id] }, [elements(graph.shapeOf(id))]),
      );
      const views = graph.finish(x, graph.node({ op: "concat", name: "all", inputs: flat, axis: 0 }));
      const rows = random.floats(2 * 240);
      const expected = interpret(views, rows, 2);
      for (const variant of onDnn) {
        expect(
          error(await apply(views, rows, variant), expected),
          `seed ${seed}, ${variant.isa}`,
        ).toBeLessThan(1e-5);
      }
    }
  });
});
