/** The elements of an ONNX tensor, in any of the ways the format can hold them. */
import { widenBfloat16, widenFloat16 } from "../../data/safetensors.js";
import { InputError } from "../../errors.js";
import { elements } from "../../graph/graph.js";
import { type Constant, constant } from "./operand.js";
import { dataTypes, type TensorProto } from "./schema.js";

/** Gives `length` bytes of a file beside the model, from `offset`. Throws InputError where it holds fewer. */
export type ExternalReader = (location: string, offset: number, length: number) => Uint8Array;

interface Layout {
  readonly type: Constant["type"];
  readonly bytes: number;
  /** Aligned little-endian bytes to numbers. */
  readonly decode: (buffer: ArrayBuffer) => Float32Array | readonly number[];
  /** The typed list that is used instead of raw bytes. */
  readonly list: (tensor: TensorProto) => readonly number[];
  /** Elements of that list to numbers, where they are not plain ones. */
  readonly fromList?: (list: readonly number[]) => Float32Array;
}

const int32 = (t: TensorProto) => t.int32Data;
const layouts: Readonly<Record<number, Layout>> = {
  [dataTypes.float]: {
    type: "float",
    bytes: 4,
    decode: (b) => new Float32Array(b),
    list: (t) => t.floatData,
  },
  [dataTypes.double]: {
    type: "float",
    bytes: 8,
    decode: (b) => Float32Array.from(new Float64Array(b)),
    list: (t) => t.doubleData,
  },
  [dataTypes.float16]: {
    type: "float",
    bytes: 2,
    decode: (b) => widenFloat16(new Uint16Array(b)),
    list: int32,
    fromList: (list) => widenFloat16(Uint16Array.from(list)),
  },
  [dataTypes.bfloat16]: {
    type: "float",
    bytes: 2,
    decode: (b) => widenBfloat16(new Uint16Array(b)),
    list: int32,
    fromList: (list) => widenBfloat16(Uint16Array.from(list)),
  },
  [dataTypes.int64]: {
    type: "int",
    bytes: 8,
    decode: (b) => Array.from(new BigInt64Array(b), Number),
    list: (t) => t.int64Data,
  },
  [dataTypes.uint64]: {
    type: "int",
    bytes: 8,
    decode: (b) => Array.from(new BigUint64Array(b), Number),
    list: (t) => t.uint64Data,
  },
  [dataTypes.int32]: { type: "int", bytes: 4, decode: (b) => [...new Int32Array(b)], list: int32 },
  [dataTypes.uint32]: {
    type: "int",
    bytes: 4,
    decode: (b) => [...new Uint32Array(b)],
    list: (t) => t.uint64Data,
  },
  [dataTypes.int16]: { type: "int", bytes: 2, decode: (b) => [...new Int16Array(b)], list: int32 },
  [dataTypes.uint16]: { type: "int", bytes: 2, decode: (b) => [...new Uint16Array(b)], list: int32 },
  [dataTypes.int8]: { type: "int", bytes: 1, decode: (b) => [...new Int8Array(b)], list: int32 },
  [dataTypes.uint8]: { type: "int", bytes: 1, decode: (b) => [...new Uint8Array(b)], list: int32 },
  [dataTypes.bool]: { type: "bool", bytes: 1, decode: (b) => [...new Uint8Array(b)], list: int32 },
};

/** Whether numbers of this ONNX type are floating point, of any width. */
export function isFloatType(dataType: number): boolean {
  return layouts[dataType]?.type === "float";
}

/** Whether the type is one of the whole numbers or booleans. */
export function isIntegerType(dataType: number): boolean {
  const layout = layouts[dataType];
  return layout !== undefined && layout.type !== "float";
}

/**
 * The tensor as a constant; floating point of any width becomes float32. The size that the shape asks for is
 * compared with the bytes that are there before anything is allocated. Throws InputError naming file and tensor.
 */
export function readTensor(
  tensor: TensorProto,
  name: string,
  file: string,
  readExternal: ExternalReader | undefined,
): Constant {
  const where = `${file}: tensor "${name}"`;
  const layout = layouts[tensor.dataType ?? 0];
  if (layout === undefined) {
    throw new InputError(`${where} has data type ${tensor.dataType ?? 0}, expected a type of numbers`);
  }
  const { dims } = tensor;
  if (!dims.every((n) => Number.isSafeInteger(n) && n >= 0) || !Number.isSafeInteger(elements(dims) * 8)) {
    throw new InputError(`${where} has shape [${listed(dims)}], expected whole numbers of at least 0`);
  }
  const size = elements(dims);
  const checkSize = (found: number, unit: string, expected: number) => {
    if (found !== expected) {
      throw new InputError(
        `${where} of shape [${listed(dims)}] holds ${found} ${unit}, expected ${expected}: the file is damaged`,
      );
    }
  };
  let bytes = tensor.rawData;
  if (tensor.dataLocation === 1) {
    bytes = readFromFile(tensor, where, size * layout.bytes, readExternal);
  }
  if (bytes !== undefined && (bytes.length > 0 || size === 0)) {
    checkSize(bytes.length, "bytes", size * layout.bytes);
    // A copy begins at its own byte 0, so that views of it are aligned, and does not keep the whole file alive.
    return constant(name, layout.type, dims, layout.decode(new Uint8Array(bytes).buffer));
  }
  const list = layout.list(tensor);
  checkSize(list.length, "elements", size);
  if (layout.fromList !== undefined) return constant(name, layout.type, dims, layout.fromList(list));
  return constant(name, layout.type, dims, layout.type === "float" ? Float32Array.from(list) : [...list]);
}

/** The first few of a list that a damaged file may have made long. */
function listed(dims: readonly number[]): string {
  return dims.length > 12 ? `${dims.slice(0, 12).join(", ")}, …` : dims.join(", ");
}

function readFromFile(
  tensor: TensorProto,
  where: string,
  expected: number,
  readExternal: ExternalReader | undefined,
): Uint8Array {
  const entries = new Map(tensor.externalData.map(({ key = "", value = "" }) => [key, value]));
  const location = entries.get("location");
  if (location === undefined) throw new InputError(`${where} lies in another file that is not named`);
  const whole = (key: string, fallback: number) => {
    const value = entries.get(key) === undefined ? fallback : Number(entries.get(key));
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new InputError(`${where} has the external ${key} "${entries.get(key)}", expected a whole number`);
    }
    return value;
  };
  const offset = whole("offset", 0);
  const length = whole("length", expected);
  if (length !== expected) {
    throw new InputError(
      `${where} needs ${expected} bytes but says that "${location}" holds ${length} of it`,
    );
  }
  if (readExternal === undefined) {
    throw new InputError(`${where} lies in the file "${location}", which cannot be read from here`);
  }
  return readExternal(location, offset, length);
}
