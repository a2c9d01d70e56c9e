/** Draws the initial points that a source describes. */
import { totalmem } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import { readLatents } from "../data/latents.js";
import type { CallOptions, Engine } from "../engines/engine.js";
import { AbortedError, InputError } from "../errors.js";
import type { Matrix } from "../matrix.js";
import type { Autoencoder } from "../models/autoencoder.js";
import { native } from "../native.js";
import { drawFrom, fitGaussian } from "./gaussian.js";
import { firstRows, inputsOf } from "./inputs.js";
import type { DataSource, LatentsSource, PointSource } from "./points.js";

export interface InitialPoints {
  /** [N, k] */
  readonly initial: Matrix;
  /** The inputs they are the codes of, prepared; null where there are none. */
  readonly inputs: Matrix | null;
}

export interface DrawContext {
  readonly model: Autoencoder;
  readonly engine: Engine;
  readonly call: CallOptions;
  /** What was drawn already, so that two sets over the same source encode it once. */
  readonly drawn: Map<PointSource, InitialPoints>;
}

/**
 * noise and matched: Philox normals. data: inputs are prepared and encoded; for a square map they are the
 * points themselves. latents: as given. Throws InputError where files, widths or values do not fit.
 */
export async function drawPoints(source: PointSource, context: DrawContext): Promise<InitialPoints> {
  const known = context.drawn.get(source);
  if (known !== undefined) return known;
  if (context.call.signal?.aborted)
    throw new AbortedError("aborted", undefined, { cause: context.call.signal.reason });
  const points = await draw(source, context);
  context.drawn.set(source, points);
  return points;
}

async function draw(source: PointSource, context: DrawContext): Promise<InitialPoints> {
  const { model } = context;
  const k = model.latentDimension;
  switch (source.kind) {
    case "noise":
      return { initial: await normals(source, k, source.scale), inputs: null };
    case "matched": {
      const of =
        "kind" in source.of ? (await drawPoints(source.of, context)).initial : checkLatents(source.of, model);
      return { initial: await drawFrom(await fitGaussian(of), await normals(source, k, 1)), inputs: null };
    }
    case "data":
      return encodeData(source, context);
    case "latents":
      return { initial: await givenLatents(source, model), inputs: null };
  }
}

/** In blocks, so that a large set does not hold the event loop. */
async function normals(
  { points, randomSeed }: { points: number; randomSeed: number },
  k: number,
  scale: number,
): Promise<Matrix> {
  if (points * k * Float32Array.BYTES_PER_ELEMENT > totalmem()) {
    throw new InputError(`${points} points of ${k} numbers do not fit in this machine's memory`);
  }
  const data = new Float32Array(points * k);
  const block = Math.max(1, Math.floor(2 ** 20 / k));
  for (let first = 0; first < points; first += block) {
    const rows = Math.min(block, points - first);
    data.set(native().noise(randomSeed, first, rows, k, scale), first * k);
    await turn();
  }
  return { data, rows: points, columns: k };
}

async function encodeData(source: DataSource, { model, engine, call }: DrawContext): Promise<InitialPoints> {
  const inputs = await inputsOf(source, { model, call });
  const initial = model.inputShape === null ? inputs : await engine.encode(inputs, call);
  return { initial, inputs };
}

async function givenLatents({ from, count }: LatentsSource, model: Autoencoder): Promise<Matrix> {
  if (typeof from === "string") return readLatents(from, model.latentDimension, { count });
  return checkLatents(firstRows(from, count, "latents"), model);
}

function checkLatents(latents: Matrix, model: Autoencoder): Matrix {
  const k = model.latentDimension;
  if (latents.columns !== k) {
    throw new InputError(`${model.name}: latents have ${latents.columns} elements a row, expected ${k}`);
  }
  const bad = latents.data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `latents: row ${Math.floor(bad / k)} holds ${latents.data[bad]}, expected finite numbers`,
    );
  }
  return latents;
}
