/** A model on a device whose launch fails (native/test/simt/environment.cpp), and what the process can still do. */
import { findAttractors } from "../../../dist/dynamics/attractors.js";
import { noise } from "../../../dist/dynamics/points.js";
import { engineOf } from "../../../dist/engines/choose.js";
import { loadAutoencoder } from "../../../dist/models/load.js";
import { native } from "../../../dist/native.js";

const told = async (call) => {
  try {
    await call();
    return null;
  } catch ({ name, message }) {
    return { name, message };
  }
};

const [path] = process.argv.slice(2);
const model = await loadAutoencoder(path);
const from = { noise: noise(2) };
const engine = await engineOf(model, { device: "cuda" });
const first = await told(() => findAttractors(model, { from, device: "cuda" }));
// The engine and its plans are still there, the device is not.
const columns = model.latentDimension;
const point = { data: new Float32Array(columns), rows: 1, columns };
const second = await told(() => engine.apply(point, { threads: 1 }));
const third = await told(() => findAttractors(model, { from, device: "cuda" }));
const cpu = await findAttractors(model, { from, device: "auto" });
console.log(
  JSON.stringify({
    first,
    second,
    third,
    converged: cpu.summary.noise.converged,
    kind: cpu.record.device.kind,
    reason: native().cuda().reason,
  }),
);
await model[Symbol.asyncDispose]();
