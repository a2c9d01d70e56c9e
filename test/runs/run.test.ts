import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.js";
import { findAttractors } from "../../src/dynamics/attractors.js";
import { noise } from "../../src/dynamics/points.js";
import { InputError } from "../../src/errors.js";
import { checkRunFolder, readRun, writeRun } from "../../src/runs/run.js";
import { flat, scaling } from "../support/maps.js";
import { temporaryFolder } from "../support/temporaryFolder.js";

const one = await findAttractors(flat("flat", [1, 2, 3]), { from: { noise: noise(20) } });
const two = await findAttractors(scaling("halving", 2, 0.5), {
  from: { a: noise(5), b: noise(7), none: noise(0) },
});
const report = "<!doctype html><title>a run</title>";

it("writes the four files and reads them back", async () => {
  const folder = join(temporaryFolder(), "deep", "run");
  await writeRun(folder, one, { report });
  expect(readdirSync(folder).sort()).toEqual([
    "attractors.safetensors",
    "points.safetensors",
    "report.html",
    "run.json",
  ]);
  expect(readdirSync(join(folder, ".."))).toEqual(["run"]);
  expect(readFileSync(join(folder, "report.html"), "utf8")).toBe(report);
  expect(JSON.parse(readFileSync(join(folder, "run.json"), "utf8"))).toEqual(one.record);
  const { tensors } = await readSafetensors(join(folder, "points.safetensors"));
  expect(
    Object.fromEntries([...tensors].map(([name, { dtype, shape }]) => [name, `${dtype} ${shape.join("×")}`])),
  ).toEqual({
    label: "I32 20",
    iterations: "I32 20",
    residual: "F32 20",
    status: "U8 20",
    period: "U8 20",
    endpoints: "F32 20×3",
  });
  const attractors = await readSafetensors(join(folder, "attractors.safetensors"));
  expect(
    Object.fromEntries(
      [...attractors.tensors].map(([name, { dtype, shape }]) => [name, `${dtype} ${shape.join("×")}`]),
    ),
  ).toEqual({
    attractors: "F32 1×3",
    basin_size: "I32 1",
    residual: "F32 1",
    representative: "I32 1",
  });
  const { record, sets } = await readRun(folder);
  expect(record).toEqual(one.record);
  const {
    name,
    label,
    iterations,
    residual,
    status,
    period,
    endpoints,
    attractors: found,
    basinSize,
    attractorResidual,
    representative,
  } = one.sets[0]!;
  expect(sets).toEqual([
    {
      name,
      label,
      iterations,
      residual,
      status,
      period,
      endpoints,
      attractors: found,
      basinSize,
      attractorResidual,
      representative,
      spectralRadius: null,
      spectralNorm: null,
    },
  ]);
});

it("prefixes the tensors of several sets, also of an empty one, and leaves out what is not wanted", async () => {
  const folder = join(temporaryFolder(), "run");
  await writeRun(folder, two, { report: null, endpoints: false });
  expect(readdirSync(folder).sort()).toEqual(["attractors.safetensors", "points.safetensors", "run.json"]);
  const { tensors } = await readSafetensors(join(folder, "points.safetensors"));
  expect([...tensors.keys()].sort()).toEqual(
    ["a", "b", "none"].flatMap((set) =>
      ["iterations", "label", "period", "residual", "status"].map((key) => `${set}.${key}`),
    ),
  );
  const { sets } = await readRun(folder);
  expect(sets.map((set) => [set.name, set.label.length, set.endpoints])).toEqual([
    ["a", 5, null],
    ["b", 7, null],
    ["none", 0, null],
  ]);
});

it("refuses an existing folder, and replaces it only when asked and only a run", async () => {
  const folder = join(temporaryFolder(), "run");
  await writeRun(folder, one, { report });
  await expect(checkRunFolder(folder)).rejects.toThrow("exists already");
  await expect(writeRun(folder, two, { report })).rejects.toThrow(InputError);
  expect((await readRun(folder)).record).toEqual(one.record);
  await writeRun(folder, two, { report: null, overwrite: true });
  expect((await readRun(folder)).record).toEqual(two.record);
  expect(existsSync(join(folder, "report.html"))).toBe(false);
  writeFileSync(join(folder, "thesis.tex"), "years of work");
  await expect(writeRun(folder, one, { report, overwrite: true })).rejects.toThrow('"thesis.tex"');
  expect((await readRun(folder)).record).toEqual(two.record);
  expect(readdirSync(join(folder, ".."))).toEqual(["run"]);
});

it("an empty folder, a link to a run, a file, a link to nowhere", async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "empty"));
  await writeRun(join(folder, "empty"), one, { report, overwrite: true });
  symlinkSync("empty", join(folder, "link"));
  await writeRun(join(folder, "link"), two, { report, overwrite: true });
  expect((await readRun(join(folder, "empty"))).record).toEqual(two.record);
  writeFileSync(join(folder, "file"), "");
  await expect(writeRun(join(folder, "file"), one, { report, overwrite: true })).rejects.toThrow(
    "not a folder",
  );
  await expect(writeRun(join(folder, "file", "run"), one, { report })).rejects.toThrow(InputError);
  symlinkSync("nowhere", join(folder, "broken"));
  await expect(writeRun(join(folder, "broken"), one, { report })).rejects.toThrow("points nowhere");
  await expect(writeRun("/proc/run", one, { report })).rejects.toThrow(InputError);
});

it("is readable by whoever may read other folders made here", async () => {
  const folder = join(temporaryFolder(), "run");
  await writeRun(folder, one, { report });
  mkdirSync(`${folder}-plain`);
  expect(statSync(folder).mode).toBe(statSync(`${folder}-plain`).mode);
});

it("says what is wrong with a folder that is not a run", async () => {
  const folder = join(temporaryFolder(), "run");
  await expect(readRun(folder)).rejects.toThrow("no such file");
  await writeRun(folder, one, { report });
  const points = readFileSync(join(folder, "points.safetensors"));
  writeFileSync(join(folder, "points.safetensors"), points.subarray(0, -1));
  await expect(readRun(folder)).rejects.toThrow(InputError);
  rmSync(join(folder, "points.safetensors"));
  await expect(readRun(folder)).rejects.toThrow("points.safetensors");
  writeFileSync(join(folder, "run.json"), "{}");
  await expect(readRun(folder)).rejects.toThrow("run.json");
  writeFileSync(join(folder, "run.json"), "{");
  await expect(readRun(folder)).rejects.toThrow("not valid JSON");
});

/** A file system of 64 KiB; null where this user may not mount one. */
function tinyDisk(): string | null {
  const folder = temporaryFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], { stdio: "ignore" });
    return folder;
  } catch {
    return null;
  }
}

it("a full disk leaves nothing under the final name", async ({ skip }) => {
  const disk = tinyDisk();
  if (disk === null) return skip("skipped: mounting a small file system needs root");
  try {
    const large = await findAttractors(scaling("halving", 16, 0.5), { from: { noise: noise(2000) } });
    await expect(writeRun(join(disk, "made", "run"), large, { report })).rejects.toThrow(
      /run: cannot write it, the disk is full$/,
    );
    expect(readdirSync(disk)).toEqual([]);
    await writeRun(join(disk, "run"), one, { report });
    await expect(writeRun(join(disk, "run"), large, { report, overwrite: true })).rejects.toThrow(InputError);
    expect((await readRun(join(disk, "run"))).record).toEqual(one.record);
    expect(readdirSync(disk)).toEqual(["run"]);
  } finally {
    execFileSync("umount", [disk]);
  }
});
