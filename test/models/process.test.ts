import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { data, latents } from "../../src/dynamics/points.js";
import { engineOf } from "../../src/engines/choose.js";
import { AbortedError, EngineError, InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import { fromProcess, type ProcessOptions } from "../../src/models/fromProcess.js";
import { loadAutoencoder } from "../../src/models/load.js";
import { latdyn } from "../cli/latdyn.js";
import { seededRandom } from "../support/random.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const child = fileURLToPath(new URL("../engines/children/child.py", import.meta.url));
const halving = { matrix: [0.5, 0, 0, 0.5], offset: [0, 0] };
const call = { threads: 1 };
const points = matrix(Float32Array.from([1, 2, 3, 4, 5, 6]), 2);

/** Distinguishes the children of one test from all others. */
let marks = 0;
function started(options: object, more: Partial<ProcessOptions> = {}) {
  const mark = `latdyn-test-${process.pid}-${marks++}`;
  const args = [child, JSON.stringify({ ...halving, ...options }), mark];
  return { mark, model: fromProcess({ command: "python3", args, ...more }) };
}

/** Processes with the mark on their command line that still run. */
function running(mark: string): string[] {
  const lines = execFileSync("ps", ["-eo", "pid,stat,args"], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.includes(mark) && !/^\s*\d+\s+Z/.test(line));
}

async function apply(model: Autoencoder, options: { signal?: AbortSignal } = {}): Promise<Float32Array> {
  return (await (await engineOf(model)).apply(points, { ...call, ...options })).data;
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("nothing failed"),
    (error: Error) => error,
  );
}

describe("a child process", () => {
  it("is a model: shapes, versions, an autoencoder's two parts", async () => {
    const hello = { name: "doubled", input_shape: [2, 2], device: "abacus", versions: { bead: "7" } };
    const { mark, model: starting } = started({ hello });
    {
      await using model = await starting;
      expect(model).toMatchObject({
        name: "doubled",
        format: "process",
        latentShape: [2],
        inputShape: [2, 2],
        files: [],
        map: null,
      });
      const engine = await engineOf(model);
      expect(engine.info()).toMatchObject({
        device: { kind: "abacus", batchRows: 4 },
        versions: { bead: "7" },
      });
      const decoded = await engine.decode(points, call);
      expect([...decoded.data]).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
      expect(await engine.encode(decoded, call)).toEqual(points);
      const run = await findAttractors(model, { from: { inputs: data(decoded), latents: latents(points) } });
      expect(run.summary.inputs).toMatchObject({ points: 3, converged: 3, attractorsEuclidean: 1 });
      expect(run.sets[0]!.iterations).toEqual(run.sets[1]!.iterations);
      expect(run.record).toMatchObject({ options: { engine: "process" }, device: { kind: "abacus" } });
      expect(running(mark)).toHaveLength(1);
    }
    expect(running(mark)).toEqual([]);
  });

  it("is hashed by its command and by what it says of its model, not by where it runs", async () => {
    const hashOf = async (hello: object, ...args: string[]): Promise<string> => {
      await using model = await fromProcess({
        command: "python3",
        args: [child, JSON.stringify(halving), ...args],
        env: { HELLO: JSON.stringify(hello) },
      });
      return model.hash;
    };
    const base = await hashOf({});
    expect(base).toMatch(/^[0-9a-f]{64}$/);
    expect(await hashOf({ versions: { python: "4" }, device: "cuda", batch_rows: 7 })).toBe(base);
    expect(await hashOf({ weights: "another digest" })).not.toBe(base);
    expect(await hashOf({}, "again")).not.toBe(base);
  });

  it("takes words as a command line has them", async () => {
    const json = JSON.stringify({ ...halving, hello: { name: "quo ted" } });
    await using model = await loadAutoencoder(`process:python3 "${child}" '${json}' a\\ b`);
    expect(model.name).toBe("quo ted");
    expect(model.path).toBe(`process:python3 ${child} '${json}' 'a b'`);
    await using again = await loadAutoencoder(model.path);
    expect(again.hash).toBe(model.hash);
    await expect(loadAutoencoder("process:  ")).rejects.toThrow("names no command");
    await expect(loadAutoencoder("process:python3 'x")).rejects.toThrow("a ' is not closed");
  });

  it("names unknown options, and a command that is not there", async () => {
    await expect(fromProcess({ command: "x", arguments: [] } as never)).rejects.toThrow(
      'unknown option "arguments"',
    );
    await expect(fromProcess({ command: "" })).rejects.toThrow(InputError);
    await expect(fromProcess({ command: "x", timeout: 0 })).rejects.toThrow("timeout is 0, expected seconds");
    const error = await failure(fromProcess({ command: "latdyn-no-such-command" }));
    expect(error).toBeInstanceOf(InputError);
    expect(error.message).toBe(
      'process "latdyn-no-such-command": cannot be started: there is no such command',
    );
  });
});

