/**
 * `npm run bench -- attractors [--model k16|k128|PATH] [--threads N] [--points N] [--quick] [--full] [--no-peers]
 * [--json FILE]`
 *
 * 1. The limit: oneDNN's single-precision GEMM, 2048³, on the same threads, before and after every measurement.
 * 2. The map while the tile is full: evaluations a second and nominal GFLOP/s, as a share of that limit.
 * 3. The extraction: wall time from image file to attractors, peak memory of a process that does just that.
 * 4. PyTorch on the same initial points with the same rule, where python3 has torch (bench/peers/torch_loop.py).
 *    Every round of ours stands between rounds of the peers, so that a machine that slows down slows all of them.
 *
 * --quick: fewer repeats. --full: PyTorch's plain loop runs to its end; otherwise it is timed over some
 * iterations, all of which cost the same, and the total is extrapolated and marked so.
 */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { nativeEngine } from "../dist/engines/native.js";
import { InputError, loadAutoencoder, writeSafetensors } from "../dist/index.js";
import { native } from "../dist/native.js";
import { describeMachine, findModel, median, positive, root, table, trainingImages } from "./setting.mjs";

const GEMM_SIZE = 2048;
const RULE = { tolerance: 1e-6, maxIterations: 3000, divergenceRatio: 1e4 };
const COSINE = 0.99;
const SAME = 0.999;

export async function run(args) {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string", default: "k16" },
      threads: { type: "string" },
      points: { type: "string" },
      quick: { type: "boolean", default: false },
      full: { type: "boolean", default: false },
      "no-peers": { type: "boolean", default: false },
      json: { type: "string" },
    },
  });
  const threads = positive("threads", values.threads, availableParallelism());
  const points = positive("points", values.points, 2000);
  const { path, name } = findModel(values.model);
  const rounds = values.quick ? 2 : 5;
  const folder = mkdtempSync(join(tmpdir(), "latdyn-bench-"));
  try {
    const record = { ...describeMachine(), model: name, threads, rule: RULE };
    console.log(
      `${record.model} on ${record.machine.cpu}, ${threads} threads, ${record.machine.isa}; ${record.date}`,
    );
    record.map = await measureMap(path, threads, rounds);
    printMap(record.map);
    const images = trainingImages(points);
    const job = { model: path, images: images.path, count: images.count, threads, ...RULE };
    const ours = () => extract({ ...job, results: join(folder, "ours") });
    console.log(
      `\nextraction: the first ${images.count} MNIST training images, tolerance 1e-6, at most 3000 iterations`,
    );
    const runs = Array.from({ length: values.quick ? 1 : 2 }, ours);
    record.peers = values["no-peers"]
      ? []
      : await measurePeers({ path, threads, folder, runs, ours, ...values });
    record.extraction = { points: images.count, ...summarize(runs) };
    printExtraction(record);
    const file = values.json ?? join(root, "bench", "results", `local-attractors-${record.model}.json`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(record, null, 2)}\n`);
    console.log(`\nwritten to ${file}`);
    const disagreeing = record.peers.filter((peer) => peer.agreement?.agrees === false);
    if (disagreeing.length > 0) {
      throw new Error(
        `the attractors differ from those of: ${disagreeing.map((peer) => peer.mode).join(", ")}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// ---- the map while the tile is full ---------------------------------------------------------------------------

/** Noise that never counts as converged, a fixed number of iterations, as many rows as keep every lane busy. */
async function measureMap(path, threads, rounds) {
  const model = await loadAutoencoder(path);
  try {
    const engine = nativeEngine(model);
    const plan = engine.plan();
    const tiles = plan.tileRows * threads;
    const seconds = async (rows, iterations) => {
      const k = model.latentDimension;
      const initial = { data: native().noise(0, 0, rows, k, 1), rows, columns: k };
      const result = await engine.iterate(initial, {
        tolerance: 0,
        maxIterations: iterations,
        criterion: "residual",
        divergenceRatio: Number.MAX_VALUE,
        traceRows: new Int32Array(0),
        threads,
      });
      if (result.evaluations !== rows * iterations) {
        throw new Error(
          `${result.evaluations} evaluations, expected ${rows * iterations}: rows left the tile early`,
        );
      }
      return result.seconds;
    };
    // Long enough to be measured, on any model: about a second and a half a round.
    const trial = 20 * tiles;
    const rate = trial / (await seconds(tiles, 20));
    const iterations = Math.max(20, Math.round((1.5 * rate) / (tiles * 8)));
    const gemm = () => native().measureGemm(GEMM_SIZE, threads, 3);
    const limits = [gemm()];
    const evaluations = [];
    for (let round = 0; round < rounds; round++) {
      evaluations.push((tiles * 8 * iterations) / (await seconds(tiles * 8, iterations)));
      limits.push(gemm());
    }
    const gflops = evaluations.map((rate) => (rate * plan.flopsPerRow) / 1e9);
    return {
      plan,
      rounds: { evaluationsPerSecond: evaluations, gemmGflops: limits },
      evaluationsPerSecond: median(evaluations),
      gflops: median(gflops),
      gemmGflops: median(limits),
      // Of each round, against the mean of the limit just before it and just after it.
      shareOfLimit: median(gflops.map((value, i) => value / ((limits[i] + limits[i + 1]) / 2))),
    };
  } finally {
    await model[Symbol.asyncDispose]();
  }
}

function printMap({ plan, evaluationsPerSecond, gflops, gemmGflops, shareOfLimit, rounds }) {
  console.log(
    `plan: ${plan.reason}; ${plan.tileRows} rows a tile, ${(plan.flopsPerRow / 1e6).toFixed(2)} MFLOP a row`,
  );
  console.log(
    `map evaluations per second: ${Math.round(evaluationsPerSecond)} (median of ${rounds.evaluationsPerSecond.length}, tile full)`,
  );
  console.log(`nominal GFLOP/s: ${gflops.toFixed(1)}`);
  console.log(
    `limit, GEMM ${GEMM_SIZE}³: ${gemmGflops.toFixed(1)} GFLOP/s; share: ${(100 * shareOfLimit).toFixed(1)} %`,
  );
}

// ---- the extraction -------------------------------------------------------------------------------------------

function extract(job) {
  return runJson("the extraction", process.execPath, [
    join(root, "bench", "extraction.mjs"),
    JSON.stringify(job),
  ]);
}

function runJson(what, program, args) {
  const child = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 1 << 26,
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.error) throw new Error(`${what} did not start: ${child.error.message}`);
  if (child.status !== 0) throw new Error(`${what} failed (${child.signal ?? `exit code ${child.status}`})`);
  return JSON.parse(child.stdout);
}

