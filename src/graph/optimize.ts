/** All passes, to a fixed point. */
import { checkGraph } from "./check.js";
import { fold } from "./fold.js";
import { fuse } from "./fuse.js";
import type { Graph } from "./graph.js";
import { prune } from "./rewrite.js";

/**
 * Folds and fuses until nothing changes, and checks the graph before and after. The result computes the same
 * function, up to the rounding of folded weights to float32. Throws InputError where the graph makes no sense.
 */
export function optimize(graph: Graph): Graph {
  checkGraph(graph);
  let current = prune(graph);
  for (;;) {
    const next = fuse(fold(current));
    if (next === current) break;
    current = next;
  }
  checkGraph(current);
  return current;
}
