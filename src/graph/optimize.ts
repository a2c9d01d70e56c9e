/** All passes, to a fixed point. */
import { checkGraph } from "./check.js";
import { fold } from "./fold.js";
import { fuse, recognise } from "./fuse.js";
import type { Graph } from "./graph.js";
import { prune } from "./rewrite.js";

/**
 * Folds and fuses until nothing changes, and checks the graph before and after. The result computes the same
 * function, up to the rounding of folded weights to float32. Throws InputError where the graph makes no sense.
 */
export function optimize(graph: Graph): Graph {
  checkGraph(graph);
  // Patterns first: an epilogue would hide a part of one.
  const recognised = settle(prune(graph), (current) => recognise(fold(current)));
  const fused = settle(recognised, (current) => fuse(fold(current)));
  checkGraph(fused);
  return fused;
}

/** Applies the pass until it changes nothing. */
function settle(graph: Graph, pass: (graph: Graph) => Graph): Graph {
  let current = graph;
  for (let next = pass(current); next !== current; next = pass(current)) current = next;
  return current;
}
