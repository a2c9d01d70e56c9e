#!/usr/bin/env node
/**
 * Mutated model files against the readers: `node scripts/fuzz-models.mjs FORMAT [COUNT] [SEED]`, or
 * `npm run fuzz -- FORMAT …`. Every file either loads or is refused with one sentence in an error of this library;
 * anything else (another error, a stack trace in the message, more than ten seconds) is printed with the seed that
 * repeats it, and the program ends with exit code 1. The same seed gives the same files.
 */
import { LatdynError } from "../dist/errors.js";
import { graphFormat } from "./fuzz/graph.mjs";
import { onnxFormat } from "./fuzz/onnx.mjs";
import { safetensorsFormat } from "./fuzz/safetensors.mjs";
import { seededRandom } from "./fuzz/seededRandom.mjs";

/**
 * A format: `open(random)` makes what it needs once and gives `mutant(random)`, a mutated model as a value;
 * `load(mutant)`, which reads it the way the library does; and `close()`.
 */
const formats = { onnx: onnxFormat, safetensors: safetensorsFormat, graph: graphFormat };

const longest = 10_000;

function usage(message) {
  console.error(`${message}; usage: fuzz-models.mjs ${Object.keys(formats).join("|")} [COUNT] [SEED]`);
  process.exit(2);
}

const [format, countText = "10000", seedText = "0"] = process.argv.slice(2);
if (!Object.hasOwn(formats, format ?? "")) usage(`there is no format "${format ?? ""}"`);
const [count, seed] = [Number(countText), Number(seedText)];
if (!Number.isSafeInteger(count) || count < 1) usage(`"${countText}" is no count`);
if (!Number.isSafeInteger(seed) || seed < 0) usage(`"${seedText}" is no seed`);

/** Whether the error is one sentence for a user. */
function isTyped(error) {
  return error instanceof LatdynError && !/\n\s+at /.test(error.message) && error.message.length < 2000;
}

const opened = await formats[format].open();
let accepted = 0;
let refused = 0;
let slowest = { milliseconds: 0, index: 0 };
const kinds = new Map();
const failures = [];
for (let index = 0; index < count; index++) {
  const mutant = opened.mutant(seededRandom(seed * 1_000_003 + index));
  const start = performance.now();
  try {
    await opened.load(mutant);
    accepted++;
  } catch (error) {
    if (isTyped(error)) refused++;
    else
      failures.push({ index, what: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    // What was said, without the names and numbers of this file.
    const kind = String(error?.message)
      .replaceAll(/"[^"]*"|[\d.]+|\[[^\]]*\]/g, "…")
      .slice(0, 100);
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  const milliseconds = performance.now() - start;
  if (milliseconds > slowest.milliseconds) slowest = { milliseconds, index };
  if (milliseconds > longest) failures.push({ index, what: `took ${(milliseconds / 1000).toFixed(1)} s` });
  if (failures.length >= 10) break;
}
await opened.close();

for (const { index, what } of failures) console.log(`mutant ${index} of seed ${seed}: ${what}`);
console.log(
  `${format}: ${accepted} loaded, ${refused} refused in ${kinds.size} ways, ${failures.length} failed; ` +
    `the slowest, mutant ${slowest.index}, took ${slowest.milliseconds.toFixed(0)} ms`,
);
process.exitCode = failures.length === 0 ? 0 : 1;