describe("a child that does not begin", () => {
  it.each<[string, object, RegExp]>([
    [
      "prints",
      { fault: "prints before hello" },
      /: wrote "Loading the model" on its standard output, which is for messages alone$/,
    ],
    [
      "ends",
      { fault: "ends at once" },
      /: ended with exit code 3; on its standard error: no such checkpoint: model\.pt$/,
    ],
    ["says why", { fault: "fails to load" }, /: no such checkpoint: model\.pt$/],
    [
      "speaks another protocol",
      { hello: { protocol: 2 } },
      /speaks protocol 2, this version of latent-dynamics 1$/,
    ],
    [
      "has no shape",
      { hello: { latent_shape: null } },
      /"latent_shape" is null, expected the shape of one latent$/,
    ],
    ["has a shape of nothing", { hello: { latent_shape: [0] } }, /"latent_shape" is \[0\], expected a list/],
    [
      "has versions of no kind",
      { hello: { versions: { torch: 2 } } },
      /"versions" is \{"torch":2\}, expected texts/,
    ],
    [
      "says too much",
      { hello: { name: "x".repeat(70_000) } },
      /wrote a text of 7\d{4} bytes, expected at most 65536$/,
    ],
  ])("%s", async (_, options, message) => {
    const { mark, model } = started(options);
    const error = await failure(model);
    expect(error).toBeInstanceOf(EngineError);
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("\n");
    expect(running(mark)).toEqual([]);
  });

  it("is silent", async () => {
    const { mark, model } = started({ fault: "silent" }, { startTimeout: 0.3 });
    expect((await failure(model)).message).toMatch(/: did not say hello within 0\.3 s$/);
    expect(running(mark)).toEqual([]);
  });
});

describe("a child that fails later", () => {
  it.each<[string, RegExp]>([
    ["crashes", /: ended with exit code 7; on its standard error: Traceback: segmentation of the fault$/],
    ["short", /: answered 3 rows in 4 bytes, expected 3 rows in 24 bytes$/],
    ["garbage", /: wrote "epoch 1: loss 0\.3" on its standard output, which is for messages alone$/],
    ["huge", /: answered 3 rows in 4294967295 bytes, expected 3 rows in 24 bytes$/],
    ["other type", /: wrote a message of type 3, expected type 1$/],
  ])("%s: an EngineError, then and ever after", async (fault, message) => {
    const { mark, model: starting } = started({ fault });
    await using model = await starting;
    expect([...(await apply(model))]).toEqual([0.5, 1, 1.5, 2, 2.5, 3]);
    for (let i = 0; i < 2; i++) {
      const error = await failure(apply(model));
      expect(error).toBeInstanceOf(EngineError);
      expect(error.message).toMatch(message);
    }
    for (let i = 0; i < 50 && running(mark).length > 0; i++) await later(20);
    expect(running(mark)).toEqual([]);
  });

  it("says what went wrong and goes on", async () => {
    await using model = await started({ fault: "raises" }).model;
    await apply(model);
    expect((await failure(apply(model))).message).toMatch(/: division by zero in layer 3$/);
    expect([...(await apply(model))]).toEqual([0.5, 1, 1.5, 2, 2.5, 3]);
  });

  it("stops answering", async () => {
    const { mark, model: starting } = started({ fault: "stops answering" }, { timeout: 0.3 });
    const model = await starting;
    await apply(model);
    const error = await failure(apply(model));
    expect(error).toBeInstanceOf(EngineError);
    expect(error.message).toBe("child: process did not answer when asked for f, waited 0.3 s");
    await model[Symbol.asyncDispose]();
    expect(running(mark)).toEqual([]);
  });

  it("ignores the end of its input, and is killed", async () => {
    const { mark, model: starting } = started({ fault: "ignores the end" });
    const model = await starting;
    await apply(model);
    await model[Symbol.asyncDispose]();
    expect(running(mark)).toEqual([]);
    await expect(apply(model)).rejects.toThrow(EngineError);
  });
});

describe("an abort", () => {
  it("does not wait for the batch, and leaves the child to be used again", async () => {
    const { mark, model: starting } = started({ pause: 0.3 });
    const model = await starting;
    const begun = performance.now();
    const error = await failure(apply(model, { signal: AbortSignal.timeout(50) }));
    expect(error).toBeInstanceOf(AbortedError);
    const aborted = performance.now() - begun;
    expect([...(await apply(model))]).toEqual([0.5, 1, 1.5, 2, 2.5, 3]);
    // The second answer had to wait for the first.
    expect(performance.now() - begun).toBeGreaterThan(550);
    expect(aborted).toBeLessThan(performance.now() - begun);
    expect(running(mark)).toHaveLength(1);
    await model[Symbol.asyncDispose]();
    expect(running(mark)).toEqual([]);
  });
});

