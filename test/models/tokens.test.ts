import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { engineOf } from "../../src/engines/choose.js";
import { InputError } from "../../src/errors.js";
import type { Graph } from "../../src/graph/graph.js";
import { interpret } from "../../src/graph/reference.js";
import { type LoadOptions, loadAutoencoder } from "../../src/models/load.js";
import { importOnnx } from "../../src/models/onnx/import.js";
import { formatTokens, splitTokens, tokenOptions } from "../../src/models/tokenSpec.js";
import { visiblePatches } from "../../src/models/tokens.js";
import type { StoredRun } from "../../src/runs/run.js";
import { modelOf } from "../../src/runs/storedModel.js";
import { latdyn } from "../cli/latdyn.js";
import { tinyAutoencoder } from "../support/architectures/tinyAutoencoder.js";
import { type VitMaeOptions, vitMae } from "../support/architectures/vitMae.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const root = temporaryFolder();
const options: VitMaeOptions = {
  opset: 14,
  seed: 1,
  image: 16,
  patch: 4,
  width: 12,
  depth: 2,
  heads: 3,
  decoderWidth: 8,
  decoderDepth: 1,
  decoderHeads: 2,
  layerNormOperator: false,
  gelu: "erf",
  attention: "queries",
  projection: "packed",
};
const tokens = 17;
const { width } = options;

function folderOf(name: string, files: { encoder: Uint8Array; decoder: Uint8Array }): string {
  const folder = join(root, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "encoder.onnx"), files.encoder);
  writeFileSync(join(folder, "decoder.onnx"), files.decoder);
  return folder;
}

const path = folderOf("vit", vitMae(options));
const plain = await loadAutoencoder(path);
const image = seededRandom(3).floats(3 * 16 * 16);
const encoded = interpret(plain.encoder as Graph, image, 1);
const token = (i: number) => encoded.slice(i * width, (i + 1) * width);

function meanOf(rows: readonly Float64Array[]): Float64Array {
  return Float64Array.from({ length: width }, (_, i) =>
    rows.reduce((sum, row) => sum + row[i] / rows.length, 0),
  );
}

function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i])));
}

/** z as every token. */
function everywhere(z: Float64Array): Float64Array {
  return Float64Array.from({ length: tokens * width }, (_, i) => z[i % width]);
}

describe("which tokens are the latent", () => {
  it("all of them, where nothing is said", async () => {
    expect(plain.latentShape).toEqual([tokens, width]);
    const asked = await loadAutoencoder(path, { latent: "tokens" });
    expect(asked).toMatchObject({ latentShape: [tokens, width], hash: plain.hash, path });
  });

  it.each<["class" | "pooled", () => Float64Array]>([
    ["class", () => token(0)],
    ["pooled", () => meanOf(Array.from({ length: 16 }, (_, i) => token(i + 1)))],
  ])("%s: the encoder gives it, the decoder takes it at every place", async (latent, expected) => {
    const model = await loadAutoencoder(path, { latent });
    expect(model).toMatchObject({
      latentShape: [width],
      path: `${path}#${latent}`,
      source: { kind: "graphs" },
    });
    expect(model.hash).not.toBe(plain.hash);
    const z = interpret(model.encoder as Graph, image, 1);
    expect(difference(z, expected())).toBeLessThan(1e-12);
    const decoded = interpret(model.decoder as Graph, z, 1);
    expect(difference(decoded, interpret(plain.decoder as Graph, everywhere(z), 1))).toBeLessThan(1e-12);
    const step = interpret(model.map as Graph, z, 1);
    expect(difference(step, interpret(model.encoder as Graph, decoded, 1))).toBeLessThan(1e-6);
    expect(model.notes.at(-1)).toMatch(/^the latent is the (class token|mean of the patch tokens)$/);
  });
});

