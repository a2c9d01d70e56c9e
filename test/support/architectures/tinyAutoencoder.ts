/** A tiny autoencoder for diffusion latents in the style of TAESD: convolutions and ReLU alone. */
import { type Exporter, exporter } from "./exporter.js";
import { conv } from "./layers.js";

export interface TinyAutoencoderOptions {
  readonly opset: number;
  readonly seed: number;
  readonly image: number;
  readonly width: number;
  readonly latentChannels: number;
}

function block(e: Exporter, x: string, width: number): string {
  let y = x;
  for (let i = 0; i < 3; i++) {
    y = conv(e, y, { ins: width, outs: width, kernel: 3 });
    if (i < 2) y = e.op("Relu", [y]);
  }
  return e.op("Relu", [e.op("Add", [y, x])]);
}

export function tinyAutoencoder(options: TinyAutoencoderOptions): {
  encoder: Uint8Array;
  decoder: Uint8Array;
} {
  const { opset, seed, image, width, latentChannels } = options;
  const stages = 2;
  const e = exporter({ opset, seed });
  let x = block(e, conv(e, "image", { ins: 3, outs: width, kernel: 3 }), width);
  for (let stage = 0; stage < stages; stage++) {
    x = conv(e, x, { ins: width, outs: width, kernel: 3, stride: 2, bias: false });
    x = block(e, x, width);
  }
  const latent = conv(e, x, { ins: width, outs: latentChannels, kernel: 3 });
  const encoder = e.finish("image", ["batch", 3, image, image], latent);

  const d = exporter({ opset, seed: seed + 1 });
  const third = d.op("Tanh", [d.op("Div", ["latent", d.number(3)])]);
  let y = d.op("Mul", [third, d.number(3)]);
  y = d.op("Relu", [conv(d, y, { ins: latentChannels, outs: width, kernel: 3 })]);
  for (let stage = 0; stage < stages; stage++) {
    y = block(d, y, width);
    y = d.op("Resize", [y, "", d.numbers([4], [1, 1, 2, 2])], {
      mode: { s: "nearest" },
      coordinate_transformation_mode: { s: "asymmetric" },
      nearest_mode: { s: "floor" },
    });
    y = conv(d, y, { ins: width, outs: width, kernel: 3, bias: false });
  }
  y = conv(d, block(d, y, width), { ins: width, outs: 3, kernel: 3 });
  const side = image / 2 ** stages;
  return { encoder, decoder: d.finish("latent", ["batch", latentChannels, side, side], y) };
}
