/** Puts a graph together value by value; shapes are worked out and checked as nodes are added. */
import { InputError } from "../errors.js";
import {
  elements,
  formatShape,
  type Graph,
  type Node,
  type Shape,
  type Value,
  type ValueId,
} from "./graph.js";
import { isUsableShape, resultShape } from "./shapes.js";

type WithoutOutput<N> = N extends Node ? Omit<N, "output"> : never;
/** A node before it has a place for its result. */
export type NewNode = WithoutOutput<Node>;

export interface GraphBuilder {
  /** A value that a row brings. */
  input(name: string, shape: Shape): ValueId;
  /** Throws InputError where the data does not fill the shape. */
  constant(name: string, shape: Shape, data: Float32Array): ValueId;
  /**
   * Adds a node and gives the id of its result. `shape` is needed for reshape, and for pooling and reduceMean
   * where it says which of the possible results is meant. Throws InputError where the inputs do not fit.
   */
  node(node: NewNode, shape?: Shape): ValueId;
  shapeOf(id: ValueId): Shape;
  /** The constant's elements, or undefined. */
  constantOf(id: ValueId): Float32Array | undefined;
  finish(input: ValueId, output: ValueId): Graph;
}

export function graphBuilder(name: string): GraphBuilder {
  const values: Value[] = [];
  const nodes: Node[] = [];
  const addValue = (value: Value): ValueId => {
    if (!isUsableShape(value.shape)) {
      throw new InputError(
        `"${value.name}" would have shape ${formatShape(value.shape)}, expected whole numbers of at least 1 ` +
          `and fewer than 2^31 elements`,
      );
    }
    return values.push(value) - 1;
  };
  return {
    input: (valueName, shape) => addValue({ name: valueName, shape }),
    constant(valueName, shape, data) {
      if (elements(shape) !== data.length) {
        throw new InputError(
          `constant "${valueName}" of shape ${formatShape(shape)} holds ${data.length} elements`,
        );
      }
      return addValue({ name: valueName, shape, constant: data });
    },
    node(node, shape = []) {
      const output = values.length;
      const complete = { ...node, output } as Node;
      const result = resultShape(
        complete,
        node.inputs.map((id) => values[id]!.shape),
        shape,
      );
      addValue({ name: node.name, shape: result });
      nodes.push(complete);
      return output;
    },
    shapeOf: (id) => values[id]!.shape,
    constantOf: (id) => values[id]!.constant,
    finish: (input, output) => ({ name, values, nodes, input, output }),
  };
}
