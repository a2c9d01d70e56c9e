/** For each decoded attractor, the input that looks most like it. */
import { setImmediate as turn } from "node:timers/promises";
import { InputError } from "../errors.js";
import { type Matrix, row } from "../matrix.js";
import { cosineOf, norms } from "./similarity.js";

export interface NearestInputs {
  /** [D]: row of the input with the largest cosine; ties to the lowest. */
  readonly index: Int32Array;
  /** [D] */
  readonly cosine: Float32Array;
}

/**
 * decoded [D, E], inputs [N, E] → for each decoded row the input of the largest cosine, sums in float64.
 * Throws InputError where the widths differ or there is no input. D·N·E multiply-adds.
 */
export async function nearestInputs(decoded: Matrix, inputs: Matrix): Promise<NearestInputs> {
  if (decoded.columns !== inputs.columns) {
    throw new InputError(
      `nearest inputs: rows of ${decoded.columns} and of ${inputs.columns} elements, expected equal widths`,
    );
  }
  if (inputs.rows === 0) throw new InputError("nearest inputs: there are no inputs");
  const decodedNorms = norms(decoded.data, decoded.columns);
  const inputNorms = norms(inputs.data, inputs.columns);
  const index = new Int32Array(decoded.rows);
  const cosine = new Float32Array(decoded.rows);
  for (let i = 0; i < decoded.rows; i++) {
    await turn();
    const x = row(decoded, i);
    let best = -Infinity;
    for (let j = 0; j < inputs.rows; j++) {
      const y = row(inputs, j);
      let dot = 0;
      for (let c = 0; c < x.length; c++) dot += x[c] * y[c];
      const value = cosineOf(dot, decodedNorms[i], inputNorms[j]);
      if (value > best) {
        best = value;
        index[i] = j;
      }
    }
    cosine[i] = best;
  }
  return { index, cosine };
}
