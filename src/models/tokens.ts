/**
 * What of a transformer's tokens is the latent: all of them, the class token, or their mean; and a fixed mask, under
 * which the encoder never sees some of the patches. All are other graphs around the ones of the model.
 */
import { InputError } from "../errors.js";
import { type GraphBuilder, graphBuilder, type NewNode } from "../graph/builder.js";
import { inputShape, outputShape } from "../graph/compose.js";
import { copyInto, withoutEpilogues } from "../graph/differentiateParts.js";
import { elements, formatShape, type Graph, type Node, type Shape, type ValueId } from "../graph/graph.js";
import { sameShape } from "../graph/shapes.js";
import { native } from "../native.js";
import { autoencoderOf } from "./assemble.js";
import type { Autoencoder } from "./autoencoder.js";
import { hashOfText } from "./hash.js";
import { formatTokens, type TokenOptions } from "./tokenSpec.js";

/** The row of noise that masks are drawn from: past those of points, before those of weights. */
const MASK_ROW = 2 ** 32 - 1;

/** How the tokens of a model lie: an optional class token first, then one for each patch, row by row. */
interface Layout {
  readonly tokens: number;
  readonly width: number;
  readonly patches: number;
}

/**
 * The model with another latent, as a model of its own; see docs/definitions.md. Throws InputError where its latent is not [tokens, width],
 * or the tokens are not those of patches as the option needs them.
 */
export function withTokens(model: Autoencoder, options: TokenOptions): Autoencoder {
  const { encoder, decoder } = model;
  const fail = (message: string): never => {
    throw new InputError(`${model.path}: ${formatTokens(options)} ${message}`);
  };
  if (encoder === null || decoder === null) {
    if (model.unsupported !== null) throw model.unsupported;
    return fail("needs an encoder and a decoder, found a square map");
  }
  const layout = layoutOf(decoder, encoder, options, fail);
  const visible = visiblePatches(layout.patches, options.mask);
  return autoencoderOf(
    {
      encoder: encoderTo(encoder, layout, visible, options, fail),
      decoder: decoderFrom(decoder, layout, visible, options),
    },
    {
      name: model.name,
      path: `${model.path}#${formatTokens(options)}`,
      format: model.format,
      files: model.files,
      preprocessor: model.preprocessor,
      hash: hashOfText(`${model.hash} ${formatTokens(options)}`),
      notes: [...model.notes, describe(layout, visible, options)],
    },
  );
}

function layoutOf(
  decoder: Graph,
  encoder: Graph,
  { latent, mask }: TokenOptions,
  fail: (message: string) => never,
): Layout {
  const shape = inputShape(decoder);
  const [tokens, width] = shape as [number, number];
  if (shape.length !== 2 || tokens < 2 || !sameShape(outputShape(encoder), shape)) {
    return fail(`needs a latent of [tokens, width], found ${formatShape(shape)}`);
  }
  const image = inputShape(encoder);
  const patches = [tokens - 1, tokens].find((count) => isGrid(image, count));
  if (patches === undefined) {
    return fail(`needs one token for each patch of ${formatShape(image)}, found ${tokens} tokens`);
  }
  if (patches === tokens && (latent === "class" || mask !== null)) {
    return fail(`needs a class token, found ${tokens} tokens for ${tokens} patches`);
  }
  return { tokens, width, patches };
}

/** Whether an image [C, H, W] can be cut into that many square patches. */
function isGrid(image: Shape, count: number): boolean {
  if (image.length !== 3) return false;
  const [, height, width] = image as [number, number, number];
  const side = Math.sqrt((height * width) / count);
  return Number.isInteger(side) && height % side === 0 && width % side === 0;
}

/** The patches that are left, ascending: of random numbers, one a patch, those with the smallest. */
export function visiblePatches(patches: number, mask: TokenOptions["mask"]): readonly number[] {
  const all = Array.from({ length: patches }, (_, i) => i);
  if (mask === null) return all;
  const keep = Math.max(1, Math.floor(patches * (1 - mask.ratio)));
  const noise = native().noise(mask.randomSeed, MASK_ROW, 1, patches, 1);
  const order = all.toSorted((p, q) => noise[p]! - noise[q]! || p - q);
  return order.slice(0, keep).sort((p, q) => p - q);
}

