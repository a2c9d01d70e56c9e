/** From a Layers model to a graph of one row: NHWC to NCHW, weights and all. */
import { InputError, UnsupportedOperatorError } from "../../errors.js";
import { graphBuilder } from "../../graph/builder.js";
import { checkGraph } from "../../graph/check.js";
import { formatShape, type Graph, type Shape } from "../../graph/graph.js";
import { prune } from "../../graph/rewrite.js";
import { type ConversionContext, layerOf, type WeightFinder } from "./layer.js";
import { layers } from "./layers/index.js";
import type { LayerCall, LayersTopology, LayerTensor } from "./topology.js";
import { imageValue, type LayerValue, plainValue, reshapeValue } from "./value.js";
import type { StoredWeight } from "./weights.js";

/** In which order the graph takes or gives a tensor of three axes: as tfjs has it, or as [C, H, W]. */
export type Order = "plain" | "image";

export interface ConversionOptions {
  /** What messages call the model. */
  readonly path: string;
  readonly weights: ReadonlyMap<string, StoredWeight>;
  readonly output: LayerTensor;
  /** The one input and its shape in tfjs' order. */
  readonly input: LayerCall;
  readonly inputShape: Shape;
  readonly inputOrder: Order;
  /** The shape that the output is given, in tfjs' order, where it holds as many elements. Default: its own. */
  readonly outputShape?: Shape;
  readonly outputOrder: Order;
}

export interface Conversion {
  readonly graph: Graph;
  /** Sentences a user should read. */
  readonly notes: readonly string[];
}

/**
 * The graph that computes `output`. Only the layers it needs are converted. Throws UnsupportedOperatorError naming the
 * layer that the graph cannot express, InputError where layers and weights contradict one another.
 */
export function convertLayers(topology: LayersTopology, options: ConversionOptions): Conversion {
  const { path, input, inputShape, output } = options;
  const builder = graphBuilder(path);
  const notes: string[] = [];
  const context: ConversionContext = { path, builder, findWeight: weightFinder(options.weights), notes };
  const needed = neededCalls(output);
  const values = new Map<LayerCall, LayerValue>();
  const turned = options.inputOrder === "image";
  const id = builder.input(input.name, turned ? imageFirst(inputShape) : inputShape);
  values.set(input, turned ? imageValue(builder, id) : plainValue(builder, id, inputShape));

  for (const call of topology.calls) {
    if (call === input || !needed.has(call)) continue;
    const inputs = call.inputs.map((tensor) => values.get(onlyResult(tensor, path))!);
    values.set(call, convertCall(call, inputs, context));
  }
  const value = values.get(onlyResult(output, path))!;
  const { outputShape = value.shape } = options;
  const shaped = reshapeValue(builder, value, "output", outputShape) ?? value;
  if (shaped.shape !== value.shape) {
    notes.push(
      `${path}: its output (${formatShape(value.shape)}) is reshaped to ${formatShape(outputShape)}`,
    );
  }
  const result =
    options.outputOrder === "image" && shaped.shape.length === 3 ? shaped.image() : shaped.plain();
  // A graph's output always comes out of a node, even where the model only hands its input on.
  const outputId =
    result === id
      ? builder.node({ op: "reshape", name: "output", inputs: [id] }, builder.shapeOf(id))
      : result;
  const graph = prune(builder.finish(id, outputId));
  checkGraph(graph);
  return { graph, notes };
}

/** The call that gives the tensor, where it gives no other. */
function onlyResult({ call, index }: LayerTensor, path: string): LayerCall {
  if (index === 0) return call;
  const { className, name } = call;
  throw new UnsupportedOperatorError(
    `${path}: layer "${name}" (${className}) has several results, which is outside the native operator set`,
    className,
    name,
  );
}

function convertCall(call: LayerCall, inputs: readonly LayerValue[], context: ConversionContext): LayerValue {
  const { path } = context;
  const layer = layerOf(call, inputs, context);
  const converter = layers.get(call.className);
  if (converter === undefined) return layer.unsupported("is outside the native operator set");
  try {
    return converter(layer);
  } catch (error) {
    // The graph's own messages do not know the file.
    if (error instanceof InputError && !error.message.startsWith(path)) {
      throw new InputError(`${path}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** [H, W, C] → [C, H, W] */
export function imageFirst(shape: Shape): Shape {
  const [height, width, channels] = shape as [number, number, number];
  return [channels, height, width];
}

function neededCalls(output: LayerTensor): ReadonlySet<LayerCall> {
  const needed = new Set<LayerCall>();
  const open = [output.call];
  for (let call = open.pop(); call !== undefined; call = open.pop()) {
    if (needed.has(call)) continue;
    needed.add(call);
    open.push(...call.inputs.map((tensor) => tensor.call));
  }
  return needed;
}

/** TensorFlow 2.2 put a cell's name between the layer's and the weight's: tfjs leaves it out, and so does this. */
function weightFinder(weights: ReadonlyMap<string, StoredWeight>): WeightFinder {
  const shortened = new Map<string, StoredWeight | null>();
  for (const [name, weight] of weights) {
    const parts = name.split("/");
    const short = [...parts.slice(0, -2), parts.at(-1)].join("/");
    // Two weights under one shortened name leave it open which is meant.
    shortened.set(short, shortened.has(short) ? null : weight);
  }
  return (name) => weights.get(name) ?? shortened.get(name) ?? undefined;
}
