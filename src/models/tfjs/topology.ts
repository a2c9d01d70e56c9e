/** The layers of a Layers model as calls in the order in which they run, nested models taken apart. */
import { InputError } from "../../errors.js";
import { isObject, type JsonObject } from "../json.js";

/** One layer, called once. */
export interface LayerCall {
  readonly className: string;
  /** The layer's; weights are named by it. */
  readonly name: string;
  readonly config: JsonObject;
  /** What the layer is called on; nothing for an input. */
  readonly inputs: readonly LayerTensor[];
}

/** A result of a call. */
export interface LayerTensor {
  readonly call: LayerCall;
  /** Which of its results. */
  readonly index: number;
}

export interface LayersTopology {
  /** Every call stands behind those it reads. */
  readonly calls: readonly LayerCall[];
  readonly inputs: readonly LayerCall[];
  /** What the model gives, each under the name of the layer that gives it. */
  readonly outputs: readonly LayerTensor[];
}

const models: ReadonlySet<string> = new Set(["Sequential", "Functional", "Model", "LayersModel"]);
/** Nested models that are called more than once multiply: without a limit a small file describes an endless model. */
const maximumCalls = 20_000;
const maximumDepth = 64;

/**
 * Reads `modelTopology` of a Layers model. Throws InputError naming the file and the layer where it is damaged: a
 * layer that nothing defines, layers that wait for one another, inputs or outputs that do not exist.
 */
export function readTopology(topology: JsonObject, path: string): LayersTopology {
  const model = isObject(topology.model_config) ? topology.model_config : topology;
  const calls: LayerCall[] = [];
  const inputs: LayerCall[] = [];
  const reader: Reader = {
    path,
    add(call) {
      if (calls.push(call) > maximumCalls) throw tooManyCalls(path);
      if (call.inputs.length === 0) inputs.push(call);
      return call;
    },
  };
  const outputs = expand(layerOf(model, path), null, reader, 0);
  return { calls, inputs, outputs };
}

function tooManyCalls(path: string): InputError {
  return new InputError(`${path}: calls more than ${maximumCalls} layers, counted through nested models`);
}

interface Reader {
  readonly path: string;
  add(call: LayerCall): LayerCall;
}

interface Layer {
  readonly className: string;
  readonly name: string;
  readonly config: JsonObject;
  readonly inbound: unknown;
}

function layerOf(value: unknown, path: string): Layer {
  if (!isObject(value)) throw new InputError(`${path}: lists a layer that is not an object`);
  const { class_name: className, inbound_nodes: inbound } = value;
  if (typeof className !== "string") {
    throw new InputError(`${path}: lists a layer whose class_name is ${JSON.stringify(className)}`);
  }
  // The oldest Sequential models keep their layers in place of the config.
  const config = Array.isArray(value.config) ? { layers: value.config } : value.config;
  if (!isObject(config)) throw new InputError(`${path}: its layer of class ${className} has no config`);
  const name = value.name ?? config.name ?? className;
  if (typeof name !== "string") {
    throw new InputError(`${path}: its layer of class ${className} is named ${JSON.stringify(name)}`);
  }
  return { className, name, config, inbound };
}

function layersOf({ className, name, config }: Layer, path: string): Layer[] {
  if (!Array.isArray(config.layers)) {
    throw new InputError(`${path}: "${name}" (${className}) has no list of layers`);
  }
  return config.layers.map((layer) => layerOf(layer, path));
}

/** The results of `layer` called on `inputs`; null: as the whole model, which brings inputs of its own. */
function expand(
  layer: Layer,
  inputs: readonly LayerTensor[] | null,
  reader: Reader,
  depth: number,
): readonly LayerTensor[] {
  if (depth > maximumDepth) {
    throw new InputError(`${reader.path}: nests models more than ${maximumDepth} deep`);
  }
  if (!models.has(layer.className)) {
    const { className, name, config } = layer;
    const call = reader.add({ className, name, config, inputs: inputs ?? [] });
    return [{ call, index: 0 }];
  }
  return layer.className === "Sequential"
    ? expandSequential(layer, inputs, reader, depth)
    : expandFunctional(layer, inputs, reader, depth);
}

function expandSequential(
  layer: Layer,
  given: readonly LayerTensor[] | null,
  reader: Reader,
  depth: number,
): readonly LayerTensor[] {
  const layers = layersOf(layer, reader.path);
  const [first] = layers;
  if (first === undefined) throw new InputError(`${reader.path}: "${layer.name}" has no layers`);
  let current = given ?? [inputOf(first, reader)];
  for (const [i, next] of layers.entries()) {
    if (i === 0 && next.className === "InputLayer") continue;
    if (current.length !== 1) {
      throw new InputError(
        `${reader.path}: "${next.name}" is called on ${current.length} tensors, expected one`,
      );
    }
    current = expand(next, current, reader, depth + 1);
  }
  return current;
}

/** The input that the first layer of a Sequential model stands for; in nested models it is said further in. */
function inputOf(first: Layer, reader: Reader): LayerTensor {
  let says = first;
  while (models.has(says.className)) {
    const layers = layersOf(says, reader.path);
    const next =
      says.className === "Sequential"
        ? layers[0]
        : layers.find(({ className }) => className === "InputLayer");
    if (next === undefined) break;
    says = next;
  }
  const { batch_input_shape: shape, batch_shape: newer, dtype } = says.config;
  const call = reader.add({
    className: "InputLayer",
    name: says.className === "InputLayer" ? says.name : `${says.name}_input`,
    config: { batch_input_shape: shape ?? newer ?? null, dtype: dtype ?? null },
    inputs: [],
  });
  return { call, index: 0 };
}

