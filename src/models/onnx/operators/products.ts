/** Matrix products. The batch is the first axis of every row tensor, so it can neither be contracted nor moved. */
import type { ValueId } from "../../../graph/graph.js";
import type { OnnxNode, Operator } from "../node.js";
import type { Operand } from "../operand.js";
import { rowValue } from "./elementwise.js";

/** Y = α·A·B + β·C with B and C constants: a linear layer. */
const gemm: Operator = (node) => {
  const { id, shape } = node.row(0);
  if (shape.length !== 1) return node.fail(`takes a matrix of rows, found rows of ${shape.length} axes`);
  if (node.int("transA", 0) !== 0) return node.mixesRows("transposes its rows (transA)");
  const b = node.input(1);
  if (b.kind === "row") return node.mixesRows("multiplies its rows with one another");
  const { dims, data } = node.weights(1, "matrix") ?? node.fail("has no matrix");
  if (dims.length !== 2) return node.fail(`has a matrix of shape [${dims.join(", ")}], expected two axes`);
  const alpha = node.float("alpha", 1);
  const transposed = node.int("transB", 0) !== 0;
  const weight = (transposed ? data : transposeMatrix(data, dims[0]!, dims[1]!)).map((w) => w * alpha);
  const outs = transposed ? dims[0]! : dims[1]!;
  const ins = transposed ? dims[1]! : dims[0]!;
  const inputs = [id, node.constant("weight", [outs, ins], weight)];
  const c = node.optional(2);
  const beta = node.float("beta", 1);
  if (c?.kind !== "row") {
    const bias = c && spreadBias(node, outs);
    if (bias !== undefined)
      inputs.push(
        node.constant(
          "bias",
          [outs],
          bias.map((value) => value * beta),
        ),
      );
    return node.result(node.builder.node({ op: "linear", name: node.name, inputs }));
  }
  const product = node.builder.node({ op: "linear", name: node.name, inputs });
  const scale = node.constant("beta", [], Float32Array.of(beta));
  const scaled = node.builder.node({
    op: "mul",
    name: `${node.name}.beta`,
    inputs: [rowValue(node, c, 1), scale],
  });
  return node.result(node.builder.node({ op: "add", name: `${node.name}.sum`, inputs: [product, scaled] }));
};

/** C as one number per output. A C that differs from row to row cannot be. */
function spreadBias(node: OnnxNode, outs: number): Float32Array {
  const { dims, data } = node.weights(2, "bias") ?? node.fail("has no bias");
  const last = dims.at(-1) ?? 1;
  if (data.length !== last || (last !== 1 && last !== outs)) {
    return data.length > outs
      ? node.mixesRows(`adds a matrix of shape [${dims.join(", ")}] to its rows`)
      : node.fail(`has a bias of shape [${dims.join(", ")}], expected ${outs}`);
  }
  return Float32Array.from({ length: outs }, (_, o) => data[last === 1 ? 0 : o]!);
}

function transposeMatrix(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  }
  return out;
}

const matMul: Operator = (node) => {
  const [a, b] = [node.input(0), node.input(1)];
  if (a.kind === "constant" && b.kind === "constant")
    return node.unsupported("multiplies two constants, which is outside the native operator set");
  if (a.kind === "row" && b.kind === "constant" && (b.dims.length === 2 || b.dims.length === 1)) {
    return node.result(linearOf(node, a.id, b.dims));
  }
  const ids = [a, b].map((operand, side) => matrixOf(node, operand, side));
  return node.result(node.builder.node({ op: "matmul", name: node.name, inputs: ids }));
};

/** x·B over the last axis; a vector B drops that axis. */
function linearOf(node: OnnxNode, x: ValueId, dims: readonly number[]): ValueId {
  const shape = node.builder.shapeOf(x);
  const { data } = node.weights(1, "matrix") ?? node.fail("has no matrix");
  if (shape.length === 0) return node.mixesRows("contracts the batch axis");
  const [ins, outs] = [dims[0]!, dims[1] ?? 1];
  const weight = node.constant("weight", [outs, ins], transposeMatrix(data, ins, outs));
  const y = node.builder.node({ op: "linear", name: node.name, inputs: [x, weight] });
  return dims.length === 2 ? y : node.reshape(y, shape.slice(0, -1));
}

/** One side of a general product: stacks of matrices per row, or a constant stack that is the same for all rows. */
function matrixOf(node: OnnxNode, operand: Operand, side: number): ValueId {
  if (operand.kind === "row") {
    if (node.builder.shapeOf(operand.id).length < 2) {
      return node.mixesRows("multiplies along the batch axis");
    }
    return operand.id;
  }
  const other = node.row(1 - side).shape.length;
  const { dims } = operand;
  if (dims.length < 2)
    return node.unsupported("by a vector from the left is outside the native operator set");
  return rowValue(node, operand, Math.max(other, 2));
}

export const productOperators: Readonly<Record<string, Operator>> = { Gemm: gemm, MatMul: matMul };
