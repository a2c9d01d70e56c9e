/** Weights as networks begin with: drawn at random by a named scheme. */
import { erf } from "./activation.js";

/**
 * How weights are drawn, with fans as PyTorch counts them (fan in: the weight's second dimension times its kernel,
 * fan out: the first). kaiming N(0, 2/in), xavier N(0, 2/(in + out)), lecun N(0, 1/in), biases 0; pytorch: its layers'
 * default, weights and biases uniform in ±1/√in.
 */
export const SCHEMES = ["kaiming", "xavier", "lecun", "pytorch"] as const;
export type Scheme = (typeof SCHEMES)[number];

/** A constant that is drawn, with the fans of its layer. */
export type DrawnConstant =
  | { readonly kind: "weight"; readonly in: number; readonly out: number }
  | { readonly kind: "bias"; readonly in: number };

/** The constant from as many standard normals. */
export function drawConstant(how: DrawnConstant, scheme: Scheme, normals: Float32Array): Float32Array {
  if (scheme === "pytorch") {
    const bound = 1 / Math.sqrt(how.in);
    // A normal's own distribution function makes it uniform in −1 … 1.
    return normals.map((x) => bound * erf(x * Math.SQRT1_2));
  }
  if (how.kind === "bias") return normals.fill(0);
  const variance = { kaiming: 2 / how.in, xavier: 2 / (how.in + how.out), lecun: 1 / how.in }[scheme];
  const deviation = Math.sqrt(variance);
  return normals.map((x) => deviation * x);
}
