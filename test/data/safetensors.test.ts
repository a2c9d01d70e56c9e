import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import {
  encodeSafetensors,
  readSafetensors,
  type TensorToWrite,
  widenBfloat16,
  widenFloat16,
  writeSafetensors,
} from "../../src/data/safetensors.js";
import { InputError } from "../../src/errors.js";
import { seededRandom } from "../support/random.js";
import { hasShared, sharedPath } from "../support/sharedModels.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

vi.mock("node:fs/promises", async (original) => {
  const actual = await original<typeof import("node:fs/promises")>();
  return { ...actual, open: vi.fn(actual.open) };
});

const folder = temporaryFolder();
let files = 0;

/** A file put together by hand, so that the reader is not only tested against our own writer. */
function fileOf(header: string | object, data: Uint8Array | number[] = [], headerLength?: number): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(headerLength ?? json.length));
  const path = join(folder, `hand${files++}.safetensors`);
  writeFileSync(path, Buffer.concat([prefix, json, Uint8Array.from(data)]));
  return path;
}

const floatBytes = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

describe("readSafetensors", () => {
  it("reads a file put together by hand, unaligned tensors included", async () => {
    const path = fileOf(
      {
        __metadata__: { format: "pt" },
        flags: { dtype: "BOOL", shape: [3], data_offsets: [0, 3] },
        weight: { dtype: "F32", shape: [1, 2], data_offsets: [3, 11] },
        large: { dtype: "I64", shape: [], data_offsets: [11, 19] },
      },
      [1, 0, 1, ...floatBytes(1.5, -2), ...new Uint8Array(BigInt64Array.from([-(2n ** 60n)]).buffer)],
    );
    const { tensors, metadata } = await readSafetensors(path);
    expect(metadata).toEqual({ format: "pt" });
    expect(tensors.get("flags")).toEqual({ dtype: "BOOL", shape: [3], data: Uint8Array.of(1, 0, 1) });
    expect(tensors.get("weight")).toEqual({ dtype: "F32", shape: [1, 2], data: Float32Array.of(1.5, -2) });
    expect(tensors.get("large")).toEqual({ dtype: "I64", shape: [], data: BigInt64Array.of(-(2n ** 60n)) });
  });

  it("widens half precision: known bit patterns", () => {
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0xfc00, 0x8000, 0x3555, 0x7e00);
    const wide = widenFloat16(halves);
    expect([...wide.subarray(0, 8)]).toEqual([
      1,
      -2,
      2 ** -24,
      65504,
      Infinity,
      -Infinity,
      -0,
      0.333251953125,
    ]);
    expect(wide[8]).toBeNaN();
    const brains = widenBfloat16(Uint16Array.of(0x3f80, 0xc000, 0x7f80, 0x3eab));
    expect([...brains]).toEqual([1, -2, Infinity, 0.333984375]);
  });

  it("reads F16 and BF16 tensors as Float32Array", async () => {
    const path = fileOf(
      {
        half: { dtype: "F16", shape: [1], data_offsets: [0, 2] },
        brain: { dtype: "BF16", shape: [1], data_offsets: [2, 4] },
      },
      [0x00, 0x3c, 0x80, 0x3f],
    );
    const { tensors } = await readSafetensors(path);
    expect(tensors.get("half")?.data).toEqual(Float32Array.of(1));
    expect(tensors.get("brain")?.data).toEqual(Float32Array.of(1));
  });

  const one = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
  const bad: [string, () => string, RegExp][] = [
    ["an empty file", () => plain([]), /holds 0 bytes/],
    ["a header longer than the file", () => fileOf("{}", [], 2 ** 40), /header is 1099511627776 bytes long/],
    ["a header that is not JSON", () => fileOf("{nonsense"), /not valid JSON/],
    ["a header that is not UTF-8", () => plain([1, 0, 0, 0, 0, 0, 0, 0, 0xff]), /not valid JSON/],
    ["a header that is a list", () => fileOf("[]"), /not a JSON object/],
    ["truncated data", () => fileOf({ a: one }, floatBytes(1)), /data section of 4 bytes/],
    ["data beyond the tensors", () => fileOf({ a: one }, floatBytes(1, 2, 3)), /take 8 bytes, but 12/],
    ["an overlap", () => fileOf({ a: one, b: one }, floatBytes(1, 2)), /overlaps/],
    [
      "a gap",
      () => fileOf({ a: { ...one, data_offsets: [4, 12] } }, floatBytes(1, 2, 3)),
      /leaves a gap before it/,
    ],
    [
      "a shape too large",
      () => fileOf({ a: { ...one, shape: [2 ** 40] } }, floatBytes(1, 2)),
      /needs .* bytes/,
    ],
    ["a negative dimension", () => fileOf({ a: { ...one, shape: [-2] } }, floatBytes(1, 2)), /whole numbers/],
    [
      "offsets the wrong way",
      () => fileOf({ a: { ...one, data_offsets: [8, 0] } }, floatBytes(1, 2)),
      /8 to 0/,
    ],
    ["an unknown dtype", () => fileOf({ a: { ...one, dtype: "C64" } }, floatBytes(1, 2)), /"C64"/],
    ["a tensor that is a string", () => fileOf({ a: "x" }), /not described/],
    ["metadata that is not text", () => fileOf({ __metadata__: { a: 1 } }), /entry "a" is not a string/],
    [
      "a name that stands twice",
      () => fileOf(`{"a":${JSON.stringify(one)},"\\u0061":${JSON.stringify(one)}}`, floatBytes(1, 2)),
      /names "a" twice/,
    ],
    ["a folder", () => folder, /is not a file/],
    ["a missing file", () => join(folder, "missing.safetensors"), /no such file/],
  ];
  function plain(bytes: number[]): string {
    const path = join(folder, `plain${files++}`);
    writeFileSync(path, Uint8Array.from(bytes));
    return path;
  }
  it.each(bad)("refuses %s, naming the file", async (_what, make, message) => {
    const path = make();
    const error = await readSafetensors(path).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toContain(path);
  });

  it("survives truncated and altered files: a result or an InputError, nothing else", async () => {
    const random = seededRandom(7);
    const whole = encodeSafetensors(
      { "a.weight": { shape: [2, 3], data: random.floats(6) }, b: { shape: [2], data: Uint8Array.of(1, 2) } },
      { format: "pt" },
    );
    const path = join(folder, "altered.safetensors");
    let refused = 0;
    for (let i = 0; i < 400; i++) {
      const bytes = whole.slice(0, random.uniform() < 0.3 ? random.integer(0, whole.length) : whole.length);
      for (let flips = random.integer(0, 3); flips > 0 && bytes.length > 0; flips--) {
        const at = random.integer(0, bytes.length - 1);
        bytes[at] = bytes[at]! ^ (1 << random.integer(0, 7));
      }
      writeFileSync(path, bytes);
      try {
        await readSafetensors(path);
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(150);
  });

  it.skipIf(!hasShared)("reads files written by the Python library (skipped without ../shared)", async () => {
    const { tensors, metadata } = await readSafetensors(
      sharedPath("models/mnist-conv-k16/model.safetensors"),
    );
    expect(metadata).toEqual({ format: "pt" });
    expect(tensors.size).toBe(20);
    expect(tensors.get("encoder.9.weight")?.shape).toEqual([16, 512]);
    const omp = await readSafetensors(sharedPath("reference/mnist-conv-k16.safetensors"));
    expect(omp.tensors.get("train.f64.status")?.data).toBeInstanceOf(Int32Array);
  });
});

describe("writeSafetensors", () => {
  const everyType: Record<string, TensorToWrite> = {
    bytes: { shape: [3], data: Uint8Array.of(1, 2, 255) },
    flags: { dtype: "BOOL", shape: [2], data: Uint8Array.of(0, 1) },
    short: { shape: [1], data: Int16Array.of(-300) },
    tiny: { shape: [1], data: Int8Array.of(-3) },
    word: { shape: [1], data: Uint16Array.of(65535) },
    unsigned: { shape: [1], data: Uint32Array.of(4294967295) },
    double: { shape: [2, 1], data: Float64Array.of(Math.PI, Number.NaN) },
    float: { shape: [1, 2], data: Float32Array.of(-0, Infinity) },
    int: { shape: [2], data: Int32Array.of(-1, 7) },
    long: { shape: [], data: BigInt64Array.of(-5n) },
    empty: { shape: [0, 16], data: new Float32Array(0) },
  };

  it("gives back every type, scalars and tensors of no rows", async () => {
    const path = join(folder, "round.safetensors");
    await writeSafetensors(path, everyType, { note: "é 中" });
    const { tensors, metadata } = await readSafetensors(path);
    expect(metadata).toEqual({ note: "é 中" });
    expect(tensors.size).toBe(Object.keys(everyType).length);
    for (const [name, tensor] of Object.entries(everyType)) {
      expect(tensors.get(name)?.data, name).toEqual(tensor.data);
      expect(tensors.get(name)?.shape, name).toEqual(tensor.shape);
    }
    expect(tensors.get("flags")?.dtype).toBe("BOOL");
  });

  it("writes a part of a larger array, and the bytes that encodeSafetensors gives", async () => {
    const path = join(folder, "part.safetensors");
    const tensors = new Map([["a", { shape: [2], data: Float32Array.of(9, 1, 2, 9).subarray(1, 3) }]]);
    await writeSafetensors(path, tensors);
    expect((await readSafetensors(path)).tensors.get("a")?.data).toEqual(Float32Array.of(1, 2));
    expect(new Uint8Array(readFileSync(path))).toEqual(encodeSafetensors(tensors));
  });

  it("writes a file without tensors", async () => {
    const path = join(folder, "none.safetensors");
    await writeSafetensors(path, {});
    expect((await readSafetensors(path)).tensors.size).toBe(0);
  });

  it.each([
    ["a shape that does not fit", { a: { shape: [3], data: Float32Array.of(1) } }],
    [
      "a type that is not the array's",
      { a: { dtype: "F16" as const, shape: [1], data: Float32Array.of(1) } },
    ],
    ["the reserved name", { __metadata__: { shape: [1], data: Float32Array.of(1) } }],
  ])("refuses %s", async (_what, tensors: Record<string, TensorToWrite>) => {
    await expect(writeSafetensors(join(folder, "refused"), tensors)).rejects.toThrow(InputError);
    expect(existsSync(join(folder, "refused"))).toBe(false);
  });

  it("leaves nothing behind when the disk is full, and the older file as it was", async () => {
    const inside = join(folder, "full");
    mkdirSync(inside);
    const path = join(inside, "run.safetensors");
    await writeSafetensors(path, { a: { shape: [1], data: Float32Array.of(1) } });
    const actual = await vi.importActual<typeof import("node:fs/promises")>("node:fs/promises");
    vi.mocked(open).mockImplementationOnce(async (...args: Parameters<typeof open>) => {
      const file: FileHandle = await actual.open(...args);
      vi.spyOn(file, "write").mockRejectedValueOnce(
        Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" }),
      );
      return file;
    });
    const failure = writeSafetensors(path, { a: { shape: [1], data: Float32Array.of(2) } });
    await expect(failure).rejects.toThrow(`${path}: cannot be written (no space left on the disk)`);
    expect(readdirSync(inside)).toEqual(["run.safetensors"]);
    expect((await readSafetensors(path)).tensors.get("a")?.data).toEqual(Float32Array.of(1));
  });

  it("names the path when the folder is missing or the name is taken by a folder", async () => {
    const missing = join(folder, "no", "run.safetensors");
    await expect(writeSafetensors(missing, {})).rejects.toThrow(`${missing}: cannot be written`);
    const taken = join(folder, "taken");
    mkdirSync(join(taken, "inside"), { recursive: true });
    const before = readdirSync(folder).length;
    await expect(writeSafetensors(taken, {})).rejects.toThrow(InputError);
    expect(readdirSync(folder).length).toBe(before);
  });
});
