/** What a model is made of, and how the native engine would run it. */
import { elements, type Graph, type Node } from "../graph/graph.js";
import type { Autoencoder } from "../models/autoencoder.js";
import type { CompileOptions, PlanInfo } from "../native.js";
import { nativeEngine } from "./native.js";

export interface NodeDescription {
  readonly op: string;
  readonly name: string;
  /** Function applied last, where there is one. */
  readonly activation: string | null;
  readonly outputShape: number[];
  /** Nominal: 2 × multiply-adds for one row, padding taps included; 0 for nodes that only move or scale. */
  readonly flops: number;
}

export interface ModelDescription {
  readonly name: string;
  readonly path: string;
  readonly format: string;
  readonly files: string[];
  readonly hash: string;
  readonly latentShape: number[];
  readonly latentDimension: number;
  readonly inputShape: number[] | null;
  readonly notes: string[];
  /** Why the native engine cannot run it; null where it can. Then what follows is null. */
  readonly unsupported: string | null;
  /** Constant numbers in f after folding and fusing. */
  readonly parameters: number | null;
  /** Of f, in the order they run; empty where there is no graph. */
  readonly nodes: NodeDescription[];
  readonly flopsPerRow: number | null;
  readonly plan: PlanInfo | null;
}

/** Compiles f to say how it would run. Throws InputError where the native engine should be able to run it and cannot. */
export function inspectModel(model: Autoencoder, options: CompileOptions = {}): ModelDescription {
  const { map } = model;
  const nodes = map === null ? [] : map.nodes.map((node) => describeNode(map, node));
  return {
    name: model.name,
    path: model.path,
    format: model.format,
    files: [...model.files],
    hash: model.hash,
    latentShape: [...model.latentShape],
    latentDimension: model.latentDimension,
    inputShape: model.inputShape === null ? null : [...model.inputShape],
    notes: [...model.notes],
    unsupported: model.unsupported?.message ?? null,
    parameters: map === null ? null : parametersOf(map),
    nodes,
    flopsPerRow: map === null ? null : nodes.reduce((sum, { flops }) => sum + flops, 0),
    plan: map === null ? null : nativeEngine(model, options).plan(),
  };
}

function describeNode(graph: Graph, node: Node): NodeDescription {
  return {
    op: node.op,
    name: node.name,
    activation: node.activation?.kind ?? null,
    outputShape: [...graph.values[node.output].shape],
    flops: flopsOf(graph, node),
  };
}

/** Nominal floating-point operations of a node on one row. */
export function flopsOf(graph: Graph, node: Node): number {
  const shape = (input: number): readonly number[] => graph.values[node.inputs[input]].shape;
  const outputs = elements(graph.values[node.output].shape);
  switch (node.op) {
    case "conv":
      // weight [O, C/groups, KH, KW]
      return 2 * outputs * elements(shape(1).slice(1));
    case "convTranspose":
      // weight [C, O/groups, KH, KW]: each input element meets O/groups·KH·KW weights.
      return 2 * elements(shape(0)) * elements(shape(1).slice(1));
    case "linear":
      return 2 * outputs * shape(1)[1];
    case "matmul":
      return 2 * outputs * shape(0)[shape(0).length - 1];
    case "attention": {
      // q […, T, d], k […, S, d], v […, S, e]: T·S scores of d products each, then T·e sums of S.
      const sources = shape(1)[shape(1).length - 2];
      return 2 * sources * (elements(shape(0)) + outputs);
    }
    default:
      return 0;
  }
}

/** Constants that nodes read, each counted once. */
function parametersOf(graph: Graph): number {
  const read = new Set(graph.nodes.flatMap((node) => node.inputs));
  let sum = 0;
  for (const id of read) sum += graph.values[id].constant?.length ?? 0;
  return sum;
}
