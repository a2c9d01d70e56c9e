import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { noise } from "../../src/dynamics/points.js";
import type { AttractorRun } from "../../src/dynamics/result.js";
import { nativeEngine } from "../../src/engines/native.js";
import { type OnnxRuntime, openOnnxRuntime } from "../../src/engines/onnxruntime.js";
import { AbortedError, EngineError, InputError } from "../../src/errors.js";
import { loadAutoencoder } from "../../src/models/load.js";
import type { PartFiles } from "../../src/models/source.js";
import { exampleModel } from "../cli/latdyn.js";
import { floats, type ModelToWrite, onnxModel, type TensorToWrite } from "../support/onnxBuilder.js";
import { seededRandom } from "../support/random.js";
import { hasOnnxRuntime } from "../support/runtimes.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const root = temporaryFolder();
let count = 0;

/** Files in a folder of their own. */
function folderOf(files: Record<string, Uint8Array>): string {
  const folder = join(root, `model${count++}`);
  mkdirSync(folder);
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
  return folder;
}

function mapOf(model: ModelToWrite): PartFiles {
  return { map: join(folderOf({ "map.onnx": onnxModel(model) }), "map.onnx") };
}

function pairOf(decoder: ModelToWrite, encoder: ModelToWrite): { encoder: string; decoder: string } {
  const folder = folderOf({ "encoder.onnx": onnxModel(encoder), "decoder.onnx": onnxModel(decoder) });
  return { encoder: join(folder, "encoder.onnx"), decoder: join(folder, "decoder.onnx") };
}

const opened: OnnxRuntime[] = [];
async function open(...args: Parameters<typeof openOnnxRuntime>): Promise<OnnxRuntime> {
  const [files, options] = args;
  const runtime = await openOnnxRuntime(files, { threads: 1, ...options });
  opened.push(runtime);
  return runtime;
}
afterEach(async () => {
  await Promise.all(opened.splice(0).map((runtime) => runtime.close()));
});

/** y = x·w + b; w [ins, outs] row-major. */
function dense(w: TensorToWrite, b: number[], more: Partial<ModelToWrite> = {}): ModelToWrite {
  return {
    inputs: { x: ["batch", w.dims[0]!] },
    initializers: { w, b: floats([b.length], b) },
    nodes: [{ op: "Gemm", inputs: ["x", "w", "b"], outputs: ["y"] }],
    ...more,
  };
}
/** 2 → 3 and back. */
const decoder = dense(floats([2, 3], [1, 2, 3, 4, 5, 6]), [0, 0, 1]);
const encoder = dense(floats([3, 2], [1, 0, 0, 1, 1, 1]), [10, 20]);
const image = (z0: number, z1: number) => [z0 + 4 * z1, 2 * z0 + 5 * z1, 3 * z0 + 6 * z1 + 1];
const latent = ([x0, x1, x2]: number[]) => [x0! + x2! + 10, x1! + x2! + 20];

