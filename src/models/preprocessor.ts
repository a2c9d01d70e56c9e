/** How files become tensors: preprocessor_config.json with Hugging Face's keys. */
import { join } from "node:path";
import type { Preprocessor } from "../data/preprocess.js";
import { isObject, type JsonObject, jsonReader, readJsonObject } from "./json.js";

/**
 * Reads preprocessor_config.json of the folder; null where there is none. A step whose flag is missing is not done.
 * Keys that are not understood are ignored; a key that is understood but of the wrong type throws InputError naming
 * it.
 */
export async function readPreprocessor(folder: string): Promise<Preprocessor | null> {
  const path = join(folder, "preprocessor_config.json");
  const config = await readJsonObject(path);
  return config && parsePreprocessor(config, path);
}

/** What the keys of preprocessor_config.json say. Throws as readPreprocessor. */
export function parsePreprocessor(config: JsonObject, path: string): Preprocessor {
  const read = jsonReader(config, path);
  const doNormalize = read.flag("do_normalize") ?? false;
  const doResize = read.flag("do_resize") ?? false;
  const doPad = read.flag("do_pad") ?? false;
  const imageMean = read.numbers("image_mean") ?? [];
  const imageStd = read.numbers("image_std") ?? [];
  if (doNormalize) {
    if (imageMean.length === 0) read.fail("image_mean", "a list of numbers, since do_normalize is true");
    if (imageStd.length !== imageMean.length || imageStd.some((std) => std === 0)) {
      read.fail("image_std", `${imageMean.length} numbers other than 0, since do_normalize is true`);
    }
  }
  const size = sizeOf(config, "size", path);
  if (doResize && size === null) read.fail("size", "a height and a width, since do_resize is true");
  const padSize = sizeOf(config, "pad_size", path);
  if (doPad && padSize === null) read.fail("pad_size", "a height and a width, since do_pad is true");
  const resample = read.number("resample") ?? 2;
  if (resample !== 0 && resample !== 2 && resample !== 3) {
    read.fail("resample", "0 (nearest), 2 (bilinear) or 3 (bicubic)");
  }
  return {
    doRescale: read.flag("do_rescale") ?? false,
    rescaleFactor: read.number("rescale_factor") ?? 1 / 255,
    doNormalize,
    imageMean,
    imageStd,
    doResize,
    size,
    resample,
    doPad,
    padSize,
  };
}

/** { height, width }, or one number for both. */
function sizeOf(config: JsonObject, key: string, path: string): readonly [number, number] | null {
  const value = config[key];
  if (value === undefined || value === null) return null;
  const whole = jsonReader(config, path);
  if (!isObject(value)) {
    const side = whole.whole(key) ?? whole.fail(key, "a height and a width");
    return [side, side];
  }
  const inner = jsonReader(value, `${path}: "${key}"`);
  const height = inner.whole("height");
  const width = inner.whole("width");
  if (height === undefined || width === undefined) return whole.fail(key, "a height and a width");
  return [height, width];
}
