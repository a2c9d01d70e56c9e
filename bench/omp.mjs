/**
 * `npm run bench -- omp [--case small|large|correlated|all] [--threads N] [--repeats N] [--no-peers] [--json FILE]`
 *
 * Matching pursuit of Gaussian signals on Gaussian dictionaries (correlated: on atoms that share most of a
 * direction, as endpoints do), against scikit-learn's orthogonal_mp_gram on the same numbers where python3 has
 * it (bench/peers/omp_sklearn.py). Ours is timed as a caller sees it, dictionary in, result out; scikit-learn's
 * Gram matrix is timed by itself and left out of the ratio. The run fails where the choices or errors disagree.
 * Peak memory is this process's, Node and the arguments included.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { InputError } from "../dist/errors.js";
import { native } from "../dist/native.js";
import { describeMachine, median, positive, root, table } from "./setting.mjs";

const CASES = {
  small: { signals: 500, atoms: 1024, dimension: 1024, sparsity: 102 },
  correlated: { signals: 500, atoms: 1024, dimension: 1024, sparsity: 102, spread: 0.1 },
  large: { signals: 500, atoms: 4096, dimension: 4096, sparsity: 205 },
};
const MEMORY_BUDGET = 2 ** 30;

export async function run(args) {
  const { values } = parseArgs({
    args,
    options: {
      case: { type: "string", default: "all" },
      threads: { type: "string" },
      repeats: { type: "string" },
      "no-peers": { type: "boolean", default: false },
      json: { type: "string" },
    },
  });
  if (values.case !== "all" && !Object.hasOwn(CASES, values.case)) {
    throw new InputError(`--case is ${values.case}, expected all or one of ${Object.keys(CASES).join(", ")}`);
  }
  const names = values.case === "all" ? Object.keys(CASES) : [values.case];
  const threads = positive("threads", values.threads, availableParallelism());
  const repeats = positive("repeats", values.repeats, 5);
  const python = process.env.LATDYN_PYTHON ?? "/usr/bin/python3";
  const peers = !values["no-peers"] && hasPeer(python);
  const folder = mkdtempSync(join(tmpdir(), "latdyn-bench-"));
  try {
    const record = { ...describeMachine(), threads, cases: {} };
    console.log(`${record.machine.cpu}, ${threads} threads, ${record.machine.isa}; ${record.date}`);
    for (const name of names) {
      record.cases[name] = await measure(CASES[name], { threads, repeats, python, peers, folder });
    }
    console.log(`\n${report(record.cases)}`);
    const file = values.json ?? join(root, "bench", "results", "local-omp.json");
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(record, null, 2)}\n`);
    console.log(`\nwritten to ${file}`);
    const disagreeing = Object.entries(record.cases).filter(([, { peer }]) => peer?.agrees === false);
    if (disagreeing.length > 0) {
      throw new Error(`scikit-learn chooses otherwise: ${disagreeing.map(([name]) => name).join(", ")}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function hasPeer(python) {
  const found = spawnSync(python, ["-c", "import numpy, sklearn"], { stdio: "ignore" }).status === 0;
  if (!found)
    console.log(`peer: skipped, ${python} has no sklearn (Debian: sudo apt-get install python3-sklearn)`);
  return found;
}

async function measure({ signals, atoms, dimension, sparsity, spread }, options) {
  const { threads, repeats, python, peers, folder } = options;
  const { noise, omp, measureGemm } = native();
  const dictionary = noise(1, 0, atoms, dimension, spread ?? 1);
  if (spread !== undefined) {
    const direction = noise(3, 0, 1, dimension, 1);
    dictionary.forEach((value, i) => {
      dictionary[i] = value + direction[i % dimension];
    });
  }
  const given = noise(2, 0, signals, dimension, 1);
  const once = () =>
    omp(dictionary, given, dimension, {
      sparsities: Int32Array.of(sparsity),
      threads,
      memoryBudget: MEMORY_BUDGET,
    }).promise;
  let result = await once();
  const gemm = [measureGemm(2048, threads, 3)];
  const seconds = [];
  for (let i = 0; i < repeats; i++) {
    result = await once();
    seconds.push(result.seconds);
    gemm.push(measureGemm(2048, threads, 3));
  }
  const [selection] = result.bySparsity;
  const record = {
    ...{ signals, atoms, dimension, sparsity },
    seconds: median(seconds),
    runs: seconds,
    gemmGflops: median(gemm),
    peakBytes: peakBytes(),
    meanSquaredError: selection.meanSquaredError,
    earlyStops: selection.earlyStops,
  };
  if (!peers) return record;

  writeFileSync(join(folder, "dictionary"), dictionary);
  writeFileSync(join(folder, "signals"), given);
  const results = join(folder, "sklearn");
  process.stderr.write(`scikit-learn, ${signals} × ${atoms} × ${dimension}, ${sparsity} chosen …\n`);
  const child = spawnSync(
    python,
    [
      join(root, "bench", "peers", "omp_sklearn.py"),
      ...["--dictionary", join(folder, "dictionary"), "--signals", join(folder, "signals")],
      ...["--dimension", String(dimension), "--sparsity", String(sparsity), "--results", results],
    ],
    { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] },
  );
  if (child.error) throw new Error(`omp_sklearn.py did not start: ${child.error.message}`);
  if (child.status !== 0) throw new Error(`omp_sklearn.py failed (${child.signal ?? child.status})`);
  const peer = JSON.parse(child.stdout);
  const same = sameSupports(selection, readFileSync(`${results}.support`), signals);
  const difference = Math.abs(selection.meanSquaredError / peer.meanSquaredError - 1);
  const agrees = same >= 0.995 && difference < 1e-4;
  return { ...record, peer: { ...peer, ratio: peer.seconds / record.seconds, same, difference, agrees } };
}

/** The share of signals for which both chose the same atoms. */
function sameSupports({ support, sparsity }, bytes, signals) {
  const theirs = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  let same = 0;
  for (let i = 0; i < signals; i++) {
    const of = (all) => [...all.subarray(i * sparsity, (i + 1) * sparsity)].sort((a, b) => a - b).join();
    if (of(support) === of(theirs)) same++;
  }
  return same / signals;
}

function peakBytes() {
  return (
    Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? Number.NaN) * 1024
  );
}

function report(cases) {
  const rows = Object.entries(cases).map(([name, one]) => [
    `${name}: ${one.signals} × ${one.atoms} × ${one.dimension}, ${one.sparsity} chosen`,
    `${one.seconds.toFixed(3)} s`,
    one.gemmGflops.toFixed(0),
    `${(one.peakBytes / 1e6).toFixed(0)} MB`,
    one.peer ? `${one.peer.seconds.toFixed(2)} s` : "–",
    one.peer ? `${one.peer.gramSeconds.toFixed(2)} s` : "–",
    one.peer ? `${one.peer.ratio.toFixed(1)}×` : "–",
    one.peer ? `${(100 * one.peer.same).toFixed(1)} %` : "–",
  ]);
  const head = [
    "signals × atoms × dimension",
    "latdyn",
    "GEMM GFLOP/s",
    "peak",
    "scikit-learn",
    "its Gram",
    "ratio",
    "same",
  ];
  return table([head, ...rows]);
}
