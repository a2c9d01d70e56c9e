import { describe, expect, it } from "vitest";
import { activationDerivative, activationFunction } from "../../src/graph/activation.js";
import { graphBuilder } from "../../src/graph/builder.js";
import { jacobianVectorGraph, vectorJacobianGraph } from "../../src/graph/differentiate.js";
import { elements, type Graph } from "../../src/graph/graph.js";
import { interpreter } from "../../src/graph/reference.js";
import { operatorCases, operatorGraph } from "../support/operatorGraphs.js";
import { type Random, seededRandom } from "../support/random.js";
import { activationKinds, randomActivation, randomGraph, steepKinds } from "../support/randomGraph.js";
import { sequenceCases } from "../support/sequenceGraphs.js";

const normals = (random: Random, length: number) =>
  Float64Array.from({ length }, () => Math.fround(random.normal()));
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const norm = (a: Float64Array) => Math.sqrt(dot(a, a));

/** J(z)·v by the graph, by central differences, and ⟨Jv, u⟩ against ⟨v, Jᵀu⟩. */
function compare(graph: Graph, random: Random, what: string): void {
  const n = elements(graph.values[graph.input].shape);
  const m = elements(graph.values[graph.output].shape);
  const z = normals(random, n);
  const v = normals(random, n);
  const u = normals(random, m);
  const map = interpreter(graph);
  const jv = interpreter(jacobianVectorGraph(graph))(Float64Array.from([...z, ...v]), 1);
  const ju = interpreter(vectorJacobianGraph(graph))(Float64Array.from([...z, ...u]), 1);
  const h = 1e-6;
  const shifted = (sign: number) =>
    map(
      z.map((value, i) => value + sign * h * v[i]),
      1,
    );
  const [above, below] = [shifted(1), shifted(-1)];
  const difference = above.map((value, i) => (value - below[i]) / (2 * h));
  expect(jv.length, what).toBe(m);
  expect(ju.length, what).toBe(n);
  const error = norm(jv.map((value, i) => value - difference[i])) / Math.max(1, norm(difference));
  expect(error, `${what}: against central differences`).toBeLessThan(2e-6);
  const scale = Math.max(1e-3, norm(jv) * norm(u), norm(v) * norm(ju));
  expect(Math.abs(dot(jv, u) - dot(v, ju)) / scale, `${what}: adjoint`).toBeLessThan(1e-6);
}

