/** Endpoints that stay on a device and are forgotten: how many of some iterations found room for theirs. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { engineOf } from "../../../dist/engines/choose.js";
import { linearMap } from "../maps.mjs";
import { noise } from "../setting.mjs";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc");
// All points converge with their second step.
const model = linearMap("zero", new Float32Array(48 * 48));
const engine = await engineOf(model, { device: "cuda", precision: "float32" });
const initial = noise(300, 48, 1);
const iteration = {
  tolerance: 1e-6,
  maxIterations: 5,
  criterion: "residual",
  divergenceRatio: 1e4,
  traceRows: new Int32Array(0),
  threads: 1,
  keepConverged: true,
};
const rounds = Number(process.argv[2]);
const collects = process.argv[3] === "collect";
const held = [];
let kept = 0;
for (let round = 0; round < rounds; round++) {
  const { converged } = await engine.iterate(initial, iteration);
  if (converged !== undefined) kept++;
  if (!collects) held.push(converged);
  gc();
  await new Promise((resolve) => setImmediate(resolve));
}
console.log(JSON.stringify({ kept, held: held.length }));
await model[Symbol.asyncDispose]();
