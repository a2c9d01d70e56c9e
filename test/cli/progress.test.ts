/** Progress as it is written to stderr. */
import { afterEach, expect, it, vi } from "vitest";
import { progressLine } from "../../src/cli/progress.js";

const progress = {
  phase: "compare",
  set: "attractors",
  finished: 5,
  total: 20,
  rowsPerSecond: 5,
  seconds: 1,
};

function written(): string[] {
  const lines: string[] = [];
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    lines.push(String(text));
    return true;
  });
  return lines;
}

const terminal = process.stderr.isTTY;

afterEach(() => {
  vi.restoreAllMocks();
  process.stderr.isTTY = terminal;
});

it("with --json: one JSON line a second, whatever the stage", () => {
  const lines = written();
  let now = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  const line = progressLine({ json: true });
  for (const [time, phase] of [
    [0, "encode"],
    [900, "encode"],
    [999, "compare"],
    [1000, "compare"],
    [1999, "compare"],
    [2500, "decode"],
  ] as const) {
    now = time;
    line.update({ ...progress, phase });
  }
  line.clear();
  expect(lines.map((text) => (JSON.parse(text) as { phase: string }).phase)).toEqual([
    "encode",
    "compare",
    "decode",
  ]);
  for (const text of lines) expect(text).toMatch(/^\{.*\}\n$/);
});

it("on a terminal: a live line that takes itself away; elsewhere nothing", () => {
  const lines = written();
  process.stderr.isTTY = true;
  const live = progressLine({ json: false });
  live.update(progress);
  live.clear();
  expect(lines[0]).toContain("\r\x1b[2Kcompare ██████");
  expect(lines[0]).toContain("5 / 20");
  expect(lines[1]).toBe("\r\x1b[2K");
  lines.length = 0;
  process.stderr.isTTY = false;
  const silent = progressLine({ json: false });
  silent.update(progress);
  silent.clear();
  expect(lines).toEqual([]);
});