describe("derivatives of graphs", () => {
  const cases = { ...operatorCases, ...sequenceCases };
  for (const name of Object.keys(cases).filter((key) => !cases[key].derivative)) {
    it(`${name}: central differences and adjointness`, () => {
      for (let seed = 0; seed < 10; seed++) {
        const random = seededRandom(500 + 31 * seed);
        compare(operatorGraph(name, random, cases), random, `seed ${seed}`);
      }
    });
  }

  it("whole random graphs: central differences and adjointness", () => {
    for (let seed = 0; seed < 120; seed++) {
      const random = seededRandom(7000 + seed);
      compare(randomGraph(random), random, `seed ${seed}`);
    }
  });

  it("of an affine map are its matrix and the transpose", () => {
    const builder = graphBuilder("affine");
    const z = builder.input("z", [3]);
    const a = [1, 2, 3, 4, 5, 6];
    const weight = builder.constant("A", [2, 3], Float32Array.from(a));
    const bias = builder.constant("b", [2], Float32Array.of(10, 20));
    const graph = builder.finish(z, builder.node({ op: "linear", name: "l", inputs: [z, weight, bias] }));
    const column = interpreter(jacobianVectorGraph(graph))(Float64Array.of(9, 9, 9, 0, 1, 0), 1);
    expect([...column]).toEqual([2, 5]);
    const row = interpreter(vectorJacobianGraph(graph))(Float64Array.of(9, 9, 9, 0, 1), 1);
    expect([...row]).toEqual([4, 5, 6]);
  });

  it("of a map that ignores its input are zero", () => {
    const builder = graphBuilder("constant");
    const z = builder.input("z", [2]);
    const one = builder.constant("one", [3], Float32Array.of(1, 2, 3));
    const graph = builder.finish(z, builder.node({ op: "mul", name: "m", inputs: [one, one] }));
    expect([...interpreter(jacobianVectorGraph(graph))(Float64Array.of(1, 2, 3, 4), 1)]).toEqual([0, 0, 0]);
    expect([...interpreter(vectorJacobianGraph(graph))(Float64Array.of(1, 2, 3, 4, 5), 1)]).toEqual([0, 0]);
  });

  it("at kinks are PyTorch's choice", () => {
    const at = (kind: "relu" | "leakyRelu" | "elu" | "clip", x: number) =>
      activationDerivative({ kind, alpha: kind === "clip" ? -1 : 0.25, beta: 1 })(x);
    expect(at("relu", 0)).toBe(0);
    expect(at("leakyRelu", 0)).toBe(0.25);
    expect(at("elu", 0)).toBe(0.25);
    expect([at("clip", -1), at("clip", 1), at("clip", 1.0001)]).toEqual([1, 1, 0]);
  });

  it("the first maximum of a window takes the cotangent", () => {
    const builder = graphBuilder("pool");
    const x = builder.input("x", [1, 1, 3]);
    const pooled = builder.node(
      {
        op: "maxPool",
        name: "pool",
        inputs: [x],
        kernel: [1, 2],
        strides: [1, 1],
        pads: [0, 0, 0, 0],
        dilations: [1, 1],
        countIncludePad: false,
      },
      [1, 1, 2],
    );
    const graph = builder.finish(x, pooled);
    const product = interpreter(vectorJacobianGraph(graph))(Float64Array.of(5, 5, 2, 10, 100), 1);
    expect([...product]).toEqual([10, 100, 0]);
  });
});

describe("activationDerivative", () => {
  for (const kind of activationKinds) {
    it(`${kind}: central differences, limits and NaN`, () => {
      const activation = randomActivation(seededRandom(1), kind);
      const f = activationFunction(activation);
      const derivative = activationDerivative(activation);
      for (const x of [-40, -7, -3, -1.3, -0.3, -1e-3, 1e-3, 0.2, 0.9, 2.5, 7, 40]) {
        const h = 1e-5 * Math.max(1, Math.abs(x));
        expect(derivative(x), `at ${x}`).toBeCloseTo((f(x + h) - f(x - h)) / (2 * h), 7);
      }
      expect(derivative(Number.NaN)).toBeNaN();
      for (const x of [-Infinity, Infinity]) expect(Number.isFinite(derivative(x))).toBe(true);
    });
  }

  for (const kind of steepKinds) {
    it(`${kind}: central differences where it is defined, and NaN`, () => {
      for (const alpha of kind === "pow" ? [2, 3, 0.5, -1.5] : [0]) {
        const activation = { kind, alpha, beta: 0 };
        const f = activationFunction(activation);
        const derivative = activationDerivative(activation);
        const everywhere = ["erf", "exp", "abs"].includes(kind) || (kind === "pow" && alpha === 2);
        for (const x of [...(everywhere ? [-3, -1.3, -0.2] : []), 0.2, 0.9, 1, 2.5, 6]) {
          const h = 1e-5 * x;
          const slope = (f(x + h) - f(x - h)) / (2 * h);
          expect(derivative(x) / Math.max(1, Math.abs(slope)), `at ${x}`).toBeCloseTo(
            slope / Math.max(1, Math.abs(slope)),
            8,
          );
        }
        expect(derivative(Number.NaN)).toBeNaN();
        expect(f(Number.NaN)).toBeNaN();
      }
      expect(activationDerivative({ kind: "abs", alpha: 0, beta: 0 })(0)).toBe(0);
    });
  }
});
