import { describe, expect, it } from "vitest";
import { type FieldOptions, vectorField } from "../../src/dynamics/field.js";
import { coordinatesIn, gridIn, planeThrough } from "../../src/dynamics/plane.js";
import { latents, noise } from "../../src/dynamics/points.js";
import { AbortedError, InputError } from "../../src/errors.js";
import { matrix } from "../../src/matrix.js";
import { affine, elementwise, flat, rotation, scaling, symmetricWithSpectrum } from "../support/maps.js";

const rows = (...points: number[][]) => matrix(Float32Array.from(points.flat()), points[0].length);

describe("a plane", () => {
  it("has the first point at its origin, the second on x, the third above", () => {
    const points = rows([1, 2, 3, 4], [1, 2, 7, 4], [1, 5, 8, 4]);
    const plane = planeThrough(points);
    const at = [0, 1, 2].map((i) => coordinatesIn(plane, points.data.subarray(4 * i, 4 * i + 4)));
    expect(at[0]).toEqual({ x: 0, y: 0, distance: 0 });
    expect(at[1].x).toBeCloseTo(4, 12);
    expect(at[1].y).toBeCloseTo(0, 12);
    expect(at[2].x).toBeCloseTo(5, 12);
    expect(at[2].y).toBeCloseTo(3, 12);
    expect(coordinatesIn(plane, [4, 2, 3, 8]).distance).toBeCloseTo(5, 12);
  });

  it("gives back the coordinates its grid was made of", () => {
    const plane = planeThrough(rows([0.5, -1, 2], [3, 1, 1], [-2, 4, 0.25]));
    const grid = gridIn(plane, [-2, 0.5], [1, 3, 9]);
    expect([grid.rows, grid.columns]).toEqual([6, 3]);
    const { x, y, distance } = coordinatesIn(plane, grid.data.subarray(9, 12));
    expect(x).toBeCloseTo(0.5, 5);
    expect(y).toBeCloseTo(3, 5);
    expect(distance).toBeLessThan(1e-5);
  });

  it.each([
    ["on one line", rows([0, 0, 0], [1, 1, 1], [3, 3, 3]), /one line/],
    ["equal", rows([1, 2, 3], [1, 2, 3], [4, 5, 6]), /one line/],
    ["two", rows([1, 2, 3], [4, 5, 6]), /three points.*2×3/],
    ["not finite", rows([1, 2, 3], [4, Number.NaN, 6], [7, 8, 8]), /point 2 .* NaN/],
    ["of one dimension", rows([1], [2], [4]), /at least 2 dimensions/],
  ])("is refused where points are %s", (_, points, message) => {
    expect(() => planeThrough(points)).toThrow(message);
    expect(() => planeThrough(points)).toThrow(InputError);
  });
});

