/** Stable Diffusion's AutoencoderKL as diffusers builds it, as two ONNX files; the latent is the posterior's mean. */
import { type Exporter, exporter } from "./exporter.js";
import { attend, conv, fusedGroupNorm, groupNorm, linear, silu } from "./layers.js";

export interface AutoencoderKLOptions {
  readonly opset: number;
  readonly seed: number;
  readonly image: number;
  /** Channels of the blocks, from the image inwards. */
  readonly channels: readonly number[];
  /** Residual blocks in each block of the encoder; the decoder has one more. */
  readonly layers: number;
  readonly groups: number;
  readonly latentChannels: number;
  /** Group normalisation as one operator (opset 21). */
  readonly groupNormOperator: boolean;
}

/** The autoencoder of Stable Diffusion 1 and 2 at 256². */
export const stableDiffusion: Omit<AutoencoderKLOptions, "opset" | "seed"> = {
  image: 256,
  channels: [128, 256, 512, 512],
  layers: 2,
  groups: 32,
  latentChannels: 4,
  groupNormOperator: false,
};

function norm(e: Exporter, x: string, channels: number, options: AutoencoderKLOptions, axes = 2): string {
  if (options.groupNormOperator) return fusedGroupNorm(e, x, channels, options.groups);
  return groupNorm(e, x, channels, options.groups, axes);
}

function resnet(e: Exporter, x: string, ins: number, outs: number, options: AutoencoderKLOptions): string {
  const first = conv(e, silu(e, norm(e, x, ins, options)), { ins, outs, kernel: 3 });
  const second = conv(e, silu(e, norm(e, first, outs, options)), { ins: outs, outs, kernel: 3 });
  const shortcut = ins === outs ? x : conv(e, x, { ins, outs, kernel: 1 });
  // The factor of the output is 1, and the exporter writes the division.
  return e.op("Div", [e.op("Add", [shortcut, second]), e.number(1)]);
}

function midAttention(e: Exporter, x: string, channels: number, side: number, options: AutoencoderKLOptions) {
  const flat = e.op("Reshape", [x, e.wholes(0, channels, side * side)]);
  const normalised = norm(e, flat, channels, options, 1);
  const tokens = e.op("Transpose", [normalised], { perm: { ints: [0, 2, 1] } });
  const head = () => {
    const split = e.op("Reshape", [linear(e, tokens, channels, channels), e.wholes(0, -1, 1, channels)]);
    return e.op("Transpose", [split], { perm: { ints: [0, 2, 1, 3] } });
  };
  const attended = attend(e, [head(), head(), head()], channels, "both");
  const joined = e.op("Transpose", [attended], { perm: { ints: [0, 2, 1, 3] } });
  const out = linear(e, e.op("Reshape", [joined, e.wholes(0, -1, channels)]), channels, channels);
  const back = e.op("Transpose", [out], { perm: { ints: [0, 2, 1] } });
  const picture = e.op("Reshape", [back, e.wholes(0, channels, side, side)]);
  return e.op("Div", [e.op("Add", [picture, x]), e.number(1)]);
}

function mid(e: Exporter, x: string, channels: number, side: number, options: AutoencoderKLOptions): string {
  const first = resnet(e, x, channels, channels, options);
  return resnet(e, midAttention(e, first, channels, side, options), channels, channels, options);
}

export function autoencoderKL(options: AutoencoderKLOptions): { encoder: Uint8Array; decoder: Uint8Array } {
  const { opset, seed, image, channels, layers, latentChannels } = options;
  const top = channels.at(-1) as number;
  const side = image / 2 ** (channels.length - 1);

  const e = exporter({ opset, seed });
  let x = conv(e, "image", { ins: 3, outs: channels[0], kernel: 3 });
  channels.forEach((outs, level) => {
    for (let i = 0; i < layers; i++) {
      x = resnet(e, x, i === 0 ? channels[Math.max(0, level - 1)] : outs, outs, options);
    }
    if (level === channels.length - 1) return;
    // One row and one column of zeros at the end alone.
    const padded = e.op("Pad", [x, e.wholes(0, 0, 0, 0, 0, 0, 1, 1), e.number(0)], {
      mode: { s: "constant" },
    });
    x = conv(e, padded, { ins: outs, outs, kernel: 3, stride: 2, padding: 0 });
  });
  x = mid(e, x, top, side, options);
  x = conv(e, silu(e, norm(e, x, top, options)), { ins: top, outs: 2 * latentChannels, kernel: 3 });
  const moments = conv(e, x, { ins: 2 * latentChannels, outs: 2 * latentChannels, kernel: 1 });
  // From opset 18 on the number of parts is written out.
  const axis = { axis: { i: 1 } };
  const [mean] = e.ops("Split", [moments], 2, opset < 18 ? axis : { ...axis, num_outputs: { i: 2 } });
  const encoder = e.finish("image", ["batch", 3, image, image], mean);

  const d = exporter({ opset, seed: seed + 1 });
  let y = conv(d, "latent", { ins: latentChannels, outs: latentChannels, kernel: 1 });
  y = conv(d, y, { ins: latentChannels, outs: top, kernel: 3 });
  y = mid(d, y, top, side, options);
  channels.toReversed().forEach((outs, level) => {
    const before = level === 0 ? top : (channels.at(-level) as number);
    for (let i = 0; i <= layers; i++) y = resnet(d, y, i === 0 ? before : outs, outs, options);
    if (level === channels.length - 1) return;
    y = d.op("Resize", [y, "", d.numbers([4], [1, 1, 2, 2])], {
      mode: { s: "nearest" },
      coordinate_transformation_mode: { s: "asymmetric" },
      nearest_mode: { s: "floor" },
    });
    y = conv(d, y, { ins: outs, outs, kernel: 3 });
  });
  y = conv(d, silu(d, norm(d, y, channels[0], options)), { ins: channels[0], outs: 3, kernel: 3 });
  return { encoder, decoder: d.finish("latent", ["batch", latentChannels, side, side], y) };
}
