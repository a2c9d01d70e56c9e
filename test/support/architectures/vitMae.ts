/** A ViT-MAE as two ONNX files, of any size: without masking the decoder takes all tokens of the encoder. */
import { type Exporter, exporter } from "./exporter.js";
import { type AttentionForm, attend, conv, type GeluForm, gelu, layerNorm, linear } from "./layers.js";

export interface VitMaeOptions {
  readonly opset: number;
  readonly seed: number;
  readonly image: number;
  readonly patch: number;
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
  readonly decoderWidth: number;
  readonly decoderDepth: number;
  readonly decoderHeads: number;
  readonly layerNormOperator: boolean;
  readonly gelu: GeluForm;
  readonly attention: AttentionForm;
  /** One projection for queries, keys and values, or three. */
  readonly projection: "packed" | "separate";
  /** The patches that the encoder goes on with, as the real thing does under a mask. Default: all. */
  readonly visible?: readonly number[];
  /** Default: true. */
  readonly classToken?: boolean;
  /** A fixed batch of one row, for which exporters write the class token out. Default: any batch. */
  readonly fixedBatch?: boolean;
}

/** ViT-MAE base of the paper at 224². */
export const vitMaeBase: Omit<VitMaeOptions, "opset" | "seed"> = {
  image: 224,
  patch: 16,
  width: 768,
  depth: 12,
  heads: 12,
  decoderWidth: 512,
  decoderDepth: 8,
  decoderHeads: 16,
  layerNormOperator: false,
  gelu: "erf",
  attention: "both",
  projection: "separate",
};

function selfAttention(e: Exporter, x: string, width: number, heads: number, options: VitMaeOptions): string {
  const depth = width / heads;
  const attended = attend(e, projections(e, x, width, heads, options), depth, options.attention);
  const joined = e.op("Transpose", [attended], { perm: { ints: [0, 2, 1, 3] } });
  return linear(e, e.op("Reshape", [joined, e.wholes(0, 0, width)]), width, width);
}

function projections(
  e: Exporter,
  x: string,
  width: number,
  heads: number,
  options: VitMaeOptions,
): readonly [string, string, string] {
  const depth = width / heads;
  if (options.projection === "separate") {
    const one = () => {
      const split = e.op("Reshape", [linear(e, x, width, width), e.wholes(0, 0, heads, depth)]);
      return e.op("Transpose", [split], { perm: { ints: [0, 2, 1, 3] } });
    };
    return [one(), one(), one()];
  }
  const packed = e.op("Reshape", [linear(e, x, width, 3 * width), e.wholes(0, 0, 3, heads, depth)]);
  // The batch moves aside while the three are taken apart.
  const apart = e.op("Transpose", [packed], { perm: { ints: [2, 0, 3, 1, 4] } });
  const parts = [0, 1, 2].map((i) => e.op("Gather", [apart, e.whole(i)], { axis: { i: 0 } }));
  return parts as [string, string, string];
}

function block(e: Exporter, x: string, width: number, heads: number, options: VitMaeOptions): string {
  const normalised = layerNorm(e, x, width, options.layerNormOperator);
  const attended = e.op("Add", [selfAttention(e, normalised, width, heads, options), x]);
  const inner = linear(e, layerNorm(e, attended, width, options.layerNormOperator), width, 4 * width);
  return e.op("Add", [attended, linear(e, gelu(e, inner, options.gelu), 4 * width, width)]);
}

/** [batch, n] of the input's batch and the given lengths, worked out from the tensor's shape. */
function spreadOverBatch(e: Exporter, x: string, token: string): string {
  const batch = e.op("Slice", [e.op("Shape", [x]), e.wholes(0), e.wholes(1)]);
  const shape = e.op("Concat", [batch, e.wholes(-1, -1)], { axis: { i: 0 } });
  // Expand knows no −1: PyTorch replaces it by 1 on the way.
  const isOpen = e.op("Equal", [shape, e.wholes(-1)]);
  return e.op("Expand", [token, e.op("Where", [isOpen, e.wholes(1), shape])]);
}

/** Embeddings → final hidden states of a transformer, [tokens, width] both: a square map. */
export function squareTransformer(options: VitMaeOptions & { readonly tokens: number }): Uint8Array {
  const { opset, seed, width, depth, heads, tokens } = options;
  const e = exporter({ opset, seed });
  let x = "embeddings";
  for (let i = 0; i < depth; i++) x = block(e, x, width, heads, options);
  return e.finish("embeddings", ["batch", tokens, width], layerNorm(e, x, width, options.layerNormOperator));
}

export function vitMae(options: VitMaeOptions): { encoder: Uint8Array; decoder: Uint8Array } {
  const { opset, seed, image, patch, width, depth, heads, decoderWidth } = options;
  const side = image / patch;
  const tokens = side * side;

  const e = exporter({ opset, seed });
  const patches = conv(e, "image", { ins: 3, outs: width, kernel: patch, stride: patch, padding: 0 });
  const flat = e.op("Reshape", [patches, e.wholes(0, width, -1)]);
  const rows = e.op("Transpose", [flat], { perm: { ints: [0, 2, 1] } });
  const placed = e.op("Add", [rows, e.weight([1, tokens, width], 0.5)]);
  const { visible, classToken = true } = options;
  const batch = options.fixedBatch ? 1 : "batch";
  const seen =
    visible === undefined ? placed : e.op("Gather", [placed, e.wholes(...visible)], { axis: { i: 1 } });
  let x = seen;
  if (classToken) {
    const weight = e.weight([1, 1, width], 0.5);
    const token = options.fixedBatch ? weight : spreadOverBatch(e, seen, weight);
    x = e.op("Concat", [token, seen], { axis: { i: 1 } });
  }
  for (let i = 0; i < depth; i++) x = block(e, x, width, heads, options);
  const encoder = e.finish(
    "image",
    [batch, 3, image, image],
    layerNorm(e, x, width, options.layerNormOperator),
  );

  const d = exporter({ opset, seed: seed + 1 });
  const first = classToken ? 1 : 0;
  const positions = d.weight([1, tokens + first, decoderWidth], 0.5);
  let y = d.op("Add", [linear(d, "tokens", width, decoderWidth), positions]);
  for (let i = 0; i < options.decoderDepth; i++) {
    y = block(d, y, decoderWidth, options.decoderHeads, options);
  }
  const last = layerNorm(d, y, decoderWidth, options.layerNormOperator);
  const pixels = linear(d, last, decoderWidth, patch * patch * 3);
  const withoutClass = d.op("Slice", [pixels, d.wholes(first), d.wholes(tokens + first), d.wholes(1)]);
  const grid = d.op("Reshape", [withoutClass, d.wholes(0, side, side, patch, patch, 3)]);
  const picture = d.op("Einsum", [grid], { equation: { s: "nhwpqc->nchpwq" } });
  const output = d.op("Reshape", [picture, d.wholes(0, 3, image, image)]);
  return { encoder, decoder: d.finish("tokens", [batch, tokens + first, width], output) };
}