function summarize(runs) {
  return {
    seconds: median(runs.map((run) => run.seconds)),
    peakBytes: Math.max(...runs.map((run) => run.peakBytes)),
    mapEvaluations: runs[0].mapEvaluations,
    summary: runs[0].summary,
    runs: runs.map(({ seconds, peakBytes }) => ({ seconds, peakBytes })),
  };
}

// ---- PyTorch --------------------------------------------------------------------------------------------------

const PEER_MODES = ["tuned", "careful-divergence", "careful", "plain"];

async function measurePeers({ path, threads, folder, runs, ours, quick, full }) {
  const python = process.env.LATDYN_PYTHON ?? "/usr/bin/python3";
  const found = spawnSync(python, ["-c", "import numpy, torch"], { stdio: "ignore" }).status === 0;
  if (!found) {
    console.log(
      `peers: skipped, ${python} has no torch (Debian: sudo apt-get install python3-torch libopenblas0)`,
    );
    return [];
  }
  const weights = await torchFolder(path, folder);
  const own = readResults(join(folder, "ours"), runs[0].k);
  const peers = [];
  for (const mode of PEER_MODES) {
    const results = join(folder, mode);
    const window = mode === "plain" && !full ? (quick ? 20 : 100) : 0;
    process.stderr.write(`PyTorch, ${mode} …\n`);
    const peer = runJson(`torch_loop.py ${mode}`, python, [
      join(root, "bench", "peers", "torch_loop.py"),
      ...[
        "--model",
        weights,
        "--initial",
        join(folder, "ours.initial"),
        "--mode",
        mode,
        "--results",
        results,
      ],
      ...["--tolerance", String(RULE.tolerance), "--max-iterations", String(RULE.maxIterations)],
      ...["--divergence-ratio", String(RULE.divergenceRatio), "--threads", String(threads)],
      ...[
        "--window",
        String(window),
        "--finalists",
        quick ? "1" : "2",
        "--sweep-seconds",
        quick ? "0.2" : "0.5",
      ],
    ]);
    if (peer.partial) {
      // Where a point never converges the plain loop goes to the cap, whatever the others do.
      const careful = peers.find(({ mode }) => mode === "careful");
      const all = careful.statuses.converged === careful.points;
      const needed = all ? careful.steps : RULE.maxIterations;
      peer.extrapolated = { fromIterations: peer.steps, iterations: needed };
      peer.seconds *= needed / peer.steps;
      peer.evaluations = needed * peer.points;
    } else {
      peer.agreement = compare(own, readResults(results, runs[0].k));
    }
    peers.push(peer);
    runs.push(ours());
  }
  return peers;
}

/** Where PyTorch's Sequential has its layers with weights, in the autoencoder of the MNIST models. */
const TORCH_LAYERS = { encoder: [0, 2, 4, 6, 9], decoder: [0, 3, 5, 7, 9] };

/**
 * A folder that torch_loop.py can read: the model's own where it has model.safetensors, else one made of its
 * graphs' weights. Throws InputError for any other architecture.
 */
