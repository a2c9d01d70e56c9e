/** Whatever is wrong: exit code 2, one sentence on stderr, nothing on stdout, no folder left. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { writeNpy } from "../../src/data/npy.js";
import { writeSafetensors } from "../../src/data/safetensors.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { exampleFolder, exampleModel, latdyn } from "./latdyn.js";

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);

/** A copy of the example's model with one file changed. */
function model(name: string, change: (path: string) => void): void {
  mkdirSync(file(name));
  for (const entry of readdirSync(exampleModel))
    copyFileSync(join(exampleModel, entry), join(file(name), entry));
  change(file(name));
}

const encoder = readFileSync(join(exampleModel, "encoder.onnx"));
const decoder = readFileSync(join(exampleModel, "decoder.onnx"));

beforeAll(async () => {
  mkdirSync(file("empty"));
  model("truncated", (path) => writeFileSync(join(path, "encoder.onnx"), encoder.subarray(0, 1000)));
  model("garbage", (path) =>
    writeFileSync(join(path, "decoder.onnx"), "this is no ONNX file at all, not even close"),
  );
  model("swapped", (path) => {
    writeFileSync(join(path, "encoder.onnx"), decoder);
    writeFileSync(join(path, "decoder.onnx"), encoder);
  });
  // "Relu" becomes an operator that does not exist, in the first place it is named.
  model("operator", (path) => {
    const altered = Buffer.from(encoder);
    altered.write("Zelu", altered.indexOf("\x22\x04Relu", 0, "latin1") + 2);
    writeFileSync(join(path, "encoder.onnx"), altered);
  });
  model("preprocessor", (path) => writeFileSync(join(path, "preprocessor_config.json"), "{"));
  const images = readFileSync(join(exampleFolder, "train-images-1000.idx3-ubyte.gz"));
  writeFileSync(file("cut.idx.gz"), images.subarray(0, 5000));
  writeFileSync(file("notes.txt"), "notes");
  await writeNpy(file("wide.npy"), { shape: [3, 17], data: new Float32Array(51) });
  await writeNpy(file("nan.npy"), { shape: [2, 16], data: new Float32Array(32).fill(Number.NaN, 20) });
  await writeNpy(file("good.npy"), { shape: [2, 16], data: new Float32Array(32) });
  writeFileSync(file("cut.npy"), readFileSync(file("good.npy")).subarray(0, 200));
  await writeSafetensors(file("z.safetensors"), { z: { shape: [2, 16], data: new Float32Array(32) } });
  writeFileSync(file("cut.safetensors"), readFileSync(file("z.safetensors")).subarray(0, -4));
  await writeNpy(file("large.npy"), { shape: [2, 40, 40], data: new Uint8Array(3200) });
  await writeNpy(file("colour.npy"), { shape: [2, 3, 28, 28], data: new Uint8Array(2 * 3 * 28 * 28) });
  mkdirSync(file("taken"));
  writeFileSync(join(file("taken"), "thesis.tex"), "years of work");
});

const at = (name: string) => () => file(name);
type Argument = string | (() => string);
const good = (): string => exampleModel;
const noise: Argument[] = ["--from", "noise:5"];

