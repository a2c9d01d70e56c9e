import { describe, expect, it } from "vitest";
import { type ProbeOptions, probe } from "../../src/analysis/probing.js";
import { defaultSparsities, resolveSparsities } from "../../src/analysis/sparsity.js";
import { data, latents, noise } from "../../src/dynamics/points.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { graphBuilder } from "../../src/graph/builder.js";
import { matrix } from "../../src/matrix.js";
import { autoencoderOf } from "../../src/models/assemble.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import { affine, elementwise, flat, scaling } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const random = (rows: number, k: number, seed = 1) => matrix(seededRandom(seed).floats(rows * k), k);

describe("sparsities", () => {
  it("are powers of two up to k, from 32 in large spaces", () => {
    expect(defaultSparsities(1)).toEqual([1]);
    expect(defaultSparsities(16)).toEqual([1, 2, 4, 8, 16]);
    expect(defaultSparsities(100)).toEqual([1, 2, 4, 8, 16, 32, 64, 100]);
    expect(defaultSparsities(256)).toEqual([32, 64, 128, 256]);
    expect(defaultSparsities(2048)).toEqual([32, 64, 128, 256, 512, 1024, 2048]);
  });

  it("may be shares of k, and come ascending and once", () => {
    expect(resolveSparsities([0.5, 4, 0.05, 8, 0.001], 16)).toEqual([1, 4, 8]);
    expect(resolveSparsities([0.05, 0.1], 128)).toEqual([6, 13]);
  });

  it.each([[[]], [[0]], [[17]], [[1.5]], [[-1]], [[Number.NaN]]])("%j is refused where k = 16", (given) => {
    expect(() => resolveSparsities(given, 16)).toThrow(InputError);
  });
});

describe("probing", () => {
  it("rebuilds from a dictionary that spans everything exactly, and from k orthonormal terms", async () => {
    // The identity: endpoints are the noise itself, 30 directions of 4 dimensions.
    const probed = await probe(scaling("identity", 4, 1), {
      data: { codes: latents(random(20, 4)) },
      atoms: 30,
    });
    const [set] = probed.sets;
    expect(set.bySparsity.map(({ sparsity }) => sparsity)).toEqual([1, 2, 4]);
    const [one, two, four] = set.bySparsity;
    expect(four.attractors.latent).toBeLessThan(1e-10);
    expect(four.orthonormal.latent).toBeLessThan(1e-10);
    for (const kind of ["attractors", "orthonormal"] as const) {
      expect(one[kind].latent).toBeGreaterThan(two[kind].latent);
      expect(two[kind].latent).toBeGreaterThan(four[kind].latent);
    }
    // 30 directions to choose one from beat 4.
    expect(one.attractors.latent).toBeLessThan(one.orthonormal.latent);
    expect(set.reconstruction).toBeNull();
    expect(one.attractors.input).toBeNull();
    // A square map has no decoder.
    expect(one.attractors.decoded).toBe(one.attractors.latent);
  });

  it("has one atom to offer where everything falls to one point", async () => {
    const c = [3, 0, 4];
    const signals = matrix(Float32Array.of(6, 0, 8, 4, 0, -3), 3);
    const probed = await probe(flat("constant", c), {
      data: { codes: latents(signals) },
      atoms: 10,
      sparsity: [1, 3],
    });
    for (let i = 0; i < 10; i++) {
      expect(Array.from(probed.atoms.data.subarray(3 * i, 3 * i + 3))).toEqual(
        [3, 0, 4].map((v) => Math.fround(v / 5)),
      );
    }
    const [one, three] = probed.sets[0].bySparsity;
    // The first signal is twice the attractor, the second is orthogonal to it: 25 of error over 6 elements.
    expect(one.attractors.latent).toBeCloseTo(25 / 6, 6);
    expect(three.attractors.latent).toBeCloseTo(25 / 6, 6);
    // The first fits with one atom and is done; the second has no atom that helps.
    expect(three.attractors.earlyStops).toBe(2);
    expect(probed.record.dictionary).toMatchObject({ points: 10, converged: 10, attractors: 1, unusable: 0 });
  });

  it("keeps and counts what has not converged, and leaves out what cannot be an atom", async () => {
    const cycling = await probe(scaling("flip", 2, -1), {
      data: { codes: latents(random(3, 2)) },
      atoms: 12,
    });
    expect(cycling.record.dictionary).toMatchObject({ points: 12, converged: 0, cycle: 12, unusable: 0 });
    expect(cycling.sets[0].bySparsity[1].attractors.latent).toBeLessThan(1e-10);
    // relu(z): atoms in the positive orthant, and zero where both coordinates were negative.
    const relu = await probe(elementwise("relu", 2, { kind: "relu", alpha: 0, beta: 0 }), {
      data: { codes: latents(random(3, 2)) },
      atoms: 40,
    });
    const { unusable } = relu.record.dictionary;
    expect(unusable).toBeGreaterThan(0);
    expect(unusable).toBeLessThan(30);
    for (const { support } of relu.sets[0].selections) {
      for (const atom of support) {
        if (atom >= 0) expect(relu.atoms.data[2 * atom] + relu.atoms.data[2 * atom + 1]).toBeGreaterThan(0);
      }
    }
  });

  it("compares decoded images with the decoded latent and with the input", async () => {
    await using model = doubling();
    const inputs = random(5, 4, 7);
    const probed = await probe(model, { data: { x: data(inputs) }, atoms: 8, sparsity: [1, 2], pictures: 3 });
    const [set] = probed.sets;
    // E(x) = x₀…x₁ and D(z) = (2·z, 0, 0): what D(E(x)) misses is x in the first half and the second half whole.
    const expected = inputs.data.reduce((sum, value) => sum + value * value, 0) / inputs.data.length;
    expect(set.reconstruction).toBeCloseTo(expected, 5);
    const [one, two] = set.bySparsity;
    expect(two.attractors.decoded).toBeLessThan(1e-10);
    expect(two.attractors.input).toBeCloseTo(expected, 5);
    // Twice the error on half of the elements.
    expect(one.orthonormal.decoded).toBeCloseTo((4 * one.orthonormal.latent) / 2, 5);
    expect(set.pictures.input?.rows).toBe(3);
    expect(set.pictures.decoded.columns).toBe(4);
    expect(set.pictures.attractors.map(({ rows }) => rows)).toEqual([3, 3]);
    expect(Array.from(set.pictures.decoded.data.subarray(0, 4))).toEqual(
      [2 * inputs.data[0], 2 * inputs.data[1], 0, 0].map(Math.fround),
    );
  });

  it("takes the first signals of each set, up to maxSignals", async () => {
    const codes = random(20, 3);
    const both = await probe(scaling("identity", 3, 1), {
      data: { few: latents(codes, { count: 4 }), many: latents(codes) },
      atoms: 5,
      maxSignals: 7,
    });
    expect(both.sets.map(({ name, signals }) => [name, signals.rows])).toEqual([
      ["few", 4],
      ["many", 7],
    ]);
    expect(both.sets[1].signals.data).toEqual(codes.data.subarray(0, 21));
    expect(JSON.parse(JSON.stringify(both.record)).summary.many.bySparsity["3"].attractors.earlyStops).toBe(
      0,
    );
  });

  it("is the same for any number of threads", async () => {
    const options = { data: { codes: latents(random(20, 6)) }, atoms: 25 };
    const one = await probe(scaling("identity", 6, 1), { ...options, threads: 1 });
    const two = await probe(scaling("identity", 6, 1), { ...options, threads: 2 });
    expect(two.record.summary).toEqual(one.record.summary);
    expect(two.sets[0].selections).toEqual(one.sets[0].selections);
  });
});

