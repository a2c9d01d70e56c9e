/**
 * `npm run bench -- algebra [--case singular|eigenvalues|basis|all] [--threads N] [--repeats N] [--no-peers]
 * [--json FILE]`
 *
 * What Eigen does here, beside LAPACK through SciPy (bench/peers/algebra_scipy.py) on the same numbers, round by round
 * in turn: singular values of decoded attractors, the spectra of many small Jacobians, and a random orthonormal basis.
 * The run fails where the values differ by more than their rounding explains.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../dist/native.js";
import { runCases } from "./cases.mjs";
import { startPeer } from "./peer.mjs";
import { median, table } from "./setting.mjs";

const CASES = {
  singular: { problem: "singular", name: "singular values, 300 × 1024", rows: 300, columns: 1024 },
  eigenvalues: { problem: "eigenvalues", name: "spectra of 50 matrices 128 × 128", rows: 50, columns: 128 },
  basis: { problem: "basis", name: "orthonormal basis of 2048", rows: 2048, columns: 2048 },
};

export const run = (args) =>
  runCases(args, {
    ...{ name: "algebra", cases: CASES, sizes: [], repeats: 5, measure, report },
    peer: ["numpy, scipy", "python3-scipy"],
  });

/** Of each problem: its numbers, our answer as the values that SciPy gives, and how far those may differ. */
const PROBLEMS = {
  singular: {
    matrix: ({ rows, columns }) => native().noise(1, 0, rows, columns, 1),
    solve: ({ columns }, matrix, threads) =>
      native().singularValues(matrix, columns, { centred: false, threads }).promise,
    values: (found) => found.values,
    tolerance: 1e-7,
  },
  eigenvalues: {
    matrix: ({ rows, columns }) => native().noise(2, 0, rows * columns, columns, 1 / Math.sqrt(columns)),
    solve: ({ columns }, matrix, threads) =>
      native().eigenvalues(Float64Array.from(matrix), columns, { lastComponents: false, norm: true, threads })
        .promise,
    values: ({ real, imaginary }) => real.map((value, i) => Math.hypot(value, imaginary[i])),
    tolerance: 1e-9,
  },
  basis: {
    matrix: ({ rows, columns }) => native().noise(0, 0, rows, columns, 1),
    solve: ({ columns }, _matrix, threads) => native().orthonormalBasis(0, 0, columns, { threads }).promise,
    values: ({ basis }, { columns }, matrix) =>
      Float64Array.from({ length: columns }, (_, c) => {
        let dot = 0;
        for (let r = 0; r < columns; r++) dot += basis[c * columns + r] * matrix[r * columns + c];
        return dot;
      }),
    tolerance: 1e-9,
  },
};

async function measure(one, { threads, repeats, peers, folder }) {
  const { problem } = one;
  const { matrix: make, solve, values, tolerance } = PROBLEMS[problem];
  const matrix = make(one);
  const files = { matrix: join(folder, problem), results: join(folder, `${problem}-values`) };
  writeFileSync(files.matrix, matrix);
  const scipy = peers
    ? startPeer("algebra_scipy.py", [
        ...["--problem", problem, "--matrix", files.matrix, "--results", files.results],
        ...["--rows", String(one.rows), "--columns", String(one.columns)],
      ])
    : null;
  const rounds = { seconds: [], scipy: [] };
  let found = null;
  for (let round = 0; round <= repeats; round++) {
    found = await solve(one, matrix, threads);
    const answer = await scipy?.round();
    // The first round of everybody warms up.
    if (round === 0) continue;
    rounds.seconds.push(found.seconds);
    if (answer) rounds.scipy.push(answer.seconds);
  }
  await scipy?.stop();
  if (scipy) checkAgreement(problem, values(found, one, matrix), files.results, tolerance);
  return {
    ...one,
    rounds,
    seconds: median(rounds.seconds),
    scipySeconds: scipy ? median(rounds.scipy) : null,
    timesFaster: scipy ? median(rounds.scipy.map((s, i) => s / rounds.seconds[i])) : null,
  };
}

/** Signs aside: a basis vector and its opposite serve as well. */
function checkAgreement(problem, ours, results, tolerance) {
  const bytes = readFileSync(results);
  const theirs = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const largest = theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < theirs.length; i++) {
    if (!(Math.abs(Math.abs(ours[i]) - Math.abs(theirs[i])) <= tolerance * largest)) {
      throw new Error(`${problem}: value ${i} is ${ours[i]}, with SciPy ${theirs[i]}`);
    }
  }
}

function report(cases) {
  return table([
    ["in float64", "Eigen", "LAPACK", "times faster"],
    ...Object.values(cases).map((one) => [
      one.name,
      `${one.seconds.toFixed(3)} s`,
      one.scipySeconds === null ? "–" : `${one.scipySeconds.toFixed(3)} s`,
      one.timesFaster === null ? "–" : one.timesFaster.toFixed(1),
    ]),
  ]);
}
