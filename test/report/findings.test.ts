import { describe, expect, it } from "vitest";
import { findings } from "../../src/report/findings.js";
import { syntheticSet } from "./synthetic.js";

describe("findings", () => {
  it("has nothing to say of an ordinary set", () => {
    expect(findings(syntheticSet({ basins: [60, 30, 10], others: { diverged: 5 } }))).toEqual([]);
  });

  it("warns of everything falling into one attractor at once", () => {
    const [finding, ...more] = findings(syntheticSet({ basins: [1000], iterations: () => 8 }));
    expect(finding.kind).toBe("warning");
    expect(finding.text).toContain("1,000 of 1,000 points");
    expect(finding.text).toContain("one attractor within a handful of steps (median 8)");
    expect(finding.text).toMatch(/nearly constant field.*too brief a training.*contraction/);
    expect(more).toEqual([]);
  });

  it("does not warn of one attractor that was reached slowly, nor of a single point", () => {
    expect(findings(syntheticSet({ basins: [1000], iterations: () => 200 }))).toEqual([]);
    expect(findings(syntheticSet({ basins: [1], iterations: () => 3 }))).toEqual([]);
  });

  it("does not warn of one attractor where many points went elsewhere", () => {
    expect(findings(syntheticSet({ basins: [80], others: { diverged: 20 }, iterations: () => 5 }))).toEqual(
      [],
    );
  });

  it.each([
    ["maxIterations", /90 were still moving.*contraction near 1/],
    ["cycle", /90 ended in a cycle.*periodic/],
    ["diverged", /90 ran away from the origin/],
    ["nonFinite", /90 became NaN or infinite/],
  ] as const)("says why nothing converged when most ended as %s", (status, expected) => {
    const others = { maxIterations: 2, cycle: 2, diverged: 2, nonFinite: 2, [status]: 90 };
    const found = findings(syntheticSet({ others }));
    expect(found).toHaveLength(1);
    expect(found[0].kind).toBe("warning");
    expect(found[0].text).toMatch(/^Nothing converged: of 96 finished points/);
    expect(found[0].text).toMatch(expected);
  });

  it("warns when nearly every point kept an attractor of its own", () => {
    const found = findings(syntheticSet({ basins: new Array(50).fill(1) }));
    expect(found).toHaveLength(1);
    expect(found[0].text).toMatch(/50 attractors for 50 points.*identity/);
    expect(findings(syntheticSet({ basins: new Array(5).fill(1) }))).toEqual([]);
  });

  it("notes an interruption, and does not call what was not finished unconverged", () => {
    const found = findings(syntheticSet({ basins: [30, 20], others: { unfinished: 100 } }));
    expect(found).toHaveLength(1);
    expect(found[0].text).toContain("100 of 150 points were not finished");
    expect(findings(syntheticSet({ others: { unfinished: 7 } }))).toHaveLength(1);
  });

  it("notes that few converged", () => {
    const found = findings(syntheticSet({ basins: [20, 10], others: { diverged: 70 } }));
    expect(found.map(({ text }) => text).join()).toContain("Only 30.0 % of the finished points converged");
  });

  it("notes an attractor that is one in direction only", () => {
    const found = findings(syntheticSet({ basins: [100], attractorsEuclidean: 7 }));
    expect(found.map(({ text }) => text).join()).toContain("by Euclidean distance the same endpoints form 7");
    const line = findings(syntheticSet({ basins: [100], attractorsEuclidean: 7, k: 1 }));
    expect(line.map(({ text }) => text).join()).toContain("nothing but the sign");
  });

  it("has one sentence for no points", () => {
    expect(findings(syntheticSet({}))).toEqual([
      { kind: "note", text: "This set holds no points, so there is nothing to show." },
    ]);
  });
});
