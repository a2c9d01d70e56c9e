/** Constant folding: what does not depend on the row is computed once, and scales and shifts go into weights. */
import { type BinaryNode, elements, type Graph, type Node, type Shape, type ValueId } from "./graph.js";
import { interpret } from "./reference.js";
import { broadcastOffsets } from "./referenceTensor.js";
import {
  addConstant,
  type Draft,
  redirect,
  removeNode,
  replaceNode,
  rewrite,
  soleProducerOf,
} from "./rewrite.js";
import { sameShape } from "./shapes.js";

/** A folded result larger than this and larger than what it comes from is left to be computed. */
const maximumFoldedElements = 2 ** 24;

/**
 * Folds nodes whose inputs are all constant, and multiplications or additions of one constant per channel into the
 * convolution, linear layer or normalisation before them (batch normalisation arrives as such a pair). Computed in
 * double precision, stored as float32.
 */
export function fold(graph: Graph): Graph {
  return rewrite(graph, [foldConstantNode, foldAffine]);
}

/** The node that gives the graph's output stays: a graph's output always comes out of a node. */
function foldConstantNode(draft: Draft, node: Node): boolean {
  const constants = node.inputs.map((id) => draft.values[id]!.constant);
  if (node.residual !== undefined || constants.some((c) => c === undefined)) return false;
  if (node.output === draft.output) return false;
  const { name, shape } = draft.values[node.output]!;
  const size = elements(shape);
  if (size > maximumFoldedElements && size > constants.reduce((sum, c) => sum + c!.length, 0)) return false;
  const values = [...node.inputs, node.output].map((id) => draft.values[id]!);
  const alone: Graph = {
    name: node.name,
    // A graph needs an input; this one is never read.
    values: [...values, { name: "unused", shape: [1] }],
    nodes: [{ ...node, inputs: node.inputs.map((_, i) => i), output: node.inputs.length }],
    input: node.inputs.length + 1,
    output: node.inputs.length,
  };
  const folded = addConstant(draft, name, shape, Float32Array.from(interpret(alone, new Float64Array(1), 1)));
  removeNode(draft, node);
  redirect(draft, node.output, folded);
  return true;
}

/** y = factor · x + term, one of each per channel. */
interface Affine {
  /** Missing where it is 1 everywhere: weights stay as they are. */
  readonly factor?: (channel: number) => number;
  readonly term: (channel: number) => number;
}

function foldAffine(draft: Draft, node: Node): boolean {
  if (node.op !== "add" && node.op !== "sub" && node.op !== "mul" && node.op !== "div") return false;
  const constantSide = node.inputs.findIndex((id) => draft.values[id]!.constant !== undefined);
  if (constantSide < 0) return false;
  const x = node.inputs[1 - constantSide]!;
  const producer = soleProducerOf(draft, x);
  if (producer === undefined || producer.activation !== undefined || producer.residual !== undefined)
    return false;
  const { shape } = draft.values[x]!;
  if (!sameShape(shape, draft.values[node.output]!.shape)) return false;
  const constant = node.inputs[constantSide]!;
  const perChannel =
    producer.op === "layerNorm"
      ? constantPerElement(draft, constant, shape.slice(-producer.dimensions))
      : constantPerChannel(draft, constant, shape, producer.op === "linear" ? shape.length - 1 : 0);
  const affine = perChannel && affineOf(node, constantSide, perChannel);
  if (affine === undefined) return false;
  const merged = mergeAffine(draft, producer, affine);
  if (merged === undefined) return false;
  removeNode(draft, producer);
  replaceNode(draft, node, { ...merged, output: node.output, ...withActivation(node) });
  return true;
}

function withActivation(node: Node): Pick<Node, "activation"> {
  return node.activation === undefined ? {} : { activation: node.activation };
}

/** Channel → value of a constant that broadcasts over every axis but the channels', or undefined. */
function constantPerChannel(draft: Draft, id: ValueId, shape: Shape, channelAxis: number) {
  const { constant, shape: own } = draft.values[id]!;
  if (constant === undefined || own.length > shape.length) return undefined;
  const axis = channelAxis - (shape.length - own.length);
  if (own.some((n, i) => i !== axis && n !== 1)) return undefined;
  // Infinity times a weight of zero is not infinity times a sum: such constants stay where they are.
  if (!constant.every(Number.isFinite)) return undefined;
  return constant.length === 1 ? () => constant[0]! : (channel: number) => constant[channel]!;
}

