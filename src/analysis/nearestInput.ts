/** For each decoded attractor, the input that looks most like it. */
import { InputError } from "../errors.js";
import { type Matrix, row, takeRows } from "../matrix.js";
import { checkWidths, type MeasureOptions } from "./kernel.js";
import { nearest } from "./nearest.js";

export interface NearestInputs {
  /** [D]: row of the input with the largest cosine; ties to the lowest. */
  readonly index: Int32Array;
  /** [D]; NaN for a decoded row that is not finite, or where no input is: such rows are like nothing. */
  readonly cosine: Float32Array;
}

/**
 * decoded [D, E], inputs [N, E] → for each decoded row the input of the largest cosine, decided in float64.
 * Inputs that are not finite are passed over. Throws InputError where the widths differ or there is no input;
 * AbortedError where the signal fires. D·N·E multiply-adds.
 */
export async function nearestInputs(
  decoded: Matrix,
  inputs: Matrix,
  options: MeasureOptions = {},
): Promise<NearestInputs> {
  checkWidths("nearest inputs", decoded, inputs);
  if (inputs.rows === 0) throw new InputError("nearest inputs: there are no inputs");
  const index = new Int32Array(decoded.rows);
  const cosine = new Float32Array(decoded.rows).fill(Number.NaN);
  const [from, among] = [finiteRows(decoded), finiteRows(inputs)];
  if (from.length === 0 || among.length === 0) return { index, cosine };
  const { aIndex, aValue } = await nearest(
    "nearest inputs",
    from.length === decoded.rows ? decoded : takeRows(decoded, from),
    among.length === inputs.rows ? inputs : takeRows(inputs, among),
    "cosine",
    options,
  );
  for (let i = 0; i < from.length; i++) {
    index[from[i]] = among[aIndex[i]];
    cosine[from[i]] = aValue[i];
  }
  return { index, cosine };
}

function finiteRows(m: Matrix): number[] {
  return Array.from({ length: m.rows }, (_, i) => i).filter((i) => row(m, i).every(Number.isFinite));
}
