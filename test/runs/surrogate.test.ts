import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeNpy } from "../../src/data/npy.js";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { data, noise } from "../../src/dynamics/points.js";
import { nativeEngine } from "../../src/engines/native.js";
import { InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { loadEncoder } from "../../src/models/onnxModel.js";
import { trainSurrogate } from "../../src/runs/surrogateRun.js";
import { exampleFolder, exampleModel, latdyn } from "../cli/latdyn.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const folder = temporaryFolder();
const images = join(exampleFolder, "train-images-1000.idx3-ubyte.gz");
const encoder = join(folder, "encoder");
mkdirSync(encoder);
for (const name of ["encoder.onnx", "preprocessor_config.json"]) {
  copyFileSync(join(exampleModel, name), join(encoder, name));
}
const quick = { latentDimension: 3, hidden: [32], epochs: 5, threads: 2 };

describe("a surrogate", () => {
  it("is a model whose data goes through the encoder", async () => {
    const out = join(folder, "surrogate");
    const record = await trainSurrogate(encoder, out, { ...quick, from: data(images, { count: 200 }) });
    expect(record).toMatchObject({ features: 16, latentDimension: 3, rows: 180, heldOut: 20 });
    expect(record.losses).toHaveLength(5);
    expect(record.lastLoss).toBeLessThan(record.firstLoss);
    expect(readdirSync(out).sort()).toEqual([
      "config.json",
      "features",
      "model.safetensors",
      "surrogate.json",
    ]);
    expect(JSON.parse(readFileSync(join(out, "surrogate.json"), "utf8"))).toEqual(record);

    await using model = await loadAutoencoder(out);
    await using whole = await loadAutoencoder(exampleModel);
    expect(model.inputShape).toEqual([16]);
    expect(model.latentDimension).toBe(3);
    const run = await findAttractors(model, {
      from: { data: data(images, { count: 10 }), noise: noise(5) },
      maxIterations: 3,
      threads: 1,
    });
    // Its inputs are the features; its points, what the surrogate makes of them.
    const { sets } = await findAttractors(whole, {
      from: { data: data(images, { count: 10 }) },
      maxIterations: 1,
    });
    expect(run.sets[0]!.inputs!.data).toEqual(sets[0]!.initial.data);
    const codes = await nativeEngine(model).encode(run.sets[0]!.inputs!, { threads: 1 });
    expect(run.sets[0]!.initial.data).toEqual(codes.data);
    // Features themselves serve as data too.
    const given = await findAttractors(model, {
      from: { data: data(matrix(run.sets[0]!.inputs!.data, 16)) },
      maxIterations: 3,
      threads: 1,
    });
    expect(given.sets[0]!.endpoints.data).toEqual(run.sets[0]!.endpoints.data);
  });

  it("is the same for any number of threads", async () => {
    const from = data(images, { count: 100 });
    const once = async (name: string, threads: number) => {
      const { timing: _timing, ...record } = await trainSurrogate(encoder, join(folder, name), {
        ...quick,
        from,
        threads,
      });
      return [record, readFileSync(join(folder, name, "model.safetensors"))];
    };
    expect(await once("one", 1)).toEqual(await once("two", 2));
  });

  it("learns features that were computed elsewhere", async () => {
    const features = join(folder, "features.npy");
    await writeNpy(features, { shape: [60, 6], data: seededRandom(5).floats(360) });
    const out = join(folder, "from-features");
    const record = await trainSurrogate(features, out, { epochs: 2, threads: 1 });
    // A quarter of six, rounded up.
    expect(record).toMatchObject({ features: 6, latentDimension: 2, of: { path: features, hash: null } });
    expect(existsSync(join(out, "features"))).toBe(false);
    await using model = await loadAutoencoder(out);
    const run = await findAttractors(model, { from: { data: data(features) }, maxIterations: 2, threads: 1 });
    expect(run.sets[0]!.initial.rows).toBe(60);
  });

  it("refuses what does not fit, and leaves nothing behind", async () => {
    const out = join(folder, "refused");
    const from = data(images, { count: 20 });
    await expect(trainSurrogate(encoder, out, quick)).rejects.toThrow(/is an encoder, expected the data/);
    await expect(trainSurrogate(encoder, out, { ...quick, epochs: 0, from })).rejects.toThrow(/epochs is 0/);
    await expect(trainSurrogate(join(folder, "none.onnx"), out, { ...quick, from })).rejects.toBeInstanceOf(
      InputError,
    );
    expect(existsSync(out)).toBe(false);
    await expect(trainSurrogate(encoder, join(folder, "surrogate"), { ...quick, from })).rejects.toThrow(
      /exists already/,
    );
    const wide = join(folder, "wide");
    mkdirSync(wide);
    for (const name of readdirSync(join(folder, "surrogate")).filter((entry) => entry.includes("."))) {
      copyFileSync(join(folder, "surrogate", name), join(wide, name));
    }
    await expect(loadAutoencoder(wide)).rejects.toThrow(/features\/encoder.onnx/);
    writeFileSync(
      join(wide, "config.json"),
      JSON.stringify({ architecture: "mlp", features: "../surrogate" }),
    );
    await expect(loadAutoencoder(wide)).rejects.toThrow(
      /"features" is "..\/surrogate", expected the name of a folder/,
    );
    // The encoder alone has no map.
    await using alone = await loadEncoder(encoder);
    await expect(findAttractors(alone, { from: { noise: noise(2) } })).rejects.toThrow(
      /is an encoder without a decoder/,
    );
  });

  it("is trained and analysed by one command, and taken where it is there", async () => {
    const args = ["attractors", encoder, "--surrogate", "made", "--from", `data:${images}:60`];
    const rest = ["--max-iterations", "20", "--threads", "2", "--no-report"];
    const first = await latdyn([...args, "--out", "a", ...rest], { cwd: folder });
    expect(first.code, first.stderr).toBe(0);
    expect(first.stderr).toMatch(/16 features → k = 4, 54 rows, 100 epochs/);
    expect(first.stdout).toMatch(/^made: k = 4/m);
    const again = await latdyn([...args, "--out", "b", ...rest], { cwd: folder });
    expect(again.stderr).toBe("");
    expect(again.stdout.split("\n").slice(0, 4)).toEqual(first.stdout.split("\n").slice(0, 4));
    const json = ["surrogate", encoder, "--from", `data:${images}:40`, "--hidden", "8,4", "--epochs", "2"];
    const told = await latdyn([...json, "--out", "c", "--json", "--threads", "1"], { cwd: folder });
    expect(JSON.parse(told.stdout)).toMatchObject({ kind: "surrogate", options: { hidden: [8, 4] } });
    const wrong = await latdyn([...json.slice(0, 2), "--from", "noise:5", "--out", "d"], { cwd: folder });
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      'latdyn: --from is "noise:5", expected data:PATH or data:PATH:N\n',
    ]);
    const bare = await latdyn(["attractors", join(encoder, "encoder.onnx"), "--out", "e"], { cwd: folder });
    expect(bare.code).toBe(2);
    expect(bare.stderr).toMatch(/for an encoder without a decoder there is "latdyn surrogate"/);
  });
});
