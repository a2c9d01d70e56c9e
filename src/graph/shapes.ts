/** The shape of a node's result from the shapes of its inputs. Every function throws InputError where they do not fit. */
import { InputError } from "../errors.js";
import {
  elements,
  formatShape,
  type Node,
  type Pads,
  type Pair,
  type PoolNode,
  type Shape,
} from "./graph.js";

/** Elements of the largest tensor that is accepted: indices stay within 32 bits everywhere below. */
export const maximumElements = 2 ** 31 - 1;

/** A shape whose dimensions are whole numbers of at least 1 and that is small enough to be indexed. */
export function isUsableShape(shape: Shape): boolean {
  return (
    shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 1) &&
    elements(shape) <= maximumElements
  );
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dimension, axis) => dimension === b[axis]);
}

/** NumPy's rule: aligned at the last axis, 1 stretches; undefined where the shapes do not broadcast. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const out: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const da = a[axis - rank + a.length] ?? 1;
    const db = b[axis - rank + b.length] ?? 1;
    if (da !== db && da !== 1 && db !== 1) return undefined;
    out.push(Math.max(da, db));
  }
  return out;
}

/** Positions of a window of `kernel` taps along an axis of `size` elements. */
export function windowPositions(
  size: number,
  options: {
    kernel: number;
    stride: number;
    dilation: number;
    before: number;
    after: number;
    ceil?: boolean;
  },
): number {
  const { kernel, stride, dilation, before, after, ceil = false } = options;
  const room = size + before + after - (kernel - 1) * dilation - 1;
  if (room < 0) return 0;
  const positions = (ceil ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
  // A window that begins in the padding after the input would see nothing of it: it does not count.
  return ceil && (positions - 1) * stride >= size + before ? positions - 1 : positions;
}

/**
 * Checks a node's attributes and input shapes and gives the shape of its result. Where the node alone does not
 * settle it (reshape, pooling in ceil mode, reduceMean with or without kept axes) `declared` is checked against
 * what is possible and given back.
 */
export function resultShape(node: Node, inputs: readonly Shape[], declared: Shape): Shape {
  const fail = (message: string): never => {
    throw new InputError(`node "${node.name}" (${node.op}): ${message}`);
  };
  const arity = (low: number, high: number) => {
    if (inputs.length < low || inputs.length > high) {
      const expected =
        low === high ? `${low}` : high === Number.POSITIVE_INFINITY ? `${low} or more` : `${low} or ${high}`;
      fail(`has ${inputs.length} inputs, expected ${expected}`);
    }
  };
  const whole = (name: string, values: readonly number[], low: number, length = values.length) => {
    if (values.length !== length || !values.every((v) => Number.isSafeInteger(v) && v >= low)) {
      fail(`${name} is [${values.join(", ")}], expected ${length} whole numbers of at least ${low}`);
    }
  };
  const image = (shape: Shape): readonly [number, number, number] => {
    if (shape.length !== 3) fail(`takes [channels, height, width], found ${formatShape(shape)}`);
    return shape as readonly [number, number, number];
  };
  const vector = (what: string, shape: Shape | undefined, length: number) => {
    if (shape !== undefined && !sameShape(shape, [length])) {
      fail(`its ${what} has shape ${formatShape(shape)}, expected ${length}`);
    }
  };
  const windowAttributes = (w: { strides: Pair; pads: Pads; dilations: Pair }) => {
    whole("strides", w.strides, 1, 2);
    whole("pads", w.pads, 0, 4);
    whole("dilations", w.dilations, 1, 2);
  };
  const same = (x: Shape, y: Shape) => {
    if (!sameShape(x, y))
      fail(`takes two inputs of one shape, found ${formatShape(x)} and ${formatShape(y)}`);
  };
  const channelGroups = (norm: { groups: number; epsilon: number }, shape: Shape) => {
    whole("groups", [norm.groups], 1, 1);
    if (shape.length < 1 || shape[0]! % norm.groups !== 0) {
      fail(`${norm.groups} groups do not divide the channels of ${formatShape(shape)}`);
    }
    if (!(norm.epsilon >= 0)) fail(`epsilon is ${norm.epsilon}, expected at least 0`);
  };
  const trailing = (norm: { dimensions: number; epsilon: number }, shape: Shape): Shape => {
    whole("dimensions", [norm.dimensions], 1, 1);
    if (norm.dimensions > shape.length) fail(`normalises ${norm.dimensions} axes of ${formatShape(shape)}`);
    if (!(norm.epsilon >= 0)) fail(`epsilon is ${norm.epsilon}, expected at least 0`);
    return shape.slice(-norm.dimensions);
  };
  const picked = (
    { axis, indices }: { axis: number; indices: readonly number[] },
    shape: Shape,
    size: number,
  ) => {
    whole("axis", [axis], 0, 1);
    if (axis >= shape.length) fail(`has axis ${axis} on ${formatShape(shape)}`);
    whole("indices", indices, 0);
    if (indices.length === 0) fail("has no indices");
    const outside = indices.find((index) => index >= size);
    if (outside !== undefined) fail(`has index ${outside} on an axis of ${size}`);
  };
  const lengthOf = (shape: Shape) => shape.at(-1) ?? fail("works along the last axis, found a scalar");
  const [a, b, c] = inputs as [Shape, Shape, Shape | undefined];

  switch (node.op) {
    case "conv": {
      arity(2, 3);
      windowAttributes(node);
      whole("groups", [node.groups], 1, 1);
      const [channels, ...size] = image(a);
      if (b.length !== 4) fail(`its weight has shape ${formatShape(b)}, expected four dimensions`);
      const [outChannels, perGroup, ...kernel] = b as [number, number, number, number];
      if (perGroup * node.groups !== channels || outChannels % node.groups !== 0) {
        fail(
          `a weight of ${formatShape(b)} in ${node.groups} groups does not fit an input of ${formatShape(a)}`,
        );
      }
      vector("bias", c, outChannels);
      const out = size.map((n, axis) =>
        windowPositions(n, {
          kernel: kernel[axis]!,
          stride: node.strides[axis]!,
          dilation: node.dilations[axis]!,
          before: node.pads[axis]!,
          after: node.pads[axis + 2]!,
        }),
      );
      if (out.some((n) => n < 1))
        fail(`a kernel of ${formatShape(kernel)} is larger than the padded input ${formatShape(a)}`);
      return [outChannels, ...out];
    }
    case "convTranspose": {
      arity(2, 3);
      windowAttributes(node);
      whole("outputPadding", node.outputPadding, 0, 2);
      whole("groups", [node.groups], 1, 1);
      const [channels, ...size] = image(a);
      if (b.length !== 4) fail(`its weight has shape ${formatShape(b)}, expected four dimensions`);
      const [inChannels, perGroup, ...kernel] = b as [number, number, number, number];
      if (inChannels !== channels || channels % node.groups !== 0) {
        fail(
          `a weight of ${formatShape(b)} in ${node.groups} groups does not fit an input of ${formatShape(a)}`,
        );
      }
      vector("bias", c, perGroup * node.groups);
      const out = size.map(
        (n, axis) =>
          (n - 1) * node.strides[axis]! -
          node.pads[axis]! -
          node.pads[axis + 2]! +
          (kernel[axis]! - 1) * node.dilations[axis]! +
          node.outputPadding[axis]! +
          1,
      );
      if (out.some((n) => n < 1)) fail(`its pads [${node.pads.join(", ")}] leave nothing of the output`);
      return [perGroup * node.groups, ...out];
    }
    case "linear": {
      arity(2, 3);
      if (b.length !== 2 || a.length < 1 || a.at(-1) !== b[1]) {
        fail(`a weight of ${formatShape(b)} [out, in] does not fit an input of ${formatShape(a)}`);
      }
      vector("bias", c, b[0]!);
      return [...a.slice(0, -1), b[0]!];
    }
    case "matmul": {
      arity(2, 2);
      const leading = broadcastShapes(a.slice(0, -2), b.slice(0, -2));
      if (a.length < 2 || b.length < 2 || a.at(-1) !== b.at(-2) || leading === undefined) {
        return fail(`cannot multiply ${formatShape(a)} by ${formatShape(b)}`);
      }
      return [...leading, a.at(-2)!, b.at(-1)!];
    }
    case "add":
    case "sub":
    case "mul":
    case "div":
    case "greater":
      arity(2, 2);
      return broadcastShapes(a, b) ?? fail(`cannot broadcast ${formatShape(a)} with ${formatShape(b)}`);
    case "activate":
      arity(1, 1);
      if (node.activation === undefined) fail("has no activation");
      return a;
    case "groupNorm":
      arity(3, 3);
      channelGroups(node, a);
      vector("scale", b, a[0]!);
      vector("bias", c, a[0]!);
      return a;
    case "layerNorm": {
      arity(3, 3);
      const normalised = trailing(node, a);
      [b, c!].forEach((shape, i) => {
        if (sameShape(shape, normalised)) return;
        const what = i === 0 ? "scale" : "bias";
        fail(`its ${what} has shape ${formatShape(shape)}, expected ${formatShape(normalised)}`);
      });
      return a;
    }
    case "softmax":
      arity(1, 1);
      lengthOf(a);
      return a;
    case "attention": {
      arity(3, 4);
      if (!Number.isFinite(node.scale)) fail(`scale is ${node.scale}, expected a finite number`);
      const [q, k, v, bias] = inputs as [Shape, Shape, Shape, Shape | undefined];
      const leading = q.slice(0, -2);
      const fits =
        q.length >= 2 &&
        sameShape(k.slice(0, -2), leading) &&
        sameShape(v.slice(0, -2), leading) &&
        q.length === k.length &&
        q.length === v.length &&
        q.at(-1) === k.at(-1) &&
        k.at(-2) === v.at(-2);
      if (!fits) fail(`cannot attend from ${formatShape(q)} to ${formatShape(k)} and ${formatShape(v)}`);
      const scores = [...leading, q.at(-2)!, k.at(-2)!];
      if (bias !== undefined && !sameShape(broadcastShapes(bias, scores) ?? [], scores)) {
        fail(
          `its bias has shape ${formatShape(bias)}, expected one that broadcasts to ${formatShape(scores)}`,
        );
      }
      return [...leading, q.at(-2)!, v.at(-1)!];
    }
    case "gather":
      arity(1, 1);
      picked(node, a, a[node.axis]!);
      return a.map((n, axis) => (axis === node.axis ? node.indices.length : n));
    case "scatterAdd":
      arity(1, 1);
      whole("size", [node.size], 1, 1);
      picked(node, a, node.size);
      if (a[node.axis] !== node.indices.length) {
        fail(`has ${node.indices.length} indices for axis ${node.axis} of ${formatShape(a)}`);
      }
      return a.map((n, axis) => (axis === node.axis ? node.size : n));
    case "topKMask":
      arity(1, 1);
      whole("k", [node.k], 1, 1);
      if (node.k > lengthOf(a)) fail(`has k = ${node.k} on an axis of ${a.at(-1)}`);
      return a;
    case "resizeNearest": {
      arity(1, 1);
      whole("scales", node.scales, 1, 2);
      const [channels, height, width] = image(a);
      return [channels, height * node.scales[0], width * node.scales[1]];
    }
    case "maxPool":
    case "averagePool":
      arity(1, 1);
      windowAttributes(node);
      whole("kernel", node.kernel, 1, 2);
      return poolShape(node, image(a), declared, fail);
    case "reduceMean": {
      arity(1, 1);
      whole("axes", node.axes, 0);
      if (node.axes.some((axis, i) => axis >= a.length || (i > 0 && axis <= node.axes[i - 1]!))) {
        fail(`axes [${node.axes.join(", ")}] are not ascending axes of ${formatShape(a)}`);
      }
      const kept = a.map((n, axis) => (node.axes.includes(axis) ? 1 : n));
      const dropped = a.filter((_, axis) => !node.axes.includes(axis));
      return sameShape(declared, kept) ? kept : dropped;
    }
    case "pad": {
      arity(1, 1);
      const { before, after } = node;
      const low = node.mode === "constant" ? Number.NEGATIVE_INFINITY : 0;
      whole("before", before, low, a.length);
      whole("after", after, low, a.length);
      if (node.mode === "reflect" && a.some((n, axis) => Math.max(before[axis]!, after[axis]!) >= n)) {
        fail(`reflects more than ${formatShape(a)} holds`);
      }
      const out = a.map((n, axis) => n + before[axis]! + after[axis]!);
      if (out.some((n) => n < 1)) fail(`crops all of ${formatShape(a)}`);
      return out;
    }
    case "reshape":
      arity(1, 1);
      if (elements(a) !== elements(declared))
        fail(`cannot make ${formatShape(declared)} of ${formatShape(a)}`);
      return declared;
    case "transpose": {
      arity(1, 1);
      const sorted = [...node.permutation].sort((x, y) => x - y);
      if (sorted.length !== a.length || sorted.some((axis, i) => axis !== i)) {
        fail(`[${node.permutation.join(", ")}] is not a permutation of the axes of ${formatShape(a)}`);
      }
      return node.permutation.map((axis) => a[axis]!);
    }
    case "concat": {
      arity(2, Number.POSITIVE_INFINITY);
      const { axis } = node;
      whole("axis", [axis], 0, 1);
      const fits = (shape: Shape) =>
        axis < shape.length && shape.length === a.length && shape.every((n, i) => i === axis || n === a[i]);
      if (!inputs.every(fits))
        fail(`cannot join ${inputs.map(formatShape).join(" and ")} along axis ${axis}`);
      return a.map((n, i) => (i === axis ? inputs.reduce((sum, shape) => sum + shape[axis]!, 0) : n));
    }
    case "activateGrad":
      arity(2, 2);
      same(a, b);
      return a;
    case "groupNormGrad":
      arity(2, 2);
      same(a, b);
      channelGroups(node, a);
      return a;
    case "layerNormGrad":
      arity(2, 2);
      same(a, b);
      trailing(node, a);
      return a;
    case "softmaxGrad":
      arity(2, 2);
      same(a, b);
      lengthOf(a);
      return a;
    case "maxPoolGrad":
      arity(2, 2);
      same(a, b);
      windowAttributes(node);
      whole("kernel", node.kernel, 1, 2);
      return poolShape(node, image(a), declared, fail);
    case "maxPoolAdjoint": {
      arity(2, 2);
      windowAttributes(node);
      whole("kernel", node.kernel, 1, 2);
      const pooled = poolShape(node, image(a), b, fail);
      if (!sameShape(pooled, b))
        fail(`pools ${formatShape(a)} to ${formatShape(pooled)}, not ${formatShape(b)}`);
      return a;
    }
  }
}

/** Floor or ceil mode is not kept in the node: either is accepted, as long as every window sees some input. */
function poolShape(
  node: Pick<PoolNode, "kernel" | "strides" | "pads" | "dilations">,
  [channels, ...size]: readonly [number, number, number],
  declared: Shape,
  fail: (message: string) => never,
): Shape {
  const axes = size.map((n, axis) => {
    const options = {
      kernel: node.kernel[axis]!,
      stride: node.strides[axis]!,
      dilation: node.dilations[axis]!,
      before: node.pads[axis]!,
      after: node.pads[axis + 2]!,
    };
    const floor = windowPositions(n, options);
    const ceil = windowPositions(n, { ...options, ceil: true });
    const chosen = declared.length === 3 && declared[axis + 1] === ceil ? ceil : floor;
    if (chosen > maximumElements) fail(`has ${chosen} windows along an axis of ${n}`);
    if (chosen < 1) fail(`a kernel of ${formatShape(node.kernel)} is larger than its padded input`);
    for (let position = 0; position < chosen; position++) {
      const start = position * options.stride - options.before;
      const firstTap = start >= 0 ? 0 : Math.ceil(-start / options.dilation);
      if (firstTap >= options.kernel || start + firstTap * options.dilation >= n) {
        fail("has a window that holds no element of the input");
      }
    }
    return chosen;
  });
  return [channels, ...axes];
}
