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
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../dist/native.js";
import { runCases } from "./cases.mjs";
import { python } from "./peer.mjs";
import { median, root, table } from "./setting.mjs";

const CASES = {
  small: { signals: 500, atoms: 1024, dimension: 1024, sparsity: 102 },
  correlated: { signals: 500, atoms: 1024, dimension: 1024, sparsity: 102, spread: 0.1 },
  large: { signals: 500, atoms: 4096, dimension: 4096, sparsity: 205 },
};
const MEMORY_BUDGET = 2 ** 30;

export const run = (args) =>
  runCases(args, {
    ...{ name: "omp", cases: CASES, sizes: [], repeats: 5, measure, report },
    peer: ["numpy, sklearn", "python3-sklearn"],
  });

async function measure({ signals, atoms, dimension, sparsity, spread }, options) {
  const { threads, repeats, peers, folder } = options;
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
  if (!(same >= 0.995 && difference < 1e-4)) {
    throw new Error(
      `scikit-learn chooses the same atoms for ${same} of the signals, its error differs by ${difference}`,
    );
  }
  return { ...record, peer: { ...peer, ratio: peer.seconds / record.seconds, same, difference } };
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
