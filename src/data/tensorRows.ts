/** One tensor of a safetensors file as rows. */
import { existsSync } from "node:fs";
import { InputError } from "../errors.js";
import { type DenseRows, type Elements, type ReadRowsOptions, rowsToRead } from "./dataset.js";
import { readSafetensors, type Tensor } from "./safetensors.js";

/** "FILE#tensor" → file and tensor; a file whose own name holds "#" wins. */
export function splitTensor(spec: string): { path: string; tensor: string | null } {
  const at = spec.lastIndexOf("#");
  if (at < 0 || existsSync(spec)) return { path: spec, tensor: null };
  return { path: spec.slice(0, at), tensor: spec.slice(at + 1) };
}

/**
 * The tensor called `tensor`; null takes the only one there is. Throws InputError listing the names otherwise,
 * and as `readSafetensors` does.
 */
export async function readTensorRows(
  path: string,
  tensor: string | null,
  { count }: ReadRowsOptions = {},
): Promise<DenseRows> {
  const { tensors } = await readSafetensors(path);
  const names = [...tensors.keys()].join(", ");
  const name = tensor ?? (tensors.size === 1 ? [...tensors.keys()][0] : undefined);
  if (name === undefined) {
    throw new InputError(
      `${path}: holds ${tensors.size} tensors; pick one with "${path}#NAME" (${names || "none"})`,
    );
  }
  const found = tensors.get(name);
  if (found === undefined)
    throw new InputError(`${path}: has no tensor "${name}" (it holds ${names || "none"})`);
  const where = `${path}#${name}`;
  if (found.shape.length === 0) throw new InputError(`${where}: is a scalar, expected rows`);
  const rowShape = found.shape.slice(1);
  const rows = rowsToRead(count, found.shape[0], where);
  const rowSize = rowShape.reduce((product, d) => product * d, 1);
  const data = elementsOf(found).subarray(0, rows * rowSize);
  return { path: where, rowShape, rows, available: found.shape[0], data };
}

function elementsOf({ data }: Tensor): Elements {
  return data instanceof BigInt64Array ? Float64Array.from(data, Number) : data;
}
