/** Other engines as the command line has them: there, not there, broken. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { onnxModel } from "../support/onnxBuilder.js";
import { hasOnnxRuntime } from "../support/runtimes.js";
import { temporaryFolder } from "../support/temporaryFolder.js";
import { exampleModel, latdyn, type Outcome } from "./latdyn.js";

const folder = temporaryFolder();
const hook = fileURLToPath(new URL("../support/otherPackages.cjs", import.meta.url));

/** With onnxruntime-node in another folder, or nowhere. */
function without(onnxruntime: string | null, ...args: string[]): Promise<Outcome> {
  const env = {
    NODE_OPTIONS: `--require ${hook}`,
    TEST_PACKAGES: JSON.stringify({ "onnxruntime-node": onnxruntime }),
  };
  return latdyn(args, { cwd: folder, env });
}

/** A package of this version whose main file is `code`. */
function packageOf(version: string, code: string): string {
  const path = join(folder, `onnxruntime-${version}`);
  mkdirSync(join(path, "bin"), { recursive: true });
  writeFileSync(join(path, "package.json"), JSON.stringify({ version, main: "index.js" }));
  writeFileSync(join(path, "index.js"), code);
  return path;
}

const asked = ["attractors", exampleModel, "--from", "noise:20", "--no-report", "--engine", "onnx"];

describe("onnxruntime-node", () => {
  const INSTALL = "npm install --ignore-scripts onnxruntime-node";

  it("where it is missing: one sentence with the command, exit code 2, and doctor says so", async () => {
    expect(await without(null, ...asked)).toEqual({
      code: 2,
      stdout: "",
      stderr: `latdyn: onnxruntime-node is not installed: ${INSTALL}\n`,
    });
    const { code, stdout } = await without(null, "doctor");
    expect(code).toBe(0);
    expect(stdout).toContain(`\nonnxruntime  not usable: onnxruntime-node is not installed: ${INSTALL}\n`);
  });

  it("where it is too old", async () => {
    const old = packageOf("1.21.0", "process.abort();");
    const { code, stderr } = await without(old, ...asked);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr:
        "latdyn: onnxruntime-node 1.21.0 is installed, expected 1.25 or newer, which can run in threads: " +
        `${INSTALL}@latest\n`,
    });
  });

  it("where it cannot be loaded: exit code 1, and doctor says why", async () => {
    const broken = packageOf("99.0.0", "throw new Error('libmissing.so: cannot open shared object file');");
    const sentence =
      "onnxruntime-node 99.0.0 cannot be loaded: libmissing.so: cannot open shared object file";
    const { code, stderr } = await without(broken, ...asked);
    expect({ code, stderr }).toEqual({ code: 1, stderr: `latdyn: ${sentence}\n` });
    const doctor = await without(broken, "doctor", "--json");
    expect((JSON.parse(doctor.stdout) as { engines: unknown[] }).engines).toContainEqual({
      name: "onnxruntime",
      usable: false,
      version: "99.0.0",
      devices: [],
      reason: sentence,
    });
  });

  it.skipIf(!hasOnnxRuntime)(
    "where it is here, doctor says which, and it finds the same attractors",
    async () => {
      const doctor = await latdyn(["doctor", "--json"], { cwd: folder });
      expect((JSON.parse(doctor.stdout) as { engines: unknown[] }).engines).toContainEqual({
        name: "onnxruntime",
        usable: true,
        version: expect.stringMatching(/^\d+\.\d+\.\d+/),
        devices: expect.arrayContaining(["cpu"]),
        reason: null,
      });
      const run = async (...more: string[]) => {
        const { code, stdout } = await latdyn([...asked.slice(0, 5), "--json", ...more], { cwd: folder });
        expect(code).toBe(0);
        return JSON.parse(stdout) as {
          options: { engine: string };
          summary: { noise: Record<string, number> };
        };
      };
      const native = await run("--out", "native");
      const onnx = await run("--out", "onnx", "--engine", "onnxruntime");
      expect([native.options.engine, onnx.options.engine]).toEqual(["native", "onnxruntime"]);
      expect(onnx.summary.noise).toMatchObject({
        points: 20,
        converged: native.summary.noise.converged,
        attractors: native.summary.noise.attractors,
      });
    },
  );

  it.skipIf(!hasOnnxRuntime)("runs by itself what the native graph cannot", async () => {
    const model = join(folder, "arctangent.onnx");
    // z → atan(z)/2: every point goes to 0.
    const bytes = onnxModel({
      initializers: { half: { dims: [], dataType: 1, floatData: [0.5] } },
      nodes: [
        { op: "Atan", inputs: ["x"], outputs: ["s"] },
        { op: "Mul", inputs: ["s", "half"], outputs: ["y"] },
      ],
    });
    writeFileSync(model, bytes);
    const args = ["attractors", model, "--from", "noise:30", "--no-report", "--json"];
    const { code, stdout } = await latdyn([...args, "--out", "arctangent"], { cwd: folder });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      options: { engine: "onnxruntime" },
      device: { kind: "cpu" },
      summary: { noise: { points: 30, converged: 30 } },
    });
    const missing = await without(null, ...args, "--out", "none");
    expect(missing.code).toBe(2);
    expect(missing.stderr).toMatch(/^latdyn: .*operator Atan .*onnxruntime-node is not installed.*\n$/);
  });
});
