/** f = E∘D: the decoder's output wired to the encoder's input, as one graph. */
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
import { sameShape } from "./shapes.js";

export interface Composition {
  /** latent → latent */
  readonly graph: Graph;
  /** One sentence for every reshape that was needed to join the two. */
  readonly notes: readonly string[];
}

/**
 * Whether the two graphs were probably given in the wrong order: what is called the decoder shrinks its input to
 * what looks like a latent, and what is called the encoder grows it back.
 */
export function lookSwapped(decoder: Graph, encoder: Graph): boolean {
  const sizes = (graph: Graph) => [elements(inputShape(graph)), elements(outputShape(graph))] as const;
  const [decoderIn, decoderOut] = sizes(decoder);
  const [encoderIn, encoderOut] = sizes(encoder);
  return decoderIn > decoderOut && encoderIn < encoderOut;
}

/**
 * f = E∘D on latents. Shapes that differ but hold the same number of elements are joined by a reshape, with a note.
 * Throws InputError naming both shapes where they do not meet, and saying so where the two look swapped.
 */
export function compose(decoder: Graph, encoder: Graph): Composition {
  const swapped = lookSwapped(decoder, encoder) ? "; they look swapped" : "";
  const notes: string[] = [];
  const meet = (from: Shape, fromName: string, to: Shape, toName: string) => {
    const found = `${fromName} (${formatShape(from)})`;
    const expected = `${toName} (${formatShape(to)})`;
    if (elements(from) !== elements(to)) throw new InputError(`${found} does not fit ${expected}${swapped}`);
    if (!sameShape(from, to)) notes.push(`${found} is reshaped to ${expected}`);
  };
  meet(outputShape(decoder), "the decoder's output", inputShape(encoder), "the encoder's input");
  meet(outputShape(encoder), "the encoder's output", inputShape(decoder), "the decoder's input");

  const values: Value[] = [...decoder.values];
  const nodes: Node[] = [...decoder.nodes];
  const reshaped = (id: ValueId, shape: Shape, name: string): ValueId => {
    if (sameShape(values[id]!.shape, shape)) return id;
    const output = values.push({ name, shape }) - 1;
    nodes.push({ op: "reshape", name, inputs: [id], output });
    return output;
  };
  const image = reshaped(decoder.output, inputShape(encoder), "join.image");
  // The encoder's values follow the decoder's, except that its input is the decoder's output.
  const renumbered = encoder.values.map((value, id) =>
    id === encoder.input ? image : values.push(value) - 1,
  );
  const swap = (id: ValueId) => renumbered[id]!;
  for (const node of encoder.nodes) {
    const residual = node.residual === undefined ? {} : { residual: swap(node.residual) };
    nodes.push({ ...node, inputs: node.inputs.map(swap), output: swap(node.output), ...residual });
  }
  const output = reshaped(swap(encoder.output), inputShape(decoder), "join.latent");
  const name = `${encoder.name}∘${decoder.name}`;
  return { graph: { name, values, nodes, input: decoder.input, output }, notes };
}

export function inputShape(graph: Graph): Shape {
  return graph.values[graph.input]!.shape;
}

export function outputShape(graph: Graph): Shape {
  return graph.values[graph.output]!.shape;
}