function describe({ patches }: Layout, visible: readonly number[], options: TokenOptions): string {
  const masked = options.mask === null ? "" : `, ${patches - visible.length} of ${patches} patches masked`;
  const what = { tokens: "all tokens", class: "the class token", pooled: "the mean of the patch tokens" };
  return `the latent is ${what[options.latent]}${masked}`;
}

/** E, and then the part of its tokens that is the latent. */
function encoderTo(
  encoder: Graph,
  layout: Layout,
  visible: readonly number[],
  { latent, mask }: TokenOptions,
  fail: (message: string) => never,
): Graph {
  const source = withoutEpilogues(encoder);
  const attentions = mask === null ? new Set<Node>() : tokenAttentions(source, layout, fail);
  const builder = graphBuilder(`${encoder.name}: ${latent}`);
  const input = builder.input("input", inputShape(encoder));
  const copy = copyInto(builder, source, input);
  const first = layout.tokens - layout.patches;
  const seen = [...Array.from({ length: first }, (_, i) => i), ...visible.map((patch) => patch + first)];
  // Finite, so that a block of keys that are all hidden has a largest score.
  const hidden = new Float32Array(layout.tokens).fill(-1e30);
  for (const token of seen) hidden[token] = 0;
  for (const node of source.nodes) {
    if (!attentions.has(node)) {
      copy.node(node);
      continue;
    }
    const { output, ...rest } = node;
    const [q, k, v, own] = node.inputs.map((id) => copy.ids[id]) as [ValueId, ValueId, ValueId, ValueId?];
    const bias = maskedBias(builder, own, hidden);
    copy.ids[output] = builder.node({ ...rest, inputs: [q, k, v, bias] } as NewNode);
  }
  const tokens = copy.ids[source.output]!;
  const picked = (name: string, indices: readonly number[]) =>
    builder.node({ op: "gather", name, inputs: [tokens], axis: 0, indices });
  if (latent === "tokens") return builder.finish(input, picked("visible", seen));
  if (latent === "class") return builder.finish(input, flat(builder, picked("class", [0]), layout.width));
  const patches = picked("patches", seen.slice(first));
  const mean = builder.node({ op: "reduceMean", name: "pooled", inputs: [patches], axes: [0] }, [
    layout.width,
  ]);
  return builder.finish(input, mean);
}

function maskedBias(builder: GraphBuilder, own: ValueId | undefined, hidden: Float32Array): ValueId {
  if (own === undefined) return builder.constant("mask", [1, hidden.length], hidden);
  const { length } = hidden;
  const shape = builder.shapeOf(own);
  const given = builder.constantOf(own)!;
  const spread = [...shape.slice(0, -1), length];
  const from = (i: number) => (shape.at(-1) === 1 ? Math.floor(i / length) : i);
  const sum = Float32Array.from(
    { length: elements(spread) },
    (_, i) => given[from(i)]! + hidden[i % length]!,
  );
  return builder.constant("mask", spread, sum);
}

function flat(builder: GraphBuilder, id: ValueId, width: number): ValueId {
  return builder.node({ op: "reshape", name: "latent", inputs: [id] }, [width]);
}

