/** Opens any data the library reads, by what it is rather than by what it is called. */
import { stat } from "node:fs/promises";
import { InputError } from "../errors.js";
import { fileError, peek } from "./bytes.js";
import { readCifar } from "./cifar.js";
import { checkCount, type Dataset, denseDataset, type ReadRowsOptions } from "./dataset.js";
import { looksLikeIdx, readIdx } from "./idx.js";
import { readImageFolder } from "./imageFolder.js";
import { looksLikeNpy, readNpy } from "./npy.js";
import { readTensorRows, splitTensor } from "./tensorRows.js";

/**
 * An idx(.gz) file, a CIFAR binary (.bin, .bin.gz), an .npy, a safetensors file (`PATH#tensor` picks one
 * tensor) or a folder of images. `count`: only the first rows.
 * Throws InputError where it is none of these, is damaged, or has fewer rows than asked for.
 */
export async function openData(spec: string, { count }: ReadRowsOptions = {}): Promise<Dataset> {
  checkCount(count, spec);
  const { path, tensor } = splitTensor(spec);
  if (tensor !== null || path.endsWith(".safetensors")) {
    return denseDataset("safetensors", await readTensorRows(path, tensor, { count }));
  }
  if (await isFolder(path)) return readImageFolder(path, { count });
  if (/\.bin(\.gz)?$/i.test(path)) return readCifar(path, { count });
  const head = await peek(path, 8);
  if (looksLikeNpy(head)) return readNpy(path, { count });
  if (looksLikeIdx(head) || /idx\d*-ubyte(\.gz)?$/i.test(path)) return readIdx(path, { count });
  throw new InputError(
    `${path}: is neither idx(.gz), nor CIFAR records (.bin, .bin.gz), nor .npy, nor .safetensors, nor a folder of images`,
  );
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw fileError(error, path);
  }
}
