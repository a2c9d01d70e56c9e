/** A folder that appears whole or not at all. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access, lstat, mkdir, open, readdir, realpath, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileError } from "../data/bytes.js";
import { InputError } from "../errors.js";

export interface FolderOptions {
  /** Replace an existing folder, once the new one is whole. */
  readonly overwrite?: boolean;
  /** Names the folder may hold for it to be replaced: nothing else is ever deleted. */
  readonly replaceable: readonly string[];
}

/**
 * Throws InputError where `folder` exists and may not be replaced, or cannot be created. Cheap: to be called
 * before the work whose result goes there.
 */
export async function checkFolder(
  folder: string,
  { overwrite = false, replaceable }: FolderOptions,
): Promise<void> {
  try {
    const info = await statOrNull(folder);
    if (info !== null) {
      if (!info.isDirectory()) throw new InputError(`${folder}: exists and is not a folder`);
      if (!overwrite)
        throw new InputError(
          `${folder}: exists already; choose another --out, or replace it with --overwrite`,
        );
      const foreign = (await readdir(folder)).find((name) => !replaceable.includes(name));
      if (foreign !== undefined) {
        throw new InputError(
          `${folder}: is not replaced, because it holds "${foreign}", which no run has written`,
        );
      }
    }
    let ancestor = dirname(resolve(folder));
    for (let found = await statOrNull(ancestor); found === null; found = await statOrNull(ancestor))
      ancestor = dirname(ancestor);
    if (!(await stat(ancestor)).isDirectory())
      throw new InputError(`${folder}: cannot be created, ${ancestor} is not a folder`);
    await access(ancestor, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw writeError(error, folder);
  }
}

/**
 * Calls `fill` with a new temporary folder beside `folder`, flushes what it wrote to the disk, and renames it
 * into place. Where anything fails, nothing is left behind and an older folder is as it was.
 * Throws InputError where the disk does not take it, and what `fill` throws.
 */
export async function writeFolder(
  folder: string,
  options: FolderOptions,
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  await checkFolder(folder, options);
  // A link keeps pointing where it did: what it points to is replaced.
  const target = (await statOrNull(folder)) === null ? resolve(folder) : await realpath(folder);
  const parent = dirname(target);
  let firstMade: string | undefined;
  let temporary: string | undefined;
  try {
    firstMade = await mkdir(parent, { recursive: true });
    const fresh = sibling(target, "partial");
    await mkdir(fresh);
    temporary = fresh;
    await fill(temporary);
    await syncAll(temporary);
    await moveInto(temporary, target);
    await sync(parent);
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
    if (firstMade !== undefined) await removeEmpty(parent, firstMade);
    throw writeError(error, folder);
  }
}

/** A hidden name in the same folder, so that renaming stays within one file system. */
function sibling(target: string, what: string): string {
  return join(dirname(target), `.${basename(target)}.${what}-${randomBytes(4).toString("hex")}`);
}

async function moveInto(temporary: string, target: string): Promise<void> {
  if ((await statOrNull(target)) === null) {
    await rename(temporary, target);
    return;
  }
  const old = sibling(target, "old");
  await rename(target, old);
  try {
    await rename(temporary, target);
  } catch (error) {
    await rename(old, target);
    throw error;
  }
  await rm(old, { recursive: true, force: true });
}

async function syncAll(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await sync(join(folder, name));
  await sync(folder);
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes the folders from `parent` up to `firstMade` again, as long as they are empty. */
async function removeEmpty(parent: string, firstMade: string): Promise<void> {
  for (let path = parent; path.length >= firstMade.length; path = dirname(path)) {
    try {
      await rmdir(path);
    } catch {
      // Somebody else has put something there in the meantime: it is theirs.
      return;
    }
  }
}

async function statOrNull(path: string): Promise<Awaited<ReturnType<typeof stat>> | null> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    // A link that points nowhere exists all the same.
    const link = await lstat(path).catch(() => null);
    if (link !== null) throw new InputError(`${path}: is a link that points nowhere`);
    return null;
  }
}

/** Names the final folder, whichever file in the temporary one failed. */
function writeError(error: unknown, folder: string): Error {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const code = (cause as NodeJS.ErrnoException).code;
  if (typeof code !== "string") return error as Error;
  const readable = fileError(cause, folder, "write");
  return readable instanceof InputError
    ? readable
    : new InputError(`${folder}: cannot be written (${readable.message})`, { cause });
}
