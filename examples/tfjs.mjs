// A live TensorFlow.js autoencoder as a dynamical system: node examples/tfjs.mjs
// Needs @tensorflow/tfjs (npm install @tensorflow/tfjs).
import * as tfjs from "@tensorflow/tfjs";
import { engineOf, findAttractors, fromTfjs, noise } from "latent-dynamics";

const tf = tfjs.default ?? tfjs;
tf.enableProdMode();
await tf.setBackend("cpu");

const dense = (units, activation, inputShape) => {
  const kernelInitializer = tf.initializers.glorotNormal({ seed: units });
  return tf.layers.dense({ units, activation, kernelInitializer, ...(inputShape && { inputShape }) });
};
const encoder = tf.sequential({ layers: [dense(32, "relu", [64]), dense(2, "tanh")] });
const decoder = tf.sequential({ layers: [dense(32, "relu", [2]), dense(64, "linear")] });

// Points of a circle, drawn in 64 dimensions: enough to train for a moment.
const plane = tf.randomNormal([2, 64], 0, 1, "float32", 1);
const angles = tf.linspace(0, 2 * Math.PI, 256).reshape([256, 1]);
const points = tf.concat([tf.cos(angles), tf.sin(angles)], 1).matMul(plane);
const input = tf.input({ shape: [64] });
const autoencoder = tf.model({ inputs: input, outputs: decoder.apply(encoder.apply(input)) });
autoencoder.compile({ optimizer: tf.train.adam(0.01), loss: "meanSquaredError" });
await autoencoder.fit(points, points, { epochs: 60, batchSize: 64, verbose: 0 });

// The native engine runs the converted layers; engine: "tfjs" runs the objects themselves.
const model = await fromTfjs({ tf, encoder, decoder, name: "circle" });
try {
  const { sets } = await findAttractors(model, { from: { noise: noise(500) } });
  console.log((await engineOf(model)).name, sets[0].summary);
  const live = await findAttractors(model, { from: { noise: noise(500) }, engine: "tfjs" });
  console.log((await engineOf(model, { engine: "tfjs" })).name, live.sets[0].summary);
} finally {
  await model[Symbol.asyncDispose]();
}
