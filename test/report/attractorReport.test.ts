import { describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.js";
import { attractorReport } from "../../src/report/attractorReport.js";
import {
  filled,
  type RunOptions,
  type SetOptions,
  syntheticPictures,
  syntheticRun,
  syntheticSet,
} from "./synthetic.js";

const GREY = [1, 16, 16];

/** The page on sets made up from options, with pictures for all of them. */
function report(sets: readonly SetOptions[], options: RunOptions = {}, inputs = false): Promise<string> {
  const made = sets.map(syntheticSet);
  const pictures = Object.fromEntries(
    made.map((set) => [set.name, syntheticPictures(set, GREY, { inputs })]),
  );
  return attractorReport({ run: syntheticRun(made, options), imageShape: GREY, pictures, version: "1.2.3" });
}

/** The text of a page without its markup. */
function words(text: string): string {
  const body = text.replace(/<(style|svg)[\s\S]*?<\/\1>/g, " ").replace(/<[^>]*>/g, " ");
  return body.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&").replace(/\s+/g, " ");
}

const counted = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].length;

describe("attractorReport", () => {
  it("says what was computed and under which settings", async () => {
    const text = words(await report([{ name: "noise", basins: [60, 40] }], { modelName: "tiny" }));
    expect(text).toContain("Attractors of tiny");
    expect(text).toMatch(/f = E ∘ ?D \(decode a latent, encode the result again\)/);
    expect(text).toContain("100 initial points");
    expect(text).toContain("fell below 1e-6 or 300 applications of f had been made");
    for (const fact of [
      "tiny, onnx, SHA-256 0123456789ab…",
      "k = 4",
      "1×16×16",
      "cpu, avx2",
      "lanes, 16 rows a tile",
      "2.5 s",
      "123,456",
      "latent-dynamics 1.2.3, node 20.0.0",
    ]) {
      expect(text).toContain(fact);
    }
  });

  it("gives every set its section with its charts", async () => {
    const text = await report([
      { name: "data", basins: [60, 40], others: { diverged: 10 } },
      { name: "noise", basins: [100] },
    ]);
    for (const anchor of ["set-1", "set-2"]) {
      expect(text).toContain(`<section id="${anchor}">`);
      expect(text).toContain(`href="#${anchor}"`);
    }
    expect(counted(text, /<svg/g)).toBe(8);
    expect(counted(text, /<svg[^>]* aria-label="[^"]+"/g)).toBe(8);
    expect(counted(text, /<figcaption>[^<]+/g)).toBe(10);
    expect(text).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });

  it("gives exact counts, unfinished ones only where there are such", async () => {
    const whole = words(await report([{ basins: [1200], others: { cycle: 30, nonFinite: 1 } }]));
    expect(whole).toMatch(/converged the step fell below the tolerance 1,200 97\.5 %/);
    expect(whole).toMatch(/cycle returns to itself every few steps 30 2\.4 %/);
    expect(whole).toContain("max-iterations 0 0.0 %");
    expect(whole).not.toContain("unfinished");
    const part = words(await report([{ basins: [50], others: { unfinished: 50 } }], { interrupted: true }));
    expect(part).toMatch(/unfinished not finished when the run was interrupted 50 50\.0 %/);
    expect(part).toContain("This run was interrupted.");
  });

  it("shows every attractor with its basin, and its nearest input where there are inputs", async () => {
    const alone = await report([{ basins: [5, 40, 10] }]);
    expect(counted(alone, /<img /g)).toBe(3);
    expect(words(alone)).toMatch(
      /1 · 40 points 72\.7 % · row 1 2 · 10 points .* row 2 3 · 5 points .* row 0/,
    );
    const beside = await report([{ basins: [5, 40, 10] }], {}, true);
    expect(counted(beside, /<img /g)).toBe(6);
    expect(words(beside)).toContain("input 3, cosine 0.980");
    expect(counted(beside, /<img [^>]*alt="[^"]+"/g)).toBe(6);
  });

  it("draws 48 attractors at most and counts the others", async () => {
    const text = await report([{ basins: new Array(100).fill(7) }]);
    expect(counted(text, /<img /g)).toBe(48);
    expect(words(text)).toContain("52 more with smaller basins are not drawn");
    expect(text.length).toBeLessThan(150_000);
  });

  it("says how values that leave [0, 1] are drawn", async () => {
    const set = syntheticSet({ basins: [30, 20] });
    const pictures = { noise: syntheticPictures(set, [3, 16, 16], { low: -1, high: 1 }) };
    const text = await attractorReport({
      run: syntheticRun([set]),
      imageShape: [3, 16, 16],
      pictures,
      version: "1",
    });
    expect(words(text)).toContain("Values leave [0, 1], so −1 is drawn black and 1 at full brightness");
  });

  it.each([
    ["no shape", null],
    ["a vector", [16]],
    ["many channels", [32, 8, 8]],
  ])("draws latent coordinates for %s", async (_, imageShape) => {
    const set = syntheticSet({ basins: [30, 20], k: 100 });
    const text = await attractorReport({ run: syntheticRun([set]), imageShape, pictures: {}, version: "1" });
    expect(counted(text, /<img /g)).toBe(0);
    expect(counted(text, /class="sparkline"/g)).toBe(2);
    expect(words(text)).toContain("Each drawing shows the 100 coordinates");
  });

  it("says that there is no attractor instead of drawing nothing", async () => {
    const text = words(await report([{ others: { maxIterations: 20 } }]));
    expect(text).toContain("Read with care. Nothing converged: of 20 finished points");
    expect(text).toContain("no attractor was found");
    expect(text).not.toContain("Basins by size");
  });

  it("takes a set without points and a run without sets", async () => {
    expect(words(await report([{}]))).toContain("This set holds no points");
    expect(words(await report([]))).toContain("The run had no points.");
  });

  it("takes a set without recorded paths", async () => {
    expect(words(await report([{ basins: [5, 4], traces: 0.0001 }]))).not.toContain("NaN");
    const set = { ...syntheticSet({ basins: [5, 4] }), traces: [] };
    const text = await attractorReport({
      run: syntheticRun([set]),
      imageShape: null,
      pictures: {},
      version: "1",
    });
    expect(words(text)).toContain("No residuals were recorded along the way.");
  });

  it("escapes names wherever they come from", async () => {
    const hostile = `</style><script>alert("x")</script><img src=x onerror='y'>`;
    const text = await report([{ name: hostile, basins: [5, 4] }], {
      modelName: hostile,
      options: { tolerance: 1e-6, from: hostile },
      similarity: { [hostile]: { cosine: 0.5, euclidean: 1 } },
    });
    expect(text).not.toMatch(/<script|<img src=x|onerror='/);
    expect(text).toContain("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;");
  });

  it("does not mistake a set's name for something every object has", async () => {
    const set = syntheticSet({ name: "constructor", basins: [5, 4] });
    const text = await attractorReport({
      run: syntheticRun([set]),
      imageShape: GREY,
      pictures: {},
      version: "1",
    });
    expect(counted(text, /class="sparkline"/g)).toBe(2);
  });

  it("gives the similarity of sets, with a dash where there is none", async () => {
    const text = words(
      await report([{ name: "data", basins: [5, 4] }, { name: "noise" }], {
        similarity: {
          "data, noise": { cosine: null, euclidean: null },
          "data, data": { cosine: 1, euclidean: 0 },
        },
      }),
    );
    expect(text).toContain("Similarity of the sets");
    expect(text).toMatch(/data, noise – – data, data 1\.000 0/);
    expect(words(await report([{ basins: [5, 4] }]))).not.toContain("Similarity of the sets");
  });

  it.each([
    ["relative", "was at most 1e-5 of its own squared length"],
    ["error-bound", "its estimated distance to the limit fell below 1e-5"],
  ])("puts the criterion %s into words and draws no rule for it", async (criterion, expected) => {
    const text = await report([{ basins: [5, 4] }], {
      options: { tolerance: 1e-5, maxIterations: 500, criterion },
    });
    expect(words(text)).toContain(expected);
    expect(text).not.toContain("tolerance_marks");
  });

  it.each([
    [{ rule: "greedy", threshold: 0.99 }, "whose cosine is above 0.99 are one attractor"],
    [{ rule: "components", threshold: 0.9 }, "joined by a chain of cosines above 0.9 are one attractor"],
    [{ rule: "euclidean", distance: 0.01 }, "closer together than 0.01 are one attractor"],
    [{}, "whose cosine is above the threshold are one attractor"],
  ])("says under which rule endpoints are one attractor: %j", async (options, expected) => {
    expect(words(await report([{ basins: [5, 4] }], { options }))).toContain(expected);
  });

  it("writes every option down, infinities as well", async () => {
    const text = await report([{ basins: [5, 4] }], {
      options: { divergenceRatio: Number.POSITIVE_INFINITY },
    });
    expect(text).toContain("&quot;divergenceRatio&quot;: &quot;Infinity&quot;");
  });

  it("keeps no more lines than can be told apart", async () => {
    const text = await report([{ basins: [500, 300], traces: 800 }]);
    expect(counted(text, /traces_marks/g)).toBe(64);
    expect(words(text)).toContain("64 sampled points of 800");
  });

  it("is the same page for the same run", async () => {
    const once = () => report([{ basins: [9, 3], others: { diverged: 2 } }], {}, true);
    expect(await once()).toBe(await once());
  });

  it.each([
    [
      "of attractors that are not there",
      { order: Int32Array.of(0, 9) },
      "attractor 9 is shown, but there are 2",
    ],
    ["of another size", { decoded: filled(2, 9, () => 0) }, "decoded attractors are 2×9, expected 2×256"],
    [
      "with inputs of another size",
      { nearest: { inputs: filled(1, 256, () => 0), cosine: new Float32Array(2), index: new Int32Array(2) } },
      "nearest inputs are 1×256, expected 2×256",
    ],
    [
      "with too few cosines",
      { nearest: { inputs: filled(2, 256, () => 0), cosine: new Float32Array(1), index: new Int32Array(2) } },
      "1 cosines and 2 indices for 2 nearest inputs",
    ],
  ])("refuses pictures %s", async (_, change, message) => {
    const set = syntheticSet({ basins: [5, 4] });
    const pictures = { noise: { ...syntheticPictures(set, GREY), ...change } };
    const made = attractorReport({ run: syntheticRun([set]), imageShape: GREY, pictures, version: "1" });
    await expect(made).rejects.toThrow(InputError);
    await expect(made).rejects.toThrow(`report: pictures of set "noise": ${message}`);
  });

  it("refuses a status that does not exist", async () => {
    const set = syntheticSet({ basins: [5, 4] });
    set.status[0] = 17;
    const made = attractorReport({ run: syntheticRun([set]), imageShape: null, pictures: {}, version: "1" });
    await expect(made).rejects.toThrow('set "noise" has status 17 at point 0');
  });
});
