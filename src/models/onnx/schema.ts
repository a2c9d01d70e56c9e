/**
 * The part of ONNX's protobuf schema that is needed here, and the decoder made of it. Fields that are not listed
 * (documentation, training information, …) are skipped by the decoder, or kept as bytes by the one in whole.ts; field
 * numbers are ONNX's.
 */
import protobuf from "protobufjs/light.js";
import { InputError } from "../../errors.js";

/** TensorProto.DataType */
export const dataTypes = {
  float: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  double: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
} as const;

/** AttributeProto.AttributeType, those that are read. */
export const attributeTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  floats: 6,
  ints: 7,
} as const;

export interface TensorProto {
  dims: number[];
  dataType?: number;
  floatData: number[];
  int32Data: number[];
  int64Data: number[];
  doubleData: number[];
  uint64Data: number[];
  name?: string;
  rawData?: Uint8Array;
  externalData: { key?: string; value?: string }[];
  /** 1: the data lies in another file. */
  dataLocation?: number;
}

export interface AttributeProto {
  name?: string;
  type?: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  t?: TensorProto;
  floats: number[];
  ints: number[];
}

export interface NodeProto {
  input: string[];
  output: string[];
  name?: string;
  opType?: string;
  domain?: string;
  attribute: AttributeProto[];
}

export interface ValueInfoProto {
  name?: string;
  type?: {
    tensorType?: { elemType?: number; shape?: { dim: { dimValue?: number; dimParam?: string }[] } };
  };
}

export interface GraphProto {
  node: NodeProto[];
  name?: string;
  initializer: TensorProto[];
  sparseInitializer: unknown[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
}

export interface ModelProto {
  irVersion?: number;
  opsetImport: { domain?: string; version?: number }[];
  producerName?: string;
  graph?: GraphProto;
}

const one = (type: string, id: number) => ({ type, id });
const many = (type: string, id: number) => ({ rule: "repeated", type, id });

const root = protobuf.Root.fromJSON({
  nested: {
    Model: {
      fields: {
        irVersion: one("int64", 1),
        producerName: one("string", 2),
        graph: one("Graph", 7),
        opsetImport: many("OperatorSet", 8),
        functions: many("bytes", 25),
      },
    },
    OperatorSet: { fields: { domain: one("string", 1), version: one("int64", 2) } },
    Graph: {
      fields: {
        node: many("Node", 1),
        name: one("string", 2),
        initializer: many("Tensor", 5),
        input: many("ValueInfo", 11),
        output: many("ValueInfo", 12),
        valueInfo: many("ValueInfo", 13),
        sparseInitializer: many("SparseTensor", 15),
      },
    },
    Node: {
      fields: {
        input: many("string", 1),
        output: many("string", 2),
        name: one("string", 3),
        opType: one("string", 4),
        attribute: many("Attribute", 5),
        domain: one("string", 7),
      },
    },
    Attribute: {
      fields: {
        name: one("string", 1),
        f: one("float", 2),
        i: one("int64", 3),
        s: one("bytes", 4),
        t: one("Tensor", 5),
        g: one("Graph", 6),
        floats: many("float", 7),
        ints: many("int64", 8),
        tensors: many("Tensor", 10),
        graphs: many("Graph", 11),
        type: one("int32", 20),
      },
    },
    Tensor: {
      fields: {
        dims: many("int64", 1),
        dataType: one("int32", 2),
        floatData: many("float", 4),
        int32Data: many("int32", 5),
        int64Data: many("int64", 7),
        name: one("string", 8),
        rawData: one("bytes", 9),
        doubleData: many("double", 10),
        uint64Data: many("uint64", 11),
        externalData: many("StringEntry", 13),
        dataLocation: one("int32", 14),
      },
    },
    SparseTensor: { fields: { values: one("Tensor", 1), indices: one("Tensor", 2) } },
    StringEntry: { fields: { key: one("string", 1), value: one("string", 2) } },
    ValueInfo: { fields: { name: one("string", 1), type: one("Type", 2) } },
    Type: { fields: { tensorType: one("TensorType", 1) } },
    TensorType: { fields: { elemType: one("int32", 1), shape: one("TensorShape", 2) } },
    TensorShape: { fields: { dim: many("Dimension", 1) } },
    Dimension: { fields: { dimValue: one("int64", 1), dimParam: one("string", 2) } },
  },
});

/** The message type of a whole model, for reading and, in tests, for writing. */
export const modelType = root.lookupType("Model");

/** The decoded model. Throws InputError, naming the file, where the bytes are no ONNX model. */
export function decodeModel(bytes: Uint8Array, file: string): ModelProto & { graph: GraphProto } {
  let model: ModelProto;
  try {
    model = modelType.toObject(modelType.decode(bytes), { longs: Number, arrays: true }) as ModelProto;
  } catch (error) {
    throw new InputError(`${file}: is not an ONNX model, or a truncated one (${(error as Error).message})`, {
      cause: error,
    });
  }
  const { graph } = model;
  if (graph === undefined || model.opsetImport.length === 0 || graph.output.length === 0) {
    throw new InputError(
      `${file}: is not an ONNX model: it holds no graph with an output and an operator set`,
    );
  }
  return { ...model, graph };
}