describe.skipIf(!hasOnnxRuntime)("openOnnxRuntime", () => {
  it("computes f, E and D, of two files as one session", async () => {
    const runtime = await open(pairOf(decoder, encoder));
    expect(runtime).toMatchObject({
      name: "onnxruntime",
      device: "cpu",
      latentDimension: 2,
      inputElements: 3,
      stages: 1,
      reason: null,
      concurrency: 1,
      threadsPerSession: 1,
      versions: { "onnxruntime-node": expect.stringMatching(/^\d+\.\d+\.\d+/) },
    });
    const z = Float32Array.of(1, 2, -3, 4);
    expect([...(await runtime.decode!(z, 2))]).toEqual([...image(1, 2), ...image(-3, 4)]);
    expect([...(await runtime.encode!(Float32Array.from(image(1, 2)), 1))]).toEqual(latent(image(1, 2)));
    expect([...(await runtime.apply(z, 2))]).toEqual([...latent(image(1, 2)), ...latent(image(-3, 4))]);
    expect([...z]).toEqual([1, 2, -3, 4]);
    expect(await runtime.apply(new Float32Array(0), 0)).toEqual(new Float32Array(0));
  });

  it("computes a square map, which has no halves", async () => {
    const runtime = await open(mapOf(dense(floats([2, 2], [0, 1, 1, 0]), [1, 2])));
    expect(runtime.inputElements).toBeNull();
    expect([runtime.encode, runtime.decode]).toEqual([undefined, undefined]);
    expect([...(await runtime.apply(Float32Array.of(5, 7), 1))]).toEqual([8, 7]);
  });

  it("joins files whose tensors have other shapes, and computes apart what cannot be one file", async () => {
    const flat = dense(floats([3, 2], [1, 0, 0, 1, 1, 1]), [10, 20], {
      inputs: { x: ["batch", 1, 3, 1] },
      nodes: [
        { op: "Flatten", inputs: ["x"], outputs: ["f"] },
        { op: "Gemm", inputs: ["f", "w", "b"], outputs: ["y"] },
      ],
    });
    const expected = latent(image(1, 2));
    const joined = await open(pairOf(decoder, flat));
    expect(joined.stages).toBe(1);
    expect([...(await joined.apply(Float32Array.of(1, 2), 1))]).toEqual(expected);
    const apart = await open(pairOf(decoder, { ...encoder, opset: 16 }));
    expect(apart).toMatchObject({
      stages: 2,
      reason: "the files are written in operator sets 17 and 16",
    });
    expect([...(await apart.apply(Float32Array.of(1, 2), 1))]).toEqual(expected);
  });

  it("fills batches up where the file fixes them", async () => {
    const fixed = (model: ModelToWrite, rows: number): ModelToWrite => ({
      ...model,
      inputs: { x: [rows, model.initializers!.w!.dims[0]!] },
    });
    const expected = [1, 2, 3, 4, 5].flatMap((z) => latent(image(z, -z)));
    const z = Float32Array.from([1, 2, 3, 4, 5].flatMap((value) => [value, -value]));
    for (const [files, stages] of [
      [pairOf(fixed(decoder, 3), fixed(encoder, 3)), 1],
      [pairOf(decoder, fixed(encoder, 3)), 1],
      [pairOf(fixed(decoder, 1), fixed(encoder, 4)), 2],
      [pairOf(fixed(decoder, 1), fixed(encoder, 1)), 1],
    ] as const) {
      const runtime = await open(files);
      expect(runtime.stages).toBe(stages);
      expect([...(await runtime.apply(z, 5))]).toEqual(expected);
      expect([...(await runtime.decode!(z, 5))]).toEqual([1, 2, 3, 4, 5].flatMap((v) => image(v, -v)));
    }
    expect((await open(pairOf(fixed(decoder, 3), fixed(encoder, 3)))).batchRows % 3).toBe(0);
  });

  it("gives one row at a time to a file that says it takes any number and does not", async () => {
    const once = dense(floats([2, 2], [0, 1, 1, 0]), [1, 2], {
      initializers: {
        w: floats([2, 2], [0, 1, 1, 0]),
        b: floats([2], [1, 2]),
        shape: { dims: [2], dataType: 7, int64Data: [1, 2] },
      },
      nodes: [
        { op: "Reshape", inputs: ["x", "shape"], outputs: ["r"] },
        { op: "Gemm", inputs: ["r", "w", "b"], outputs: ["y"] },
      ],
    });
    const runtime = await open(mapOf(once));
    expect([...(await runtime.apply(Float32Array.of(5, 7, 1, 1), 2))]).toEqual([8, 7, 2, 3]);
  });

  it("widens a float16 model's input and output", async () => {
    const half: ModelToWrite = {
      inputType: 10,
      outputs: { y: ["batch", 2] },
      nodes: [{ op: "Neg", inputs: ["x"], outputs: ["y"] }],
    };
    const single = await open(mapOf(half));
    expect([...(await single.apply(Float32Array.of(0.5, -3), 1))]).toEqual([-0.5, 3]);
    const mixed = await open(pairOf({ nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"] }] }, half));
    expect(mixed.stages).toBe(1);
    expect([...(await mixed.apply(Float32Array.of(0.5, -3), 1))]).toEqual([-0.5, -0]);
  });

  it("runs operators outside the native set, and control flow, joined", async () => {
    const strange: ModelToWrite = {
      initializers: { one: { dims: [], dataType: 9, int32Data: [1] } },
      nodes: [
        { op: "Atan", inputs: ["x"], outputs: ["t"] },
        {
          op: "If",
          inputs: ["one"],
          outputs: ["y"],
          attributes: {
            then_branch: {
              g: {
                inputs: {},
                outputs: { a: ["b", 2] },
                nodes: [{ op: "Neg", inputs: ["t"], outputs: ["a"] }],
              },
            },
            else_branch: {
              g: {
                inputs: {},
                outputs: { c: ["b", 2] },
                nodes: [{ op: "Abs", inputs: ["t"], outputs: ["c"] }],
              },
            },
          },
        },
      ],
    };
    const runtime = await open(pairOf(strange, strange));
    expect(runtime.stages).toBe(1);
    const [a, b] = await runtime.apply(Float32Array.of(0.5, 2), 1);
    expect(a).toBeCloseTo(-Math.atan(-Math.atan(0.5)), 6);
    expect(b).toBeCloseTo(-Math.atan(-Math.atan(2)), 6);
  });

  it("takes open axes from its options", async () => {
    const open2 = { inputs: { x: ["batch", "n"] } };
    const files = pairOf({ ...decoder, ...open2 }, { ...encoder, ...open2 });
    await expect(open(files)).rejects.toThrow(/decoder.onnx: input "x" .*axis 1 is not fixed/);
    const runtime = await open(files, { latentShape: [2], inputShape: [3] });
    expect(runtime).toMatchObject({ latentDimension: 2, inputElements: 3 });
  });

  it("answers calls at the same time from threads of their own, and leaves the event loop alone", async () => {
    const n = 256;
    const random = seededRandom(1);
    const files = mapOf({
      ...dense(floats([n, n], random.floats(n * n, 0.05)), new Array(n).fill(0)),
      nodes: Array.from({ length: 100 }, (_, i) => ({
        op: "Gemm",
        inputs: [i === 0 ? "x" : `y${i}`, "w", "b"],
        outputs: [i === 99 ? "y" : `y${i + 1}`],
      })),
    });
    const runtime = await open(files, { threads: 2 });
    expect(runtime).toMatchObject({ concurrency: 2, threadsPerSession: 1 });
    const rows = random.floats(64 * n);
    const alone = await runtime.apply(rows, 64);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const start = performance.now();
    const answers = await Promise.all(Array.from({ length: 8 }, () => runtime.apply(rows, 64)));
    const milliseconds = performance.now() - start;
    clearInterval(timer);
    for (const answer of answers) expect(answer).toEqual(alone);
    const shared = await open(files, { threads: 2, sessions: 1 });
    expect(shared).toMatchObject({ concurrency: 1, threadsPerSession: 2 });
    expect((await shared.apply(rows, 64)).length).toBe(64 * n);
    expect(ticks).toBeGreaterThan(milliseconds / 20);
  });
});

describe.skipIf(!hasOnnxRuntime)("weights in other files", () => {
  const elsewhere = (location: string, dims: number[], more: Record<string, string> = {}): TensorToWrite => ({
    dims,
    dataType: 1,
    dataLocation: 1,
    externalData: Object.entries({ location, ...more }).map(([key, value]) => ({ key, value })),
  });
  const bytes = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
  const withExternal = (w: TensorToWrite, b: number[]): ModelToWrite => dense(w, b);

  it("are read from the model's folder, joined or not", async () => {
    const folder = folderOf({
      "decoder.onnx": onnxModel(withExternal(elsewhere("d.bin", [2, 3]), [0, 0, 1])),
      "d.bin": bytes(1, 2, 3, 4, 5, 6),
      "encoder.onnx": onnxModel(
        withExternal(elsewhere("e.bin", [3, 2], { offset: "4", length: "24" }), [10, 20]),
      ),
      "e.bin": bytes(-1, 1, 0, 0, 1, 1, 1),
    });
    const files = { encoder: join(folder, "encoder.onnx"), decoder: join(folder, "decoder.onnx") };
    const runtime = await open(files);
    expect(runtime.stages).toBe(1);
    expect([...(await runtime.apply(Float32Array.of(1, 2), 1))]).toEqual(latent(image(1, 2)));
    expect([...(await runtime.decode!(Float32Array.of(1, 2), 1))]).toEqual(image(1, 2));
  });

  it("in two folders make two sessions", async () => {
    const one = folderOf({
      "decoder.onnx": onnxModel(withExternal(elsewhere("w.bin", [2, 3]), [0, 0, 1])),
      "w.bin": bytes(1, 2, 3, 4, 5, 6),
    });
    const other = folderOf({
      "encoder.onnx": onnxModel(withExternal(elsewhere("w.bin", [3, 2]), [10, 20])),
      "w.bin": bytes(1, 0, 0, 1, 1, 1),
    });
    const runtime = await open({ encoder: join(other, "encoder.onnx"), decoder: join(one, "decoder.onnx") });
    expect(runtime).toMatchObject({
      stages: 2,
      reason: "the files keep weights in different folders",
    });
    expect([...(await runtime.apply(Float32Array.of(1, 2), 1))]).toEqual(latent(image(1, 2)));
  });

  it("are refused where they are not inside the folder, or not there", async () => {
    const outside = folderOf({ "w.bin": bytes(1, 0, 0, 1) });
    const files = (location: string) => mapOf(withExternal(elsewhere(location, [2, 2]), [0, 0]));
    for (const location of ["../w.bin", join(outside, "w.bin"), "a/../../w.bin"]) {
      await expect(open(files(location))).rejects.toThrow(/which is not inside the model's folder/);
    }
    await expect(open(files("none.bin"))).rejects.toThrow(/"none.bin", which cannot be opened/);
    const folder = folderOf({ "map.onnx": onnxModel(withExternal(elsewhere("w.bin", [2, 2]), [0, 0])) });
    symlinkSync(join(outside, "w.bin"), join(folder, "w.bin"));
    await expect(open({ map: join(folder, "map.onnx") })).rejects.toThrow(/leads out of the model's folder/);
  });

  it("that are too short are refused", async () => {
    const folder = folderOf({
      "map.onnx": onnxModel(withExternal(elsewhere("w.bin", [2, 2]), [0, 0])),
      "w.bin": bytes(1, 2),
    });
    await expect(open({ map: join(folder, "map.onnx") })).rejects.toThrow(
      /map.onnx: onnxruntime cannot open it/,
    );
  });
});

describe.skipIf(!hasOnnxRuntime)("what onnxruntime refuses", () => {
  const refused = async (files: PartFiles): Promise<Error> => {
    const error = await open(files).then(
      () => undefined,
      (caught: Error) => caught,
    );
    expect(error).toBeInstanceOf(InputError);
    expect(error!.message).not.toContain("\n");
    return error!;
  };

  it("is one sentence that names the file at fault", async () => {
    const unknown: ModelToWrite = { nodes: [{ op: "Nonsense", inputs: ["x"], outputs: ["y"] }] };
    const identity: ModelToWrite = { nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"] }] };
    const files = pairOf(identity, unknown);
    const { message } = await refused(files);
    expect(message).toContain(`${files.encoder}: onnxruntime cannot open it`);
    expect(message).toContain("Nonsense");
    expect((await refused(mapOf({ ...identity, opset: 99 }))).message).toMatch(/opset 99|99/);
  });

  it("no model, no file, two inputs", async () => {
    const folder = folderOf({ "map.onnx": new Uint8Array(100).fill(7) });
    expect((await refused({ map: join(folder, "map.onnx") })).message).toContain("is not an ONNX model");
    expect((await refused({ map: join(folder, "none.onnx") })).message).toContain("cannot be read");
    const two = { inputs: { x: ["n", 2], other: ["n", 2] } };
    const nodes = [{ op: "Add", inputs: ["x", "other"], outputs: ["y"] }];
    expect((await refused(mapOf({ ...two, nodes }))).message).toContain('has 2 inputs ("x", "other")');
  });

  it("files that do not fit each other", async () => {
    expect((await refused(pairOf(decoder, decoder))).message).toContain("is given 3 elements a row, takes 2");
    const wide = dense(floats([3, 4], new Array(12).fill(1)), [0, 0, 0, 0]);
    expect((await refused(pairOf(decoder, wide))).message).toContain(
      "f gives 4 elements a row, expected as many as a latent has, 2",
    );
    expect((await refused(mapOf(decoder))).message).toContain("f gives 3 elements a row, expected");
    // A reshape with an open batch would take four pixels of one row for those of two.
    const half = dense(floats([2, 4], new Array(8).fill(1)), [0, 0, 0, 0]);
    const small = dense(floats([2, 2], [1, 0, 0, 1]), [0, 0]);
    expect((await refused(pairOf(half, small))).message).toContain("f gives 4 elements a row");
  });

  it("rows that are not independent", async () => {
    const centred: ModelToWrite = {
      initializers: { axes: { dims: [1], dataType: 7, int64Data: [0] } },
      opset: 18,
      nodes: [
        { op: "ReduceMean", inputs: ["x", "axes"], outputs: ["m"] },
        { op: "Sub", inputs: ["x", "m"], outputs: ["y"] },
      ],
    };
    expect((await refused(mapOf(centred))).message).toContain("depends on the rows beside it");
  });

  it("a row that cannot be computed is an EngineError, and the next one can", async () => {
    // Reads as many elements as the first number of the row says.
    const picky: ModelToWrite = {
      inputs: { x: [1, 2] },
      initializers: {
        zero: { dims: [1], dataType: 7, int64Data: [0] },
        four: floats([3, 2], [1, 2, 3, 4, 5, 6]),
      },
      nodes: [
        { op: "Gather", inputs: ["x", "zero"], outputs: ["first"], attributes: { axis: { i: 1 } } },
        { op: "Cast", inputs: ["first"], outputs: ["index"], attributes: { to: { i: 7 } } },
        { op: "Gather", inputs: ["four", "index"], outputs: ["g"] },
        { op: "Flatten", inputs: ["g"], outputs: ["y"] },
      ],
    };
    const runtime = await open(mapOf(picky));
    expect([...(await runtime.apply(Float32Array.of(2, 0), 1))]).toEqual([5, 6]);
    const error = await runtime.apply(Float32Array.of(50, 0), 1).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(EngineError);
    expect((error as Error).message).toMatch(/map.onnx: onnxruntime failed on 1 rows \(.*\)$/);
    expect([...(await runtime.apply(Float32Array.of(1, 0), 1))]).toEqual([3, 4]);
  });

  it("options that it does not have", async () => {
    const files = pairOf(decoder, encoder);
    for (const [options, message] of [
      [{ threads: 0 }, "threads is 0, expected a whole number from 1 to 1024"],
      [{ threads: 2, sessions: 3 }, "sessions is 3, expected a whole number from 1 to 2"],
      [{ device: "gpu" }, 'device is "gpu", expected cpu, cuda or cuda:INDEX'],
      [{ thread: 1 }, 'unknown option "thread" (did you mean "threads"?)'],
    ] as const) {
      await expect(open(files, options as object)).rejects.toThrow(message);
    }
  });
});

describe.skipIf(!hasOnnxRuntime)("close", () => {
  it("rejects calls that wait and later ones, lets the one that runs fail or finish, and may be called twice", async () => {
    const runtime = await open(pairOf(decoder, encoder));
    const calls = Array.from({ length: 20 }, () => runtime.apply(Float32Array.of(1, 2), 1));
    const outcomes = Promise.allSettled(calls);
    await runtime.close();
    const [running, ...waiting] = await outcomes;
    if (running!.status === "fulfilled") expect([...running.value]).toEqual(latent(image(1, 2)));
    else expect(running!.reason).toBeInstanceOf(EngineError);
    for (const outcome of waiting) {
      expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(EngineError);
    }
    await expect(runtime.apply(Float32Array.of(1, 2), 1)).rejects.toThrow(EngineError);
    await runtime.close();
  });
});

const models = [
  exampleModel,
  ...(hasShared
    ? ["mnist-conv-k2", "mnist-conv-k128", "taef2"].map((name) => sharedPath("models", name))
    : []),
];
describe.skipIf(!hasOnnxRuntime)("agrees with the native engine", () => {
  it.each(models)("%s: f, E and D within 1e-4", async (path) => {
    await using model = await loadAutoencoder(path);
    const k = model.latentDimension;
    const runtime = await open(
      { encoder: join(path, "encoder.onnx"), decoder: join(path, "decoder.onnx") },
      { latentShape: model.latentShape, inputShape: model.inputShape! },
    );
    expect(runtime.stages).toBe(1);
    const rows = path.endsWith("taef2") ? 1 : 5;
    const latents = { data: seededRandom(2).floats(rows * k), rows, columns: k };
    const engine = nativeEngine(model);
    const images = await engine.decode(latents, { threads: 1 });
    for (const [found, expected] of [
      [await runtime.apply(latents.data, rows), (await engine.apply(latents, { threads: 1 })).data],
      [await runtime.decode!(latents.data, rows), images.data],
      [await runtime.encode!(images.data, rows), (await engine.encode(images, { threads: 1 })).data],
    ] as const) {
      let [difference, norm] = [0, 0];
      expected.forEach((value, i) => {
        difference += (found[i]! - value) ** 2;
        norm += value ** 2;
      });
      expect(Math.sqrt(difference / norm)).toBeLessThan(1e-4);
    }
  });

  it("the example model: the same attractors, in the same order, with the same basins", async () => {
    await using model = await loadAutoencoder(exampleModel);
    const options = { from: { noise: noise(300, { randomSeed: 1 }) }, threads: 2 };
    const [native, onnx] = await Promise.all(
      ["native", "onnxruntime"].map(async (engine) => {
        const run = await findAttractors(model, { ...options, engine });
        return run.sets[0]!;
      }),
    );
    expect(onnx!.summary).toMatchObject({
      points: 300,
      converged: native!.summary.converged,
      cycle: native!.summary.cycle,
      attractors: native!.summary.attractors,
    });
    expect(onnx!.label).toEqual(native!.label);
    expect(onnx!.basinSize).toEqual(native!.basinSize);
    // Rounding differs, and with it where the residual passes the tolerance.
    onnx!.iterations.forEach((count, i) => {
      expect(Math.abs(count - native!.iterations[i]!)).toBeLessThanOrEqual(2);
    });
  });

  it("an abort ends an extraction with what was finished", async () => {
    await using model = await loadAutoencoder(exampleModel);
    const controller = new AbortController();
    const error = await findAttractors(model, {
      from: { noise: noise(3000) },
      engine: "onnxruntime",
      threads: 1,
      signal: controller.signal,
      onProgress: ({ mapEvaluations }) => {
        if (mapEvaluations > 0) controller.abort();
      },
    }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(AbortedError);
    const { sets } = (error as AbortedError<AttractorRun>).partial!;
    expect(sets[0]!.summary.unfinished).toBeGreaterThan(0);
  });
});
