/** Einsum of one or two tensors, as transposes and one matrix product. */
import { elements, type Shape, type ValueId } from "../../../graph/graph.js";
import type { OnnxNode, Operator } from "../node.js";
import type { Constant, Row } from "../operand.js";
import { rowValue } from "./broadcast.js";
import { dimensionsOf, permuted } from "./layout.js";

/** A tensor with a letter for every axis of its row. */
interface Lettered {
  readonly id: ValueId;
  readonly letters: readonly string[];
}

const einsum: Operator = (node) => {
  const equation = node.string("equation", "").replaceAll(" ", "");
  const [left, right] = equation.split("->");
  const terms = left!.split(",");
  if (terms.length !== node.arity || terms.length > 2 || !/^[a-zA-Z,]*$/.test(left!)) {
    return node.unsupported(`of "${equation}" is outside the native operator set`);
  }
  const result = [...(right ?? implied(left!))];
  const operands = terms.map((term, i) => lettered(node, node.input(i), [...term]));
  const batches = new Set(operands.flatMap(({ batch }) => (batch === undefined ? [] : [batch])));
  const [batch] = batches;
  if (batch === undefined) return node.unsupported("of constants is outside the native operator set");
  if (batches.size > 1) return node.mixesRows(`of "${equation}" has the batch at two letters`);
  const at = result.indexOf(batch);
  if (at < 0) return node.mixesRows(`of "${equation}" sums over the batch`);
  const own = result.filter((letter) => letter !== batch);
  const [a, b] = operands.map((operand) => summed(node, operand, [...own, ...terms.join("")], operands));
  const product = b === undefined ? a! : contracted(node, a!, b, own);
  const order = own.map((letter) => product.letters.indexOf(letter));
  if (order.some((axis) => axis < 0) || order.length !== product.letters.length) {
    return node.unsupported(`of "${equation}" is outside the native operator set`);
  }
  return node.result(permuted(node, product.id, order), at);
};

/** Without an arrow the result has the letters that occur once, in the order of the alphabet. */
function implied(left: string): string {
  const letters = [...left.replaceAll(",", "")];
  return [...new Set(letters)]
    .filter((letter) => letters.filter((other) => other === letter).length === 1)
    .sort()
    .join("");
}

function lettered(node: OnnxNode, operand: Constant | Row, letters: readonly string[]) {
  const rank = dimensionsOf(node, operand).length;
  if (letters.length !== rank || new Set(letters).size !== rank) {
    return node.unsupported(`has "${letters.join("")}" for a tensor of ${rank} axes`);
  }
  if (operand.kind === "constant") {
    // Far enough to the left that no axis of the constant is the batch's.
    const id = rowValue(node, operand, { rank: rank + 1, batch: 0 });
    return { id, letters, batch: undefined };
  }
  return {
    id: operand.id,
    letters: letters.filter((_, axis) => axis !== operand.batch),
    batch: letters[operand.batch]!,
  };
}

/** Letters that stand in one tensor alone and not in the result are summed over. */
function summed(
  node: OnnxNode,
  operand: Lettered,
  all: readonly string[],
  operands: readonly Lettered[],
): Lettered {
  const alone = (letter: string) =>
    all.filter((other) => other === letter).length === 1 &&
    operands.some(({ letters }) => letters.includes(letter));
  const axes = operand.letters.flatMap((letter, axis) => (alone(letter) ? [axis] : []));
  if (axes.length === 0) return operand;
  const { builder, name } = node;
  const shape = builder.shapeOf(operand.id);
  const left = shape.filter((_, axis) => !axes.includes(axis));
  const mean = builder.node({ op: "reduceMean", name, inputs: [operand.id], axes }, left);
  const count = node.constant("count", [], Float32Array.of(elements(shape) / elements(left)));
  const id = builder.node({ op: "mul", name, inputs: [mean, count] });
  return { id, letters: operand.letters.filter((_, axis) => !axes.includes(axis)) };
}

/** [shared…, a's own…, summed…] · [shared…, summed…, b's own…] */
function contracted(node: OnnxNode, a: Lettered, b: Lettered, result: readonly string[]): Lettered {
  const both = a.letters.filter((letter) => b.letters.includes(letter));
  const shared = both.filter((letter) => result.includes(letter));
  const inner = both.filter((letter) => !result.includes(letter));
  const ownA = a.letters.filter((letter) => !both.includes(letter));
  const ownB = b.letters.filter((letter) => !both.includes(letter));
  const sizes = new Map<string, number>();
  for (const { id, letters } of [a, b]) {
    letters.forEach((letter, axis) => {
      const size = node.builder.shapeOf(id)[axis]!;
      if ((sizes.get(letter) ?? size) !== size) node.fail(`has two lengths for "${letter}"`);
      sizes.set(letter, size);
    });
  }
  const shapeOf = (letters: readonly string[]): Shape => letters.map((letter) => sizes.get(letter)!);
  const arranged = (x: Lettered, groups: readonly (readonly string[])[]): ValueId => {
    const order = groups.flat().map((letter) => x.letters.indexOf(letter));
    const [first, ...rest] = groups as [readonly string[]];
    const shape = [...shapeOf(first), ...rest.map((group) => elements(shapeOf(group)))];
    return node.reshape(permuted(node, x.id, order), shape);
  };
  const inputs = [arranged(a, [shared, ownA, inner]), arranged(b, [shared, inner, ownB])];
  const product = node.builder.node({ op: "matmul", name: node.name, inputs });
  const letters = [...shared, ...ownA, ...ownB];
  return { id: node.reshape(product, shapeOf(letters)), letters };
}

export const einsumOperators: Readonly<Record<string, Operator>> = { Einsum: einsum };
