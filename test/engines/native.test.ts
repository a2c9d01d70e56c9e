import { describe, expect, it } from "vitest";
import { inspectModel } from "../../src/engines/inspect.js";
import { nativeEngine } from "../../src/engines/native.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { graphBuilder } from "../../src/graph/builder.js";
import { interpret } from "../../src/graph/reference.js";
import { matrix } from "../../src/matrix.js";
import { autoencoderOf, type GraphAutoencoder } from "../../src/models/assemble.js";
import { affine, scaling } from "../support/maps.js";
import { seededRandom } from "../support/random.js";

const call = { threads: 2 };

/** E: 1×6×6 → 4, D: 4 → 1×6×6, convolutions on either side. */
function small(): GraphAutoencoder {
  const random = seededRandom(1);
  const pair = [2, 2] as const;
  const none = [0, 0, 0, 0] as const;
  const encoder = graphBuilder("encoder");
  const x = encoder.input("x", [1, 6, 6]);
  const convolved = encoder.node({
    op: "conv",
    name: "conv",
    inputs: [x, encoder.constant("w", [3, 1, 2, 2], random.floats(12))],
    strides: pair,
    pads: none,
    dilations: [1, 1],
    groups: 1,
  });
  const joined = encoder.node({ op: "reshape", name: "flatten", inputs: [convolved] }, [27]);
  const code = encoder.node({
    op: "linear",
    name: "code",
    inputs: [joined, encoder.constant("c", [4, 27], random.floats(108))],
  });

  const decoder = graphBuilder("decoder");
  const z = decoder.input("z", [4]);
  const wide = decoder.node({
    op: "linear",
    name: "wide",
    inputs: [z, decoder.constant("d", [27, 4], random.floats(108))],
  });
  const image = decoder.node({ op: "reshape", name: "image", inputs: [wide] }, [3, 3, 3]);
  const drawn = decoder.node({
    op: "convTranspose",
    name: "deconv",
    inputs: [image, decoder.constant("v", [3, 1, 2, 2], random.floats(12))],
    strides: pair,
    pads: none,
    dilations: [1, 1],
    outputPadding: [0, 0],
    groups: 1,
  });
  return autoencoderOf(
    { encoder: encoder.finish(x, code), decoder: decoder.finish(z, drawn) },
    {
      name: "small",
      path: "small",
      format: "onnx",
      hash: "0".repeat(64),
      files: [],
      preprocessor: null,
      notes: [],
    },
  );
}

describe("the native engine", () => {
  it("encodes, decodes and applies as the float64 interpreter does", async () => {
    const model = small();
    const engine = nativeEngine(model);
    const images = matrix(seededRandom(2).floats(5 * 36), 36);
    const codes = await engine.encode(images, call);
    expect([codes.rows, codes.columns]).toEqual([5, 4]);
    const expected = interpret(model.encoder, images.data, 5);
    codes.data.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 3);
    });
    const decoded = await engine.decode(codes, call);
    const drawn = interpret(model.decoder, codes.data, 5);
    decoded.data.forEach((value, i) => {
      expect(value).toBeCloseTo(drawn[i]!, 2);
    });
    const again = await engine.apply(codes, call);
    const mapped = interpret(model.map, codes.data, 5);
    again.data.forEach((value, i) => {
      expect(value).toBeCloseTo(mapped[i]!, 1);
    });
  });

  it("gives no rows for no rows", async () => {
    const engine = nativeEngine(small());
    expect(await engine.encode(matrix(new Float32Array(0), 36), call)).toMatchObject({ rows: 0, columns: 4 });
    expect(await engine.decode(matrix(new Float32Array(0), 4), call)).toMatchObject({ rows: 0, columns: 36 });
  });

  it("is one per model and options", () => {
    const model = small();
    expect(nativeEngine(model)).toBe(nativeEngine(model, {}));
    expect(nativeEngine(model)).not.toBe(nativeEngine(model, { layout: "onednn" }));
    expect(nativeEngine(model)).not.toBe(nativeEngine(small()));
    const before = nativeEngine(model);
    before.dispose();
    expect(nativeEngine(model)).not.toBe(before);
  });

  it("names the widths that do not meet, and the part that is not there", async () => {
    const engine = nativeEngine(small());
    await expect(engine.encode(matrix(new Float32Array(35), 35), call)).rejects.toThrow(
      "35 elements a row, expected 36 (1×6×6)",
    );
    await expect(engine.decode(matrix(new Float32Array(5), 5), call)).rejects.toThrow(InputError);
    const map = nativeEngine(scaling("half", 2, 0.5));
    await expect(map.encode(matrix(new Float32Array(2), 2), call)).rejects.toThrow(
      "is a square map, it has no encoder",
    );
  });

  it("an aborted call is an AbortedError", async () => {
    const engine = nativeEngine(small());
    const images = matrix(new Float32Array(36 * 5), 36);
    await expect(engine.encode(images, { ...call, signal: AbortSignal.abort() })).rejects.toThrow(
      AbortedError,
    );
  });

  it("runs in either layout and on every instruction set there is", async () => {
    const model = affine("affine", [0.5, 0.25, -0.25, 0.5], [1, 2]);
    for (const options of [{ layout: "lanes" }, { layout: "onednn" }, { isa: "portable" }] as const) {
      const engine = nativeEngine(model, options);
      expect(engine.plan()).toMatchObject(options);
      expect([...(await engine.apply(matrix(Float32Array.from([4, 8]), 2), call)).data]).toEqual([5, 5]);
    }
  });
});

describe("inspect", () => {
  it("lists the nodes of f with their cost, whose sum is the plan's", () => {
    const model = inspectModel(small());
    expect(model.nodes.map(({ op, flops }) => [op, flops])).toEqual([
      ["linear", 2 * 27 * 4],
      ["reshape", 0],
      // Each of 3·3·3 inputs meets 1·2·2 weights.
      ["convTranspose", 2 * 27 * 4],
      // Each of 3·3·3 outputs is a sum over 1·2·2 weights.
      ["conv", 2 * 27 * 4],
      ["reshape", 0],
      ["linear", 2 * 4 * 27],
    ]);
    expect(model.flopsPerRow).toBe(4 * 2 * 27 * 4);
    expect(model.plan?.flopsPerRow).toBe(model.flopsPerRow);
    expect(model.parameters).toBe(12 + 108 + 108 + 12);
    expect(model.nodes[3]).toMatchObject({ name: "conv", activation: null, outputShape: [3, 3, 3] });
  });
});