describe("a fixed mask", () => {
  const mask = { ratio: 0.75, randomSeed: 5 };

  it("leaves so many patches, the same ones for a seed, others for another", () => {
    const visible = visiblePatches(64, mask);
    expect(visible).toHaveLength(16);
    expect([...visible]).toEqual([...new Set(visible)].toSorted((p, q) => p - q));
    expect(visiblePatches(64, mask)).toEqual(visible);
    expect(visiblePatches(64, { ...mask, randomSeed: 6 })).not.toEqual(visible);
    expect(visiblePatches(5, { ratio: 0.99, randomSeed: 0 })).toHaveLength(1);
    // Every patch is left about as often as every other.
    const counts = new Array<number>(16).fill(0);
    for (let randomSeed = 0; randomSeed < 400; randomSeed++) {
      for (const patch of visiblePatches(16, { ratio: 0.5, randomSeed })) counts[patch]++;
    }
    for (const count of counts) expect(Math.abs(count - 200)).toBeLessThan(50);
  });

  it.each(["tokens", "class", "pooled"] as const)(
    "%s: the encoder gives what one that never had the masked patches gives",
    async (latent) => {
      const visible = visiblePatches(16, mask);
      const model = await loadAutoencoder(path, { latent, mask });
      const bare = importOnnx(vitMae({ ...options, visible }).encoder, "visible.onnx").graph;
      const expected = interpret(bare, image, 1);
      const rows = Array.from({ length: 5 }, (_, i) => expected.slice(i * width, (i + 1) * width));
      const found = interpret(model.encoder as Graph, image, 1);
      const want = { tokens: expected, class: rows[0], pooled: meanOf(rows.slice(1)) }[latent];
      // The file's constants are float32, and what is folded is rounded to it.
      expect(difference(found, want)).toBeLessThan(1e-6);
      expect(model.notes.at(-1)).toMatch(/, 12 of 16 patches masked$/);
    },
  );

  it("the decoder takes the mean of the patches that are left where one was masked", async () => {
    const visible = visiblePatches(16, mask);
    const model = await loadAutoencoder(path, { mask });
    expect(model.latentShape).toEqual([5, width]);
    const z = Float64Array.from(seededRandom(8).floats(5 * width));
    const row = (i: number) => z.slice(i * width, (i + 1) * width);
    const mean = meanOf([1, 2, 3, 4].map(row));
    const whole = Array.from({ length: 16 }, (_, patch) => {
      const place = visible.indexOf(patch);
      return place < 0 ? mean : row(place + 1);
    });
    const all = Float64Array.from([row(0), ...whole].flatMap((part) => [...part]));
    const expected = interpret(plain.decoder as Graph, all, 1);
    expect(difference(interpret(model.decoder as Graph, z, 1), expected)).toBeLessThan(1e-12);
  });

  it("of no patches hides nothing", async () => {
    const model = await loadAutoencoder(path, { mask: { ratio: 0 } });
    expect(model.latentShape).toEqual([tokens, width]);
    expect(difference(interpret(model.encoder as Graph, image, 1), encoded)).toBeLessThan(1e-12);
  });
});

describe("a model's name with its latent behind it", () => {
  it.each(["class", "pooled", "tokens,mask=0.5@3", "class,mask=0.75@0"])("#%s", async (text) => {
    const { tokens: parsed, path: before } = splitTokens(`${path}#${text}`) ?? {};
    expect(before).toBe(path);
    expect(parsed && formatTokens(parsed)).toBe(text);
    const named = await loadAutoencoder(`${path}#${text}`);
    expect(named.path).toBe(`${path}#${text}`);
    const asked = await loadAutoencoder(path, { latent: parsed?.latent, mask: parsed?.mask ?? undefined });
    expect(named.hash).toBe(asked.hash);
  });
  it("is what a run keeps, and finds its model by", async () => {
    const model = await loadAutoencoder(path, { latent: "class", mask: { ratio: 0.5 } });
    const { name, format, hash } = model;
    const record = { model: { path: model.path, name, format, hash } };
    const again = await modelOf({ record } as unknown as StoredRun);
    expect(again).toMatchObject({ hash, latentShape: [width] });
    const plainly = { record: { model: { ...record.model, path } } } as unknown as StoredRun;
    await expect(modelOf(plainly)).rejects.toThrow(/is not the model of the run/);
  });
  it("another # is a part of a path", async () => {
    expect(splitTokens("folder#1")).toBeNull();
    await expect(loadAutoencoder(`${path}#classes`)).rejects.toThrow(/there is no such model/);
  });
});

