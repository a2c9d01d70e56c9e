/**
 * Resizes planes as PIL does, so that a model sees what it saw in training: separable, horizontal pass first,
 * the filter stretched by the shrink factor (antialiasing). Bytes go through PIL's fixed-point arithmetic,
 * bit for bit; floating-point planes are resized without rounding.
 */
import { InputError } from "../errors.js";
import type { DataRow, Elements } from "./dataset.js";

/** PIL's resampling codes that are understood. */
const FILTERS: Readonly<Record<number, { support: number; weight(x: number): number }>> = {
  // Bilinear: triangle.
  2: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  // Bicubic: Keys' kernel with a = −0.5.
  3: {
    support: 2,
    weight: (signed) => {
      const a = -0.5;
      const x = Math.abs(signed);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
};

/** Fraction bits of PIL's 8-bit arithmetic. */
const PRECISION = 2 ** 22;

/**
 * image [C,H,W] → [C, height, width]. `resample`: 0 nearest, 2 bilinear, 3 bicubic.
 * Byte images give bytes; all others give Float32Array. Throws InputError for another code.
 */
export function resize(
  image: DataRow,
  [height, width]: readonly [number, number],
  resample: number,
): DataRow {
  const [channels, fromHeight, fromWidth] = image.shape;
  if (fromHeight === height && fromWidth === width) return image;
  if (resample === 0) return { shape: [channels, height, width], data: nearest(image, height, width) };
  const filter = FILTERS[resample];
  if (filter === undefined) {
    throw new InputError(`resample is ${resample}, expected 0 (nearest), 2 (bilinear) or 3 (bicubic)`);
  }
  const across = taps(fromWidth, width, filter);
  const down = taps(fromHeight, height, filter);
  const bytes = image.data instanceof Uint8Array;
  let data = image.data;
  if (fromWidth !== width) {
    data = pass(data, across, bytes, {
      lines: channels * fromHeight,
      lineStride: fromWidth,
      outStride: width,
      step: 1,
      inner: 1,
    });
  }
  if (fromHeight !== height) {
    data = pass(data, down, bytes, {
      lines: channels,
      lineStride: fromHeight * width,
      outStride: height * width,
      step: width,
      inner: width,
    });
  }
  return { shape: [channels, height, width], data };
}

function nearest(image: DataRow, height: number, width: number): Elements {
  const [channels, fromHeight, fromWidth] = image.shape;
  const out =
    image.data instanceof Uint8Array
      ? new Uint8Array(channels * height * width)
      : new Float32Array(channels * height * width);
  const rows = nearestPositions(fromHeight, height);
  const columns = nearestPositions(fromWidth, width);
  let i = 0;
  for (let c = 0; c < channels; c++) {
    for (const y of rows) {
      const start = (c * fromHeight + y) * fromWidth;
      for (const x of columns) out[i++] = image.data[start + x];
    }
  }
  return out;
}

/** floor((i + ½)·from/to), with the position summed up step by step as PIL does: its rounding is part of the result. */
function nearestPositions(from: number, to: number): number[] {
  const step = from / to;
  let position = step * 0.5;
  return Array.from({ length: to }, () => {
    const at = Math.floor(position);
    position += step;
    return at;
  });
}

interface Tap {
  readonly first: number;
  readonly weights: Float64Array;
}

/** For every output position: where its input window starts, and its weights, which sum to 1. */
function taps(from: number, to: number, filter: { support: number; weight(x: number): number }): Tap[] {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  const support = filter.support * stretch;
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = new Float64Array(end - first);
    let sum = 0;
    for (let x = 0; x < weights.length; x++) {
      weights[x] = filter.weight((x + first - center + 0.5) / stretch);
      sum += weights[x];
    }
    for (let x = 0; x < weights.length; x++) weights[x] /= sum;
    return { first, weights };
  });
}

/** `lines` blocks; in each, `inner` interleaved signals whose samples are `step` apart. */
interface PassLayout {
  readonly lines: number;
  readonly lineStride: number;
  readonly outStride: number;
  readonly step: number;
  readonly inner: number;
}

function pass(data: Elements, windows: readonly Tap[], bytes: boolean, layout: PassLayout): Elements {
  const { lines, lineStride, outStride, step, inner } = layout;
  const out = bytes ? new Uint8Array(lines * outStride) : new Float32Array(lines * outStride);
  const fixed = windows.map(({ first, weights }) => ({
    first,
    weights: bytes ? toFixedPoint(weights) : weights,
  }));
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < fixed.length; i++) {
      const { first, weights } = fixed[i];
      for (let s = 0; s < inner; s++) {
        const start = line * lineStride + first * step + s;
        let sum = 0;
        for (let x = 0; x < weights.length; x++) sum += data[start + x * step] * weights[x];
        const at = line * outStride + i * step + s;
        out[at] = bytes ? Math.min(255, Math.max(0, Math.floor(sum / PRECISION + 0.5))) : sum;
      }
    }
  }
  return out;
}

function toFixedPoint(weights: Float64Array): Float64Array {
  return weights.map((w) => Math.trunc(w * PRECISION + (w < 0 ? -0.5 : 0.5)));
}
