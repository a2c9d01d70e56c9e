/** What the interpreter's operations share: a row's tensor, and walks over its elements. */
import { elements, type Shape } from "./graph.js";

/** A tensor of the row being computed. */
export interface Tensor {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** Reads its inputs' tensors and fills its output's. */
export type Step = () => void;

/** Row-major strides, in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides: number[] = new Array(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis]!;
  }
  return strides;
}

/** For every element of `to`, row-major, the offset of the element of `from` that broadcasting puts there. */
export function broadcastOffsets(from: Shape, to: Shape): Int32Array {
  const strides = stridesOf(from);
  const missing = to.length - from.length;
  const offsets = new Int32Array(elements(to));
  forEachIndex(to, (index, i) => {
    let offset = 0;
    for (let axis = 0; axis < from.length; axis++) {
      if (from[axis] !== 1) offset += index[axis + missing]! * strides[axis]!;
    }
    offsets[i] = offset;
  });
  return offsets;
}

/** Calls `visit` for every index of `shape` in row-major order; `index` is reused. */
export function forEachIndex(shape: Shape, visit: (index: readonly number[], i: number) => void) {
  const index: number[] = shape.map(() => 0);
  const total = elements(shape);
  for (let i = 0; i < total; i++) {
    visit(index, i);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = index[axis]! + 1;
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}
