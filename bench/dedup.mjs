/**
 * `npm run bench -- dedup [--case clustered|unique|all] [--rows N] [--threads N] [--repeats N] [--no-peers]
 * [--json FILE]`
 *
 * Greedy deduplication by cosine. `clustered`: many rows around few directions, as endpoints are, against the greedy
 * loop in NumPy, row by row and in blocks (bench/peers/dedup_numpy.py), round by round in turn. `unique`: no two rows alike, so that every pair
 * is compared, N·(N − 1)/2 products of k; against the GEMM limit measured in the same rounds. The run fails where NumPy
 * keeps other rows.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../dist/native.js";
import { runCases } from "./cases.mjs";
import { startPeer } from "./peer.mjs";
import { median, table } from "./setting.mjs";

const CASES = {
  clustered: { rows: 100_000, columns: 128, centres: 1000 },
  unique: { rows: 20_000, columns: 2048, centres: null },
};

export const run = (args) =>
  runCases(args, {
    name: "dedup",
    cases: CASES,
    repeats: 3,
    measure,
    report,
    peer: ["numpy", "python3-numpy"],
  });

function pointsOf({ rows, columns, centres }) {
  const { noise } = native();
  if (centres === null) return noise(1, 0, rows, columns, 1);
  const around = noise(2, 0, centres, columns, 1);
  // In no order: the first point of a centre comes anywhere among the first few thousand.
  const order = noise(3, 0, rows, 1, 1);
  return noise(4, 0, rows, columns, 0.02).map((value, i) => {
    const centre = Math.floor(Math.abs(order[Math.floor(i / columns)]) * 1e6) % centres;
    return value + around[centre * columns + (i % columns)];
  });
}

async function measure({ rows, columns, centres }, { threads, repeats, peers, folder }) {
  const { deduplicate, measureGemm } = native();
  const points = pointsOf({ rows, columns, centres });
  const compared = peers && centres !== null;
  const files = { points: join(folder, "points"), results: join(folder, "kept") };
  if (compared) writeFileSync(files.points, points);
  const numpy = compared
    ? startPeer("dedup_numpy.py", [
        ...["--points", files.points, "--columns", String(columns), "--results", files.results],
      ])
    : null;
  const rounds = { seconds: [], plain: [], blocks: [], gemmGflops: [] };
  let kept = null;
  for (let round = 0; round <= repeats; round++) {
    const before = measureGemm(2048, threads, 2);
    const options = { rule: "greedy", threshold: 0.99, distance: 0.01, threads };
    const found = await deduplicate(points, columns, options).promise;
    const after = measureGemm(2048, threads, 2);
    const answer = await numpy?.round();
    kept = found.representatives;
    // The first round of everybody warms up.
    if (round === 0) continue;
    rounds.gemmGflops.push((before + after) / 2);
    rounds.seconds.push(found.seconds);
    if (answer) rounds.plain.push(answer.seconds.plain);
    if (answer) rounds.blocks.push(answer.seconds.blocks);
  }
  await numpy?.stop();
  if (numpy) checkAgreement(kept, files.results);
  // Against the kept rows, where they are few; each pair once, where all are kept.
  const products = centres === null ? (rows * (rows - 1)) / 2 : rows * kept.length;
  const gflop = (2 * products * columns) / 1e9;
  const against = (theirs) => ({
    seconds: median(theirs),
    timesFaster: median(theirs.map((s, i) => s / rounds.seconds[i])),
  });
  return {
    ...{ rows, columns, kept: kept.length, rounds },
    seconds: median(rounds.seconds),
    shareOfLimit: median(rounds.seconds.map((s, i) => gflop / s / rounds.gemmGflops[i])),
    numpy: numpy ? { plain: against(rounds.plain), blocks: against(rounds.blocks) } : null,
  };
}

function checkAgreement(kept, results) {
  const bytes = readFileSync(results);
  const theirs = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const differs = kept.findIndex((row, i) => row !== theirs[i]);
  if (kept.length !== theirs.length || differs !== -1) {
    throw new Error(
      `${kept.length} rows are kept, ${theirs.length} by NumPy; the first to differ: ${differs}`,
    );
  }
}

function report(cases) {
  return table([
    [
      "greedy, cosine > 0.99",
      "kept",
      "seconds",
      "of the GEMM limit",
      "NumPy, row by row",
      "NumPy, in blocks",
    ],
    ...Object.values(cases).map((one) => [
      `${one.rows} × ${one.columns}`,
      String(one.kept),
      `${one.seconds.toFixed(3)} s`,
      `${(100 * one.shareOfLimit).toFixed(0)} %`,
      ...[one.numpy?.plain, one.numpy?.blocks].map((peer) =>
        peer ? `${peer.seconds.toFixed(2)} s, ${peer.timesFaster.toFixed(1)} ×` : "–",
      ),
    ]),
  ]);
}
