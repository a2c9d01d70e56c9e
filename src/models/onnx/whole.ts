/** An ONNX model as messages that can be changed and encoded again: fields that nobody here knows keep their bytes. */
import protobuf from "protobufjs/light.js";
import { InputError } from "../../errors.js";
import { modelType } from "./schema.js";

/** 64 bits, as the decoder keeps them. */
type Long = number | { toNumber(): number };

export interface WholeModel {
  irVersion?: Long;
  opsetImport: { domain?: string; version?: Long }[];
  /** Still encoded: the names in a function are its own. */
  functions: Uint8Array[];
  graph: WholeGraph;
}

export interface WholeGraph {
  name?: string;
  node: WholeNode[];
  initializer: WholeTensor[];
  sparseInitializer: { values?: WholeTensor; indices?: WholeTensor }[];
  input: WholeValueInfo[];
  output: WholeValueInfo[];
  valueInfo: WholeValueInfo[];
}

export interface WholeNode {
  input: string[];
  output: string[];
  name?: string;
  attribute: WholeAttribute[];
}

export interface WholeAttribute {
  t?: WholeTensor;
  tensors: WholeTensor[];
  /** Subgraphs, of If, Loop and Scan. */
  g?: WholeGraph;
  graphs: WholeGraph[];
}

export interface WholeTensor {
  name?: string;
  externalData: { key?: string; value?: string }[];
  /** 1: the data lies in another file. */
  dataLocation?: number;
}

/** As in ValueInfoProto, with lengths of 64 bits. */
export interface WholeValueInfo {
  name?: string;
  type?: {
    tensorType?: { elemType?: number; shape?: { dim: { dimValue?: Long; dimParam?: string }[] } };
  };
}

/** Throws InputError, naming the file, where the bytes are no ONNX model with a graph. */
export function decodeWhole(bytes: Uint8Array, file: string): WholeModel {
  const reader = protobuf.Reader.create(bytes);
  reader.discardUnknown = false;
  let model: WholeModel;
  try {
    model = modelType.decode(reader) as unknown as WholeModel;
  } catch (error) {
    throw new InputError(`${file}: is not an ONNX model, or a truncated one (${(error as Error).message})`, {
      cause: error,
    });
  }
  if (!Object.hasOwn(model, "graph"))
    throw new InputError(`${file}: is not an ONNX model: it holds no graph`);
  return model;
}

/** The bytes of a model file. `model` may hold messages of decoded models and plain objects side by side. */
export function encodeWhole(model: object): Uint8Array {
  return modelType.encode(model).finish();
}

export function toNumber(value: Long | undefined): number {
  return typeof value === "object" ? value.toNumber() : (value ?? 0);
}

/** Calls `visit` for the graph and every graph inside its nodes. */
export function visitGraphs(graph: WholeGraph, visit: (graph: WholeGraph) => void): void {
  visit(graph);
  for (const { attribute } of graph.node) {
    for (const { g, graphs } of attribute) {
      if (g) visitGraphs(g, visit);
      for (const inner of graphs) visitGraphs(inner, visit);
    }
  }
}

/** Names of the files in which the model keeps weights, each once. */
export function externalLocations({ graph }: WholeModel, file: string): string[] {
  const locations = new Set<string>();
  const add = (tensor: WholeTensor | null | undefined): void => {
    if (tensor?.dataLocation !== 1) return;
    const location = tensor.externalData.find(({ key }) => key === "location")?.value;
    if (!location) {
      throw new InputError(`${file}: tensor "${tensor.name ?? ""}" lies in another file that is not named`);
    }
    locations.add(location);
  };
  visitGraphs(graph, ({ initializer, sparseInitializer, node }) => {
    initializer.forEach(add);
    for (const { values, indices } of sparseInitializer) [values, indices].forEach(add);
    for (const { attribute } of node) {
      for (const { t, tensors } of attribute) [t, ...tensors].forEach(add);
    }
  });
  return [...locations];
}
