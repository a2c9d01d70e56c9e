import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.js";
import { nativeEngine } from "../../src/engines/native.js";
import { interpret } from "../../src/graph/reference.js";
import { matrix } from "../../src/matrix.js";
import { graphOf } from "../../src/models/autoencoder.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { latdyn } from "../cli/latdyn.js";
import { squareTransformer, vitMaeBase } from "../support/architectures/vitMae.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const folder = temporaryFolder();
const file = join(folder, "language.onnx");
const [tokens, width] = [5, 12];
writeFileSync(
  file,
  squareTransformer({ ...vitMaeBase, opset: 17, seed: 3, tokens, width, depth: 2, heads: 3 }),
);

describe("a transformer from embeddings to hidden states", () => {
  it("is a square map that runs natively", async () => {
    await using model = await loadAutoencoder(file);
    expect(model.latentShape).toEqual([tokens, width]);
    expect(model.inputShape).toBeNull();
    const rows = seededRandom(2).floats(3 * tokens * width);
    const found = await nativeEngine(model).apply(matrix(rows, tokens * width), { threads: 1 });
    const exact = interpret(graphOf(model, "map"), Float64Array.from(rows), 3);
    exact.forEach((value, i) => {
      expect(Math.abs(found.data[i]! - value)).toBeLessThan(1e-4);
    });
  });

  it("is iterated as it is, with norms and residuals of its paths", async () => {
    const out = join(folder, "paths");
    const paths = await latdyn(
      ["trajectories", file, "--from", "noise:6", "--steps", "12", "--threads", "1", "--out", out],
      { cwd: folder },
    );
    expect(paths.code, paths.stderr).toBe(0);
    const { tensors } = await readSafetensors(join(out, "trajectories.safetensors"));
    expect(tensors.get("norm")?.shape).toEqual([6, 13]);
    expect(tensors.get("residual")?.shape).toEqual([6, 12]);
    expect(readFileSync(join(out, "report.html"), "utf8")).toMatch(/norm/i);
    const run = await latdyn(
      [
        "attractors",
        file,
        "--from",
        "noise:6",
        "--max-iterations",
        "40",
        "--threads",
        "1",
        "--json",
        "--out",
        "run",
      ],
      { cwd: folder },
    );
    expect(run.code, run.stderr).toBe(0);
    const { summary } = JSON.parse(run.stdout);
    expect(summary.noise.points).toBe(6);
  });
});
