import { describe, expect, it } from "vitest";
import { latents, noise } from "../../src/dynamics/points.js";
import { type TrajectoryOptions, trajectories } from "../../src/dynamics/trajectories.js";
import { matrix } from "../../src/matrix.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import { trajectoryFindings, trajectoryReport } from "../../src/report/trajectoryReport.js";
import { affine, elementwise, flat, rotation, scaling } from "../support/maps.js";

const from = { points: noise(30) };
const textOf = async (model: Autoencoder, options: TrajectoryOptions = { from }) => {
  const { sets } = await trajectories(model, options);
  return trajectoryFindings(sets[0])
    .map(({ text }) => text)
    .join(" ");
};

describe("what is said of paths", () => {
  it("names constant, identical, restless, growing and broken maps", async () => {
    expect(await textOf(flat("constant", [1, 2]))).toContain("stand still after a handful of steps");
    expect(await textOf(scaling("identity", 2, 1))).toContain("Most points do not move at all");
    expect(await textOf(rotation("turn", 0.7))).toContain("do not settle");
    expect(await textOf(scaling("grow", 2, 1.5))).toContain("run away");
    const burst = elementwise("burst", 1, { kind: "leakyRelu", alpha: 1e30, beta: 0 });
    const down = latents(matrix(Float32Array.of(-1, -2, -3), 1));
    expect(await textOf(burst, { from: { points: down } })).toContain("Every path became NaN");
    const mixed = latents(matrix(Float32Array.of(-1, 2, 3), 1));
    expect(await textOf(burst, { from: { points: mixed } })).toContain(
      "1 path of 3 became NaN or infinite; it has",
    );
    expect(await textOf(flat("constant", [1]), { from: { points: noise(0) } })).toContain("holds no points");
  });

  it("leaves an ordinary contraction alone", async () => {
    expect(await textOf(scaling("half", 2, 0.9), { from, steps: 60 })).toBe("");
  });
});

describe("the page on trajectories", () => {
  it("has a section and its charts for every set, and no script", async () => {
    const run = await trajectories(affine("<spiral>", [0.8, -0.2, 0.2, 0.8], [1, 0]), {
      from: { one: noise(10), two: noise(3, { scale: 2 }) },
      attractors: matrix(Float32Array.of(2.5, 2.5), 2),
    });
    const page = await trajectoryReport({ run, imageShape: null, decoded: {}, version: "1.2.3" });
    expect(page).toContain("Trajectories of &lt;spiral&gt;");
    expect(page).toContain("Points: one");
    expect(page.match(/<svg /g)).toHaveLength(6);
    expect(page).not.toMatch(/<script/i);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
  });

  it("leaves distances out where there are no attractors, and says so", async () => {
    const run = await trajectories(scaling("half", 2, 0.5), { from });
    const page = await trajectoryReport({ run, imageShape: null, decoded: {}, version: "1" });
    expect(page.match(/<svg /g)).toHaveLength(2);
    expect(page).toContain("none given");
  });

  it("draws decoded paths, a line for each", async () => {
    const run = await trajectories(scaling("half", 4, 0.5), { from });
    const pixels = matrix(new Float32Array(2 * 3 * 4).fill(0.5), 4);
    const decoded = { points: { steps: [0, 1, 100], pixels } };
    const page = await trajectoryReport({ run, imageShape: [1, 2, 2], decoded, version: "1" });
    expect(page.match(/<img /g)).toHaveLength(6);
    expect(page).toContain("Path 2 after 100 steps, decoded");
  });

  it("stands on degenerate input", async () => {
    const options: TrajectoryOptions[] = [
      { from: { points: noise(0) } },
      { from: { points: noise(1) }, steps: 1, curves: 0 },
      { from: { points: noise(2) }, steps: 1, store: [] },
    ];
    for (const given of options) {
      const run = await trajectories(flat("zero", [0, 0]), {
        ...given,
        attractors: matrix(Float32Array.of(0, 0), 2),
      });
      const page = await trajectoryReport({ run, imageShape: null, decoded: {}, version: "1" });
      expect(page).not.toMatch(/NaN|undefined|Infinity/);
    }
  });
});
