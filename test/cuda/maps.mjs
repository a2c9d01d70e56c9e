/** Maps of a few numbers, as models: cheap on fibers. Node and dist/ alone. */
import { graphBuilder } from "../../dist/graph/builder.js";
import { squareMapOf } from "../../dist/models/assemble.js";

/** z → activation(A·z); A [k, k] row-major. */
export function linearMap(name, matrix, activation) {
  const k = Math.sqrt(matrix.length);
  const graph = graphBuilder(name);
  const z = graph.input("z", [k]);
  const weight = graph.constant("A", [k, k], Float32Array.from(matrix));
  const bias = graph.constant("b", [k], new Float32Array(k));
  const node = { op: "linear", name: "map", inputs: [z, weight, bias] };
  const map = graph.finish(z, graph.node(activation === undefined ? node : { ...node, activation }));
  return squareMapOf(map, {
    name,
    path: name,
    format: "square-map",
    hash: "0".repeat(64),
    files: [],
    preprocessor: null,
    notes: [],
  });
}

/** Turns the plane by `angle`, and never rests. */
export function rotation(angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return linearMap("rotation", [c, -s, s, c]);
}

/** Coordinate i follows i mod free, and each of those goes to one of two ends, the slower the nearer to 0 it starts. */
export function corners(k, free = k) {
  const matrix = Array.from({ length: k * k }, (_, i) => (i % k === Math.floor(i / k) % free ? 1.5 : 0));
  return linearMap("corners", matrix, { kind: "tanh", alpha: 0, beta: 0 });
}
