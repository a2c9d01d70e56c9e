import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { openMaps } from "../../../src/engines/tfjs/open.js";
import { EngineError, InputError } from "../../../src/errors.js";
import { endsOf } from "../../../src/models/tfjs/ends.js";
import { readTfjsModel } from "../../../src/models/tfjs/file.js";
import { partsOf } from "../../../src/models/tfjs/parts.js";
import type { TfjsSource } from "../../../src/models/tfjs/source.js";
import { floatsOf } from "../../../src/models/tfjs/weights.js";
import { seededRandom } from "../../support/random.js";
import { temporaryFolder } from "../../support/temporaryFolder.js";
import { hasTfjs, tf } from "../../support/tfjs.js";

/** One dense layer, 3 → 2, in two weight files; written by hand, so that these tests need no tfjs. */
const dense = {
  format: "layers-model",
  modelTopology: {
    class_name: "Sequential",
    config: {
      name: "model",
      layers: [
        {
          class_name: "Dense",
          config: { name: "dense", units: 2, batch_input_shape: [null, 3], activation: "relu" },
        },
      ],
    },
  },
  weightsManifest: [
    {
      paths: ["a.bin", "b.bin"],
      weights: [
        { name: "dense/kernel", shape: [3, 2], dtype: "float32" },
        { name: "dense/bias", shape: [2], dtype: "float32" },
      ],
    },
  ],
};
const values = Float32Array.of(1, 2, 3, 4, 5, 6, 0.5, -0.5);

type Json = Record<string, unknown>;

function write(json: unknown, bytes: Uint8Array = new Uint8Array(values.buffer)): string {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "a.bin"), bytes.subarray(0, 20));
  writeFileSync(join(folder, "b.bin"), bytes.subarray(20));
  writeFileSync(join(folder, "model.json"), typeof json === "string" ? json : JSON.stringify(json));
  return join(folder, "model.json");
}

/** A copy with one change. */
function changed(change: (json: typeof dense & Json) => void): unknown {
  const json = structuredClone(dense) as typeof dense & Json;
  change(json);
  return json;
}

async function failure(path: string): Promise<string> {
  try {
    const decoder = await readTfjsModel(path);
    partsOf({ encoder: null, decoder }, { name: "model" });
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as Error).message;
  }
  return expect.fail("it was read");
}

