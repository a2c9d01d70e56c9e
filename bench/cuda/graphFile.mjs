/**
 * A lowered graph as a small file, for programs without an ONNX reader (graph_file.h, graph_file.py). Little-endian:
 *
 *   "LDGRAPH2", name, values, nodes, input i32, output i32, points
 *   values   count i32; each: rank i32, dimensions i64, constant i32 (0 or 1), its elements f32
 *   nodes    count i32; each: op, name, inputs (count i32, i32 …), output i32, attributes (count i32; each: key,
 *            count i32, f64 …), activation (ACTIVATION_KINDS of src/graph/graph.ts, or "none"), alpha f32, beta f32,
 *            residual i32 (-1: none)
 *   points   rows i32, elements f32: inputs of the graph
 *
 * A text is its length in bytes, i32, and UTF-8.
 */
import { writeFileSync } from "node:fs";

/** Writes `graph` (what lower() makes) and points [rows, input elements] to `file`. Returns the bytes written. */
export function writeGraphFile(file, { name, graph, points }) {
  const parts = [Buffer.from("LDGRAPH2")];
  const whole = (...numbers) => parts.push(Buffer.from(Int32Array.from(numbers).buffer));
  const bytesOf = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  const text = (string) => {
    const bytes = Buffer.from(string);
    whole(bytes.length);
    parts.push(bytes);
  };
  text(name);
  whole(graph.values.length);
  for (const { shape, constant } of graph.values) {
    whole(shape.length);
    parts.push(bytesOf(BigInt64Array.from(shape, BigInt)));
    whole(constant === undefined ? 0 : 1);
    if (constant !== undefined) parts.push(bytesOf(constant));
  }
  whole(graph.nodes.length);
  for (const node of graph.nodes) {
    text(node.op);
    text(node.name);
    whole(node.inputs.length, ...node.inputs, node.output);
    const attributes = Object.entries(node.attributes);
    whole(attributes.length);
    for (const [key, value] of attributes) {
      const numbers = Float64Array.from(Array.isArray(value) ? value : [value]);
      text(key);
      whole(numbers.length);
      parts.push(bytesOf(numbers));
    }
    const { kind, alpha, beta } = node.activation ?? { kind: "none", alpha: 0, beta: 0 };
    text(kind);
    parts.push(bytesOf(Float32Array.of(alpha, beta)));
    whole(node.residual ?? -1);
  }
  whole(graph.input, graph.output, points.rows);
  parts.push(bytesOf(points.data));
  const bytes = Buffer.concat(parts);
  writeFileSync(file, bytes);
  return bytes.length;
}
