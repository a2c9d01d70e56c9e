/**
 * `npm run bench -- trajectory [--model k128|k16|PATH] [--points N] [--steps N] [--threads N] [--repeats N] [--no-peers]
 * [--json FILE]`
 *
 * The trajectory score of real paths: training images walked `steps` applications of f, against the attractors found
 * from them, once all endpoints that converged and once deduplicated. Timed is the scoring alone, of paths that are
 * walked and stored before, against the plain matrix form (bench/peers/trajectory_matrix.py: all distances of a block
 * of points by one matrix product, minimum, square root, mean; NumPy and PyTorch, the faster counts), round by round
 * in turn. Beside it, the job that walks and scores in one stream, and the same job without attractors.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { STATUS } from "../dist/dynamics/result.js";
import { lower } from "../dist/graph/lower.js";
import { data, findAttractors, loadAutoencoder } from "../dist/index.js";
import { takeRows } from "../dist/matrix.js";
import { native } from "../dist/native.js";
import { writeRecord } from "./cases.mjs";
import { hasModules, startPeer } from "./peer.mjs";
import { describeMachine, findModel, median, positive, root, table, trainingImages } from "./setting.mjs";

export async function run(args) {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string", default: "k128" },
      points: { type: "string" },
      steps: { type: "string" },
      threads: { type: "string" },
      repeats: { type: "string" },
      "no-peers": { type: "boolean", default: false },
      json: { type: "string" },
    },
  });
  const points = positive("points", values.points, 2000);
  const steps = positive("steps", values.steps, 60);
  const threads = positive("threads", values.threads, availableParallelism());
  const repeats = positive("repeats", values.repeats, 5);
  const peers = !values["no-peers"] && hasModules("numpy, torch", "python3-torch");
  const { path, name } = findModel(values.model);
  const folder = mkdtempSync(join(tmpdir(), "latdyn-bench-"));
  const model = await loadAutoencoder(path);
  const plan = native().compile(lower(model.map), {});
  try {
    const images = trainingImages(points);
    const found = await findAttractors(model, {
      from: { train: data(images.path, { count: images.count }) },
      threads,
    });
    const [set] = found.sets;
    const converged = Array.from(set.status.keys()).filter((i) => set.status[i] === STATUS.converged);
    const cases = {
      "all converged endpoints": takeRows(set.endpoints, converged),
      "attractors, deduplicated": set.attractors,
    };
    const record = { ...describeMachine(), model: name, threads, points: images.count, steps, cases: {} };
    console.log(
      `${name} on ${record.machine.cpu}, ${threads} threads, ${record.machine.isa}; ${record.date}`,
    );
    for (const [label, attractors] of Object.entries(cases)) {
      const setting = { plan, initial: set.initial, attractors, steps, threads, repeats, peers, folder };
      record.cases[label] = await measure(setting);
    }
    console.log(`\n${images.count} paths of ${steps + 1} points\n${report(record.cases)}`);
    writeRecord(values.json ?? join(root, "bench", "results", `local-trajectory-${name}.json`), record);
  } finally {
    plan.dispose();
    await model[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure({ plan, initial, attractors, steps, threads, repeats, peers, folder }) {
  const { trajectory, scorePaths } = native();
  const k = attractors.columns;
  const none = new Int32Array(0);
  const walk = (against, storeSteps) =>
    trajectory(plan, initial.data, against, { steps, storeSteps, curveRows: none, threads }).promise;
  const { stored } = await walk(
    attractors.data,
    Int32Array.from({ length: steps + 1 }, (_, t) => t),
  );
  const files = {
    paths: join(folder, "paths"),
    attractors: join(folder, "attractors"),
    results: join(folder, "scores"),
  };
  writeFileSync(files.paths, stored);
  writeFileSync(files.attractors, attractors.data);
  const matrix = peers
    ? startPeer("trajectory_matrix.py", [
        ...["--paths", files.paths, "--attractors", files.attractors],
        ...["--points", String(steps + 1), "--columns", String(k)],
        ...["--threads", String(threads), "--results", files.results],
      ])
    : null;
  const rounds = { scoring: [], matrix: [], walking: [], streaming: [] };
  let score = null;
  for (let round = 0; round <= repeats; round++) {
    const ours = await scorePaths(stored, steps + 1, k, attractors.data, { threads }).promise;
    const answer = await matrix?.round();
    const walking = await walk(new Float32Array(0), none);
    const streaming = await walk(attractors.data, none);
    score = ours.score;
    // The first round of everybody warms up.
    if (round === 0) continue;
    rounds.scoring.push(ours.seconds);
    rounds.walking.push(walking.seconds);
    rounds.streaming.push(streaming.seconds);
    if (answer) rounds.matrix.push(Math.min(...Object.values(answer.seconds)));
  }
  await matrix?.stop();
  if (matrix) checkAgreement(score, files.results);
  return {
    ...{ attractors: attractors.rows, rounds },
    // Some milliseconds long: the fastest round of either is the one that nothing else disturbed.
    seconds: Math.min(...rounds.scoring),
    matrixSeconds: matrix ? Math.min(...rounds.matrix) : null,
    timesFaster: matrix ? Math.min(...rounds.matrix) / Math.min(...rounds.scoring) : null,
    walkingSeconds: median(rounds.walking),
    streamingSeconds: median(rounds.streaming),
  };
}

/** The matrix form computes in float32 a difference of squares: near an attractor little of it is left. */
function checkAgreement(score, results) {
  const bytes = readFileSync(results);
  const theirs = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  for (let i = 0; i < score.length; i++) {
    if (!(Math.abs(theirs[i] / score[i] - 1) < 1e-2)) {
      throw new Error(`path ${i} scores ${score[i]}, in matrix form ${theirs[i]}`);
    }
  }
}

function report(cases) {
  const rows = [
    ["against", "attractors", "scoring", "matrix form", "times faster", "f alone", "f and scoring"],
  ];
  for (const [label, found] of Object.entries(cases)) {
    rows.push([
      label,
      String(found.attractors),
      `${(1000 * found.seconds).toFixed(1)} ms`,
      found.matrixSeconds === null ? "–" : `${(1000 * found.matrixSeconds).toFixed(1)} ms`,
      found.timesFaster === null ? "–" : found.timesFaster.toFixed(1),
      `${found.walkingSeconds.toFixed(2)} s`,
      `${found.streamingSeconds.toFixed(2)} s`,
    ]);
  }
  return table(rows);
}
