/**
 * A model as a small graph that describes ONE row: no shape mentions the batch. Everything above (import,
 * folding, fusing) produces this; everything below (the float64 interpreter, the native plans) consumes it.
 */

/** Dimensions of one row's tensor, row-major, without the batch. `[]` is a scalar. */
export type Shape = readonly number[];

/** Index into `Graph.values`. */
export type ValueId = number;

/** A tensor of the graph: computed per row, or, where `constant` is there, the same for every row. */
export interface Value {
  readonly name: string;
  readonly shape: Shape;
  /** Row-major elements of a constant; its shape has no row dimension. */
  readonly constant?: Float32Array;
}

/**
 * Element-wise functions. NaN in, NaN out, for all of them.
 * `alpha`, `beta`: leakyRelu slope, -; elu α, -; selu α, γ; clip min, max; pow exponent, -; others unused (0).
 */
export const ACTIVATION_KINDS = [
  "relu",
  "leakyRelu",
  "elu",
  "selu",
  "sigmoid",
  "tanh",
  "softplus",
  "gelu",
  "geluTanh",
  "silu",
  "clip",
  "erf",
  "exp",
  "log",
  "sqrt",
  "reciprocal",
  "abs",
  "pow",
] as const;

export type ActivationKind = (typeof ACTIVATION_KINDS)[number];

export interface Activation {
  readonly kind: ActivationKind;
  readonly alpha: number;
  readonly beta: number;
}

interface NodeBase {
  /** The exporter's node name, for messages. */
  readonly name: string;
  readonly inputs: readonly ValueId[];
  readonly output: ValueId;
  /** Applied last, on the node's result. Allowed on conv, convTranspose, linear, matmul, add/sub/mul/div, groupNorm, layerNorm. */
  readonly activation?: Activation;
  /** Added before `activation`; same shape as the output. Allowed on conv, convTranspose, linear. */
  readonly residual?: ValueId;
}

/** [height, width] */
export type Pair = readonly [number, number];
/** [top, left, bottom, right] */
export type Pads = readonly [number, number, number, number];

/** x [C,H,W], weight [O, C/groups, KH, KW], bias? [O]; weights and biases are constants, here and below. */
export interface ConvNode extends NodeBase {
  readonly op: "conv";
  readonly strides: Pair;
  readonly pads: Pads;
  readonly dilations: Pair;
  readonly groups: number;
}
/** x [C,H,W], weight [C, O/groups, KH, KW], bias? [O]. H' = (H−1)·stride − padTop − padBottom + (KH−1)·dilation + outputPadding + 1. */
export interface ConvTransposeNode extends NodeBase {
  readonly op: "convTranspose";
  readonly strides: Pair;
  readonly pads: Pads;
  readonly dilations: Pair;
  readonly outputPadding: Pair;
  readonly groups: number;
}
/** x […, in], weight [out, in] (constant), bias? [out] (constant): y = x·Wᵀ + b over the last dimension. */
export interface LinearNode extends NodeBase {
  readonly op: "linear";
}
/** a […, m, n], b […, n, p], leading dimensions broadcast; either may be a constant. */
export interface MatMulNode extends NodeBase {
  readonly op: "matmul";
}
/** a, b broadcast as NumPy does (on row shapes); either may be a constant. */
export interface BinaryNode extends NodeBase {
  readonly op: "add" | "sub" | "mul" | "div";
}
/** a, b broadcast as NumPy does: 1 where a > b, else 0, also where one of them is NaN. Its derivative is zero. */
export interface GreaterNode extends NodeBase {
  readonly op: "greater";
}
/** x, any shape; `activation` is the function and is always there. */
export interface ActivateNode extends NodeBase {
  readonly op: "activate";
  readonly activation: Activation;
}
/** x [C, …], scale [C], bias [C] (constants). Instance normalisation is groups = C. Biased variance. */
export interface GroupNormNode extends NodeBase {
  readonly op: "groupNorm";
  readonly groups: number;
  readonly epsilon: number;
}
/**
 * x […, d1 … dm], scale and bias [d1 … dm] (constants), m = `dimensions`: (x − mean) / √(variance + ε) · scale + bias,
 * mean and biased variance over the last m dimensions.
 */
export interface LayerNormNode extends NodeBase {
  readonly op: "layerNorm";
  readonly dimensions: number;
  readonly epsilon: number;
}
/** x […, n]: e^(x − max x) / Σ e^(x − max x) over the last dimension. */
export interface SoftmaxNode extends NodeBase {
  readonly op: "softmax";
}
/**
 * q […, T, d], k […, S, d], v […, S, e] with the same leading dimensions, bias? (constant) that broadcasts to
 * […, T, S]: softmax(scale · q·kᵀ + bias)·v, [… , T, e].
 */
export interface AttentionNode extends NodeBase {
  readonly op: "attention";
  readonly scale: number;
}
/** y[…, i, …] = x[…, indices[i], …] along `axis` of the row shape. */
export interface GatherNode extends NodeBase {
  readonly op: "gather";
  readonly axis: number;
  /** In [0, length of the axis). */
  readonly indices: readonly number[];
}
/** The transpose of gather: `axis` of the result has `size` elements, and u[…, i, …] is added at indices[i]. */
export interface ScatterAddNode extends NodeBase {
  readonly op: "scatterAdd";
  readonly axis: number;
  readonly indices: readonly number[];
  readonly size: number;
}
/**
 * x […, n]: 1 for the k largest elements of the last dimension, else 0; among equals the first ones count, and NaN is
 * more than any number. Its derivative is zero.
 */
