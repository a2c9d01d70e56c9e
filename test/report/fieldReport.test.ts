import { describe, expect, it } from "vitest";
import { type FieldOptions, vectorField } from "../../src/dynamics/field.js";
import { latents } from "../../src/dynamics/points.js";
import { matrix } from "../../src/matrix.js";
import type { Autoencoder } from "../../src/models/autoencoder.js";
import { fieldPicture, normLevels, ticks } from "../../src/report/fieldPicture.js";
import { fieldFindings, fieldReport } from "../../src/report/fieldReport.js";
import { affine, elementwise, flat, rotation, scaling } from "../support/maps.js";

const box: FieldOptions = { extent: [-2, 2, -2, 2], resolution: 12, maxIterations: 200 };
const textsOf = async (model: Autoencoder, options: FieldOptions = box) =>
  fieldFindings(await vectorField(model, options)).map(({ text }) => text);

describe("the picture of a field", () => {
  it("has stream lines, arrow heads, a dot for every attractor and no NaN", async () => {
    const field = await vectorField(affine("<swirl>", [0.6, -0.3, 0.3, 0.6], [0.2, 0]), box);
    const svg = fieldPicture(field, 'a "field"');
    expect(svg).toContain('aria-label="a &quot;field&quot;"');
    expect(svg.match(/<circle /g)).toHaveLength(1);
    expect(svg.match(/<image /g)).toHaveLength(1);
    expect(svg.match(/style="fill:var\(--field-/g)?.length).toBeGreaterThan(0);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });

  it("colours by classes that are equal in ratio and cover the norms", async () => {
    const field = await vectorField(scaling("shrink", 2, 0.5), box);
    const levels = normLevels(field);
    expect(levels).toHaveLength(6);
    for (const { from, to } of levels) expect(to / from).toBeCloseTo(levels[0].to / levels[0].from, 6);
    const inside = field.norm.filter(
      (norm) => norm >= levels[0].from * 0.999 && norm <= levels[5].to * 1.001,
    );
    expect(inside.length).toBeGreaterThan(0.95 * field.norm.length);
  });

  it("of a constant step has one class, of no motion none", async () => {
    const shift = await vectorField(affine("shift", [1, 0, 0, 1], [1, 0]), { ...box, maxIterations: 5 });
    expect(normLevels(shift)).toHaveLength(1);
    const still = await vectorField(scaling("identity", 2, 1), box);
    expect(normLevels(still)).toEqual([]);
    expect(fieldPicture(still, "still")).not.toMatch(/NaN|undefined|Infinity/);
  });

  it("survives what is not finite", async () => {
    // exp-like growth: elu with a huge slope overflows where z < 0.
    const model = elementwise("overflow", 2, { kind: "leakyRelu", alpha: 3e38, beta: 0 });
    const field = await vectorField(model, { extent: [-9, 9, -9, 9], resolution: 12 });
    expect(fieldPicture(field, "overflow")).not.toMatch(/NaN|undefined|Infinity/);
    expect(JSON.stringify(field.record)).not.toMatch(/NaN|Infinity"?,"least/);
  });

  it("has round ticks inside its ends", () => {
    expect(ticks(-12, 17)).toEqual([-10, 0, 10]);
    expect(ticks(0, 1)).toEqual([0, 0.2, 0.4, 0.6, 0.8]);
    expect(ticks(-0.3, 0.1)).toEqual([-0.3, -0.2, -0.1, 0]);
  });
});

describe("the page on a field", () => {
  it("is one page without scripts, whatever the model is called", async () => {
    const page = fieldReport(
      await vectorField(affine("<swirl>", [0.6, -0.3, 0.3, 0.6], [0.2, 0]), box),
      "1.2.3",
    );
    expect(page).toContain("Vector field of &lt;swirl&gt;");
    expect(page).not.toMatch(/<script/i);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    expect(page).toContain("100.0 %");
  });

  it("calls degenerate fields by name", async () => {
    expect((await textsOf(flat("constant", [1, 1]))).join()).toContain(
      "went to one attractor within a handful",
    );
    expect((await textsOf(scaling("identity", 2, 1))).join()).toContain("Nothing moves");
    expect((await textsOf(rotation("turn", 0.5))).join()).toContain("Nothing converged");
  });

  it("says when most of the motion leaves the plane, and when an attractor lies outside the picture", async () => {
    const drop = affine("drop", [0.9, 0, 0, 0, 0.9, 0, 0, 0, 0.1], [0, 0, 0]);
    const points = matrix(Float32Array.of(0, 0, 9, 1, 0, 9, 0, 1, 9), 3);
    const options: FieldOptions = {
      plane: { points },
      extent: [1, 2, 1, 2],
      resolution: 6,
      from: latents(points),
    };
    const field = await vectorField(drop, options);
    const texts = fieldFindings(field).map(({ text }) => text);
    expect(texts.join()).toContain("of the squared displacement lies in this plane");
    expect(texts.join()).toContain("One attractor lies outside the picture");
    expect(fieldReport(field, "1")).toContain("Displacement in the plane");
  });
});
