/** The kernels as commands on plain matrices: exactly one JSON object on stdout, tensors in a file. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { writeNpy } from "../../src/data/npy.js";
import { readSafetensors, writeSafetensors } from "../../src/data/safetensors.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { latdyn } from "./latdyn.js";

const cwd = temporaryFolder();
const npy = (name: string, columns: number, ...values: number[]) =>
  writeNpy(join(cwd, name), { shape: [values.length / columns, columns], data: Float32Array.from(values) });

beforeAll(async () => {
  await npy("a.npy", 2, 1, 0, 2, 0.01, 0, 3, 0, 0);
  await npy("b.npy", 2, 0, 1, 5, 0);
  await npy("wide.npy", 3, 1, 2, 3);
  await npy("none.npy", 2);
  await npy("nan.npy", 2, 1, Number.NaN);
  await npy("zeros.npy", 2, 0, 0, 0, 0);
  await writeSafetensors(join(cwd, "two.safetensors"), {
    a: { shape: [2, 2], data: Float32Array.of(3, 0, 0, 4) },
    b: { shape: [1, 2], data: Float32Array.of(1, 1) },
  });
});

async function json(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await latdyn(args, { cwd });
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

async function tensors(file: string) {
  const found = await readSafetensors(join(cwd, file));
  return Object.fromEntries([...found.tensors].map(([name, { shape, data }]) => [name, [shape, [...data]]]));
}

describe("dedup", () => {
  it("keeps representatives and labels", async () => {
    expect(await json("dedup", "a.npy", "--out", "d.safetensors")).toEqual({ rows: 4, kept: 3 });
    expect(await tensors("d.safetensors")).toEqual({
      representatives: [[3], [0, 2, 3]],
      labels: [[4], [0, 0, 1, 2]],
    });
  });

  it("takes the rules and their bounds", async () => {
    expect(await json("dedup", "a.npy", "--rule", "euclidean")).toEqual({ rows: 4, kept: 4 });
    expect(await json("dedup", "a.npy", "--rule", "euclidean", "--distance", "1.5")).toEqual({
      rows: 4,
      kept: 2,
    });
    expect(await json("dedup", "a.npy", "--rule", "components", "--threshold", "0.999999")).toEqual({
      rows: 4,
      kept: 4,
    });
    expect(await json("dedup", "none.npy")).toEqual({ rows: 0, kept: 0 });
    expect(await json("dedup", "a.npy", "--device", "auto")).toEqual({ rows: 4, kept: 3 });
  });
});

it("similarity gives six numbers", async () => {
  expect(await json("similarity", "two.safetensors#a", "b.npy")).toEqual({
    cosine: 1,
    cosineAToB: 1,
    cosineBToA: 1,
    euclidean: 2.5,
    euclideanAToB: 2.5,
    euclideanBToA: 2.5,
  });
  expect(await json("similarity", "zeros.npy", "b.npy")).toMatchObject({ cosine: 0, euclidean: 2 });
});

it("rank gives the spectrum, of zeros too", async () => {
  expect(await json("rank", "two.safetensors#a")).toEqual({ rank90: 2, spectrum: [4, 3] });
  expect(await json("rank", "zeros.npy", "--centred")).toEqual({ rank90: 0, spectrum: [0, 0] });
});

it("knn scores queries, and says where K is larger than the reference", async () => {
  const found = await json("knn", "two.safetensors#a", "b.npy", "--k", "1", "--out", "k.safetensors");
  expect(found).toMatchObject({ reference: 2, queries: 2, k: 1, wholeReference: false });
  expect(await tensors("k.safetensors")).toEqual({ score: [[2], [3, 2]] });
  const { code, stdout, stderr } = await latdyn(["knn", "two.safetensors#a", "b.npy", "--rule", "kth"], {
    cwd,
  });
  expect(code).toBe(0);
  expect(stderr).toBe("latdyn: two.safetensors#a holds 2 rows, so K is 2: the whole of it\n");
  expect(JSON.parse(stdout)).toMatchObject({ k: 2, wholeReference: true });
});

it("omp gives errors, supports in order of selection and coefficients of the atoms as given", async () => {
  const found = await json(
    "omp",
    "two.safetensors#a",
    "b.npy",
    "--sparsity",
    "2,1",
    "--out",
    "o.safetensors",
  );
  expect(found).toEqual({
    bySparsity: {
      "1": { meanSquaredError: 0, earlyStops: 0 },
      "2": { meanSquaredError: 0, earlyStops: 2 },
    },
  });
  const { "K1.support": one, "K2.support": two, ...rest } = await tensors("o.safetensors");
  expect(one).toEqual([
    [2, 1],
    [1, 0],
  ]);
  expect(two).toEqual([
    [2, 2],
    [1, -1, 0, -1],
  ]);
  expect(rest["K1.coefficients"]).toEqual([
    [2, 1],
    [0.25, Math.fround(5 / 3)],
  ]);
  expect(rest["K2.residual_norm"]?.[0]).toEqual([2]);
});

it("no queries and no signals have no mean, and are no error", async () => {
  expect(await json("knn", "a.npy", "none.npy", "--k", "2", "--out", "q.safetensors")).toMatchObject({
    queries: 0,
    score: { count: 0, mean: null, max: null },
  });
  expect(await tensors("q.safetensors")).toEqual({ score: [[0], []] });
  expect(await json("omp", "a.npy", "none.npy", "--sparsity", "2", "--out", "s.safetensors")).toEqual({
    bySparsity: { "2": { meanSquaredError: null, earlyStops: 0 } },
  });
  expect((await tensors("s.safetensors"))["K2.support"]).toEqual([[0, 2], []]);
});

describe("bad input ends with 2 and one sentence", () => {
  const refused: [string, string[], string][] = [
    ["widths that differ", ["similarity", "a.npy", "wide.npy"], "rows of 2 and of 3 elements"],
    [
      "a device of no name",
      ["dedup", "a.npy", "--device", "gpu"],
      'device is "gpu", expected auto, cpu, cuda',
    ],
    ["an empty set", ["similarity", "a.npy", "none.npy"], "none.npy: is empty, expected at least one row"],
    ["a NaN", ["similarity", "nan.npy", "a.npy"], "nan.npy: row 0 holds NaN at column 1"],
    ["a matrix that is not there", ["dedup", "nothing.npy"], "nothing.npy: no such file"],
    ["no reference rows", ["knn", "none.npy", "a.npy"], "none.npy: is empty"],
    ["more atoms than there are", ["omp", "a.npy", "b.npy", "--sparsity", "5"], "sparsity is 5"],
    ["no sparsity", ["omp", "a.npy", "b.npy"], "required option '--sparsity <list>' not specified"],
    ["a sparsity that is no number", ["omp", "a.npy", "b.npy", "--sparsity", "1,x"], "expected a number"],
    [
      "files named where widths differ",
      ["knn", "a.npy", "wide.npy"],
      "a.npy and wide.npy: rows of 2 and of 3",
    ],
    ["a dictionary of another width", ["omp", "wide.npy", "a.npy", "--sparsity", "1"], "wide.npy and a.npy"],
    ["no atoms", ["omp", "none.npy", "a.npy", "--sparsity", "1"], "none.npy: is empty"],
    ["NaN among the atoms", ["omp", "nan.npy", "a.npy", "--sparsity", "1"], "nan.npy: row 0 holds NaN"],
    ["NaN among the queries", ["knn", "a.npy", "nan.npy"], "nan.npy: row 0 holds NaN at column 1"],
    ["NaN to deduplicate", ["dedup", "nan.npy"], "nan.npy: row 0 holds NaN"],
    ["NaN to rank", ["rank", "nan.npy"], "nan.npy: row 0 holds NaN"],
    ["nothing to rank", ["rank", "none.npy"], "none.npy: is empty, expected at least one row"],
    ["K of nothing", ["knn", "a.npy", "b.npy", "--k", "0"], "K is 0, expected a whole number from 1"],
    ["no thread", ["dedup", "a.npy", "--threads", "0"], "threads is 0"],
    ["a run's option", ["rank", "a.npy", "--out", "x"], "--out goes with a run"],
    ["an --out that cannot be", ["dedup", "a.npy", "--out", "no/where/x"], "no such file or folder"],
  ];
  it.concurrent.each(refused)("%s", async (_, args, sentence) => {
    const { code, stdout, stderr } = await latdyn(args, { cwd });
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(stderr).toContain(sentence);
  });
});