describe("bad input", () => {
  it.concurrent.each<[string, Argument[], RegExp]>([
    // models
    ["no such model", ["attractors", at("none"), ...noise], /none: there is no such model/],
    [
      "a folder without a model",
      ["attractors", at("empty"), ...noise],
      /empty: holds nothing, expected encoder.onnx/,
    ],
    ["a truncated ONNX file", ["attractors", at("truncated"), ...noise], /truncated\/encoder.onnx/],
    ["a file that is no ONNX", ["attractors", at("garbage"), ...noise], /garbage\/decoder.onnx/],
    ["encoder and decoder swapped", ["attractors", at("swapped"), ...noise], /swapped/],
    ["an operator outside the set", ["attractors", at("operator"), ...noise], /Zelu/],
    [
      "a broken preprocessor_config.json",
      ["attractors", at("preprocessor"), ...noise],
      /preprocessor_config.json/,
    ],
    ["no such model to inspect", ["inspect", at("none")], /none: there is no such model/],
    // data
    ["no such data", ["attractors", good, "--from", "data:none.idx"], /none.idx: no such file/],
    [
      "truncated gzip",
      ["attractors", good, "--from", () => `data:${file("cut.idx.gz")}`],
      /cut.idx.gz: the gzip data is truncated/,
    ],
    [
      "data of no known format",
      ["attractors", good, "--from", () => `data:${file("notes.txt")}`],
      /notes.txt: is neither idx/,
    ],
    [
      "truncated npy",
      ["attractors", good, "--from", () => `latents:${file("cut.npy")}`],
      /cut.npy: is truncated/,
    ],
    [
      "truncated safetensors",
      ["attractors", good, "--from", () => `latents:${file("cut.safetensors")}`],
      /cut.safetensors/,
    ],
    [
      "no such tensor",
      ["attractors", good, "--from", () => `latents:${file("z.safetensors")}#y`],
      /no tensor "y" \(it holds z\)/,
    ],
    [
      "latents too wide",
      ["attractors", good, "--from", () => `latents:${file("wide.npy")}`],
      /17 elements .*, the model's latents have 16/,
    ],
    [
      "latents with NaN",
      ["attractors", good, "--from", () => `latents:${file("nan.npy")}`],
      /nan.npy: row 1 holds NaN/,
    ],
    [
      "more rows than there are",
      ["attractors", good, "--from", () => `latents:${file("good.npy")}:3`],
      /3 rows were asked for, the file holds 2/,
    ],
    [
      "images of another size",
      ["attractors", good, "--from", () => `data:${file("large.npy")}`],
      /40×40 pixels, too large to be padded to 32×32/,
    ],
    [
      "colour for a grey model",
      ["attractors", good, "--from", () => `data:${file("colour.npy")}`],
      /RGB.*grey/,
    ],
    // the command line
    ["N below 0", ["attractors", good, "--from", "noise:-5"], /N is "-5"/],
    ["N that is no number", ["attractors", good, "--from", "noise:many"], /N is "many"/],
    ["an unknown source", ["attractors", good, "--from", "nosie:5"], /did you mean "noise"/],
    ["one name twice", ["attractors", good, ...noise, ...noise], /two sets of points are called "noise"/],
    [
      "a misspelt option",
      ["attractors", good, "--tolerence", "1"],
      /unknown option '--tolerence' \(did you mean --tolerance\?\)/,
    ],
    ["a misspelt command", ["atractors", good], /unknown command 'atractors' \(did you mean attractors\?\)/],
    ["no model", ["attractors"], /missing required argument 'model'/],
    ["too many arguments", ["inspect", good, "more"], /too many arguments/],
    [
      "a tolerance of 0",
      ["attractors", good, ...noise, "--tolerance", "0"],
      /tolerance is 0, expected a number above 0/,
    ],
    ["a tolerance that is no number", ["attractors", good, "--tolerance", "small"], /expected a number/],
    ["half a thread", ["attractors", good, ...noise, "--threads", "0.5"], /threads is 0.5/],
    ["a random seed below 0", ["attractors", good, ...noise, "--random-seed", "-1"], /randomSeed is -1/],
    [
      "an unknown rule",
      ["attractors", good, ...noise, "--rule", "nearest"],
      /--rule <name>.*nearest.*greedy, components, euclidean/,
    ],
    ["no device", ["attractors", good, ...noise, "--device", "gpu"], /device is "gpu", expected auto, cpu/],
    [
      "a precision of the CPU",
      ["attractors", good, ...noise, "--precision", "bf16"],
      /precision is "bf16", which is for CUDA; device is "cpu"/,
    ],
    ["no engine", ["attractors", good, ...noise, "--engine", "torch"], /expected one of auto, native/],
    [
      "an engine for other models",
      ["attractors", good, ...noise, "--engine", "function"],
      /cannot run a model of format onnx; native/,
    ],
    [
      "a command that is not there",
      ["attractors", "process:latdyn-no-such-command", ...noise],
      /no such command/,
    ],
    // where it goes
    ["a folder that exists", ["attractors", good, ...noise, "--out", at("empty")], /empty: exists already/],
    [
      "a folder of somebody's",
      ["attractors", good, ...noise, "--out", at("taken"), "--overwrite"],
      /"thesis.tex"/,
    ],
    [
      "a folder below a file",
      ["attractors", good, ...noise, "--out", () => join(file("notes.txt"), "run")],
      /notes.txt/,
    ],
    [
      "an unwritable folder",
      ["attractors", good, ...noise, "--out", "/proc/latdyn-run"],
      /\/proc\/latdyn-run/,
    ],
  ])("%s", async (_, args, message) => {
    const given = args.map((argument) => (typeof argument === "string" ? argument : argument()));
    const out =
      given.includes("--out") || given[0] !== "attractors" ? [] : ["--out", file(`run-${Math.random()}`)];
    const outcome = await latdyn([...given, ...out], { cwd: folder });
    expect(outcome.stderr).toMatch(message);
    expect(outcome.stderr).toMatch(/^latdyn: [^\n]+\n$/);
    expect(outcome.stdout).toBe("");
    expect(outcome.code).toBe(2);
    if (out.length > 0) expect(existsSync(out[1]!)).toBe(false);
  });

  it("leaves nothing behind", () => {
    expect(readdirSync(folder).filter((name) => name.startsWith("run-"))).toEqual([]);
    expect(readdirSync(file("empty"))).toEqual([]);
    expect(readdirSync(file("taken"))).toEqual(["thesis.tex"]);
  });

  it("shows the stack with LATDYN_DEBUG=1 only", async () => {
    const quiet = await latdyn(["inspect", file("none")], { cwd: folder });
    expect(quiet.stderr).not.toContain("    at ");
    const loud = await latdyn(["inspect", file("none")], { cwd: folder, env: { LATDYN_DEBUG: "1" } });
    expect(loud.stderr).toContain("    at ");
  });
});
