/** Normalisation in the forms exporters write. Scales and shifts that follow are folded in by `fold`. */
import { elements, type Node, type ReduceMeanNode, type ValueId } from "./graph.js";
import { functionOf, haveSameShape, isAll, numberOf, shiftOf } from "./match.js";
import { addConstant, addNode, type Draft, producerOf, replacePattern, soleProducerOf } from "./rewrite.js";
import { sameShape } from "./shapes.js";

/**
 * (x − mean(x)) / √(mean((x − mean(x))²) + ε) over the last dimensions, the square as a power or a product, the root
 * below a division or as a factor.
 */
export function recogniseLayerNorm(draft: Draft, node: Node): boolean {
  if (node.op !== "div" && node.op !== "mul") return false;
  const [a, b] = node.inputs as [ValueId, ValueId];
  const sides =
    node.op === "div"
      ? [{ centred: a, variance: underRoot(draft, b) }]
      : [
          { centred: a, variance: underInverseRoot(draft, b) },
          { centred: b, variance: underInverseRoot(draft, a) },
        ];
  for (const { centred, variance } of sides) {
    const found = variance === undefined ? undefined : varianceOf(draft, variance, centred);
    if (found === undefined || !haveSameShape(draft, found.x, node.output)) continue;
    const { x, axes, epsilon } = found;
    const { shape } = draft.values[x]!;
    const first = shape.length - axes.length;
    if (axes.some((axis, i) => axis !== first + i)) continue;
    const trailing = shape.slice(first);
    const size = elements(trailing);
    const inputs = [
      x,
      addConstant(draft, `${node.name}.scale`, trailing, new Float32Array(size).fill(1)),
      addConstant(draft, `${node.name}.bias`, trailing, new Float32Array(size)),
    ];
    const carried = node.activation === undefined ? {} : { activation: node.activation };
    const { name, output } = node;
    const dimensions = axes.length;
    replacePattern(draft, node, { op: "layerNorm", name, inputs, output, dimensions, epsilon, ...carried });
    return true;
  }
  return false;
}

/** y of √y */
function underRoot(draft: Draft, id: ValueId): ValueId | undefined {
  const root = functionOf(draft, id, "sqrt") ?? functionOf(draft, id, "pow");
  if (root === undefined || (root.activation.kind === "pow" && root.activation.alpha !== 0.5))
    return undefined;
  return root.inputs[0];
}

/** y of 1/√y */
function underInverseRoot(draft: Draft, id: ValueId): ValueId | undefined {
  const power = functionOf(draft, id, "pow");
  if (power?.activation.alpha === -0.5) return power.inputs[0];
  const inverse = functionOf(draft, id, "reciprocal");
  if (inverse !== undefined) return underRoot(draft, inverse.inputs[0]!);
  const quotient = producerOf(draft, id);
  const isInverse = quotient?.op === "div" && numberOf(draft, quotient.inputs[0]!) === 1;
  return isInverse && quotient.activation === undefined ? underRoot(draft, quotient.inputs[1]!) : undefined;
}

/** mean(d²) + ε with d = x − mean(x), which is what `centred` is. */
function varianceOf(
  draft: Draft,
  id: ValueId,
  centred: ValueId,
): { x: ValueId; axes: readonly number[]; epsilon: number } | undefined {
  const shift = shiftOf(draft, id);
  const epsilon = shift === undefined ? 0 : numberOf(draft, shift.constant);
  const mean = keptMeanOf(draft, shift?.x ?? id);
  const square = mean && squareOf(draft, mean.inputs[0]!);
  const x = centredOf(draft, centred, mean?.axes);
  if (mean === undefined || square === undefined || x === undefined || epsilon === undefined)
    return undefined;
  const same = square === centred || centredOf(draft, square, mean.axes) === x;
  return same && epsilon >= 0 ? { x, axes: mean.axes, epsilon } : undefined;
}

/** d of d² */
function squareOf(draft: Draft, id: ValueId): ValueId | undefined {
  const power = functionOf(draft, id, "pow");
  if (power !== undefined) return power.activation.alpha === 2 ? power.inputs[0] : undefined;
  const product = producerOf(draft, id);
  const squared = product?.op === "mul" && product.inputs[0] === product.inputs[1];
  return squared && product.activation === undefined ? product.inputs[0] : undefined;
}

/** x of x − mean(x) over the axes. */
function centredOf(draft: Draft, id: ValueId, axes: readonly number[] | undefined): ValueId | undefined {
  const difference = producerOf(draft, id);
  if (difference?.op !== "sub" || difference.activation !== undefined) return undefined;
  const [x, m] = difference.inputs as [ValueId, ValueId];
  const mean = keptMeanOf(draft, m);
  return mean?.inputs[0] === x && sameShape(mean.axes, axes ?? []) ? x : undefined;
}

/** A mean whose axes stay, with length 1. */
function keptMeanOf(draft: Draft, id: ValueId): ReduceMeanNode | undefined {
  const mean = producerOf(draft, id);
  if (mean?.op !== "reduceMean") return undefined;
  return draft.values[id]!.shape.length === draft.values[mean.inputs[0]!]!.shape.length ? mean : undefined;
}

/**
 * reshape to [groups, …], normalise every row of it, reshape to [channels, …]: group normalisation.
 */
export function recogniseGroupNorm(draft: Draft, node: Node): boolean {
  if (node.op !== "reshape") return false;
  const norm = soleProducerOf(draft, node.inputs[0]!);
  if ((norm?.op !== "groupNorm" && norm?.op !== "layerNorm") || norm.activation !== undefined) return false;
  const [grouped, scaleId, biasId] = norm.inputs as [ValueId, ValueId, ValueId];
  const { shape: groupedShape } = draft.values[grouped]!;
  const groups = groupedShape[0]!;
  const bare = () => isAll(draft, scaleId, 1) && isAll(draft, biasId, 0);
  const everyRow =
    norm.op === "groupNorm" ? norm.groups === groups : norm.dimensions === groupedShape.length - 1 && bare();
  if (!everyRow) return false;
  const split = soleProducerOf(draft, grouped);
  if (split?.op !== "reshape") return false;
  // What was split may have had another shape: only its elements count.
  const { shape } = draft.values[node.output]!;
  const channels = shape[0];
  if (channels === undefined || channels % groups !== 0) return false;
  const spread = (id: ValueId) => {
    const { name, constant } = draft.values[id]!;
    const perGroup = channels / groups;
    const data = Float32Array.from({ length: channels }, (_, c) => constant![Math.floor(c / perGroup)]!);
    return addConstant(draft, name, [channels], data);
  };
  const x = addNode(draft, { op: "reshape", name: split.name, inputs: split.inputs }, shape);
  const inputs = [x, spread(scaleId), spread(biasId)];
  const { name, epsilon } = norm;
  replacePattern(draft, node, { op: "groupNorm", name, inputs, output: node.output, groups, epsilon });
  return true;
}
