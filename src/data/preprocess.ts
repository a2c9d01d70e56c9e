/** Rows of a data file → what the encoder takes: resize, rescale, normalise, pad, in this order. */
import { setImmediate as turn } from "node:timers/promises";
import { AbortedError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { DataRow, Dataset } from "./dataset.js";
import { resize } from "./resize.js";

/** How files become tensors: the keys of Hugging Face's preprocessor_config.json that are understood. */
export interface Preprocessor {
  readonly doRescale: boolean;
  readonly rescaleFactor: number;
  readonly doNormalize: boolean;
  readonly imageMean: readonly number[];
  readonly imageStd: readonly number[];
  readonly doResize: boolean;
  /** [height, width] to resize to. */
  readonly size: readonly [number, number] | null;
  /** PIL's codes: 0 nearest, 2 bilinear, 3 bicubic. */
  readonly resample: number;
  readonly doPad: boolean;
  /** [height, width] to zero-pad to, equally on both sides. */
  readonly padSize: readonly [number, number] | null;
}

/** Without a preprocessor_config.json: bytes to [0, 1], and sizes must match. */
export const DEFAULT_PREPROCESSOR: Preprocessor = {
  doRescale: true,
  rescaleFactor: 1 / 255,
  doNormalize: false,
  imageMean: [],
  imageStd: [],
  doResize: false,
  size: null,
  resample: 2,
  doPad: false,
  padSize: null,
};

export interface PrepareOptions {
  /** null: DEFAULT_PREPROCESSOR. */
  readonly preprocessor: Preprocessor | null;
  /** One input as the encoder takes it: [C,H,W], or any shape that plain vectors of as many elements fill. */
  readonly inputShape: readonly number[];
  readonly signal?: AbortSignal;
}

/**
 * The dataset's rows as tensors [rows, elements of inputShape], float32.
 *
 * Whole-number data are rescaled as `rescaleFactor` says; floating-point data are taken as rescaled already,
 * and refused where they plainly are not. Images may be [H,W], [C,H,W] or [H,W,C]. Zeros are padded last,
 * equally on both sides (an odd one at the bottom and right). Throws InputError where channels or sizes do
 * not come to `inputShape`, AbortedError where the signal fires.
 */
export async function prepareInputs(
  dataset: Dataset,
  { preprocessor, inputShape, signal }: PrepareOptions,
): Promise<Matrix> {
  const columns = inputShape.reduce((product, d) => product * d, 1);
  const out = new Float32Array(dataset.rows * columns);
  for (let i = 0; i < dataset.rows; i++) {
    if (i % 256 === 0) await turn();
    if (signal?.aborted)
      throw new AbortedError(`${dataset.path}: aborted`, undefined, { cause: signal.reason });
    const row = await dataset.row(i);
    const where = `${dataset.path}: row ${i}`;
    const target = out.subarray(i * columns, (i + 1) * columns);
    if (inputShape.length === 3 && row.shape.length >= 2) {
      prepareImage(row, preprocessor ?? DEFAULT_PREPROCESSOR, inputShape, where, target);
    } else {
      prepareVector(row, preprocessor ?? DEFAULT_PREPROCESSOR, inputShape, where, target);
    }
  }
  return { data: out, rows: dataset.rows, columns };
}

/**
 * Undoes normalisation for display: tensors [rows, C·H·W] as pixels, 0 black and 1 white. Values outside stay
 * outside; whoever draws them clips.
 */
export function toPixels(
  tensors: Matrix,
  inputShape: readonly number[],
  preprocessor: Preprocessor | null,
): Matrix {
  if (preprocessor === null) return tensors;
  const { doNormalize, doRescale, rescaleFactor, imageMean, imageStd } = preprocessor;
  const whole = doRescale ? rescaleFactor * 255 : 255;
  if (!doNormalize && whole === 1) return tensors;
  const planes = inputShape.length === 3 ? inputShape[0] : 1;
  const plane = tensors.columns / planes;
  const data = tensors.data.map((value, index) => {
    const c = Math.floor((index % tensors.columns) / plane);
    const raw = doNormalize ? value * perChannel(imageStd, c) + perChannel(imageMean, c) : value;
    return raw / whole;
  });
  return { ...tensors, data };
}

function perChannel(values: readonly number[], c: number): number {
  return values.length === 1 ? values[0] : values[c];
}

function prepareVector(
  row: DataRow,
  preprocessor: Preprocessor,
  inputShape: readonly number[],
  where: string,
  out: Float32Array,
): void {
  if (row.data.length !== out.length) {
    throw new InputError(
      `${where} has shape ${row.shape.join("×") || "[]"} (${row.data.length} elements), the model takes ${inputShape.join("×")} (${out.length})`,
    );
  }
  const factor = rescaleFactorFor(row, preprocessor, where);
  for (let i = 0; i < out.length; i++) out[i] = row.data[i] * factor;
  if (preprocessor.doNormalize) {
    const plane = inputShape.length === 3 ? inputShape[1] * inputShape[2] : out.length;
    normalize(out, preprocessor, plane, out.length / plane, where);
  }
}

function prepareImage(
  row: DataRow,
  preprocessor: Preprocessor,
  inputShape: readonly number[],
  where: string,
  out: Float32Array,
): void {
  const [channels, height, width] = inputShape;
  const factor = rescaleFactorFor(row, preprocessor, where);
  let image = toChannelsFirst(row, channels, where);
  if (preprocessor.doResize && preprocessor.size !== null) {
    image = resize(image, preprocessor.size, preprocessor.resample);
  }
  const [, h, w] = image.shape;
  const pixels = new Float32Array(image.data.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = image.data[i] * factor;
  if (preprocessor.doNormalize) normalize(pixels, preprocessor, h * w, channels, where);

  const [paddedHeight, paddedWidth] =
    preprocessor.doPad && preprocessor.padSize !== null ? preprocessor.padSize : [h, w];
  if (paddedHeight < h || paddedWidth < w) {
    throw new InputError(
      `${where} is ${h}×${w} pixels, too large to be padded to ${paddedHeight}×${paddedWidth}`,
    );
  }
  if (paddedHeight !== height || paddedWidth !== width) {
    const size =
      paddedHeight === h && paddedWidth === w
        ? `${h}×${w}`
        : `${h}×${w} padded to ${paddedHeight}×${paddedWidth}`;
    throw new InputError(
      `${where} is ${size} pixels, the model takes ${height}×${width} (do_resize or do_pad in preprocessor_config.json can make them meet)`,
    );
  }
  const top = Math.floor((height - h) / 2);
  const left = Math.floor((width - w) / 2);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < h; y++) {
      const from = (c * h + y) * w;
      out.set(pixels.subarray(from, from + w), (c * height + top + y) * width + left);
    }
  }
}

