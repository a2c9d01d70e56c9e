/** A file that is going to be written. */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { InputError } from "../errors.js";
import { fileError } from "./bytes.js";

/** Throws InputError where `path` cannot be written; to be called before the work whose result goes there. */
export async function checkOutputFile(path: string): Promise<void> {
  const folder = dirname(path);
  try {
    if (!(await stat(folder)).isDirectory()) {
      throw new InputError(`${path}: cannot be written, ${folder} is not a folder`);
    }
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw fileError(error, folder, "write to");
  }
  const isFolder = await stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );
  if (isFolder) throw new InputError(`${path}: is a folder, expected the name of a file`);
}
