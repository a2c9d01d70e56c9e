/** Weights kept in files beside an ONNX model. */
import { closeSync, fstatSync, openSync, readSync, realpathSync } from "node:fs";
import { isAbsolute, relative, resolve } from "node:path";
import { InputError } from "../../errors.js";
import type { ExternalReader } from "./tensorData.js";

/**
 * Reads byte ranges of files inside `folder`; `files` collects the names that were read. A name that leads out of
 * the folder, by ".." or by a link, is refused: a model must not be able to read what is not its own.
 */
export function externalReader(folder: string, file: string, files: Set<string>): ExternalReader {
  return (location, offset, length) => {
    const path = insideFolder(folder, location, file);
    const descriptor = openSync(path, "r");
    try {
      const { size } = fstatSync(descriptor);
      if (offset + length > size) {
        throw new InputError(
          `${file}: needs bytes ${offset} to ${offset + length} of "${location}", which holds ${size}`,
        );
      }
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const read = readSync(descriptor, bytes, done, Math.min(length - done, 2 ** 30), offset + done);
        if (read === 0) throw new InputError(`${file}: "${location}" ended while it was read`);
        done += read;
      }
      files.add(location);
      return bytes;
    } finally {
      closeSync(descriptor);
    }
  };
}

/** The file that `location` names. Throws InputError where it is not there or not inside `folder`. */
export function insideFolder(folder: string, location: string, file: string): string {
  const leaves = (path: string, base: string) => {
    const way = relative(base, path);
    return way === "" || way.startsWith("..") || isAbsolute(way);
  };
  const path = resolve(folder, location);
  if (isAbsolute(location) || leaves(path, resolve(folder))) {
    throw new InputError(`${file}: keeps weights in "${location}", which is not inside the model's folder`);
  }
  let real: string;
  try {
    real = realpathSync(path);
  } catch (error) {
    throw new InputError(`${file}: keeps weights in "${location}", which cannot be opened`, { cause: error });
  }
  if (leaves(real, realpathSync(folder))) {
    throw new InputError(`${file}: keeps weights in "${location}", which leads out of the model's folder`);
  }
  return real;
}
