/** Writes small ONNX models for tests, with the message types that the importer reads them with. */
import { dataTypes, modelType } from "../../src/models/onnx/schema.js";

export interface TensorToWrite {
  dims: number[];
  dataType: number;
  floatData?: number[];
  int32Data?: number[];
  int64Data?: number[];
  doubleData?: number[];
  rawData?: Uint8Array;
  dataLocation?: number;
  externalData?: { key: string; value: string }[];
}

/** float32 as raw bytes, as exporters write weights. */
export function floats(dims: number[], data: ArrayLike<number>): TensorToWrite {
  const rawData = new Uint8Array(Float32Array.from(data).buffer);
  return { dims, dataType: dataTypes.float, rawData };
}

export function ints(...data: number[]): TensorToWrite {
  return { dims: [data.length], dataType: dataTypes.int64, int64Data: data };
}

export function scalarInt(value: number): TensorToWrite {
  return { dims: [], dataType: dataTypes.int64, int64Data: [value] };
}

/** Attribute values by their ONNX kind. */
export type AttributeToWrite =
  | { f: number }
  | { i: number }
  | { s: string }
  | { t: TensorToWrite }
  | { g: ModelToWrite }
  | { floats: number[] }
  | { ints: number[] };

const attributeCodes = { f: 1, i: 2, s: 3, t: 4, g: 5, floats: 6, ints: 7 } as const;

export interface NodeToWrite {
  op: string;
  inputs: string[];
  outputs: string[];
  name?: string;
  domain?: string;
  attributes?: Record<string, AttributeToWrite>;
}

export interface ModelToWrite {
  opset?: number;
  /** Axes by number or by name; the first is the batch. */
  inputs?: Record<string, (number | string)[]>;
  inputType?: number;
  /** Names, or names with axes as of the inputs. */
  outputs?: string[] | Record<string, (number | string)[]>;
  outputType?: number;
  nodes: NodeToWrite[];
  initializers?: Record<string, TensorToWrite>;
  domain?: string;
}

export function onnxModel(model: ModelToWrite): Uint8Array {
  const message = {
    irVersion: 8,
    producerName: "test",
    opsetImport: [{ domain: model.domain ?? "", version: model.opset ?? 17 }],
    graph: graph(model),
  };
  // A plain array: slice() of a Buffer would share its bytes.
  return Uint8Array.from(modelType.encode(modelType.fromObject(message)).finish());
}

function graph(model: ModelToWrite): object {
  const { inputs = { x: ["batch", 2] }, outputs = ["y"], inputType = dataTypes.float } = model;
  return {
    name: "graph",
    input: Object.entries(inputs).map(([name, dims]) => value(name, dims, inputType)),
    output: Array.isArray(outputs)
      ? outputs.map((name) => ({ name }))
      : Object.entries(outputs).map(([name, dims]) => value(name, dims, model.outputType ?? inputType)),
    initializer: Object.entries(model.initializers ?? {}).map(([name, tensor]) => ({ name, ...tensor })),
    node: model.nodes.map(({ op, inputs: from, outputs: to, name, domain, attributes = {} }) => ({
      opType: op,
      input: from,
      output: to,
      name,
      domain,
      attribute: Object.entries(attributes).map(([key, item]) => attribute(key, item)),
    })),
  };
}

function value(name: string, dims: readonly (number | string)[], elemType: number) {
  const dim = dims.map((n) => (typeof n === "number" ? { dimValue: n } : { dimParam: n }));
  return { name, type: { tensorType: { elemType, shape: { dim } } } };
}

function attribute(name: string, value: AttributeToWrite): object {
  const [kind] = Object.keys(value) as (keyof typeof attributeCodes)[];
  const type = attributeCodes[kind!];
  if ("g" in value) return { name, type, g: graph(value.g) };
  if ("s" in value) return { name, type, s: new TextEncoder().encode(value.s) };
  return { name, type, ...value };
}
