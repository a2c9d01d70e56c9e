/** Writes a whole model as an exporter would, operator by operator, with seeded random weights. */
import { dataTypes } from "../../../src/models/onnx/schema.js";
import {
  type AttributeToWrite,
  floats,
  type NodeToWrite,
  onnxModel,
  type TensorToWrite,
} from "../onnxBuilder.js";

export interface Exporter {
  readonly opset: number;
  /** Adds a node and gives the name of its only output. */
  op(op: string, inputs: readonly string[], attributes?: Record<string, AttributeToWrite>): string;
  /** Adds a node of several outputs. */
  ops(
    op: string,
    inputs: readonly string[],
    outputs: number,
    attributes?: Record<string, AttributeToWrite>,
  ): string[];
  /** A random tensor: uniform, with mean `mean` and deviation `scale`. */
  weight(dims: readonly number[], scale: number, mean?: number): string;
  number(value: number): string;
  numbers(dims: readonly number[], data: ArrayLike<number>): string;
  whole(value: number): string;
  wholes(...values: number[]): string;
  finish(input: string, dims: readonly (number | string)[], output: string): Uint8Array;
}

export function exporter({ opset, seed }: { opset: number; seed: number }): Exporter {
  const nodes: NodeToWrite[] = [];
  const initializers: Record<string, TensorToWrite> = {};
  let count = 0;
  const named = (what: string) => `${what}_${count++}`;
  const tensor = (what: string, value: TensorToWrite) => {
    const name = named(what);
    initializers[name] = value;
    return name;
  };
  const uniform = uniforms(seed);
  const ops: Exporter["ops"] = (op, inputs, outputs, attributes = {}) => {
    const name = named(`/${op}`);
    const results = Array.from({ length: outputs }, (_, i) => `${name}_output_${i}`);
    nodes.push({ op, name, inputs: [...inputs], outputs: results, attributes });
    return results;
  };
  return {
    opset,
    ops,
    op: (op, inputs, attributes) => ops(op, inputs, 1, attributes)[0],
    weight(dims, scale, mean = 0) {
      const length = dims.reduce((product, n) => product * n, 1);
      const data = new Float32Array(length);
      const half = scale * Math.sqrt(3);
      for (let i = 0; i < length; i++) data[i] = mean + half * (2 * uniform() - 1);
      return tensor("weight", floats([...dims], data));
    },
    number: (value) => tensor("number", floats([], [value])),
    numbers: (dims, data) => tensor("numbers", floats([...dims], data)),
    whole: (value) => tensor("whole", { dims: [], dataType: dataTypes.int64, int64Data: [value] }),
    wholes: (...values) =>
      tensor("wholes", { dims: [values.length], dataType: dataTypes.int64, int64Data: values }),
    finish: (input, dims, output) =>
      onnxModel({ opset, inputs: { [input]: [...dims] }, outputs: [output], nodes, initializers }),
  };
}

/** Uniform numbers in [0, 1): xorshift, fast enough for hundreds of millions. */
function uniforms(seed: number): () => number {
  let state = (seed * 2654435761 + 1) | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
