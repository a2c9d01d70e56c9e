/** What every suite needs to know: which model, which images, what machine. */
import { existsSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError } from "../dist/errors.js";
import { native } from "../dist/native.js";
import { packageVersion } from "../dist/version.js";

export const root = fileURLToPath(new URL("..", import.meta.url));
const shared = process.env.LATDYN_SHARED ?? join(root, "..", "shared");
const example = join(root, "examples", "mnist");

/**
 * A model's path and what to call it: `k2`, `k16`, `k128` are the MNIST autoencoders of that latent dimension
 * (k16 is in every clone), anything else is a path.
 */
export function findModel(name) {
  if (!/^k\d+$/.test(name)) return { path: name, name: basename(name) };
  const folder = `mnist-conv-${name}`;
  const path = [join(shared, "models", folder), join(example, folder)].find(existsSync);
  if (path === undefined) throw new InputError(`there is no model ${folder} here: give the path of one`);
  return { path, name: folder };
}

/** MNIST training images: all of them where they are at hand, else the first 1,000, which every clone has. */
export function trainingImages(wanted) {
  const full = join(shared, "data", "mnist", "train-images-idx3-ubyte.gz");
  if (existsSync(full)) return { path: full, count: wanted };
  return { path: join(example, "train-images-1000.idx3-ubyte.gz"), count: Math.min(wanted, 1000) };
}

export function describeMachine() {
  const { isa, l2Bytes, oneDnn } = native().cpu();
  return {
    machine: {
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      l2Bytes,
      isa,
    },
    date: new Date().toISOString(),
    versions: { "latent-dynamics": packageVersion(), node: process.versions.node, oneDNN: oneDnn },
  };
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A whole-number option of at least 1. */
export function positive(name, text, fallback) {
  if (text === undefined) return fallback;
  if (!/^[1-9]\d*$/.test(text))
    throw new InputError(`--${name} is ${text}, expected a whole number of at least 1`);
  return Number(text);
}

/** Rows of strings as aligned columns, the first to the left, the others to the right. */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((cells) => cells[column].length)));
  return rows
    .map((cells) =>
      cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "),
    )
    .join("\n");
}
