/** The interpreter's operations on images: convolutions, nearest-neighbour enlargement and pooling. */
import type {
  ConvNode,
  ConvTransposeNode,
  MaxPoolGradNode,
  PoolNode,
  ResizeNearestNode,
  Shape,
} from "./graph.js";
import type { Tensor } from "./referenceTensor.js";

/** y[o, i, j] = bias[o] + Σ x[c, i·stride + ky·dilation − pad, …] · weight[o, c, ky, kx], c within o's group. */
export function conv(node: ConvNode, x: Tensor, weight: Tensor, bias: Tensor | undefined, y: Tensor) {
  const [, height, width] = x.shape as [number, number, number];
  const [outChannels, perGroup, kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  const [, outHeight, outWidth] = y.shape as [number, number, number];
  const [strideY, strideX] = node.strides;
  const [xs, ys] = [x.data, y.data];
  for (let o = 0; o < outChannels; o++) {
    const group = Math.floor(o / (outChannels / node.groups));
    const outStart = o * outHeight * outWidth;
    y.data.fill(bias === undefined ? 0 : bias.data[o]!, outStart, outStart + outHeight * outWidth);
    for (let c = 0; c < perGroup; c++) {
      const inStart = (group * perGroup + c) * height * width;
      for (let ky = 0; ky < kernelHeight; ky++) {
        for (let kx = 0; kx < kernelWidth; kx++) {
          const w = weight.data[((o * perGroup + c) * kernelHeight + ky) * kernelWidth + kx]!;
          const offsetY = ky * node.dilations[0] - node.pads[0];
          const offsetX = kx * node.dilations[1] - node.pads[1];
          const [top, bottom] = inside(offsetY, strideY, height, outHeight);
          const [left, right] = inside(offsetX, strideX, width, outWidth);
          for (let i = top; i < bottom; i++) {
            const outRow = outStart + i * outWidth;
            const inRow = inStart + (i * strideY + offsetY) * width + offsetX;
            for (let j = left; j < right; j++) ys[outRow + j]! += w * xs[inRow + j * strideX]!;
          }
        }
      }
    }
  }
}

/** The positions in [0, count) at which position · stride + offset lies in [0, size): from the first to past the last. */
function inside(offset: number, stride: number, size: number, count: number): readonly [number, number] {
  const first = Math.max(0, Math.ceil(-offset / stride));
  const last = Math.min(count - 1, Math.floor((size - 1 - offset) / stride));
  return [first, last + 1];
}

/** The transpose of `conv`: every input element is spread over the outputs that its kernel reaches. */
export function convTranspose(
  node: ConvTransposeNode,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  y: Tensor,
) {
  const [channels, height, width] = x.shape as [number, number, number];
  const [, perGroup, kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  const [outChannels, outHeight, outWidth] = y.shape as [number, number, number];
  const [strideY, strideX] = node.strides;
  const [xs, ys] = [x.data, y.data];
  for (let o = 0; o < outChannels; o++) {
    const start = o * outHeight * outWidth;
    y.data.fill(bias === undefined ? 0 : bias.data[o]!, start, start + outHeight * outWidth);
  }
  for (let c = 0; c < channels; c++) {
    const group = Math.floor(c / (channels / node.groups));
    const inStart = c * height * width;
    for (let o = 0; o < perGroup; o++) {
      const outStart = (group * perGroup + o) * outHeight * outWidth;
      for (let ky = 0; ky < kernelHeight; ky++) {
        for (let kx = 0; kx < kernelWidth; kx++) {
          const w = weight.data[((c * perGroup + o) * kernelHeight + ky) * kernelWidth + kx]!;
          const offsetY = ky * node.dilations[0] - node.pads[0];
          const offsetX = kx * node.dilations[1] - node.pads[1];
          const [top, bottom] = inside(offsetY, strideY, outHeight, height);
          const [left, right] = inside(offsetX, strideX, outWidth, width);
          for (let i = top; i < bottom; i++) {
            const inRow = inStart + i * width;
            const outRow = outStart + (i * strideY + offsetY) * outWidth + offsetX;
            for (let j = left; j < right; j++) ys[outRow + j * strideX]! += w * xs[inRow + j]!;
          }
        }
      }
    }
  }
}

export function resizeNearest(node: ResizeNearestNode, x: Tensor, y: Tensor) {
  const [, height, width] = x.shape as [number, number, number];
  const [channels, outHeight, outWidth] = y.shape as [number, number, number];
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        const row = Math.floor(i / node.scales[0]);
        const column = Math.floor(j / node.scales[1]);
        y.data[(c * outHeight + i) * outWidth + j] = x.data[(c * height + row) * width + column]!;
      }
    }
  }
}

/** Maximum or mean of the window's elements that lie inside the input. A NaN in the window gives NaN. */
export function pool(node: PoolNode, x: Tensor, y: Tensor) {
  const [, height, width] = x.shape as [number, number, number];
  const [channels, outHeight, outWidth] = y.shape as [number, number, number];
  const [top, left, bottom, right] = node.pads;
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        let best = Number.NEGATIVE_INFINITY;
        let sum = 0;
        let inside = 0;
        let insidePadded = 0;
        for (let ky = 0; ky < node.kernel[0]; ky++) {
          for (let kx = 0; kx < node.kernel[1]; kx++) {
            const row = i * node.strides[0] + ky * node.dilations[0] - top;
            const column = j * node.strides[1] + kx * node.dilations[1] - left;
            if (row < height + bottom && column < width + right) insidePadded++;
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            const value = x.data[(c * height + row) * width + column]!;
            best = Math.max(best, value);
            sum += value;
            inside++;
          }
        }
        const divisor = node.countIncludePad ? insidePadded : inside;
        y.data[(c * outHeight + i) * outWidth + j] = node.op === "maxPool" ? best : sum / divisor;
      }
    }
  }
}

export function maxPoolGrad(node: MaxPoolGradNode, x: Tensor, t: Tensor, y: Tensor) {
  forEachMaximum(node, x, y.shape, (window, maximum) => {
    y.data[window] = t.data[maximum]!;
  });
}

export function maxPoolAdjoint(node: MaxPoolGradNode, x: Tensor, u: Tensor, y: Tensor) {
  y.data.fill(0);
  forEachMaximum(node, x, u.shape, (window, maximum) => {
    y.data[maximum] = y.data[maximum]! + u.data[window]!;
  });
}

/** Calls `visit` for every window with the offset of the first of its largest elements. */
function forEachMaximum(
  node: MaxPoolGradNode,
  x: Tensor,
  pooled: Shape,
  visit: (window: number, maximum: number) => void,
) {
  const [, height, width] = x.shape as [number, number, number];
  const [channels, outHeight, outWidth] = pooled as [number, number, number];
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        let maximum = -1;
        for (let ky = 0; ky < node.kernel[0]; ky++) {
          for (let kx = 0; kx < node.kernel[1]; kx++) {
            const row = i * node.strides[0] + ky * node.dilations[0] - node.pads[0];
            const column = j * node.strides[1] + kx * node.dilations[1] - node.pads[1];
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            const offset = (c * height + row) * width + column;
            if (maximum < 0 || isLarger(x.data[offset]!, x.data[maximum]!)) maximum = offset;
          }
        }
        visit((c * outHeight + i) * outWidth + j, maximum);
      }
    }
  }
}

/** NaN is larger than every number. */
function isLarger(value: number, other: number): boolean {
  return value > other || (Number.isNaN(value) && !Number.isNaN(other));
}