describe("what probing refuses", () => {
  const model = scaling("identity", 4, 1);
  const codes = { codes: latents(random(3, 4)) };
  it.each<[string, ProbeOptions, RegExp]>([
    ["no data", { data: {} }, /data is empty/],
    ["an empty set", { data: { none: latents(matrix(new Float32Array(0), 4)) } }, /data.none: holds no rows/],
    ["noise as data", { data: { n: noise(3) } } as unknown as ProbeOptions, /data.n is a source of noise/],
    ["a name that is none", { data: { "1": latents(random(3, 4)) } }, /called "1"/],
    ["more atoms a signal than k", { data: codes, sparsity: [5] }, /sparsity is 5.*k = 4/],
    ["rows of another width", { data: { wide: latents(random(3, 5)) } }, /5 elements a row, expected 4/],
    ["no atoms", { data: codes, atoms: 0 }, /atoms is 0/],
    ["an unknown option", { data: codes, atom: 5 } as unknown as ProbeOptions, /unknown option "atom"/],
    ["no signals", { data: codes, maxSignals: 0 }, /maxSignals is 0/],
  ])("%s", async (_, options, message) => {
    const refused = probe(model, options);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toBeInstanceOf(InputError);
  });

  it("a dictionary of nothing but zeros", async () => {
    const zero = affine("zero", [0, 0, 0, 0], [0, 0]);
    await expect(probe(zero, { data: { codes: latents(random(2, 2)) }, atoms: 5 })).rejects.toThrow(
      /none of the 5 endpoints can be an atom/,
    );
  });

  it("to go on when the signal fires", async () => {
    await expect(probe(model, { data: codes, signal: AbortSignal.abort() })).rejects.toBeInstanceOf(
      AbortedError,
    );
  });
});

/** E takes the first two of four numbers, D doubles them and adds two zeros; f doubles. */
function doubling(): Autoencoder {
  const encoder = graphBuilder("encoder");
  const x = encoder.input("x", [4]);
  const pick = encoder.constant("pick", [2, 4], Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0));
  const code = encoder.node({ op: "linear", name: "pick", inputs: [x, pick] });
  const decoder = graphBuilder("decoder");
  const z = decoder.input("z", [2]);
  const spread = decoder.constant("spread", [4, 2], Float32Array.of(2, 0, 0, 2, 0, 0, 0, 0));
  const image = decoder.node({ op: "linear", name: "spread", inputs: [z, spread] });
  return autoencoderOf(
    { encoder: encoder.finish(x, code), decoder: decoder.finish(z, image) },
    {
      name: "doubling",
      path: "doubling",
      format: "onnx",
      hash: "0".repeat(64),
      files: [],
      preprocessor: null,
      notes: [],
    },
  );
}
