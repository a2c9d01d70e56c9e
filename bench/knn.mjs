/**
 * `npm run bench -- knn [--neighbours K] [--queries N] [--rows N] [--columns K] [--threads N] [--repeats N]
 * [--no-peers] [--json FILE]`
 *
 * The KNN score of Gaussian queries, mean distance to the K nearest of a Gaussian reference, against faiss'
 * exhaustive index asked for K neighbours (bench/peers/knn_faiss.py), round by round in turn. The run fails where
 * the scores differ by more than float32 explains.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../dist/native.js";
import { runCases } from "./cases.mjs";
import { startPeer } from "./peer.mjs";
import { median, table } from "./setting.mjs";

const CASES = { paper: { rows: 20_000, queries: 5000, columns: 128, neighbours: 2000 } };

export const run = (args) =>
  runCases(args, {
    ...{ name: "knn", cases: CASES, sizes: ["rows", "queries", "columns", "neighbours"], repeats: 5 },
    ...{ measure, report, peer: ["faiss", "python3-faiss"] },
  });

async function measure({ rows, queries, columns, neighbours }, { threads, repeats, peers, folder }) {
  const { noise, knnScore, measureGemm } = native();
  const known = noise(1, 0, rows, columns, 1);
  const asked = noise(2, 0, queries, columns, 1);
  const files = {
    reference: join(folder, "reference"),
    queries: join(folder, "queries"),
    results: join(folder, "scores"),
  };
  if (peers) {
    writeFileSync(files.reference, known);
    writeFileSync(files.queries, asked);
  }
  const faiss = peers
    ? startPeer("knn_faiss.py", [
        ...["--reference", files.reference, "--queries", files.queries, "--columns", String(columns)],
        ...["--neighbours", String(Math.min(neighbours, rows))],
        ...["--threads", String(threads), "--results", files.results],
      ])
    : null;
  const rounds = { seconds: [], faiss: [], gemmGflops: [] };
  let score = null;
  for (let round = 0; round <= repeats; round++) {
    const gemm = measureGemm(2048, threads, 2);
    const options = { neighbours, rule: "mean", normalise: false, threads };
    const found = await knnScore(known, asked, columns, options).promise;
    const answer = await faiss?.round();
    score = found.score;
    // The first round of everybody warms up.
    if (round === 0) continue;
    rounds.gemmGflops.push(gemm);
    rounds.seconds.push(found.seconds);
    if (answer) rounds.faiss.push(answer.seconds);
  }
  await faiss?.stop();
  if (faiss) checkAgreement(score, files.results);
  return {
    ...{ rows, queries, columns, neighbours, rounds },
    seconds: median(rounds.seconds),
    gemmSeconds: (2 * rows * queries * columns) / 1e9 / median(rounds.gemmGflops),
    faissSeconds: faiss ? median(rounds.faiss) : null,
    timesFaster: faiss ? median(rounds.faiss.map((s, i) => s / rounds.seconds[i])) : null,
  };
}

function checkAgreement(score, results) {
  const bytes = readFileSync(results);
  const theirs = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  for (let i = 0; i < score.length; i++) {
    if (!(Math.abs(theirs[i] / score[i] - 1) < 1e-4)) {
      throw new Error(`query ${i} scores ${score[i]}, with faiss ${theirs[i]}`);
    }
  }
}

function report({ paper: found }) {
  return table([
    ["K nearest", "score", "one GEMM", "faiss", "times faster"],
    [
      `${found.queries} queries on ${found.rows} × ${found.columns}, K = ${found.neighbours}`,
      `${found.seconds.toFixed(3)} s`,
      `${found.gemmSeconds.toFixed(3)} s`,
      found.faissSeconds === null ? "–" : `${found.faissSeconds.toFixed(2)} s`,
      found.timesFaster === null ? "–" : found.timesFaster.toFixed(1),
    ],
  ]);
}
