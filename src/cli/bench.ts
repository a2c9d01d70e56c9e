import type { Command } from "commander";
import { compareEngines, type EngineComparison } from "../engines/compare.js";
import { loadAutoencoder } from "../models/load.js";
import { given, number } from "./arguments.js";
import { interruptSignal } from "./interrupt.js";
import { MODEL_HELP } from "./modelOptions.js";
import { progressLine } from "./progress.js";
import { count, table } from "./table.js";

interface Flags {
  threads?: number;
  rows?: number;
  device?: string;
  randomSeed?: number;
  json?: boolean;
}

const HELP = `
Examples:
  $ latdyn bench engines models/mnist-conv-k16
  $ latdyn bench engines MODEL --threads 1 --rows 256 --json
  $ latdyn bench engines MODEL --device cuda --rows 65536
      the native engine on a GPU beside it on the CPU: f in float32, with the way of the rows there and back

What comes out:
  For every engine that can run the model here: applications of f to a row per second, the median of five rounds in
  which the engines take turns, with the slowest and the fastest round; how many times as fast as it the native engine
  is; and the relative error of one step, ‖f(z) − f'(z)‖/‖f'(z)‖ over all rows, f' the native engine's. All of them
  get the same rows of noise and the same number of threads. An engine that cannot run the model says why.
  onnxruntime stands there twice: as this library uses it, a session for each thread, and as one session with all the
  threads, which is what its package does by itself.`;

export function benchCommand(program: Command): void {
  const bench = program
    .command("bench")
    .summary("engines against each other")
    .description("Measures speed on this machine.");
  bench
    .command("engines")
    .summary("every engine on the same rows")
    .description("Compares the engines that can run a model: rows per second, and agreement of one step.")
    .argument("<model>", MODEL_HELP)
    .option("--threads <number>", "threads of every engine (default: all)", number)
    .option("--rows <number>", "rows of one application (default: by the slowest engine)", number)
    .option("--device <name>", "cuda, cuda:INDEX or auto: the native engine there too (default: none)")
    .option("--random-seed <number>", "of the rows (default: 0)", number)
    .option("--json", "one JSON object on stdout, one JSON line of progress a second on stderr")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(path: string, { json = false, ...options }: Flags): Promise<void> {
  const progress = progressLine({ json });
  const start = performance.now();
  const { signal, release } = interruptSignal();
  try {
    await using model = await loadAutoencoder(path);
    const comparison = await compareEngines(model, {
      ...given(options),
      signal,
      onProgress: ({ engine, finished, total }) =>
        progress.update({
          phase: "measure",
          set: engine,
          finished,
          total,
          seconds: (performance.now() - start) / 1000,
        }),
    });
    progress.clear();
    const text = json ? JSON.stringify(comparison, null, 2) : formatComparison(comparison);
    process.stdout.write(`${text}\n`);
  } finally {
    progress.clear();
    release();
  }
}

export function formatComparison({ model, threads, rows, reference, engines }: EngineComparison): string {
  const native = engines.find(({ engine }) => engine === "native")?.rowsPerSecond?.median;
  const lines = engines.map((measured) => {
    const { engine } = measured;
    if (measured.rowsPerSecond === null) return [engine, "–", "–", "–", "–", measured.reason];
    const { rowsPerSecond, relativeError, device, versions } = measured;
    const { median, least, most } = rowsPerSecond;
    const times = native === undefined || engine === "native" ? "–" : (native / median).toFixed(2);
    const version = Object.entries(versions).filter(
      ([name]) => name !== "node" && name !== "latent-dynamics",
    );
    return [
      engine,
      count(Math.round(median)),
      `${count(Math.round(least))} – ${count(Math.round(most))}`,
      times,
      relativeError?.toExponential(1) ?? "–",
      [device.isa ?? device.name ?? device.kind, ...version.map(([name, text]) => `${name} ${text}`)].join(
        ", ",
      ),
    ];
  });
  return [
    `${model.name}: k = ${model.k}, ${count(rows)} rows, ${threads} ${threads === 1 ? "thread" : "threads"}` +
      `${reference === null ? "" : `; errors against ${reference}`}`,
    "",
    table(["engine", "rows/s", "slowest – fastest", "native is × it", "error", "computed by"], lines),
  ].join("\n");
}
