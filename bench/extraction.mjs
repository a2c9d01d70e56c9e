/**
 * One extraction in a process of its own, so that its peak memory is its own: reads the job as JSON from the
 * command line, prints what it took as JSON. Files it leaves: PREFIX.initial, PREFIX.endpoints (float32),
 * PREFIX.status (uint8), PREFIX.iterations (int32), row-major, as bench/peers/torch_loop.py writes them.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { data, findAttractors, loadAutoencoder } from "../dist/index.js";

/** Highest resident memory so far. Not from getrusage, whose figure starts at the parent's. */
function peakBytes() {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"));
  if (line === null) throw new Error("/proc/self/status has no VmHWM: peak memory is measured on Linux");
  return Number(line[1]) * 1024;
}

const { model: path, images, count, results, ...options } = JSON.parse(process.argv[2]);
const model = await loadAutoencoder(path);
const run = await findAttractors(model, { ...options, from: { data: data(images, { count }) } });
const [set] = run.sets;
const peak = peakBytes();
const bytes = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
writeFileSync(`${results}.initial`, bytes(set.initial.data));
writeFileSync(`${results}.endpoints`, bytes(set.endpoints.data));
writeFileSync(`${results}.status`, set.status);
writeFileSync(`${results}.iterations`, bytes(set.iterations));
console.log(
  JSON.stringify({ ...run.record.timing, peakBytes: peak, summary: set.summary, k: set.initial.columns }),
);
await model[Symbol.asyncDispose]();