describe("model.json", () => {
  it("is read with its weights, over as many files as there are", async () => {
    const path = write(dense);
    const model = await readTfjsModel(path);
    expect(model.kind).toBe("layers");
    expect([...model.weights.keys()]).toEqual(["dense/kernel", "dense/bias"]);
    expect(floatsOf(model.weights.get("dense/kernel")!)).toEqual(values.slice(0, 6));
    expect(floatsOf(model.weights.get("dense/bias")!)).toEqual(values.slice(6));
    expect(model.files).toEqual([path, join(dirname(path), "a.bin"), join(dirname(path), "b.bin")]);
    expect(endsOf(model)).toMatchObject({ inputShape: [3], batchRows: null, outputName: "dense", notes: [] });
  });

  it("widens quantised weights as tfjs does", async () => {
    const bytes = new Uint8Array(6 + 4 + 2);
    bytes.set([0, 1, 2, 3, 4, 255]);
    new DataView(bytes.buffer).setUint16(6, 65535, true);
    new DataView(bytes.buffer).setUint16(10, 0x3c00, true);
    const json = changed((j) => {
      j.weightsManifest[0]!.weights = [
        { name: "a", shape: [2, 3], dtype: "float32", quantization: { dtype: "uint8", scale: 0.1, min: -1 } },
        { name: "b", shape: [2], dtype: "float32", quantization: { dtype: "uint16", scale: 2, min: 1 } },
        { name: "c", shape: [], dtype: "float32", quantization: { dtype: "float16" } },
      ] as never;
    });
    const { weights } = await readTfjsModel(write(json, bytes));
    const widened = Float32Array.of(-1, -0.9, -0.8, 3 * 0.1 - 1, 4 * 0.1 - 1, 255 * 0.1 - 1);
    expect(floatsOf(weights.get("a")!)).toEqual(widened);
    expect(floatsOf(weights.get("b")!)).toEqual(Float32Array.of(131071, 1));
    expect(floatsOf(weights.get("c")!)).toEqual(Float32Array.of(1));
  });

  it("may hold texts, whose length only their bytes tell", async () => {
    const bytes = Buffer.from([2, 0, 0, 0, 0x68, 0x69, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    const texts = (shape: number[]) =>
      changed((j) => {
        const weights = [
          { name: "texts", shape, dtype: "string" },
          { name: "flag", shape: [5], dtype: "bool" },
        ];
        j.weightsManifest[0]!.weights = weights;
      });
    const { weights } = await readTfjsModel(write(texts([2]), bytes));
    expect(weights.get("texts")!.bytes).toHaveLength(10);
    expect(floatsOf(weights.get("texts")!)).toBeUndefined();
    expect(await failure(write(texts([4]), bytes))).toMatch(
      /"texts" holds 4 texts, of which text 3 is cut off/,
    );
  });

  it("says which axis is open, and takes it from the caller", async () => {
    const open = changed((j) => {
      j.modelTopology.config.layers[0]!.config.batch_input_shape = [null, null] as never;
    });
    const model = await readTfjsModel(write(open));
    expect(() => endsOf(model)).toThrow(
      /input "dense_input" has shape \[\?, \?\], whose axis 1 is not fixed/,
    );
    expect(endsOf(model, { inputShape: [3] }).inputShape).toEqual([3]);
    expect(() => endsOf(model, { inputShape: [3, 1] })).toThrow(/expected a batch of 3×1/);
  });

  it("may fix its batch, within reason", async () => {
    const fixed = (rows: number) =>
      readTfjsModel(
        write(
          changed((j) => (j.modelTopology.config.layers[0]!.config.batch_input_shape = [rows, 3] as never)),
        ),
      );
    expect(endsOf(await fixed(4))).toMatchObject({ inputShape: [3], batchRows: 4 });
    for (const rows of [0, 2 ** 31]) {
      const model = await fixed(rows);
      expect(() => endsOf(model)).toThrow(/expected a batch that is open or of 1 to 4096 rows/);
    }
  });

  it("says how many outputs there are and takes the mean", async () => {
    const layer = (name: string, from: string) => ({
      class_name: "Dense",
      name,
      config: { name, units: 2 },
      inbound_nodes: [[[from, 0, 0, {}]]],
    });
    const input = {
      class_name: "InputLayer",
      name: "x",
      config: { batch_input_shape: [null, 3], dtype: "float32" },
      inbound_nodes: [],
    };
    const variational = changed((j) => {
      j.modelTopology = {
        class_name: "Functional",
        config: {
          name: "encoder",
          layers: [input, layer("z_log_var", "x"), layer("z_mean", "x")],
          input_layers: [["x", 0, 0]],
          output_layers: [
            ["z_log_var", 0, 0],
            ["z_mean", 0, 0],
          ],
        },
      } as never;
    });
    const model = await readTfjsModel(write(variational));
    const ends = endsOf(model);
    expect(ends).toMatchObject({ outputIndex: 1, outputName: "z_mean" });
    expect(ends.notes[0]).toMatch(
      /has 2 outputs \(z_log_var, z_mean\), of which "z_mean", the one whose name says mean/,
    );
    expect(endsOf(model, { output: "z_log_var" })).toMatchObject({ outputIndex: 0, notes: [] });
    expect(() => endsOf(model, { output: "z" })).toThrow(
      /has no output "z", expected one of z_log_var, z_mean/,
    );
  });

  const wrong: Record<string, [unknown, RegExp]> = {
    "no JSON": ["{", /is not valid JSON/],
    "no object": ["[]", /holds no JSON object/],
    "no topology": [changed((j) => Reflect.deleteProperty(j, "modelTopology")), /has no "modelTopology"/],
    "an unknown format": [
      changed((j) => (j.format = "keras")),
      /"format" is "keras", expected "layers-model"/,
    ],
    "no weights": [changed((j) => Reflect.deleteProperty(j, "weightsManifest")), /has no "weightsManifest"/],
    "a weight of 2 GiB": [
      changed((j) => (j.weightsManifest[0]!.weights[0]!.shape = [2 ** 14, 2 ** 15])),
      /lists weights of 2147483656 bytes, but its files hold 32/,
    ],
    "a weight that no index reaches": [
      changed((j) => (j.weightsManifest[0]!.weights[0]!.shape = [2 ** 20, 2 ** 20])),
      /"shape" is \[1048576,1048576\], expected whole numbers/,
    ],
    "fewer weights than bytes": [
      changed((j) => j.weightsManifest[0]!.weights.pop()),
      /lists weights of 24 bytes, but its files hold 32/,
    ],
    "a weight twice": [
      changed((j) => (j.weightsManifest[0]!.weights[1]!.name = "dense/kernel")),
      /names the weight "dense\/kernel" twice/,
    ],
    "an unknown type": [
      changed((j) => (j.weightsManifest[0]!.weights[0]!.dtype = "float64")),
      /weight "dense\/kernel": "dtype" is "float64", expected one of float32/,
    ],
    "a file outside the folder": [
      changed((j) => (j.weightsManifest[0]!.paths[0] = "../../etc/passwd")),
      /"\.\.\/\.\.\/etc\/passwd", which is not inside the model's folder/,
    ],
    "an absolute file": [changed((j) => (j.weightsManifest[0]!.paths[0] = "/etc/passwd")), /is not inside/],
    "a file that is not there": [
      changed((j) => (j.weightsManifest[0]!.paths[0] = "c.bin")),
      /cannot be opened/,
    ],
    "a folder as a file": [changed((j) => (j.weightsManifest[0]!.paths[0] = "folder")), /is not a file/],
    "a kernel of another shape": [
      changed((j) => (j.modelTopology.config.layers[0]!.config.units = 3)),
      /layer "dense" \(Dense\) has a weight "kernel" of shape \[3, 2\], expected \[3, 3\]/,
    ],
    "no layers": [changed((j) => (j.modelTopology.config.layers = [])), /"model" has no layers/],
  };
  for (const [name, [json, message]] of Object.entries(wrong)) {
    it(`is refused with ${name}`, async () => {
      const path = write(json);
      mkdirSync(join(dirname(path), "folder"));
      expect(await failure(path)).toMatch(message);
    });
  }

  it("is refused where a link leads out of the folder", async () => {
    const path = write(changed((j) => (j.weightsManifest[0]!.paths[0] = "link.bin")));
    symlinkSync("/etc/passwd", join(dirname(path), "link.bin"));
    expect(await failure(path)).toMatch(/leads out of the model's folder/);
  });

  it("is refused where a weight file is cut short", async () => {
    const path = write(dense);
    truncateSync(join(dirname(path), "b.bin"), 3);
    expect(await failure(path)).toMatch(/lists weights of 32 bytes, but its files hold 23/);
  });
});

describe("layers that call one another", () => {
  const layer = (name: string, from: readonly string[], className = "Add") => ({
    class_name: className,
    name,
    config: { name },
    inbound_nodes: [from.map((each) => [each, 0, 0, {}])],
  });
  const input = {
    class_name: "InputLayer",
    name: "x",
    config: { batch_input_shape: [null, 2] },
    inbound_nodes: [],
  };
  const functional = (layers: readonly object[], output = "y") =>
    write({
      format: "layers-model",
      modelTopology: {
        class_name: "Model",
        config: { name: "model", layers, input_layers: [["x", 0, 0]], output_layers: [[output, 0, 0]] },
      },
      weightsManifest: [],
    });

  it("may stand in any order", async () => {
    const path = functional([layer("y", ["a", "x"]), layer("a", ["x", "x"]), input]);
    const { graphs } = partsOf({ encoder: null, decoder: await readTfjsModel(path) }, { name: "model" });
    expect(graphs!.decoder.nodes.map(({ op, name }) => `${op} ${name}`)).toEqual(["add a", "add y"]);
  });

  it("must not wait for one another", async () => {
    expect(await failure(functional([input, layer("y", ["a", "x"]), layer("a", ["y", "x"])]))).toMatch(
      /"y" \(Add\) reads "a", which waits for it or is never computed/,
    );
    expect(await failure(functional([input, layer("y", ["nobody", "x"])]))).toMatch(
      /"y" \(Add\) reads "nobody", which is no layer of the model/,
    );
    expect(await failure(functional([input, layer("y", ["x", "x"])], "z"))).toMatch(
      /gives "z", which nothing computes/,
    );
    expect(await failure(functional([input, input, layer("y", ["x", "x"])]))).toMatch(/names a layer twice/);
  });

  it("must not multiply without end through nested models", async () => {
    let inner: object = { class_name: "Flatten", config: { name: "flat" } };
    for (let depth = 0; depth < 40; depth++) {
      const name = `m${depth}`;
      const nested = { ...inner, name: "inner", inbound_nodes: [[["i", 0, 0, {}]], [["inner", 1, 0, {}]]] };
      inner = {
        class_name: "Model",
        config: {
          name,
          layers: [{ ...input, name: "i", config: { batch_input_shape: [null, 2] } }, nested],
          input_layers: [["i", 0, 0]],
          output_layers: [["inner", depth === 0 ? 1 : 2, 0]],
        },
      };
      if (depth === 0)
        (nested as { inbound_nodes: unknown }).inbound_nodes = [[["i", 0, 0]], [["inner", 0, 0]]];
    }
    expect(
      await failure(write({ format: "layers-model", modelTopology: inner, weightsManifest: [] })),
    ).toMatch(/calls more than 20000 layers|nests models more than/);
  });
});

/** LATDYN_MUTATIONS=100000 for a long run. */
const mutations = Number(process.env.LATDYN_MUTATIONS ?? 2000);

describe("damaged files", () => {
  it("end in typed errors, whatever is damaged", { timeout: 60_000 + 20 * mutations }, async () => {
    if (hasTfjs) await tf.setBackend("cpu");
    const names = ["model.json", "a.bin", "b.bin"];
    const sources = [write(dense), write(functionalModel), write(graphModel, new Uint8Array(8))].map((path) =>
      names.map((name) => readFileSync(join(dirname(path), name))),
    );
    const folder = temporaryFolder();
    const random = seededRandom(1);
    const outcomes = { read: 0, refused: 0 };
    for (let i = 0; i < mutations; i++) {
      const damaged = random.uniform() < 0.9 ? "model.json" : random.pick(names);
      random.pick(sources).forEach((bytes, at) => {
        const name = names[at]!;
        const changed =
          random.uniform() < 0.5 ? damagedBytes(bytes, random) : damagedJson(bytes, name, random);
        writeFileSync(join(folder, name), name === damaged ? changed : bytes);
      });
      try {
        const decoder = await readTfjsModel(join(folder, "model.json"));
        const { source } = partsOf({ encoder: null, decoder }, { name: "model" });
        outcomes.read++;
        // What looks right may still be wrong to tfjs, which has to say so and to come to an end.
        if (hasTfjs && outcomes.read <= mutations / 50) await run(source);
      } catch (error) {
        const typed = error instanceof InputError || error instanceof EngineError;
        if (!typed) throw new Error(`mutation ${i}`, { cause: error });
        outcomes.refused++;
      }
    }
    expect(outcomes.refused).toBeGreaterThan(mutations / 3);
    expect(outcomes.read).toBeGreaterThan(mutations / 30);
  });
});

async function run(source: TfjsSource): Promise<void> {
  const opened = await openMaps(tf, source);
  try {
    await opened.maps.check();
  } finally {
    opened.dispose();
  }
}

const functionalModel = {
  format: "layers-model",
  modelTopology: {
    model_config: {
      class_name: "Functional",
      config: {
        name: "model",
        layers: [
          {
            class_name: "InputLayer",
            name: "x",
            config: { batch_input_shape: [null, 2, 2, 1], dtype: "float32" },
            inbound_nodes: [],
          },
          {
            class_name: "ZeroPadding2D",
            name: "pad",
            config: {
              padding: [
                [1, 0],
                [0, 1],
              ],
            },
            inbound_nodes: [[["x", 0, 0, {}]]],
          },
          {
            class_name: "MaxPooling2D",
            name: "pool",
            config: { pool_size: [2, 2], strides: [1, 1], padding: "valid" },
            inbound_nodes: [[["pad", 0, 0, {}]]],
          },
          {
            class_name: "Concatenate",
            name: "both",
            config: { axis: -1 },
            inbound_nodes: [
              [
                ["pool", 0, 0, {}],
                ["x", 0, 0, {}],
              ],
            ],
          },
          {
            class_name: "SeparableConv2D",
            name: "conv",
            config: { filters: 1, kernel_size: 1, strides: 1, use_bias: true, activation: "elu" },
            inbound_nodes: [[["both", 0, 0, {}]]],
          },
          {
            class_name: "BatchNormalization",
            name: "norm",
            config: { axis: [3], epsilon: 0.001, scale: false, center: true },
            inbound_nodes: [[["conv", 0, 0, {}]]],
          },
          {
            class_name: "Reshape",
            name: "flat",
            config: { target_shape: [4] },
            inbound_nodes: [[["norm", 0, 0, {}]]],
          },
          {
            class_name: "Reshape",
            name: "y",
            config: { target_shape: [2, 2, -1] },
            inbound_nodes: [[["flat", 0, 0, {}]]],
          },
        ],
        input_layers: [["x", 0, 0]],
        output_layers: [["y", 0, 0]],
      },
    },
  },
  weightsManifest: [
    {
      paths: ["a.bin", "b.bin"],
      weights: [
        { name: "conv/depthwise_kernel", shape: [1, 1, 2, 1], dtype: "float32" },
        { name: "conv/cell/pointwise_kernel", shape: [1, 1, 2, 1], dtype: "float32" },
        { name: "conv/bias", shape: [1], dtype: "float32" },
        { name: "norm/beta", shape: [1], dtype: "float32" },
        { name: "norm/moving_mean", shape: [1], dtype: "float32" },
        { name: "norm/moving_variance", shape: [1], dtype: "float32" },
      ],
    },
  ],
};

const graphModel = {
  format: "graph-model",
  userDefinedMetadata: {
    signature: {
      inputs: {
        x: { name: "x:0", dtype: "DT_FLOAT", tensorShape: { dim: [{ size: "-1" }, { size: "2" }] } },
      },
      outputs: {
        y: { name: "y:0", dtype: "DT_FLOAT", tensorShape: { dim: [{ size: "-1" }, { size: "2" }] } },
      },
    },
  },
  modelTopology: {
    node: [
      {
        name: "x",
        op: "Placeholder",
        attr: { dtype: { type: "DT_FLOAT" }, shape: { shape: { dim: [{ size: "-1" }, { size: "2" }] } } },
      },
      { name: "b", op: "Const", attr: { dtype: { type: "DT_FLOAT" } } },
      { name: "y", op: "AddV2", input: ["x", "b"], attr: { T: { type: "DT_FLOAT" } } },
    ],
    library: {},
    versions: { producer: 808, minConsumer: 12 },
  },
  weightsManifest: [{ paths: ["a.bin", "b.bin"], weights: [{ name: "b", shape: [2], dtype: "float32" }] }],
};

type Random = ReturnType<typeof seededRandom>;

function damagedBytes(bytes: Buffer, random: Random): Buffer {
  const out = Buffer.from(bytes);
  const changes = random.integer(1, 3);
  for (let i = 0; i < changes && out.length > 0; i++)
    out[random.integer(0, out.length - 1)] = random.integer(0, 255);
  return random.uniform() < 0.2 ? out.subarray(0, random.integer(0, out.length)) : out;
}

const strange: readonly unknown[] = [
  null,
  -1,
  0,
  0.5,
  1e300,
  2 ** 31,
  2 ** 53,
  "",
  "x",
  "NaN",
  true,
  [],
  {},
  [[]],
  [-1],
  "../a.bin",
  "__proto__",
  [null, 2 ** 31],
];

/** One value anywhere in the JSON replaced, removed or doubled; weights are cut short. */
function damagedJson(bytes: Buffer, name: string, random: Random): Buffer {
  if (name !== "model.json") return bytes.subarray(0, random.integer(0, bytes.length));
  const json = JSON.parse(bytes.toString()) as unknown;
  const places: [Record<string, unknown>, string][] = [];
  const visit = (value: unknown) => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      places.push([value as Record<string, unknown>, key]);
      visit(inner);
    }
  };
  visit(json);
  const [holder, key] = random.pick(places);
  const way = random.integer(0, 3);
  if (way === 0 && Array.isArray(holder)) holder.splice(Number(key), 1);
  else if (way === 0) Reflect.deleteProperty(holder, key);
  else if (way === 1 && Array.isArray(holder)) holder.push(holder[Number(key)]);
  else if (way === 1) holder[key] = random.pick(places)[0];
  else holder[key] = random.pick(strange);
  try {
    return Buffer.from(JSON.stringify(json));
  } catch {
    // What was doubled holds itself.
    return damagedBytes(bytes, random);
  }
}
