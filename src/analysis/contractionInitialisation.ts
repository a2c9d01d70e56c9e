/** How a network contracts before it has learned anything: its weights drawn anew, and what that does to noise. */
import { run } from "../engines/native.js";
import { AbortedError, InputError } from "../errors.js";
import { elements, type Graph, type Shape, type Value, type ValueId } from "../graph/graph.js";
import { type DrawnConstant, drawConstant, type Scheme } from "../graph/initialise.js";
import { lower } from "../graph/lower.js";
import { optimize } from "../graph/optimize.js";
import type { Matrix } from "../matrix.js";
import { native } from "../native.js";

/** A constant that is drawn anew, or reset. */
type Redrawn = DrawnConstant | { readonly kind: "fixed"; readonly value: number };

/** Rows of noise that one seed's tensors take up, and where those of weights begin, past all rows of points. */
const ROWS_PER_SEED = 2 ** 20;
const FIRST_ROW = 2 ** 32;

/**
 * The graph with the weights of convolutions, linear layers and constant matrices drawn by `scheme`, biases with them,
 * and normalisations reset to scale 1 and bias 0. Other constants (what is added or multiplied element by element)
 * stay. Draw `seed` of `randomSeed` is the same on every machine. Throws InputError where there is nothing to draw.
 */
export function redrawWeights(
  graph: Graph,
  { scheme, seed, randomSeed }: { scheme: Scheme; seed: number; randomSeed: number },
): Graph {
  const plan = redrawable(graph);
  if (![...plan.values()].some(({ kind }) => kind === "weight")) {
    throw new InputError(`${graph.name}: has no weights to draw anew`);
  }
  let ordinal = 0;
  const values = graph.values.map((value, id): Value => {
    const how = plan.get(id);
    if (how === undefined) return value;
    const length = elements(value.shape);
    if (how.kind === "fixed") return { ...value, constant: new Float32Array(length).fill(how.value) };
    const row = FIRST_ROW + seed * ROWS_PER_SEED + ordinal++;
    return { ...value, constant: drawConstant(how, scheme, native().noise(randomSeed, row, 1, length, 1)) };
  });
  return { ...graph, values };
}

function redrawable(graph: Graph): Map<ValueId, Redrawn> {
  const plan = new Map<ValueId, Redrawn>();
  const isConstant = (id: ValueId): boolean => graph.values[id].constant !== undefined;
  for (const node of graph.nodes) {
    const [a, b, c] = node.inputs;
    const shapeOf = (id: ValueId): Shape => graph.values[id].shape;
    switch (node.op) {
      case "conv":
      case "convTranspose":
      case "linear": {
        const [out, inputs, ...kernel] = shapeOf(b);
        const taps = elements(kernel);
        plan.set(b, { kind: "weight", in: inputs * taps, out: out * taps });
        if (c !== undefined) plan.set(c, { kind: "bias", in: inputs * taps });
        break;
      }
      case "matmul": {
        // x·B is a linear layer with Bᵀ, A·x one with A.
        const [m, n] = shapeOf(a).slice(-2);
        const p = shapeOf(b).at(-1) as number;
        if (isConstant(b)) plan.set(b, { kind: "weight", in: n, out: p });
        else if (isConstant(a)) plan.set(a, { kind: "weight", in: n, out: m });
        break;
      }
      case "groupNorm":
      case "layerNorm":
        plan.set(b, { kind: "fixed", value: 1 });
        plan.set(c, { kind: "fixed", value: 0 });
        break;
      default:
        break;
    }
  }
  return plan;
}

/**
 * σ_out/σ_in of `inputs` [N, elements of the graph's input], N ≥ 2, through the graph: σ² is the variance over the
 * inputs, its mean over the coordinates. Not finite where the outputs are not. Throws AbortedError where the signal
 * fires.
 */
export async function deviationRatio(
  graph: Graph,
  inputs: Matrix,
  { threads, signal }: { threads: number; signal?: AbortSignal },
): Promise<number> {
  const optimized = optimize(graph);
  const plan = native().compile(lower(optimized), {});
  try {
    const { output, aborted } = await run({ signal }, () => native().apply(plan, inputs.data, { threads }));
    if (aborted) throw new AbortedError("aborted", undefined, { cause: signal?.reason });
    return Math.sqrt(meanVariance(output, inputs.rows) / meanVariance(inputs.data, inputs.rows));
  } finally {
    plan.dispose();
  }
}

function meanVariance(data: Float32Array, rows: number): number {
  const columns = data.length / rows;
  const mean = new Float64Array(columns);
  for (let i = 0; i < data.length; i++) mean[i % columns] += data[i] / rows;
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += (data[i] - mean[i % columns]) ** 2;
  return sum / data.length;
}
