import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { noise } from "../../src/dynamics/points.js";
import { extractAttractors } from "../../src/runs/extract.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const model = fileURLToPath(new URL("../../examples/mnist/mnist-conv-k16", import.meta.url));

describe("an interrupted extraction", () => {
  it("draws the attractors of the sets that were finished", async () => {
    const controller = new AbortController();
    const out = join(temporaryFolder(), "run");
    const { run } = await extractAttractors(model, {
      from: { first: noise(60), second: noise(300_000) },
      threads: 1,
      out,
      signal: controller.signal,
      onProgress: ({ phase, set }) => {
        if (phase === "iterate" && set === "second") controller.abort();
      },
    });
    expect(run.record.interrupted).toBe(true);
    expect(run.summary.first).toMatchObject({ converged: 60 });
    expect(existsSync(join(out, "run.json"))).toBe(true);
    expect(readFileSync(join(out, "report.html"), "utf8")).toMatch(/data:image\/png/);
  });
});