async function torchFolder(path, folder) {
  if (existsSync(join(path, "model.safetensors"))) return path;
  const tensors = {};
  const model = await loadAutoencoder(path);
  for (const [part, layers] of Object.entries(TORCH_LAYERS)) {
    const graph = model[part];
    const nodes = graph?.nodes.filter(({ op }) => ["conv", "convTranspose", "linear"].includes(op)) ?? [];
    if (nodes.length !== layers.length) {
      throw new InputError(
        `${path}: not the MNIST autoencoder that torch_loop.py builds; --no-peers leaves it out`,
      );
    }
    nodes.forEach(({ inputs: [, weight, bias] }, i) => {
      for (const [name, id] of Object.entries({ weight, bias })) {
        const { shape, constant } = graph.values[id];
        tensors[`${part}.${layers[i]}.${name}`] = { dtype: "F32", shape: [...shape], data: constant };
      }
    });
  }
  await model[Symbol.asyncDispose]();
  const made = join(folder, "model");
  mkdirSync(made);
  await writeSafetensors(join(made, "model.safetensors"), tensors);
  copyFileSync(join(path, "config.json"), join(made, "config.json"));
  return made;
}

function readResults(prefix, k) {
  const bytes = (kind) => new Uint8Array(readFileSync(`${prefix}.${kind}`)).buffer;
  return { k, endpoints: new Float32Array(bytes("endpoints")), status: new Uint8Array(bytes("status")) };
}

/** Attractors (greedy, cosine > 0.99) of either side, and how many of each side's the other side has. */
function compare(ours, theirs) {
  const [own, peer] = [attractorsOf(ours), attractorsOf(theirs)];
  const found = [covered(own, peer), covered(peer, own)];
  const both = rowsWhere(ours.status, (i) => ours.status[i] === 0 && theirs.status[i] === 0);
  const same = both.filter((i) => cosine(pointOf(ours, i), pointOf(theirs, i)) > SAME).length;
  return {
    attractors: [own.length, peer.length],
    // Shares of ours that theirs has, and the other way round: nearest cosine > 0.999.
    covered: found,
    convergedInBoth: both.length,
    sameEndpoint: both.length === 0 ? 1 : same / both.length,
    sameStatus:
      rowsWhere(ours.status, (i) => ours.status[i] === theirs.status[i]).length / ours.status.length,
    agrees: Math.min(...found) >= 0.95 && same >= 0.99 * both.length,
  };
}

function rowsWhere(status, keep) {
  return Array.from(status.keys()).filter(keep);
}

function pointOf({ endpoints, k }, i) {
  return endpoints.subarray(i * k, (i + 1) * k);
}

/** The paper's rule written out once more, so that neither side's own deduplication judges. */
function attractorsOf(results) {
  const kept = [];
  for (const i of rowsWhere(results.status, (i) => results.status[i] === 0)) {
    const point = pointOf(results, i);
    if (!kept.some((representative) => cosine(representative, point) > COSINE)) kept.push(point);
  }
  return kept;
}

function covered(some, others) {
  if (some.length === 0) return others.length === 0 ? 1 : 0;
  return some.filter((a) => others.some((b) => cosine(a, b) > SAME)).length / some.length;
}

function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb);
}

const PEER_NAMES = {
  plain: "(a) PyTorch, the plain loop",
  careful: "(b) PyTorch, careful",
  "careful-divergence": "(c) PyTorch, careful, our divergence rule",
  tuned: "(c) and channels-last, one Python thread a core",
};

function printExtraction({ extraction, peers }) {
  const { summary, peakBytes, mapEvaluations, seconds, runs } = extraction;
  const counts = ["converged", "maxIterations", "cycle", "diverged", "nonFinite"];
  console.log(`\nstatuses: ${counts.map((name) => `${summary[name]} ${name}`).join(", ")}`);
  console.log(`attractors: ${summary.attractors} (Euclidean rule: ${summary.attractorsEuclidean})`);
  console.log(`peak memory: ${(peakBytes / 1e6).toFixed(0)} MB`);
  const rows = [["", "seconds", "evaluations", "evaluations/s", "times ours", "attractors", "same endpoint"]];
  const line = (name, took, evaluated, ...rest) => [
    name,
    took.toFixed(2),
    String(evaluated),
    String(Math.round(evaluated / took)),
    ...rest,
  ];
  rows.push(
    line(
      `latent-dynamics (median of ${runs.length})`,
      seconds,
      mapEvaluations,
      "1",
      String(summary.attractors),
      "",
    ),
  );
  for (const peer of [...peers].reverse()) {
    const { agreement, extrapolated } = peer;
    const note = extrapolated ? ` (extrapolated from ${extrapolated.fromIterations} iterations)` : "";
    rows.push(
      line(
        PEER_NAMES[peer.mode] + note,
        peer.seconds,
        peer.evaluations,
        (peer.seconds / seconds).toFixed(1),
        agreement ? String(agreement.attractors[1]) : "",
        agreement ? `${(100 * agreement.sameEndpoint).toFixed(1)} %` : "",
      ),
    );
  }
  console.log(`\n${table(rows)}`);
  const blas = peers[0]?.blas;
  if (blas && !/openblas|mkl|blis|atlas/i.test(blas)) {
    console.log(
      `\nPyTorch multiplies matrices with ${blas}, the slow reference library: with libopenblas0 installed its figures are several times better, and only those should be quoted.`,
    );
  }
}
