/** Decoded tensors as pictures: the PNG a page carries inside itself. */
import { encode } from "fast-png";
import { InputError } from "../errors.js";
import { elements, formatShape, type Shape } from "../graph/graph.js";
import type { Matrix } from "../matrix.js";

/** Channels (1 grey, 3 RGB), height, width. */
export type ImageShape = readonly [channels: 1 | 3, height: number, width: number];

/** Longest side a thumbnail is stored with; larger images are averaged down by a whole factor. */
export const LARGEST_SIDE = 128;

/** Values shown as black and as full brightness. */
export interface DisplayRange {
  readonly low: number;
  readonly high: number;
  /** unit: [0, 1], values outside are clipped. robust: the 0.5 and 99.5 percentiles of what is shown. */
  readonly rule: "unit" | "robust";
}

/** A row's shape as an image, or null where it is none: not [1|3, H, W], or only one pixel high or wide. */
export function imageShape(shape: Shape | null): ImageShape | null {
  if (shape === null || shape.length !== 3) return null;
  const [channels, height, width] = shape;
  if ((channels !== 1 && channels !== 3) || height < 2 || width < 2) return null;
  return [channels, height, width];
}

/** How far outside [0, 1] a value may be, and how many values, before [0, 1] is not what the model draws in. */
const OVERSHOOT = 0.1;
const OVERSHOOT_SHARE = 0.1;
/** Percentiles are taken from about this many values, evenly spaced. */
const SAMPLE = 200_000;

/**
 * One range for all the images of a set, so that they can be compared. [0, 1] as long as at most 10 % of the values lie
 * more than 0.1 outside it (decoders without an output activation overshoot a little); else from the values themselves.
 * Values that are not finite are left out; without any finite value the range is [0, 1].
 */
export function displayRange(...tensors: readonly Matrix[]): DisplayRange {
  const total = tensors.reduce((sum, tensor) => sum + tensor.data.length, 0);
  const step = Math.max(1, Math.floor(total / SAMPLE));
  const sample: number[] = [];
  for (const { data } of tensors) {
    for (let i = 0; i < data.length; i += step) if (Number.isFinite(data[i])) sample.push(data[i]);
  }
  const outside = sample.filter((value) => value < -OVERSHOOT || value > 1 + OVERSHOOT).length;
  if (outside <= OVERSHOOT_SHARE * sample.length) return { low: 0, high: 1, rule: "unit" };
  const sorted = Float64Array.from(sample).sort();
  const at = (quantile: number) => sorted[Math.round(quantile * (sorted.length - 1))];
  return { low: at(0.005), high: at(0.995), rule: "robust" };
}

/**
 * One row as a PNG data URI, at native resolution up to LARGEST_SIDE. `pixels` is [C, H, W] row-major; a value maps
 * linearly from [low, high] to 0…255, clipped. NaN is black, infinities are clipped; a range without extent is mid-grey.
 * Throws InputError where the number of pixels is not the shape's.
 */
export function pngDataUri(pixels: Float32Array, shape: ImageShape, range: DisplayRange): string {
  const [channels, height, width] = shape;
  if (pixels.length !== elements(shape)) {
    throw new InputError(
      `image: found ${pixels.length} values, expected ${elements(shape)} (${formatShape(shape)})`,
    );
  }
  const factor = Math.ceil(Math.max(height, width) / LARGEST_SIDE);
  const outHeight = Math.ceil(height / factor);
  const outWidth = Math.ceil(width / factor);
  const data = new Uint8Array(outHeight * outWidth * channels);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++) {
        const value = blockMean(pixels, c * height, y * factor, x * factor, factor, height, width);
        data[(y * outWidth + x) * channels + c] = toByte(value, range);
      }
    }
  }
  const png = encode(
    { width: outWidth, height: outHeight, data, channels, depth: 8 },
    { zlib: { level: 9 } },
  );
  return `data:image/png;base64,${Buffer.from(png.buffer, png.byteOffset, png.byteLength).toString("base64")}`;
}

/** Mean of the factor×factor block whose corner is (top, left) of the plane that starts at row `plane`; cut at the edge. */
function blockMean(
  pixels: Float32Array,
  plane: number,
  top: number,
  left: number,
  factor: number,
  height: number,
  width: number,
): number {
  const bottom = Math.min(top + factor, height);
  const right = Math.min(left + factor, width);
  let sum = 0;
  for (let y = top; y < bottom; y++)
    for (let x = left; x < right; x++) sum += pixels[(plane + y) * width + x];
  return sum / ((bottom - top) * (right - left));
}

function toByte(value: number, { low, high }: DisplayRange): number {
  if (Number.isNaN(value)) return 0;
  if (high <= low) return 128;
  return Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
}
