/** Autoencoders as tfjs builds them, with seeded weights. */
import { join } from "node:path";
import { seededRandom } from "./random.js";
import { randomise, saveModel, type TestModel, tf } from "./tfjs.js";

export interface TfjsPair {
  readonly encoder: TestModel;
  readonly decoder: TestModel;
}

/** 8×6×2 images, convolutions on either side of a latent of 5. */
export function convolutionalPair(seed = 1): TfjsPair {
  const L = tf.layers;
  const random = seededRandom(seed);
  const encoder = tf.sequential({
    layers: [
      L.conv2d!({
        inputShape: [8, 6, 2],
        filters: 4,
        kernelSize: 3,
        strides: 2,
        padding: "same",
        activation: "relu",
      }),
      L.batchNormalization!(),
      L.conv2d!({ filters: 6, kernelSize: 3, padding: "same" }),
      L.leakyReLU!({ alpha: 0.2 }),
      L.flatten!(),
      L.dense!({ units: 5, activation: "tanh" }),
    ],
  });
  const decoder = tf.sequential({
    layers: [
      L.dense!({ inputShape: [5], units: 4 * 3 * 6, activation: "elu" }),
      L.reshape!({ targetShape: [4, 3, 6] }),
      L.upSampling2d!({ size: [2, 2] }),
      L.conv2dTranspose!({ filters: 4, kernelSize: 3, padding: "same", activation: "relu" }),
      L.conv2d!({ filters: 2, kernelSize: 3, padding: "same", activation: "sigmoid" }),
    ],
  });
  return { encoder: randomise(encoder, random), decoder: randomise(decoder, random) };
}

/** Writes `folder`/encoder and `folder`/decoder; gives the folder. */
export async function savePair(folder: string, { encoder, decoder }: TfjsPair): Promise<string> {
  await saveModel(join(folder, "encoder"), encoder);
  await saveModel(join(folder, "decoder"), decoder);
  return folder;
}
