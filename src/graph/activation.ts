/** The element-wise functions in double precision: the definitions that every engine is compared with. */
import type { Activation } from "./graph.js";

/** The function that `activation` stands for. NaN in, NaN out. */
export function activationFunction({ kind, alpha, beta }: Activation): (x: number) => number {
  switch (kind) {
    case "relu":
      return (x) => Math.max(x, 0);
    case "leakyRelu":
      return (x) => (x < 0 ? alpha * x : x);
    case "elu":
      return (x) => (x < 0 ? alpha * Math.expm1(x) : x);
    case "selu":
      return (x) => beta * (x < 0 ? alpha * Math.expm1(x) : x);
    case "sigmoid":
      return sigmoid;
    case "tanh":
      return Math.tanh;
    case "softplus":
      return (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
    case "gelu":
      return (x) => 0.5 * x * erfc(-x * Math.SQRT1_2);
    case "geluTanh":
      return (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case "silu":
      return (x) => x * sigmoid(x);
    case "clip":
      return (x) => (x < alpha ? alpha : x > beta ? beta : x);
    case "erf":
      return erf;
    case "exp":
      return Math.exp;
    case "log":
      return Math.log;
    case "sqrt":
      return Math.sqrt;
    case "reciprocal":
      return (x) => 1 / x;
    case "abs":
      return Math.abs;
    case "pow":
      return (x) => (Number.isNaN(x) ? x : x ** alpha);
  }
}

/**
 * The derivative of the function that `activation` stands for. Where it has a kink: 0 for relu; what holds to the left
 * for leakyRelu, elu and selu; 1 on both ends of clip; 0 for abs (PyTorch's choices). NaN in, NaN out; the limits at
 * ±∞.
 */
export function activationDerivative({ kind, alpha, beta }: Activation): (x: number) => number {
  const known = derivativeOf(kind, alpha, beta);
  return (x) => (Number.isNaN(x) ? x : known(x));
}

function derivativeOf(kind: Activation["kind"], alpha: number, beta: number): (x: number) => number {
  switch (kind) {
    case "relu":
      return (x) => (x > 0 ? 1 : 0);
    case "leakyRelu":
      return (x) => (x > 0 ? 1 : alpha);
    case "elu":
      return (x) => (x > 0 ? 1 : alpha * Math.exp(x));
    case "selu":
      return (x) => beta * (x > 0 ? 1 : alpha * Math.exp(x));
    case "sigmoid":
      return (x) => sigmoid(x) * sigmoid(-x);
    case "tanh":
      // 1 − tanh² as 4·σ(2x)·σ(−2x): nothing cancels in the tails.
      return (x) => 4 * sigmoid(2 * x) * sigmoid(-2 * x);
    case "softplus":
      return sigmoid;
    case "gelu":
      return (x) =>
        0.5 * erfc(-x * Math.SQRT1_2) + timesDecay(x, Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI));
    case "geluTanh":
      return (x) => {
        const inner = 2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
        const slope = 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
        return sigmoid(inner) + timesDecay(x * slope, sigmoid(inner) * sigmoid(-inner));
      };
    case "silu":
      return (x) => sigmoid(x) + timesDecay(x, sigmoid(x) * sigmoid(-x));
    case "clip":
      return (x) => (x >= alpha && x <= beta ? 1 : 0);
    case "erf":
      return (x) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x);
    case "exp":
      return Math.exp;
    case "log":
      return (x) => 1 / x;
    case "sqrt":
      return (x) => 0.5 / Math.sqrt(x);
    case "reciprocal":
      return (x) => -1 / (x * x);
    case "abs":
      return Math.sign;
    case "pow":
      return (x) => (alpha === 0 ? 0 : alpha * x ** (alpha - 1));
  }
}

/** x·decay, where the decay wins over any growth of x: 0, not NaN, once it is 0. */
function timesDecay(x: number, decay: number): number {
  return decay === 0 ? 0 : x * decay;
}

/** 1 / (1 + e^−x), without overflow on either side. */
function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

/** Beyond this the continued fraction converges fast; below it the series does. */
const seriesLimit = 2.5;

/** The error function 2/√π ∫₀ˣ e^(−t²) dt, to about 1e-15. */
export function erf(x: number): number {
  return Math.abs(x) < seriesLimit ? erfSeries(x) : Math.sign(x) * (1 - erfcFraction(Math.abs(x)));
}

/** 1 − erf(x); relative accuracy is kept where it is tiny. */
export function erfc(x: number): number {
  if (Math.abs(x) < seriesLimit) return 1 - erfSeries(x);
  return x > 0 ? erfcFraction(x) : 2 - erfcFraction(-x);
}

/** erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!, whose terms all have one sign: nothing cancels. */
function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/**
 * erfc(x) = e^(−x²)/√π · 1/(x + ½/(x + 1/(x + 1½/(x + …)))) for x > 0, evaluated from the inside out. 80 levels are
 * more than double precision needs from 2.5 on.
 */
function erfcFraction(x: number): number {
  if (Number.isNaN(x)) return x;
  let tail = x;
  for (let n = 80; n >= 1; n--) tail = x + n / 2 / tail;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * tail);
}