export interface TopKMaskNode extends NodeBase {
  readonly op: "topKMask";
  readonly k: number;
}
/** x [C,H,W] → [C, H·scale, W·scale], whole-number scales, y[i] = x[floor(i / scale)]. */
export interface ResizeNearestNode extends NodeBase {
  readonly op: "resizeNearest";
  readonly scales: Pair;
}
/** x [C,H,W]; the output shape is the output value's (ceil_mode is settled at import). Windows are clipped to the input. */
export interface PoolNode extends NodeBase {
  readonly op: "maxPool" | "averagePool";
  readonly kernel: Pair;
  readonly strides: Pair;
  readonly pads: Pads;
  readonly dilations: Pair;
  /** averagePool: divide by the kernel size clipped to the padded input, instead of by the elements inside the input. */
  readonly countIncludePad: boolean;
}
/** Mean over `axes` (of the row shape, ascending). Dropped or kept axes follow from the output value's shape. */
export interface ReduceMeanNode extends NodeBase {
  readonly op: "reduceMean";
  readonly axes: readonly number[];
}
/** `before`/`after` per axis of the row shape; in constant mode negative amounts crop. */
export interface PadNode extends NodeBase {
  readonly op: "pad";
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly mode: "constant" | "reflect" | "edge";
  readonly value: number;
}
/** Same elements, the output value's shape. */
export interface ReshapeNode extends NodeBase {
  readonly op: "reshape";
}
/** Output axis i is input axis permutation[i] (row shapes). */
export interface TransposeNode extends NodeBase {
  readonly op: "transpose";
  readonly permutation: readonly number[];
}
/** Two or more inputs (constants allowed) joined along `axis` of the row shape. */
export interface ConcatNode extends NodeBase {
  readonly op: "concat";
  readonly axis: number;
}

/**
 * x, t of one shape: y = g′(x)·t, g = `derivativeOf`. Where g has a kink: 0 for relu; what holds to the left of it
 * for leakyRelu, elu and selu; 1 on both ends of clip; 0 for abs.
 */
export interface ActivateGradNode extends NodeBase {
  readonly op: "activateGrad";
  readonly derivativeOf: Activation;
}
/**
 * x, t [C, …]: the derivative of groupNorm at x along t, without scale: (t − mean(t) − x̂·mean(x̂·t)) / √(variance + ε),
 * x̂ = (x − mean(x)) / √(variance + ε), over each group. As a matrix on t it is symmetric.
 */
export interface GroupNormGradNode extends NodeBase {
  readonly op: "groupNormGrad";
  readonly groups: number;
  readonly epsilon: number;
}
/** x, t […, d1 … dm]: as groupNormGrad, with means over the last m = `dimensions` dimensions. */
export interface LayerNormGradNode extends NodeBase {
  readonly op: "layerNormGrad";
  readonly dimensions: number;
  readonly epsilon: number;
}
/** s, t […, n], s a softmax's result: s·(t − Σ s·t), its derivative along t. As a matrix on t it is symmetric. */
export interface SoftmaxGradNode extends NodeBase {
  readonly op: "softmaxGrad";
}
/**
 * The derivative of maxPool at x and its transpose; the first maximum of a window counts, NaN as more than any number.
 * maxPoolGrad: x, t [C,H,W] → the pooled shape: the element of t where the window's maximum of x stands.
 * maxPoolAdjoint: x [C,H,W], u of the pooled shape → [C,H,W]: each element of u added where its window's maximum stands.
 */
export interface MaxPoolGradNode extends NodeBase {
  readonly op: "maxPoolGrad" | "maxPoolAdjoint";
  readonly kernel: Pair;
  readonly strides: Pair;
  readonly pads: Pads;
  readonly dilations: Pair;
}

export type Node =
  | ConvNode
  | ConvTransposeNode
  | LinearNode
  | MatMulNode
  | BinaryNode
  | GreaterNode
  | ActivateNode
  | GroupNormNode
  | LayerNormNode
  | SoftmaxNode
  | AttentionNode
  | GatherNode
  | ScatterAddNode
  | TopKMaskNode
  | ResizeNearestNode
  | PoolNode
  | ReduceMeanNode
  | PadNode
  | ReshapeNode
  | TransposeNode
  | ConcatNode
  | ActivateGradNode
  | GroupNormGradNode
  | LayerNormGradNode
  | SoftmaxGradNode
  | MaxPoolGradNode;

export type OpName = Node["op"];

export interface Graph {
  readonly name: string;
  readonly values: readonly Value[];
  /** In an order in which every input is computed before it is used. */
  readonly nodes: readonly Node[];
  readonly input: ValueId;
  readonly output: ValueId;
}

/** Number of elements of a row's tensor. */
export function elements(shape: Shape): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** "1×32×32", for messages; "scalar" for []. */
export function formatShape(shape: Shape): string {
  return shape.length === 0 ? "scalar" : shape.join("×");
}