describe("latents that cannot be", () => {
  const refused = async (model: string, asked: object, message: RegExp) => {
    const attempt = loadAutoencoder(model, asked as LoadOptions);
    await expect(attempt).rejects.toThrow(InputError);
    await expect(attempt).rejects.toThrow(message);
  };
  it.each<[object, RegExp]>([
    [{ latent: "first" }, /latent is "first", expected tokens, class, pooled/],
    [{ mask: 0.5 }, /mask is 0.5, expected \{ ratio, randomSeed \}/],
    [{ mask: { ratio: 1 } }, /mask.ratio is 1, expected a number in \[0, 1\)/],
    [{ mask: { ratio: 0.5, randomSeed: -1 } }, /mask.randomSeed is -1/],
    [{ mask: { ratio: 0.5, seed: 1 } }, /unknown option "mask.seed"/],
  ])("%j", async (asked, message) => {
    await refused(path, asked, message);
    expect(() => tokenOptions(asked)).toThrow(message);
  });
  it("named twice", async () => {
    await refused(`${path}#class`, { latent: "pooled" }, /names its latent, and so do the options/);
  });
  it("of images", async () => {
    const convolutional = folderOf(
      "tiny",
      tinyAutoencoder({ opset: 13, seed: 5, image: 16, width: 4, latentChannels: 4 }),
    );
    await refused(
      convolutional,
      { latent: "class" },
      /class needs a latent of \[tokens, width\], found 4×4×4/,
    );
  });
  it("without a class token", async () => {
    const bare = folderOf("bare", vitMae({ ...options, classToken: false }));
    await refused(bare, { latent: "class" }, /needs a class token, found 16 tokens for 16 patches/);
    await refused(bare, { mask: { ratio: 0.5 } }, /needs a class token/);
    const pooled = await loadAutoencoder(bare, { latent: "pooled" });
    expect(pooled.latentShape).toEqual([width]);
  });
  it("of a model whose graph another engine would run", async () => {
    const model = await loadAutoencoder(path, { latent: "class" });
    await expect(engineOf(model, { engine: "onnxruntime" })).rejects.toThrow(InputError);
  });
});

describe("the command line", () => {
  it("names the latent behind the model's path", async () => {
    const args = ["inspect", path, "--latent", "class", "--mask-ratio", "0.5", "--json"];
    const { code, stdout } = await latdyn(args, { cwd: root });
    expect(code).toBe(0);
    const model = JSON.parse(stdout);
    expect(model).toMatchObject({ path: `${path}#class,mask=0.5@0`, latentShape: [width] });
    expect(model.flopsPerRow).toBe(model.plan.flopsPerRow);
  });
  it("refuses latents before it reads a model", async () => {
    const run = async (...args: string[]) => {
      const { code, stderr } = await latdyn(["attractors", path, "--from", "noise:2", ...args], {
        cwd: root,
      });
      expect(code).toBe(2);
      return stderr;
    };
    expect(await run("--mask-seed", "1")).toMatch(/--mask-seed is given without --mask-ratio/);
    expect(await run("--mask-ratio", "1.5")).toMatch(/mask.ratio is 1.5, expected a number in \[0, 1\)/);
    const { code, stderr } = await latdyn(["rank", path, "--latent", "class"], { cwd: root });
    expect(code).toBe(2);
    expect(stderr).toMatch(/"latdyn rank" takes no model, so there is no latent to choose/);
    expect(await run("--latent", "first")).toMatch(/first.*tokens, class, pooled/s);
  });
});
