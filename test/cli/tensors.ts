/** What a command has written. */
import { readSafetensors } from "../../src/data/safetensors.js";

/** The elements of every tensor in a file, by name. */
export async function tensorsOf(path: string): Promise<Record<string, number[]>> {
  const { tensors } = await readSafetensors(path);
  return Object.fromEntries([...tensors].map(([name, { data }]) => [name, Array.from(data, Number)]));
}
