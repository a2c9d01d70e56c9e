/**
 * `npm run bench -- nearest [--case narrow|wide|all] [--rows N] [--threads N] [--repeats N] [--no-peers] [--json FILE]`
 *
 * Nearest neighbours of two Gaussian sets in both directions, against faiss' exhaustive index searched once in
 * either direction (bench/peers/nearest_faiss.py), round by round in turn, and against the GEMM limit measured in
 * the same rounds: one product of the two sets is 2·N·M·k FLOPs. The run fails where faiss finds other neighbours
 * whose distance is not the same within float32.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../dist/native.js";
import { runCases } from "./cases.mjs";
import { startPeer } from "./peer.mjs";
import { median, table } from "./setting.mjs";

const CASES = { narrow: { rows: 20_000, columns: 128 }, wide: { rows: 20_000, columns: 2048 } };

export const run = (args) =>
  runCases(args, { name: "nearest", cases: CASES, measure, report, peer: ["faiss", "python3-faiss"] });

async function measure({ rows, columns }, { threads, repeats, peers, folder }) {
  const { noise, nearest, measureGemm } = native();
  const a = noise(1, 0, rows, columns, 1);
  const b = noise(2, 0, rows, columns, 1);
  const files = { a: join(folder, "a"), b: join(folder, "b"), results: join(folder, "faiss") };
  if (peers) {
    writeFileSync(files.a, a);
    writeFileSync(files.b, b);
  }
  const faiss = peers
    ? startPeer("nearest_faiss.py", [
        ...["--a", files.a, "--b", files.b, "--columns", String(columns)],
        ...["--threads", String(threads), "--results", files.results],
      ])
    : null;
  const rounds = { cosine: [], euclidean: [], faiss: [], gemmGflops: [] };
  let last = null;
  for (let round = 0; round <= repeats; round++) {
    const gemm = measureGemm(2048, threads, 2);
    const cosine = await nearest(a, b, columns, { metric: "cosine", threads }).promise;
    last = await nearest(a, b, columns, { metric: "euclidean", threads }).promise;
    const answer = await faiss?.round();
    // The first round of everybody warms up.
    if (round === 0) continue;
    rounds.gemmGflops.push(gemm);
    rounds.cosine.push(cosine.seconds);
    rounds.euclidean.push(last.seconds);
    if (answer) rounds.faiss.push(answer.seconds);
  }
  await faiss?.stop();
  if (faiss) checkAgreement(last, a, b, columns, files.results);
  const gflop = (2 * rows * rows * columns) / 1e9;
  const share = (seconds) => median(seconds.map((s, i) => gflop / s / rounds.gemmGflops[i]));
  return {
    ...{ rows, columns, rounds },
    seconds: { cosine: median(rounds.cosine), euclidean: median(rounds.euclidean) },
    shareOfLimit: { cosine: share(rounds.cosine), euclidean: share(rounds.euclidean) },
    faissSeconds: faiss ? median(rounds.faiss) : null,
    timesFaster: faiss ? median(rounds.faiss.map((s, i) => s / rounds.euclidean[i])) : null,
  };
}

/** faiss decides in float32: where it takes another neighbour, that one may not be nearer than float32 can tell. */
function checkAgreement(found, a, b, columns, results) {
  const distance = (x, i, y, j) => {
    let sum = 0;
    for (let l = 0; l < columns; l++) sum += (x[i * columns + l] - y[j * columns + l]) ** 2;
    return Math.sqrt(sum);
  };
  for (const [side, x, y] of [
    ["a", a, b],
    ["b", b, a],
  ]) {
    const bytes = readFileSync(`${results}.${side}`);
    const theirs = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const ours = found[`${side}Index`];
    for (let i = 0; i < ours.length; i++) {
      const [mine, other] = [distance(x, i, y, ours[i]), distance(x, i, y, theirs[i])];
      if (mine > other || other > mine * (1 + 1e-4)) {
        throw new Error(`row ${i} of ${side}: ${ours[i]} at ${mine}, faiss found ${theirs[i]} at ${other}`);
      }
    }
  }
}

function report(cases) {
  const rows = [["both directions", "cosine", "Euclidean", "of the GEMM limit", "faiss", "times faster"]];
  for (const found of Object.values(cases)) {
    rows.push([
      `${found.rows} × ${found.rows} × ${found.columns}`,
      `${found.seconds.cosine.toFixed(2)} s`,
      `${found.seconds.euclidean.toFixed(2)} s`,
      `${(100 * found.shareOfLimit.cosine).toFixed(0)} %, ${(100 * found.shareOfLimit.euclidean).toFixed(0)} %`,
      found.faissSeconds === null ? "–" : `${found.faissSeconds.toFixed(2)} s`,
      found.timesFaster === null ? "–" : found.timesFaster.toFixed(1),
    ]);
  }
  return table(rows);
}