/** A call that waits for what it reads. */
interface Waiting {
  readonly layer: Layer;
  readonly from: readonly Reference[];
}

interface Reference {
  readonly layer: string;
  /** Which call of it. */
  readonly node: number;
  /** Which result. */
  readonly tensor: number;
}

function expandFunctional(
  model: Layer,
  given: readonly LayerTensor[] | null,
  reader: Reader,
  depth: number,
): readonly LayerTensor[] {
  const { path } = reader;
  const layers = layersOf(model, path);
  const byName = new Map(layers.map((layer) => [layer.name, layer]));
  if (byName.size < layers.length) throw new InputError(`${path}: "${model.name}" names a layer twice`);
  const inputs = references(model.config.input_layers, "input_layers", model, path);
  const outputs = references(model.config.output_layers, "output_layers", model, path);
  if (given !== null && given.length !== inputs.length) {
    throw new InputError(
      `${path}: "${model.name}" takes ${inputs.length} tensors and is called on ${given.length}`,
    );
  }

  /** Results of each call of each layer; a nested model's own making counts as its first call. */
  const made = new Map<string, (readonly LayerTensor[])[]>();
  for (const { name, className } of layers) made.set(name, models.has(className) ? [[]] : []);
  const placed = new Map(inputs.map(({ layer }, i) => [layer, given?.[i]]));

  const start = (layer: Layer): Waiting[] => {
    if (layer.className === "InputLayer") {
      const tensor = placed.get(layer.name);
      const { name, className, config } = layer;
      made
        .get(name)!
        .push([tensor ?? { call: reader.add({ className, name, config, inputs: [] }), index: 0 }]);
      return [];
    }
    return inboundOf(layer, byName, path).map((from) => ({ layer, from }));
  };

  /** Done once all it reads is there; false: not yet. */
  const call = ({ layer, from }: Waiting): boolean => {
    const tensors: LayerTensor[] = [];
    for (const reference of from) {
      const results = made.get(reference.layer)?.[reference.node];
      if (results === undefined) return false;
      tensors.push(resultOf(results, reference, path));
    }
    made.get(layer.name)!.push(expand(layer, tensors, reader, depth + 1));
    return true;
  };

  let waiting = layers.flatMap(start);
  if (waiting.length > maximumCalls) throw tooManyCalls(path);
  while (waiting.length > 0) {
    // A layer's calls are numbered in the order of the file: none may overtake the one before it.
    const held = new Set<string>();
    const left = waiting.filter((next) => {
      if (!held.has(next.layer.name) && call(next)) return false;
      held.add(next.layer.name);
      return true;
    });
    if (left.length === waiting.length) {
      const [{ layer, from }] = left as [Waiting];
      throw new InputError(
        `${path}: "${layer.name}" (${layer.className}) reads "${from[0]?.layer}", which waits for it or is never computed`,
      );
    }
    waiting = left;
  }
  return outputs.map((reference) => {
    const results = made.get(reference.layer)?.[reference.node];
    if (results === undefined) {
      throw new InputError(`${path}: gives "${reference.layer}", which nothing computes`);
    }
    return resultOf(results, reference, path);
  });
}

/** A layer outside this file's knowledge may have several results; which of them exist shows when it runs. */
function resultOf(results: readonly LayerTensor[], { layer, tensor }: Reference, path: string): LayerTensor {
  const [first] = results;
  const result = results[tensor];
  if (result !== undefined) return result;
  if (results.length === 1 && first!.index === 0 && first!.call.name === layer) {
    return { call: first!.call, index: tensor };
  }
  throw new InputError(`${path}: reads result ${tensor} of "${layer}", which has ${results.length}`);
}

function inboundOf(layer: Layer, byName: ReadonlyMap<string, Layer>, path: string): Reference[][] {
  const { inbound, name, className } = layer;
  const where = `${path}: "${name}" (${className})`;
  if (!Array.isArray(inbound)) throw new InputError(`${where} has no inbound_nodes`);
  return inbound.map((node) => {
    if (isObject(node)) {
      throw new InputError(
        `${where} is called in the form of Keras 3, which tfjs does not read; convert the model with Keras 2 (TF_USE_LEGACY_KERAS=1)`,
      );
    }
    const from = references(node, "inbound_nodes", layer, path);
    if (from.length === 0) throw new InputError(`${where} is called on nothing`);
    for (const { layer: read } of from) {
      if (!byName.has(read)) throw new InputError(`${where} reads "${read}", which is no layer of the model`);
    }
    return from;
  });
}

/** [["layer", node, tensor, …], …], or one such triple where there is only one. */
function references(value: unknown, key: string, layer: Layer, path: string): Reference[] {
  const fail = (found: unknown): never => {
    throw new InputError(
      `${path}: "${layer.name}" (${layer.className}) has ${JSON.stringify(found) ?? "nothing"} as ${key}, expected ["layer", call, result]`,
    );
  };
  if (!Array.isArray(value)) return fail(value);
  const list: unknown[] = typeof value[0] === "string" ? [value] : value;
  return list.map((item) => {
    if (!Array.isArray(item)) return fail(item);
    const [name, node, tensor] = item as unknown[];
    const isIndex = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
    if (typeof name !== "string" || !isIndex(node) || !isIndex(tensor)) return fail(item);
    return { layer: name, node, tensor };
  });
}
