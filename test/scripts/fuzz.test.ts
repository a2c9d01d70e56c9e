/** A few thousand mutated model files; scripts/fuzz-models.mjs takes any number of them. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const script = fileURLToPath(new URL("../../scripts/fuzz-models.mjs", import.meta.url));

function fuzz(...args: string[]) {
  return spawnSync(process.execPath, [script, ...args], { encoding: "utf8", timeout: 120_000 });
}

describe("mutated model files load or are refused with one sentence", () => {
  it.each([
    ["onnx", 2000],
    ["safetensors", 2000],
    // What a reader gives to the addon, which believes none of it: a crash would end the process.
    ["graph", 1000],
  ])("%s: %d of them", { timeout: 120_000 }, (format, count) => {
    const { status, stdout, stderr } = fuzz(format, String(count), "3");
    expect(stderr).toBe("");
    expect(stdout).toMatch(/\d+ loaded, \d+ refused in \d+ ways, 0 failed/);
    expect(status).toBe(0);
    // A mutation that changes nothing that matters still loads: the models it begins with are sound.
    const [, loaded, refused] = /(\d+) loaded, (\d+) refused/.exec(stdout) as RegExpExecArray;
    expect(Number(loaded)).toBeGreaterThan(count / 100);
    expect(Number(refused)).toBeGreaterThan(count / 2);
  });

  it("refuses a format, a count or a seed that is none", () => {
    for (const args of [["pickle"], ["onnx", "many"], ["onnx", "1", "-1"]]) {
      const { status, stderr } = fuzz(...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/usage: fuzz-models/);
    }
  });
});
