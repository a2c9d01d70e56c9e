/**
 * What the passes share: a graph opened for changes, with the producer and the number of uses of every value kept
 * up to date, and the way back to a graph without what has died.
 */
import type { Graph, Node, Shape, Value, ValueId } from "./graph.js";

export interface Draft {
  readonly values: Value[];
  /** null where a node has been removed. */
  readonly nodes: (Node | null)[];
  readonly input: ValueId;
  output: ValueId;
  /** How many inputs, residuals and graph outputs read each value. */
  readonly uses: number[];
  /** Index of the node that computes each value; −1 for constants and the input. */
  readonly producers: number[];
}

/** Looks at one node and changes the draft if it can; says whether it did. */
export type Rule = (draft: Draft, node: Node, index: number) => boolean;

/** Tries every rule on every node until none of them changes anything, on what the output needs of the graph. */
export function rewrite(graph: Graph, rules: readonly Rule[]): Graph {
  const pruned = prune(graph);
  const draft = openDraft(pruned);
  let changed = false;
  for (let again = true; again; ) {
    again = false;
    for (let index = 0; index < draft.nodes.length; index++) {
      for (const rule of rules) {
        const node = draft.nodes[index];
        if (node !== null && node !== undefined && rule(draft, node, index)) again = true;
      }
    }
    changed ||= again;
  }
  return changed ? closeDraft(graph.name, draft) : pruned;
}

function openDraft(graph: Graph): Draft {
  const draft: Draft = {
    values: [...graph.values],
    nodes: [...graph.nodes],
    input: graph.input,
    output: graph.output,
    uses: graph.values.map(() => 0),
    producers: graph.values.map(() => -1),
  };
  graph.nodes.forEach((node, index) => {
    draft.producers[node.output] = index;
    for (const id of readBy(node)) draft.uses[id]!++;
  });
  draft.uses[graph.output]!++;
  return draft;
}

/** Everything the node reads. */
export function readBy(node: Node): readonly ValueId[] {
  return node.residual === undefined ? node.inputs : [...node.inputs, node.residual];
}

/** The node that computes the value, or undefined for a constant or the graph's input. */
export function producerOf(draft: Draft, id: ValueId): Node | undefined {
  return draft.nodes[draft.producers[id]!] ?? undefined;
}

/** The node that computes the value, if nothing else reads it. */
export function soleProducerOf(draft: Draft, id: ValueId): Node | undefined {
  return draft.uses[id] === 1 ? producerOf(draft, id) : undefined;
}

export function addConstant(draft: Draft, name: string, shape: Shape, constant: Float32Array): ValueId {
  draft.uses.push(0);
  draft.producers.push(-1);
  return draft.values.push({ name, shape, constant }) - 1;
}

/** Removes the node; its result has no producer any more. */
export function removeNode(draft: Draft, node: Node) {
  const index = draft.producers[node.output]!;
  draft.nodes[index] = null;
  draft.producers[node.output] = -1;
  for (const id of readBy(node)) draft.uses[id]!--;
}

/** Puts `next` where `node` stands. Whatever `next` reads must be computed before that place. */
export function replaceNode(draft: Draft, node: Node, next: Node) {
  const index = draft.producers[node.output]!;
  removeNode(draft, node);
  draft.nodes[index] = next;
  draft.producers[next.output] = index;
  for (const id of readBy(next)) draft.uses[id]!++;
}

/** Everything that read `from` reads `to` instead, the graph's output included. */
export function redirect(draft: Draft, from: ValueId, to: ValueId) {
  const swap = (id: ValueId) => (id === from ? to : id);
  draft.nodes.forEach((node, index) => {
    if (node === null || !readBy(node).includes(from)) return;
    const residual = node.residual === undefined ? {} : { residual: swap(node.residual) };
    draft.nodes[index] = { ...node, inputs: node.inputs.map(swap), ...residual };
  });
  draft.output = swap(draft.output);
  draft.uses[to]! += draft.uses[from]!;
  draft.uses[from] = 0;
}

/** A graph of what the output needs, renumbered; the input stays even where nothing reads it. */
function closeDraft(name: string, draft: Draft): Graph {
  return prune({
    name,
    values: draft.values,
    nodes: draft.nodes.filter((node) => node !== null),
    input: draft.input,
    output: draft.output,
  });
}

/** Removes nodes and values that the output does not need. The same graph is given back if all are needed. */
export function prune(graph: Graph): Graph {
  const needed = new Set<ValueId>([graph.output]);
  const nodes = graph.nodes
    .toReversed()
    .filter((node) => {
      if (!needed.has(node.output)) return false;
      for (const id of readBy(node)) needed.add(id);
      return true;
    })
    .toReversed();
  needed.add(graph.input);
  if (nodes.length === graph.nodes.length && needed.size === graph.values.length) return graph;
  const kept = graph.values.map((_, id) => id).filter((id) => needed.has(id));
  const renumbered = new Map(kept.map((id, index) => [id, index]));
  const swap = (id: ValueId) => renumbered.get(id)!;
  return {
    name: graph.name,
    values: kept.map((id) => graph.values[id]!),
    nodes: nodes.map((node) => ({
      ...node,
      inputs: node.inputs.map(swap),
      output: swap(node.output),
      ...(node.residual === undefined ? {} : { residual: swap(node.residual) }),
    })),
    input: swap(graph.input),
    output: swap(graph.output),
  };
}
