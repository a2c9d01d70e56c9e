/** Reading of the small JSON files beside a model, with messages that name file, key, what was found and what was expected. */
import { readFile } from "node:fs/promises";
import { InputError } from "../errors.js";
import { isUsableShape } from "../graph/shapes.js";

export type JsonObject = Readonly<Record<string, unknown>>;

/** The object in the file, or null where there is no such file. Throws InputError for anything else. */
export async function readJsonObject(path: string): Promise<JsonObject | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new InputError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(`${path}: is not valid JSON (${(error as Error).message})`, { cause: error });
  }
  if (!isObject(value)) throw new InputError(`${path}: holds no JSON object`);
  return value;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The values of one JSON object, by type. A key that is there has to be right; null counts as missing. */
export interface JsonReader {
  flag(key: string): boolean | undefined;
  number(key: string): number | undefined;
  whole(key: string): number | undefined;
  text(key: string): string | undefined;
  numbers(key: string): readonly number[] | undefined;
  shape(key: string): readonly number[] | undefined;
  fail(key: string, expected: string): never;
}

export function jsonReader(object: JsonObject, path: string): JsonReader {
  const fail = (key: string, expected: string): never => {
    throw new InputError(`${path}: "${key}" is ${JSON.stringify(object[key])}, expected ${expected}`);
  };
  const read =
    <T>(expected: string, is: (value: unknown) => value is T) =>
    (key: string): T | undefined => {
      const value = object[key];
      if (value === undefined || value === null) return undefined;
      return is(value) ? value : fail(key, expected);
    };
  return {
    flag: read("true or false", (value) => typeof value === "boolean"),
    number: read("a finite number", isNumber),
    whole: read("a whole number of at least 1", isWhole),
    text: read("a text", (value) => typeof value === "string"),
    numbers: read("a list of finite numbers", isNumbers),
    shape: read("a list of whole numbers of at least 1", isShape),
    fail,
  };
}

function isNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(isNumber);
}

function isShape(value: unknown): value is readonly number[] {
  return isNumbers(value) && value.length > 0 && isUsableShape(value);
}