describe("the process that started it", () => {
  const module = fileURLToPath(new URL("../../dist/index.js", import.meta.url));
  const script = (rest: string): string =>
    `import { engineOf, fromProcess } from ${JSON.stringify(module)};
const model = await fromProcess(JSON.parse(process.argv[1]));
await (await engineOf(model)).apply({ data: new Float32Array(2), rows: 1, columns: 2 }, { threads: 1 });
${rest}`;
  const run = (rest: string, mark: string): string =>
    execFileSync(
      process.execPath,
      [
        "--input-type=module",
        "-e",
        script(rest),
        JSON.stringify({ command: "python3", args: [child, JSON.stringify(halving), mark] }),
      ],
      { encoding: "utf8", timeout: 20_000 },
    );

  it("is not kept alive by a child that nobody disposed of, which ends with it", async () => {
    const mark = `latdyn-test-${process.pid}-idle`;
    expect(run("process.stdout.write('done');", mark)).toBe("done");
    for (let i = 0; i < 50 && running(mark).length > 0; i++) await later(20);
    expect(running(mark)).toEqual([]);
  });

  it("takes the child with it where it exits at once", async () => {
    const mark = `latdyn-test-${process.pid}-exit`;
    run("process.exit(0);", mark);
    for (let i = 0; i < 50 && running(mark).length > 0; i++) await later(20);
    expect(running(mark)).toEqual([]);
  });
});

describe("latdyn with process:COMMAND", () => {
  it("writes a run, and does not start what a run names unless it is told to", async () => {
    const cwd = temporaryFolder();
    const command = `process:python3 ${child} '${JSON.stringify(halving)}'`;
    const made = await latdyn(["attractors", command, "--from", "noise:20", "--out", "run", "--json"], {
      cwd,
    });
    expect(made.code).toBe(0);
    expect(JSON.parse(made.stdout)).toMatchObject({
      model: { format: "process", path: command },
      options: { engine: "process" },
      device: { kind: "cpu", batchRows: 4 },
      versions: { python: "3" },
      summary: { noise: { converged: 20 } },
    });
    const refused = await latdyn(["rank", "run", "--out", "rank"], { cwd });
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/was computed by a process; say which to start with --model/);
    expect(existsSync(join(cwd, "rank"))).toBe(false);
    const told = await latdyn(["rank", "run", "--model", command, "--out", "rank"], { cwd });
    expect(told.code).toBe(0);
  });
});

/** Debian's python3 has torch where another one, first on the path, has not. */
function pythonWithTorch(): string | null {
  for (const python of ["python3", "/usr/bin/python3"]) {
    try {
      execFileSync(python, ["-c", "import numpy, torch"], { stdio: "ignore" });
      return python;
    } catch {
      // This one has not.
    }
  }
  return null;
}

const python = pythonWithTorch();

describe.skipIf(python === null)("examples/python/serve_autoencoder.py (needs torch)", () => {
  it("serves a PyTorch autoencoder whose steps are those of its weights", async () => {
    const folder = temporaryFolder();
    const random = seededRandom(5);
    const encoder = random.floats(2 * 6);
    const decoder = random.floats(6 * 2);
    writeFileSync(
      join(folder, "models.py"),
      `import torch
class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.e = torch.nn.Linear(6, 2, bias=False)
        self.d = torch.nn.Linear(2, 6, bias=False)
    def encode(self, x):
        return torch.tanh(self.e(x.flatten(1)))
    def decode(self, z):
        return self.d(z).reshape(-1, 1, 2, 3)
def build():
    print("a word on standard output")
    return Small()
`,
    );
    writeFileSync(join(folder, "weights.json"), JSON.stringify([[...encoder], [...decoder]]));
    const save = `import json, torch
e, d = json.load(open("weights.json"))
torch.save({"e.weight": torch.tensor(e).reshape(2, 6), "d.weight": torch.tensor(d).reshape(6, 2)}, "weights.pt")`;
    execFileSync(python as string, ["-c", save], { cwd: folder });
    const serve = fileURLToPath(new URL("../../examples/python/serve_autoencoder.py", import.meta.url));
    await using model = await fromProcess({
      command: python as string,
      args: [serve, "models.py:build", "weights.pt", "1,2,3"],
      cwd: folder,
    });
    expect(model).toMatchObject({ name: "build", latentShape: [2], inputShape: [1, 2, 3] });
    const engine = await engineOf(model);
    expect(engine.info().versions.torch).toMatch(/^\d/);
    const z = matrix(random.floats(10), 2);
    const stepped = await engine.apply(z, call);
    for (let row = 0; row < 5; row++) {
      const x = Array.from(
        { length: 6 },
        (_, i) => decoder[2 * i]! * z.data[2 * row]! + decoder[2 * i + 1]! * z.data[2 * row + 1]!,
      );
      for (let j = 0; j < 2; j++) {
        const expected = Math.tanh(x.reduce((sum, value, i) => sum + encoder[6 * j + i]! * value, 0));
        expect(stepped.data[2 * row + j]).toBeCloseTo(expected, 5);
      }
    }
    const decoded = await engine.decode(z, call);
    expect((await engine.encode(decoded, call)).data).toEqual(stepped.data);
  });
});
