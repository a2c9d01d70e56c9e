/**
 * What the passes share: a graph opened for changes, with the producer and the number of uses of every value kept
 * up to date, and the way back to a graph without what has died.
 */
import type { NewNode } from "./builder.js";
import type { Graph, Node, Shape, Value, ValueId } from "./graph.js";

export interface Draft {
  readonly values: Value[];
  /** null where a node has been removed; in any order, which is put right at the end. */
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
  return addValue(draft, { name, shape, constant });
}

function addValue(draft: Draft, value: Value): ValueId {
  draft.uses.push(0);
  draft.producers.push(-1);
  return draft.values.push(value) - 1;
}

/** Adds a node with a result of its own, which has the given shape. */
export function addNode(draft: Draft, node: NewNode, shape: Shape): ValueId {
  const output = addValue(draft, { name: node.name, shape });
  const complete = { ...node, output } as Node;
  draft.producers[output] = draft.nodes.push(complete) - 1;
  for (const id of readBy(complete)) draft.uses[id]!++;
  return output;
}

/** Removes the node; its result has no producer any more. */
export function removeNode(draft: Draft, node: Node) {
  const index = draft.producers[node.output]!;
  draft.nodes[index] = null;
  draft.producers[node.output] = -1;
  for (const id of readBy(node)) draft.uses[id]!--;
}

/** Puts `next` where `node` stands. Nothing that `next` reads may depend on its result. */
export function replaceNode(draft: Draft, node: Node, next: Node) {
  const index = draft.producers[node.output]!;
  removeNode(draft, node);
  draft.nodes[index] = next;
  draft.producers[next.output] = index;
  for (const id of readBy(next)) draft.uses[id]!++;
}

/** `replaceNode` for a pattern of several nodes: what only `node` needed goes with it. */
export function replacePattern(draft: Draft, node: Node, next: Node) {
  replaceNode(draft, node, next);
  for (const id of readBy(node)) removeUnused(draft, id);
}

/** Removes what computes the value, and what only that needed, where nothing reads it. */
export function removeUnused(draft: Draft, id: ValueId) {
  const open = [id];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const producer = producerOf(draft, next);
    if (producer === undefined || draft.uses[next]! > 0) continue;
    removeNode(draft, producer);
    open.push(...readBy(producer));
  }
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
    nodes: ordered(draft),
    input: draft.input,
    output: draft.output,
  });
}

/** The nodes with every input before its use; otherwise in the order in which they stand. */
function ordered(draft: Draft): Node[] {
  const result: Node[] = [];
  const done = new Set<Node>();
  for (const first of draft.nodes) {
    const open = first === null ? [] : [first];
    for (let node = open.at(-1); node !== undefined; node = open.at(-1)) {
      const missing = readBy(node)
        .map((id) => producerOf(draft, id))
        .find((producer) => producer !== undefined && !done.has(producer));
      if (missing !== undefined && !done.has(node)) {
        open.push(missing);
        continue;
      }
      open.pop();
      if (!done.has(node)) result.push(node);
      done.add(node);
    }
  }
  return result;
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