/** Element of the trailing dimensions → value of a constant that broadcasts to them, or undefined. */
function constantPerElement(draft: Draft, id: ValueId, trailing: Shape) {
  const { constant, shape: own } = draft.values[id]!;
  if (constant === undefined || !constant.every(Number.isFinite)) return undefined;
  if (constant.length === 1) return () => constant[0]!;
  const from = own.slice(Math.max(0, own.length - trailing.length));
  if (elements(from) !== constant.length) return undefined;
  const spread = broadcastOffsets(from, trailing);
  return (element: number) => constant[spread[element]!]!;
}

function affineOf(
  { op }: BinaryNode,
  constantSide: number,
  value: (channel: number) => number,
): Affine | undefined {
  const zero = () => 0;
  if (op === "add") return { term: value };
  if (op === "mul") return { factor: value, term: zero };
  if (op === "sub") {
    return constantSide === 1 ? { term: (channel) => -value(channel) } : { factor: () => -1, term: value };
  }
  if (constantSide === 0) return undefined;
  return { factor: (channel) => 1 / value(channel), term: zero };
}

/** The producer with the affine map put into its weights; undefined where it has none to put it into. */
function mergeAffine(draft: Draft, producer: Node, affine: Affine): Node | undefined {
  const { factor = () => 1, term } = affine;
  const constantOf = (id: ValueId | undefined) => (id === undefined ? undefined : draft.values[id]!.constant);
  const name = (id: ValueId) => draft.values[id]!.name;
  if (producer.op === "groupNorm" || producer.op === "layerNorm") {
    const [x, scaleId, biasId] = producer.inputs as [ValueId, ValueId, ValueId];
    const scale = constantOf(scaleId)!.map((s, c) => s * factor(c));
    const bias = constantOf(biasId)!.map((b, c) => b * factor(c) + term(c));
    const inputs = [
      x,
      addConstant(draft, name(scaleId), draft.values[scaleId]!.shape, scale),
      addConstant(draft, name(biasId), draft.values[biasId]!.shape, bias),
    ];
    return { ...producer, inputs };
  }
  if (producer.op !== "conv" && producer.op !== "convTranspose" && producer.op !== "linear") return undefined;
  const [x, weightId, biasId] = producer.inputs as [ValueId, ValueId, ValueId | undefined];
  const weight = constantOf(weightId);
  const oldBias = constantOf(biasId);
  if (weight === undefined || (biasId !== undefined && oldBias === undefined)) return undefined;
  const { shape } = draft.values[weightId]!;
  const channels = producer.op === "convTranspose" ? shape[1]! * producer.groups : shape[0]!;
  let scaled = weightId;
  if (affine.factor !== undefined) {
    const channelOf = outputChannelOf(producer, shape);
    const data = weight.map((w, i) => w * factor(channelOf(i)));
    scaled = addConstant(draft, name(weightId), shape, data);
  }
  const bias = Float32Array.from({ length: channels }, (_, c) => (oldBias?.[c] ?? 0) * factor(c) + term(c));
  const inputs = [
    x,
    scaled,
    addConstant(draft, biasId === undefined ? `${name(weightId)}.bias` : name(biasId), [channels], bias),
  ];
  return { ...producer, inputs };
}

/** Output channel that element i of the weight contributes to. */
function outputChannelOf(producer: Node, weightShape: Shape): (i: number) => number {
  if (producer.op !== "convTranspose") {
    const perChannel = elements(weightShape.slice(1));
    return (i) => Math.floor(i / perChannel);
  }
  const [channels, perGroup, ...kernel] = weightShape as [number, number, number, number];
  const taps = elements(kernel);
  return (i) => {
    const inChannel = Math.floor(i / (perGroup * taps));
    const group = Math.floor(inChannel / (channels / producer.groups));
    return group * perGroup + (Math.floor(i / taps) % perGroup);
  };
}