describe("the field of a known map", () => {
  it("of an affine contraction is A·z + b − z, with its one fixed point", async () => {
    const model = affine("contraction", [0.5, 0.25, 0, 0.25], [1, -1]);
    const field = await vectorField(model, { extent: [-4, 6, -5, 5], resolution: 20, tolerance: 1e-10 });
    expect([field.x.length, field.y.length]).toEqual([20, 20]);
    expect(field.x[0]).toBeCloseTo(-3.75, 12);
    expect(field.y[19]).toBeCloseTo(4.75, 12);
    for (let j = 0; j < 20; j++) {
      for (let i = 0; i < 20; i++) {
        const [x, y] = [field.x[i], field.y[j]];
        const [dx, dy] = [-0.5 * x + 0.25 * y + 1, -0.75 * y - 1];
        const at = j * 20 + i;
        expect(field.displacement[2 * at]).toBeCloseTo(dx, 5);
        expect(field.displacement[2 * at + 1]).toBeCloseTo(dy, 5);
        expect(field.norm[at]).toBeCloseTo(Math.hypot(dx, dy), 5);
      }
    }
    expect(field.inPlaneShare).toBe(1);
    expect(field.attractors).toHaveLength(1);
    expect(field.attractors[0].y).toBeCloseTo(-4 / 3, 3);
    expect(field.attractors[0].x).toBeCloseTo(4 / 3, 3);
    expect(field.grid.basinSize[0]).toBe(400);
    expect(field.record.field.attractors).toEqual([{ ...field.attractors[0], share: 1 }]);
  });

  it("of a rotation converges nowhere, and its steps are 2·sin(angle / 2) times the radius", async () => {
    const field = await vectorField(rotation("turn", 0.3), {
      extent: [-2, 2, -2, 2],
      resolution: 8,
      maxIterations: 50,
    });
    expect(field.attractors).toEqual([]);
    expect(field.record.summary.grid.maxIterations).toBe(64);
    field.norm.forEach((norm, i) => {
      const radius = Math.hypot(field.x[i % 8], field.y[Math.floor(i / 8)]);
      expect(norm).toBeCloseTo(2 * Math.sin(0.15) * radius, 5);
    });
  });

  it("tells attractors of one direction apart, as places", async () => {
    // z → tanh(3·z), coordinate by coordinate: fixed points at 0 and ±0.995; the four corners attract.
    const model = elementwise("corners", 2, { kind: "tanh", alpha: 0, beta: 0 });
    expect(
      (await vectorField(model, { extent: [-1, 1, -1, 1], resolution: 4 })).record.field.norm,
    ).not.toBeNull();
    const radial = affine("line", [1, 0, 0, 0], [0, 0]);
    // Every (x, 0) is a fixed point: under the cosine rule there are two of them.
    const places = await vectorField(radial, { extent: [-1, 1, -1, 1], resolution: 8 });
    expect(places.attractors).toHaveLength(8);
    const directions = await vectorField(radial, { extent: [-1, 1, -1, 1], resolution: 8, rule: "greedy" });
    expect(directions.attractors).toHaveLength(2);
  });

  it("through three points says which share of the motion it shows", async () => {
    // The third coordinate moves by −0.9·3 everywhere in the plane z₃ = 3, the others do not move.
    const model = affine("drop", [1, 0, 0, 0, 1, 0, 0, 0, 0.1], [0, 0, 0]);
    const flatPlane = { points: rows([0, 0, 3], [1, 0, 3], [0, 1, 3]) };
    const none = await vectorField(model, { plane: flatPlane, extent: [-1, 1, -1, 1], resolution: 4 });
    expect(none.inPlaneShare).toBe(0);
    none.norm.forEach((norm) => {
      expect(norm).toBeCloseTo(2.7, 5);
    });
    const upright = { points: rows([0, 0, 0], [0, 0, 1], [0, 1, 0]) };
    const all = await vectorField(model, { plane: upright, extent: [-1, 1, -1, 1], resolution: 4 });
    expect(all.inPlaneShare).toBeCloseTo(1, 6);
    expect(all.through.map(({ x, y }) => [x, y])).toEqual([
      [0, 0],
      [1, 0],
      [0, 1],
    ]);
    // x is z₃ here: f(z) − z = −0.9·x along it.
    expect(all.displacement[0]).toBeCloseTo(-0.9 * all.x[0], 5);
    expect(all.displacement[1]).toBeCloseTo(0, 5);
  });

  it("has no share and no norm to speak of where nothing moves", async () => {
    const field = await vectorField(scaling("identity", 2, 1), { extent: [0, 1, 0, 1], resolution: 4 });
    expect(field.inPlaneShare).toBeNull();
    expect(field.record.field.norm).toEqual({ least: 0, median: 0, most: 0 });
    expect(JSON.stringify(field.record)).not.toMatch(/NaN|null,"y"/);
  });

  it("chooses an extent around points and attractors, no narrower than half its length", async () => {
    const from = latents(rows([0, 0], [10, 0], [5, 1]));
    const field = await vectorField(scaling("shrink", 2, 0.5), { from, resolution: 10 });
    const [left, right, bottom, top] = field.extent;
    expect(left).toBeCloseTo(-0.8, 2);
    expect(right).toBeCloseTo(10.8, 2);
    expect(top - bottom).toBeCloseTo(5 + 1.6, 2);
    const point = await vectorField(flat("constant", [2, 3]), { from: latents(rows([2, 3])), resolution: 4 });
    const middle = [point.extent[0] + point.extent[1], point.extent[2] + point.extent[3]];
    expect(middle[0] / 2).toBeCloseTo(2, 6);
    expect(middle[1] / 2).toBeCloseTo(3, 6);
  });

  it("takes the three largest basins, or the rows that are asked for", async () => {
    // Fixed points are everything of the form (±1, ±1, ±1)·c; a clip keeps the cube's corners apart.
    const spectrum = symmetricWithSpectrum([3, 3, 3], [[1, 2, 3]]);
    const model = elementwise("step", 3, { kind: "clip", alpha: -1, beta: 1 });
    expect(spectrum).toHaveLength(9);
    const points = rows([5, 5, 5], [5, 6, 7], [-5, 5, 5], [-7, 5, 5], [5, -5, 5], [6, -5, 5], [5, 5, -5]);
    const field = await vectorField(model, { from: latents(points), resolution: 6 });
    expect(field.through).toHaveLength(3);
    const again = await vectorField(model, {
      from: latents(points),
      plane: { attractors: [0, 1, 2] },
      resolution: 6,
    });
    expect(again.plane).toEqual(field.plane);
    const initial = await vectorField(model, {
      from: latents(points),
      plane: { initial: [0, 2, 4] },
      resolution: 6,
    });
    expect(initial.through[1].x).toBeCloseTo(10, 5);
  });
});

describe("what is refused", () => {
  const line = affine("one", [0.5], [0]);
  const square = scaling("two", 2, 0.5);
  const cube = scaling("three", 3, 0.5);
  const threePoints = { points: rows([0, 0], [1, 0], [0, 1]) };
  it.each<[string, typeof line, FieldOptions, RegExp]>([
    ["one dimension", line, {}, /k is 1.*at least 2/],
    ["a plane in a plane", square, { plane: threePoints }, /k is 2.*leave plane out/],
    ["a plane of another width", cube, { plane: threePoints }, /2 elements a row, expected 3/],
    ["an unknown option", square, { resolutoin: 4 } as FieldOptions, /did you mean "resolution"/],
    ["a coarse grid", square, { resolution: 3 }, /resolution is 3/],
    ["an extent of no width", square, { extent: [1, 1, 0, 1] }, /extent is "1,1,0,1"/],
    ["too few attractors", cube, { from: noise(20) }, /1 attractor was found, a plane needs three/],
    [
      "a row that is not there",
      cube,
      { from: noise(5), plane: { initial: [0, 1, 9] } },
      /row 9 .* 5 initial points/,
    ],
    ["no points", square, { from: noise(0) }, /no points to choose an extent/],
    ["no points and three dimensions", cube, { from: noise(0) }, /0 attractors were found/],
  ])("%s", async (_, model, options, message) => {
    const refused = vectorField(model, options);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toBeInstanceOf(InputError);
  });

  it("stops when the signal fires", async () => {
    const signal = AbortSignal.abort();
    await expect(vectorField(square, { signal })).rejects.toBeInstanceOf(AbortedError);
  });
});
