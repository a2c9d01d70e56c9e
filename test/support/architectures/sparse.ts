/** Sparse autoencoders: one wide layer of features, of which few are active, and a linear decoder. */
import { type Exporter, exporter } from "./exporter.js";

export type SparseKind = "relu" | "topk" | "topk-unranked" | "jumprelu" | "jumprelu-where" | "gated";
export const sparseKinds: readonly SparseKind[] = [
  "relu",
  "topk",
  "topk-unranked",
  "jumprelu",
  "jumprelu-where",
  "gated",
];

export interface SparseOptions {
  readonly opset: number;
  readonly seed: number;
  readonly kind: SparseKind;
  readonly width: number;
  readonly features: number;
  readonly k: number;
}

/** The features of x·W + b. */
function features(e: Exporter, centred: string, options: SparseOptions): string {
  const { kind, width, features: count, k } = options;
  const weight = e.weight([width, count], 1 / Math.sqrt(width));
  const product = e.op("MatMul", [centred, weight]);
  const before = e.op("Add", [product, e.weight([count], 0.1)]);
  switch (kind) {
    case "relu":
      return e.op("Relu", [before]);
    case "topk":
    case "topk-unranked": {
      const sorted = { axis: { i: -1 }, largest: { i: 1 }, sorted: { i: kind === "topk" ? 1 : 0 } };
      const [values, indices] = e.ops("TopK", [before, e.wholes(k)], 2, sorted);
      const zeros = e.op("ConstantOfShape", [e.op("Shape", [before])]);
      return e.op("ScatterElements", [zeros, indices, e.op("Relu", [values])], { axis: { i: -1 } });
    }
    case "jumprelu":
    case "jumprelu-where": {
      const threshold = e.weight([count], 0.1, 0.3);
      const active = e.op("Greater", [before, threshold]);
      if (kind === "jumprelu-where") return e.op("Where", [active, before, e.number(0)]);
      const gate = e.op("Cast", [active], { to: { i: 1 } });
      return e.op("Relu", [e.op("Mul", [before, gate])]);
    }
    case "gated": {
      const active = e.op("Cast", [e.op("Greater", [before, e.number(0)])], { to: { i: 1 } });
      const scaled = e.op("Mul", [product, e.op("Exp", [e.weight([count], 0.2)])]);
      const magnitude = e.op("Relu", [e.op("Add", [scaled, e.weight([count], 0.1)])]);
      return e.op("Mul", [active, magnitude]);
    }
  }
}

export function sparseAutoencoder(options: SparseOptions): { encoder: Uint8Array; decoder: Uint8Array } {
  const { opset, seed, width, features: count } = options;
  const e = exporter({ opset, seed });
  const centred = e.op("Sub", ["x", e.weight([width], 0.1)]);
  const encoder = e.finish("x", ["batch", width], features(e, centred, options));
  const d = exporter({ opset, seed: seed + 1 });
  const product = d.op("MatMul", ["features", d.weight([count, width], 1 / Math.sqrt(options.k))]);
  return {
    encoder,
    decoder: d.finish("features", ["batch", count], d.op("Add", [product, d.weight([width], 0.1)])),
  };
}