/** [H,W], [C,H,W] or [H,W,C] → [C,H,W] with the model's C. */
function toChannelsFirst(row: DataRow, channels: number, where: string): DataRow {
  const { shape, data } = row;
  const found = shape.length === 2 ? [1, ...shape] : shape;
  if (found.length !== 3) {
    throw new InputError(`${where} has shape ${shape.join("×")}, expected an image (H×W, C×H×W or H×W×C)`);
  }
  if (found[0] === channels) return { shape: found, data };
  if (found[2] === channels) {
    const [h, w, c] = found;
    const planes = data.slice();
    for (let i = 0; i < h * w; i++) {
      for (let p = 0; p < c; p++) planes[p * h * w + i] = data[i * c + p];
    }
    return { shape: [c, h, w], data: planes };
  }
  const kind = (c: number): string => (c === 1 ? "grey" : c === 3 ? "RGB" : `${c}-channel`);
  const colours = found[0] <= 4 ? found[0] : found[2];
  throw new InputError(
    `${where} is ${kind(colours)} (${shape.join("×")}), the model takes ${kind(channels)} images of ${channels} channel${channels === 1 ? "" : "s"}`,
  );
}

function rescaleFactorFor(row: DataRow, { doRescale, rescaleFactor }: Preprocessor, where: string): number {
  if (!doRescale) return 1;
  if (!(row.data instanceof Float32Array) && !(row.data instanceof Float64Array)) return rescaleFactor;
  const limit = 0.5 / rescaleFactor;
  for (const value of row.data) {
    if (Math.abs(value) > limit) {
      throw new InputError(
        `${where} holds the floating-point value ${value}, but floating-point data are taken as rescaled already: store bytes as uint8, or multiply by ${rescaleFactor} first`,
      );
    }
  }
  return 1;
}

function normalize(
  pixels: Float32Array,
  preprocessor: Preprocessor,
  plane: number,
  channels: number,
  where: string,
): void {
  const { imageMean, imageStd } = preprocessor;
  for (const [key, values] of [
    ["image_mean", imageMean],
    ["image_std", imageStd],
  ] as const) {
    if (values.length !== 1 && values.length !== channels) {
      throw new InputError(
        `${where}: ${key} has ${values.length} values, the image has ${channels} channels`,
      );
    }
  }
  for (let c = 0; c < channels; c++) {
    const mean = perChannel(imageMean, c);
    const std = perChannel(imageStd, c);
    for (let i = c * plane; i < (c + 1) * plane; i++) pixels[i] = (pixels[i] - mean) / std;
  }
}
