/** Attractors on a device, whether or not their endpoints stay there (native/test/simt/environment.cpp). */
import { findAttractors } from "../../../dist/dynamics/attractors.js";
import { noise } from "../../../dist/dynamics/points.js";
import { corners } from "../maps.mjs";

const model = corners(48, 3);
const from = { noise: noise(3000, { randomSeed: 1 }) };
const run = await findAttractors(model, { from, maxIterations: 12, device: "cuda" });
const [{ label, representative, status }] = run.sets;
const attractors = representative.length;
console.log(
  JSON.stringify({ attractors, label: [...label], representative: [...representative], status: [...status] }),
);
await model[Symbol.asyncDispose]();
