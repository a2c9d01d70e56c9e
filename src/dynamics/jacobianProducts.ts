/** Products with the Jacobian of f, from whatever an engine offers: derivatives, or differences of f itself. */
import type { CallOptions, Engine } from "../engines/engine.js";
import { type Matrix, row } from "../matrix.js";

export type JacobianMethod = "derivatives" | "central differences";

export interface JacobianProducts {
  readonly method: JacobianMethod;
  /** J(z)·v, row by row: [N, k] and [N, k] → [N, k]. */
  forward(latents: Matrix, tangents: Matrix): Promise<Matrix>;
  /** J(z)ᵀ·u; null where the engine has no such product: differences of f do not give it. */
  readonly backward: ((latents: Matrix, cotangents: Matrix) => Promise<Matrix>) | null;
}

/** The engine's derivatives where it has them, else central differences of f (relative error about 1e-4). */
export function jacobianProducts(engine: Engine, call: CallOptions): JacobianProducts {
  const forward = engine.jacobianVector?.bind(engine);
  const backward = engine.vectorJacobian?.bind(engine);
  return {
    method: forward === undefined ? "central differences" : "derivatives",
    forward: (latents, tangents) =>
      forward === undefined
        ? centralDifference(engine, latents, tangents, call)
        : forward(latents, tangents, call),
    backward: backward === undefined ? null : (latents, cotangents) => backward(latents, cotangents, call),
  };
}

/** ∛ε of float32: where rounding (∝ 1/h) and curvature (∝ h²) cost about the same. */
const RELATIVE_STEP = 5e-3;

/** (f(z + h·v) − f(z − h·v)) / 2h, h·‖v‖ a small part of the coordinates' size, of 1 where that is less. */
async function centralDifference(
  engine: Engine,
  latents: Matrix,
  tangents: Matrix,
  call: CallOptions,
): Promise<Matrix> {
  const { rows, columns } = latents;
  const shifted = new Float32Array(2 * rows * columns);
  const steps = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    const z = row(latents, i);
    const v = row(tangents, i);
    const length = norm(v);
    if (length === 0) continue;
    const step = (RELATIVE_STEP * Math.max(1, norm(z) / Math.sqrt(columns))) / length;
    steps[i] = step;
    for (let j = 0; j < columns; j++) {
      shifted[2 * i * columns + j] = z[j] + step * v[j];
      shifted[(2 * i + 1) * columns + j] = z[j] - step * v[j];
    }
  }
  const f = await engine.apply({ data: shifted, rows: 2 * rows, columns }, call);
  const data = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    if (steps[i] === 0) continue;
    const above = row(f, 2 * i);
    const below = row(f, 2 * i + 1);
    for (let j = 0; j < columns; j++) data[i * columns + j] = (above[j] - below[j]) / (2 * steps[i]);
  }
  return { data, rows, columns };
}

function norm(x: Float32Array): number {
  let sum = 0;
  for (const value of x) sum += value * value;
  return Math.sqrt(sum);
}
