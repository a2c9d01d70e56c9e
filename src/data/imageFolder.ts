/** A folder of images, read in the order of their paths. PNG needs nothing; other formats go through sharp. */
import { readdir, readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { convertIndexedToRgb, type DecodedPng, decode } from "fast-png";
import { InputError } from "../errors.js";
import { fileError } from "./bytes.js";
import { type DataRow, type Dataset, type ReadRowsOptions, rowsToRead } from "./dataset.js";

const OTHER_FORMATS = [".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".avif"];

/** Whether the name ends like an image this reader knows. */
export function isImageName(name: string): boolean {
  const extension = extname(name).toLowerCase();
  return extension === ".png" || OTHER_FORMATS.includes(extension);
}

/**
 * The images below `folder` (subfolders included, hidden ones not), sorted by path, each [C,H,W] bytes with C 1
 * (grey) or 3 (RGB); an alpha channel is dropped, 16 bits become 8, palettes become RGB. Files that are not
 * images are passed over. Images are decoded when their row is asked for.
 * Throws InputError where there is no image, or too few, or (from `row`) where one cannot be decoded.
 */
export async function readImageFolder(folder: string, { count }: ReadRowsOptions = {}): Promise<Dataset> {
  const names = await imageNames(folder);
  if (names.length === 0) {
    throw new InputError(
      `${folder}: holds no image (.png, or with the package "sharp" installed ${OTHER_FORMATS.join(" ")})`,
    );
  }
  const rows = rowsToRead(count, names.length, folder);
  return {
    path: folder,
    format: "image-folder",
    rows,
    available: names.length,
    row: (index) => readImage(join(folder, names[index])),
  };
}

async function imageNames(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { recursive: true });
    return entries
      .filter((name) => isImageName(name) && !name.split(/[\\/]/).some((part) => part.startsWith(".")))
      .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  } catch (error) {
    throw fileError(error, folder);
  }
}

/** One image as [C,H,W] bytes. Throws InputError where it cannot be decoded. */
export async function readImage(path: string): Promise<DataRow> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw fileError(error, path);
  }
  return extname(path).toLowerCase() === ".png" ? decodePng(bytes, path) : decodeWithSharp(bytes, path);
}

function decodePng(bytes: Uint8Array, path: string): DataRow {
  checkPngSize(bytes, path);
  let png: DecodedPng;
  try {
    png = decode(bytes, { checkCrc: true });
  } catch (error) {
    throw new InputError(`${path}: cannot be decoded as PNG (${(error as Error).message})`, { cause: error });
  }
  if (png.palette !== undefined) {
    return toPlanes(convertIndexedToRgb(png), png.palette[0].length, png.width, png.height);
  }
  return toPlanes(toBytes(png), png.channels, png.width, png.height);
}

/**
 * The decoder allocates width × height before it looks at the pixels. Deflate shrinks data at most 1,032 to
 * one, so an image much larger than its file allows is a lie.
 */
function checkPngSize(bytes: Uint8Array, path: string): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 33 || view.getUint32(0) !== 0x89504e47) {
    throw new InputError(`${path}: is not a PNG file`);
  }
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  if (width === 0 || height === 0 || (width * height) / 8 > bytes.length * 1032) {
    throw new InputError(
      `${path}: a PNG of ${bytes.length} bytes cannot hold the ${width}×${height} pixels its header claims`,
    );
  }
}

/** One byte per sample: packed samples are spread to 0–255, 16 bits are rounded to 8. */
function toBytes(png: DecodedPng): Uint8Array {
  const { width, height, channels, depth, data } = png;
  if (depth === 8) return data as Uint8Array;
  const out = new Uint8Array(width * height * channels);
  if (depth === 16) {
    for (let i = 0; i < out.length; i++) out[i] = Math.round(data[i] / 257);
    return out;
  }
  const rowBytes = Math.ceil((width * channels * depth) / 8);
  const top = 2 ** depth - 1;
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < width * channels; i++) {
      const bit = i * depth;
      const sample = (data[y * rowBytes + (bit >> 3)] >> (8 - depth - (bit & 7))) & top;
      out[y * width * channels + i] = (sample * 255) / top;
    }
  }
  return out;
}

/** Interleaved samples → planes, without alpha. */
function toPlanes(samples: Uint8Array, channels: number, width: number, height: number): DataRow {
  const planes = channels >= 3 ? 3 : 1;
  const data = new Uint8Array(planes * height * width);
  for (let c = 0; c < planes; c++) {
    for (let i = 0; i < height * width; i++) data[c * height * width + i] = samples[i * channels + c];
  }
  return { shape: [planes, height, width], data };
}

/** What is used of the optional package sharp. */
interface SharpImage {
  metadata(): Promise<{ space?: string }>;
  toColourspace(space: string): SharpImage;
  raw(): {
    toBuffer(options: { resolveWithObject: true }): Promise<{
      data: Uint8Array;
      info: { width: number; height: number; channels: number };
    }>;
  };
}
type Sharp = (input: Uint8Array) => SharpImage;

async function decodeWithSharp(bytes: Uint8Array, path: string): Promise<DataRow> {
  // In a variable, because the package is optional and its types are not there to be resolved.
  const name = "sharp";
  let sharp: Sharp;
  try {
    sharp = ((await import(name)) as { default: Sharp }).default;
  } catch (error) {
    throw new InputError(
      `${path}: only PNG images are read without help; for ${OTHER_FORMATS.join(" ")} install the optional package with "npm install sharp"`,
      { cause: error },
    );
  }
  try {
    const { space } = await sharp(bytes).metadata();
    // Raw samples are RGB unless told otherwise, also of a grey picture.
    const image = sharp(bytes).toColourspace(space === "b-w" ? "b-w" : "srgb");
    const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
    return toPlanes(data, info.channels, info.width, info.height);
  } catch (error) {
    throw new InputError(`${path}: cannot be decoded (${(error as Error).message})`, { cause: error });
  }
}