/** The whole of the tokens made from the latent, and then D. */
function decoderFrom(
  decoder: Graph,
  { tokens, width, patches }: Layout,
  visible: readonly number[],
  { latent, mask }: TokenOptions,
): Graph {
  const source = withoutEpilogues(decoder);
  const builder = graphBuilder(`${decoder.name}: ${latent}`);
  const first = tokens - patches;
  const spread = (name: string, from: ValueId, indices: readonly number[]) =>
    builder.node({ op: "gather", name, inputs: [from], axis: 0, indices });
  let input: ValueId;
  let whole: ValueId;
  if (latent !== "tokens") {
    input = builder.input("latent", [width]);
    const one = builder.node({ op: "reshape", name: "token", inputs: [input] }, [1, width]);
    whole = spread("everywhere", one, new Array<number>(tokens).fill(0));
  } else {
    input = builder.input("latent", [first + visible.length, width]);
    whole = input;
    if (mask !== null) {
      const places = visible.map((_, i) => first + i);
      const shown = spread("shown", input, places);
      const mean = builder.node({ op: "reduceMean", name: "mean", inputs: [shown], axes: [0] }, [1, width]);
      const joined = builder.node({ op: "concat", name: "with mean", inputs: [input, mean], axis: 0 });
      const order = Array.from({ length: tokens }, (_, token) => {
        const place = token < first ? token : visible.indexOf(token - first) + first;
        return token >= first && place < first ? first + visible.length : place;
      });
      whole = spread("filled", joined, order);
    }
  }
  const copy = copyInto(builder, source, whole);
  for (const node of source.nodes) copy.node(node);
  return builder.finish(input, copy.ids[source.output]!);
}

/**
 * The attentions among the tokens of an encoder, once it is sure that nothing else lets one token see another: then
 * hiding tokens from them is the same as never having had those tokens.
 */
function tokenAttentions(graph: Graph, { tokens }: Layout, fail: (message: string) => never): Set<Node> {
  const attentions = new Set<Node>();
  /** The axis of a value along which its tokens lie. */
  const axes: (number | undefined)[] = [];
  const shapeOf = (id: ValueId) => graph.values[id]!.shape;
  for (const node of graph.nodes) {
    const along = node.inputs.map((id) => axes[id]);
    const isFirst = along.every((axis) => axis === undefined);
    if (isFirst) {
      const [a, b] = node.inputs as [ValueId, ValueId];
      const joins = node.op === "concat" && node.inputs.length === 2 && shapeOf(a)[node.axis] === 1;
      if (
        joins &&
        graph.values[a]!.constant &&
        !graph.values[b]!.constant &&
        shapeOf(node.output)[node.axis] === tokens
      ) {
        axes[node.output] = node.axis;
      }
      continue;
    }
    const axis = tokenAxis(node, along, shapeOf);
    if (axis === undefined) fail(`cannot tell whether node "${node.name}" (${node.op}) keeps tokens apart`);
    axes[node.output] = axis;
    if (node.op === "attention") attentions.add(node);
  }
  if (axes[graph.output] !== 0 || attentions.size === 0) {
    fail("needs an encoder that puts a class token before its patches and lets them attend to one another");
  }
  return attentions;
}

/** Where the tokens lie in the result of a node that keeps them apart; undefined where it may not. */
function tokenAxis(
  node: Node,
  along: readonly (number | undefined)[],
  shapeOf: (id: ValueId) => Shape,
): number | undefined {
  const from = shapeOf(node.inputs[0]!);
  const to = shapeOf(node.output);
  const [axis] = along;
  switch (node.op) {
    case "activate":
      return axis;
    case "add":
    case "sub":
    case "mul":
    case "div": {
      // Counted from the end, both sides have their tokens at one place, or one side is the same for all.
      const places = along.flatMap((own, i) =>
        own === undefined ? [] : [shapeOf(node.inputs[i]!).length - own],
      );
      return places.every((place) => place === places[0]) ? to.length - places[0]! : undefined;
    }
    case "layerNorm":
      return axis! < from.length - node.dimensions ? axis : undefined;
    case "linear":
    case "softmax":
      return axis! < from.length - 1 ? axis : undefined;
    case "transpose":
      return node.permutation.indexOf(axis!);
    case "reshape": {
      const front = elements(from.slice(0, axis));
      const place = to.findIndex((n, i) => n === from[axis!] && elements(to.slice(0, i)) === front);
      return place < 0 ? undefined : place;
    }
    case "attention": {
      const inner = from.length - 2;
      return along.slice(0, 3).every((own) => own === inner) ? inner : undefined;
    }
    default:
      return undefined;
  }
}
