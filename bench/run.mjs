/** `npm run bench -- SUITE [options]`: runs one suite. Each is a file of this folder with a `run(args)`. */
const SUITES = {
  attractors: "the extraction of attractors against this machine's limit and against PyTorch",
  kernels: "noise, one application of f and deduplication under its rules, each on its own",
  dedup: "greedy deduplication against NumPy and the GEMM limit",
  algebra: "singular values, eigenvalues and orthonormal bases against LAPACK",
  omp: "matching pursuit against scikit-learn",
  nearest: "nearest neighbours in both directions against faiss and the GEMM limit",
  knn: "KNN scores against faiss",
  trajectory: "trajectory scores against the plain matrix form",
};

const [suite, ...args] = process.argv.slice(2);
if (suite === undefined || suite === "--help" || !Object.hasOwn(SUITES, suite)) {
  const lines = Object.entries(SUITES).map(([name, about]) => `  ${name.padEnd(12)} ${about}`);
  const unknown = suite === undefined || suite === "--help" ? "" : `there is no suite ${suite}\n`;
  console.error(`${unknown}usage: npm run bench -- SUITE [options]; SUITE is one of\n${lines.join("\n")}`);
  process.exit(suite === "--help" ? 0 : 2);
}
try {
  const { run } = await import(`./${suite}.mjs`);
  await run(args);
} catch (error) {
  // A wrong option or file stands by itself; anything else is a fault of ours and needs its stack.
  const expected = error?.code?.startsWith?.("ERR_PARSE_ARGS") || error?.name === "InputError";
  console.error(expected ? error.message : error);
  process.exit(expected ? 2 : 1);
}
