/** The weights manifest of a tfjs model: what each weight is, and where its bytes lie. */
import { widenFloat16 } from "../../data/safetensors.js";
import { InputError } from "../../errors.js";
import { elements } from "../../graph/graph.js";
import { maximumElements } from "../../graph/shapes.js";
import { isObject, type JsonObject, jsonReader } from "../json.js";

/** Bytes of one element as it is stored; null where it differs from element to element. */
const storedBytes: Readonly<Record<string, number | null>> = {
  float32: 4,
  float16: 2,
  int32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
  complex64: 8,
  string: null,
};

/** How a weight was made smaller: value = stored · scale + min, or half precision. */
type Quantization =
  | { readonly dtype: "uint8" | "uint16"; readonly scale: number; readonly min: number }
  | { readonly dtype: "float16" };

export interface WeightSpec {
  readonly name: string;
  /** As tfjs computes with it. */
  readonly dtype: string;
  /** `[]` is a scalar; a dimension may be 0. */
  readonly shape: readonly number[];
  readonly quantization: Quantization | null;
  /** "optimizer" for what training left behind. */
  readonly group: string | null;
}

/** A weight and its bytes. */
export interface StoredWeight extends WeightSpec {
  readonly bytes: Uint8Array;
}

/** One entry of a list of weights. Throws InputError naming `where` and the weight. */
export function parseWeightSpec(value: unknown, where: string): WeightSpec {
  if (!isObject(value)) throw new InputError(`${where}: lists a weight that is not an object`);
  const name = value.name;
  if (typeof name !== "string") {
    throw new InputError(`${where}: lists a weight whose name is ${JSON.stringify(name)}, expected a text`);
  }
  const read = jsonReader(value, `${where}: weight "${name}"`);
  const dtype = read.text("dtype") ?? "";
  if (!Object.hasOwn(storedBytes, dtype)) {
    return read.fail("dtype", `one of ${Object.keys(storedBytes).join(", ")}`);
  }
  const shape = read.numbers("shape") ?? read.fail("shape", "a list of whole numbers");
  if (!shape.every((d) => Number.isSafeInteger(d) && d >= 0) || elements(shape) > maximumElements) {
    return read.fail("shape", "whole numbers of at least 0 and fewer than 2^31 elements");
  }
  const quantization = quantizationOf(value, dtype, `${where}: weight "${name}"`);
  return { name, dtype, shape, quantization, group: read.text("group") ?? null };
}

function quantizationOf({ quantization }: JsonObject, dtype: string, where: string): Quantization | null {
  if (quantization === undefined || quantization === null) return null;
  if (!isObject(quantization)) throw new InputError(`${where} has a quantization that is not an object`);
  const read = jsonReader(quantization, `${where}: its quantization`);
  const stored = read.text("dtype");
  if (stored === "float16" && dtype === "float32") return { dtype: stored };
  if ((stored === "uint8" || stored === "uint16") && (dtype === "float32" || dtype === "int32")) {
    const scale = read.number("scale") ?? read.fail("scale", "a number");
    const min = read.number("min") ?? read.fail("min", "a number");
    return { dtype: stored, scale, min };
  }
  return read.fail(
    "dtype",
    `uint8, uint16 or float16 (float16 for float32 weights only; this one is ${dtype})`,
  );
}

/** Bytes of the weight, or undefined for texts, whose length only their bytes tell. */
export function byteLength({ dtype, shape, quantization }: WeightSpec): number | undefined {
  const each = storedBytes[quantization?.dtype ?? dtype];
  return each === null || each === undefined ? undefined : each * elements(shape);
}

/** Cuts `bytes` into the weights, which lie in it one after the other. Throws InputError where they do not fill it. */
export function cutWeights(specs: readonly WeightSpec[], bytes: Uint8Array, where: string): StoredWeight[] {
  let offset = 0;
  const weights = specs.map((spec) => {
    const length = byteLength(spec) ?? textBytes(spec, bytes.subarray(offset), where);
    if (offset + length > bytes.length) {
      throw new InputError(
        `${where}: weight "${spec.name}" needs bytes ${offset} to ${offset + length} of ${bytes.length}`,
      );
    }
    const own = bytes.subarray(offset, offset + length);
    offset += length;
    return { ...spec, bytes: own };
  });
  if (offset !== bytes.length) {
    throw new InputError(`${where}: its weights take ${offset} bytes, their files hold ${bytes.length}`);
  }
  return weights;
}

/** Texts are stored one after the other, each behind its length in four bytes. */
function textBytes({ name, shape }: WeightSpec, bytes: Uint8Array, where: string): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = elements(shape);
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const next = offset + 4 <= bytes.length ? offset + 4 + view.getUint32(offset, true) : bytes.length + 1;
    if (next > bytes.length) {
      throw new InputError(`${where}: weight "${name}" holds ${count} texts, of which text ${i} is cut off`);
    }
    offset = next;
  }
  return offset;
}

/** A float32 weight, widened where it is stored in fewer bits; undefined for any other type. */
export function floatsOf({ dtype, quantization, bytes }: StoredWeight): Float32Array | undefined {
  if (dtype !== "float32") return undefined;
  // A copy that begins at its own byte 0, so that every view of it is aligned.
  const { buffer } = bytes.slice();
  if (quantization === null) return new Float32Array(buffer);
  if (quantization.dtype === "float16") return widenFloat16(new Uint16Array(buffer));
  const { scale, min } = quantization;
  const stored = quantization.dtype === "uint8" ? new Uint8Array(buffer) : new Uint16Array(buffer);
  return Float32Array.from(stored, (value) => value * scale + min);
}
