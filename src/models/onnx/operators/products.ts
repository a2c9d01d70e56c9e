/** Matrix products. The batch is the first axis of every row tensor, so it can neither be contracted nor moved. */
import type { ValueId } from "../../../graph/graph.js";
import { checkSize, filled } from "../constants.js";
import type { OnnxNode, Operator } from "../node.js";
import type { Constant, Row } from "../operand.js";
import { type Frame, frameOf, rowValue } from "./broadcast.js";

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
    inputs: [rowValue(node, c, { rank: 2, batch: 0 }), scale],
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
  if (a.kind === "constant" && b.kind === "constant") return constantProduct(node, a, b);
  if (a.kind === "row" && b.kind === "constant" && (b.dims.length === 2 || b.dims.length === 1)) {
    return linearOf(node, a, b.dims);
  }
  const frame = frameOf(node, [a, b]);
  if (frame.batch >= frame.rank - 2) return node.mixesRows("multiplies along the batch axis");
  const ids = [a, b].map((operand) => matrixOf(node, operand, frame));
  return node.result(node.builder.node({ op: "matmul", name: node.name, inputs: ids }), frame.batch);
};

/** The product of constants, the second one a matrix. */
function constantProduct(node: OnnxNode, a: Constant, b: Constant): Constant {
  const inner = a.dims.at(-1);
  const [other, columns] = b.dims as [number, number];
  if (a.dims.length < 2 || b.dims.length !== 2 || inner !== other) {
    return node.unsupported("of constants other than by a matrix is outside the native operator set");
  }
  const dims = [...a.dims.slice(0, -1), columns];
  checkSize(node, [...dims, inner]);
  const [p, q] = [node.weights(0, "matrix")!.data, node.weights(1, "matrix")!.data];
  return filled(node, "float", dims, (at) => {
    let sum = 0;
    for (let i = 0; i < inner; i++) {
      sum += p[Math.floor(at / columns) * inner + i]! * q[i * columns + (at % columns)]!;
    }
    return sum;
  });
}

/** x·B over the last axis; a vector B drops that axis. */
function linearOf(node: OnnxNode, x: Row, dims: readonly number[]): Row {
  const shape = node.builder.shapeOf(x.id);
  const { data } = node.weights(1, "matrix") ?? node.fail("has no matrix");
  if (shape.length === x.batch) return node.mixesRows("contracts the batch axis");
  const [ins, outs] = [dims[0]!, dims[1] ?? 1];
  const weight = node.constant("weight", [outs, ins], transposeMatrix(data, ins, outs));
  const y = node.builder.node({ op: "linear", name: node.name, inputs: [x.id, weight] });
  return node.result(dims.length === 2 ? y : node.reshape(y, shape.slice(0, -1)), x.batch);
}

/** One side of a general product: stacks of matrices per row, or a constant stack that is the same for all rows. */
function matrixOf(node: OnnxNode, operand: Constant | Row, frame: Frame): ValueId {
  const rank = operand.kind === "row" ? node.builder.shapeOf(operand.id).length : operand.dims.length;
  if (rank < 2) {
    return operand.kind === "row"
      ? node.mixesRows("multiplies along the batch axis")
      : node.unsupported("by a vector from the left is outside the native operator set");
  }
  return rowValue(node, operand, frame);
}

export const productOperators: Readonly<Record<string, Operator>> = { Gemm: gemm, MatMul: matMul };
