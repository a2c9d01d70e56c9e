/** Maps with known answers, as square-map models. */

import { type GraphBuilder, graphBuilder } from "../../src/graph/builder.js";
import type { Activation, Graph } from "../../src/graph/graph.js";
import { type SquareMap, squareMapOf } from "../../src/models/assemble.js";

/** A model around a square map, as a loader would give it. */
export function squareMap(map: Graph): SquareMap {
  return squareMapOf(map, {
    name: map.name,
    path: map.name,
    format: "square-map",
    hash: "0".repeat(64),
    files: [],
    preprocessor: null,
    notes: [],
  });
}

/** One graph of a single input [k]; `build` gives the id of the result. */
export function mapOf(name: string, k: number, build: (graph: GraphBuilder, z: number) => number): SquareMap {
  const builder = graphBuilder(name);
  const z = builder.input("z", [k]);
  return squareMap(builder.finish(z, build(builder, z)));
}

/** z → A·z + b; A [k, k] row-major. */
export function affine(name: string, matrix: readonly number[], offset: readonly number[]): SquareMap {
  const k = offset.length;
  return mapOf(name, k, (graph, z) => {
    const weight = graph.constant("A", [k, k], Float32Array.from(matrix));
    const bias = graph.constant("b", [k], Float32Array.from(offset));
    return graph.node({ op: "linear", name: "affine", inputs: [z, weight, bias] });
  });
}

/** z → scale·z */
export function scaling(name: string, k: number, scale: number): SquareMap {
  const matrix = Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? scale : 0));
  return affine(name, matrix, new Array(k).fill(0));
}

/** z → c, whatever z. */
export function flat(name: string, values: readonly number[]): SquareMap {
  return affine(name, new Array(values.length ** 2).fill(0), values);
}

/** Sends coordinate i to where `order` says: output[i] = z[order[i]]. */
export function permutation(name: string, order: readonly number[]): SquareMap {
  const k = order.length;
  const matrix = new Array<number>(k * k).fill(0);
  order.forEach((from, to) => {
    matrix[to * k + from] = 1;
  });
  return affine(name, matrix, new Array(k).fill(0));
}

/** Turns the plane by `angle` radians. */
export function rotation(name: string, angle: number): SquareMap {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return affine(name, [c, -s, s, c], [0, 0]);
}

/** z → an element-wise function of z. */
export function elementwise(name: string, k: number, activation: Activation): SquareMap {
  return mapOf(name, k, (graph, z) =>
    graph.node({ op: "activate", name: "function", inputs: [z], activation }),
  );
}

/** A·diag(spectrum)·Aᵀ for the orthogonal A made of Householder reflections along `directions`. */
export function symmetricWithSpectrum(
  spectrum: readonly number[],
  directions: readonly (readonly number[])[],
): number[] {
  const k = spectrum.length;
  let m = Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? spectrum[i % k]! : 0));
  for (const v of directions) {
    const norm = v.reduce((a, b) => a + b * b, 0);
    const h = Array.from({ length: k * k }, (_, i) => {
      const [r, c] = [Math.floor(i / k), i % k];
      return (r === c ? 1 : 0) - (2 * v[r]! * v[c]!) / norm;
    });
    m = product(product(h, m, k), h, k);
  }
  return m;
}

function product(a: readonly number[], b: readonly number[], k: number): number[] {
  return Array.from({ length: k * k }, (_, i) => {
    const [r, c] = [Math.floor(i / k), i % k];
    let sum = 0;
    for (let m = 0; m < k; m++) sum += a[r * k + m]! * b[m * k + c]!;
    return sum;
  });
}
