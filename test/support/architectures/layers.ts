/** Layers in the forms in which exporters write them: as one operator where the operator set has it, or in parts. */
import type { Exporter } from "./exporter.js";

export function linear(e: Exporter, x: string, ins: number, outs: number): string {
  const product = e.op("MatMul", [x, e.weight([ins, outs], 1 / Math.sqrt(ins))]);
  return e.op("Add", [e.weight([outs], 0.1), product]);
}

export interface Convolution {
  readonly ins: number;
  readonly outs: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly padding?: number;
  readonly bias?: boolean;
}

export function conv(e: Exporter, x: string, options: Convolution): string {
  const { ins, outs, kernel, stride = 1, padding = Math.floor(kernel / 2), bias = true } = options;
  const weight = e.weight([outs, ins, kernel, kernel], 1 / (kernel * Math.sqrt(ins)));
  return e.op("Conv", bias ? [x, weight, e.weight([outs], 0.1)] : [x, weight], {
    kernel_shape: { ints: [kernel, kernel] },
    strides: { ints: [stride, stride] },
    pads: { ints: [padding, padding, padding, padding] },
    dilations: { ints: [1, 1] },
    group: { i: 1 },
  });
}

export function reduceMean(e: Exporter, x: string, axis: number): string {
  return e.opset < 18
    ? e.op("ReduceMean", [x], { axes: { ints: [axis] }, keepdims: { i: 1 } })
    : e.op("ReduceMean", [x, e.wholes(axis)], { keepdims: { i: 1 } });
}

/** nn.LayerNorm over the last axis: an operator from opset 17 on. */
export function layerNorm(e: Exporter, x: string, width: number, fused = e.opset >= 17): string {
  const [scale, bias] = [e.weight([width], 0.1, 1), e.weight([width], 0.1)];
  if (fused) return e.op("LayerNormalization", [x, scale, bias], { axis: { i: -1 }, epsilon: { f: 1e-6 } });
  const centred = e.op("Sub", [x, reduceMean(e, x, -1)]);
  const variance = reduceMean(e, e.op("Pow", [centred, e.number(2)]), -1);
  const root = e.op("Sqrt", [e.op("Add", [variance, e.number(1e-6)])]);
  const normalised = e.op("Div", [centred, root]);
  return e.op("Add", [e.op("Mul", [normalised, scale]), bias]);
}

/** nn.GroupNorm on [batch, channels, …] as PyTorch writes it below opset 18: through instance normalisation. */
export function groupNorm(e: Exporter, x: string, channels: number, groups: number, axes: number): string {
  const grouped = e.op("Reshape", [x, e.wholes(0, groups, -1)]);
  const ones = e.numbers([groups], new Array(groups).fill(1));
  const zeros = e.numbers([groups], new Array(groups).fill(0));
  const normalised = e.op("InstanceNormalization", [grouped, ones, zeros], { epsilon: { f: 1e-6 } });
  const back = e.op("Reshape", [normalised, e.op("Shape", [x])]);
  const spread = [channels, ...new Array<number>(axes).fill(1)];
  const scaled = e.op("Mul", [back, e.weight(spread, 0.1, 1)]);
  return e.op("Add", [scaled, e.weight(spread, 0.1)]);
}

/** The same as one operator: opset 21, scale and bias per channel. */
export function fusedGroupNorm(e: Exporter, x: string, channels: number, groups: number): string {
  return e.op("GroupNormalization", [x, e.weight([channels], 0.1, 1), e.weight([channels], 0.1)], {
    num_groups: { i: groups },
    epsilon: { f: 1e-6 },
  });
}

export function silu(e: Exporter, x: string): string {
  return e.op("Mul", [x, e.op("Sigmoid", [x])]);
}

export type GeluForm = "erf" | "tanh" | "operator" | "operator-tanh";

export function gelu(e: Exporter, x: string, form: GeluForm): string {
  if (form === "operator") return e.op("Gelu", [x]);
  if (form === "operator-tanh") return e.op("Gelu", [x], { approximate: { s: "tanh" } });
  if (form === "erf") {
    const gate = e.op("Add", [e.op("Erf", [e.op("Div", [x, e.number(Math.SQRT2)])]), e.number(1)]);
    return e.op("Mul", [e.op("Mul", [x, gate]), e.number(0.5)]);
  }
  const cube = e.op("Mul", [e.op("Pow", [x, e.number(3)]), e.number(0.044715)]);
  const inner = e.op("Mul", [e.op("Add", [x, cube]), e.number(Math.sqrt(2 / Math.PI))]);
  const gate = e.op("Add", [e.op("Tanh", [inner]), e.number(1)]);
  return e.op("Mul", [e.op("Mul", [x, e.number(0.5)]), gate]);
}

/**
 * Where the scale of attention stands: on the queries, on the scores, or its root on both sides, as PyTorch writes
 * scaled_dot_product_attention; or one operator (opset 23).
 */
export type AttentionForm = "queries" | "scores" | "both" | "operator";

/** softmax(q·kᵀ/√d)·v of [batch, heads, tokens, d]. */
export function attend(
  e: Exporter,
  [q, k, v]: readonly [string, string, string],
  depth: number,
  form: AttentionForm,
): string {
  if (form === "operator") return e.op("Attention", [q, k, v]);
  const keys = e.op("Transpose", [k], { perm: { ints: [0, 1, 3, 2] } });
  const root = () => e.number(depth ** -0.25);
  let scores: string;
  if (form === "queries") scores = e.op("MatMul", [e.op("Mul", [q, e.number(depth ** -0.5)]), keys]);
  else if (form === "scores") scores = e.op("Div", [e.op("MatMul", [q, keys]), e.number(Math.sqrt(depth))]);
  else scores = e.op("MatMul", [e.op("Mul", [q, root()]), e.op("Mul", [keys, root()])]);
  return e.op("MatMul", [e.op("Softmax", [scores], { axis: { i: -1 } }), v]);
}
