/** The nodes of a Graph model, checked: tfjs itself runs them. */
import { InputError } from "../../errors.js";
import { isObject, type JsonObject } from "../json.js";

export interface GraphNode {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly attributes: JsonObject;
}

/**
 * The nodes of a Graph model. tfjs follows edges without looking: one that leads nowhere, or around, has to be found
 * before. Throws InputError naming the file and the node.
 */
export function nodesOf(topology: JsonObject, path: string): GraphNode[] {
  if (!Array.isArray(topology.node)) throw new InputError(`${path}: its modelTopology has no list of nodes`);
  const nodes = topology.node.map((node): GraphNode => {
    const { name, op, input = [], attr = {} } = isObject(node) ? node : {};
    const inputs = Array.isArray(input) ? input : [null];
    if (typeof name !== "string" || typeof op !== "string" || !isObject(attr)) {
      throw new InputError(`${path}: lists a node without a name, an op or attributes`);
    }
    if (!inputs.every((from) => typeof from === "string")) {
      throw new InputError(`${path}: node "${name}" (${op}) has inputs that are not names`);
    }
    return { name, op, inputs, attributes: attr };
  });
  const byName = new Map(nodes.map((node) => [node.name, node]));
  if (byName.size < nodes.length) throw new InputError(`${path}: names a node twice`);
  checkEdges(byName, path);
  return nodes;
}

/** Loops of TensorFlow 1 lead around on purpose, through these. */
const loopOps: ReadonlySet<string> = new Set(["NextIteration", "RefNextIteration"]);

function checkEdges(nodes: ReadonlyMap<string, GraphNode>, path: string): void {
  /** How many inputs of each node have not been reached yet; who reads whom. */
  const missing = new Map<string, number>();
  const readers = new Map<string, string[]>();
  for (const { name, op, inputs } of nodes.values()) {
    let count = 0;
    for (const from of inputs.map(nodeOf)) {
      const source = nodes.get(from);
      if (source === undefined) {
        throw new InputError(
          `${path}: node "${name}" (${op}) reads "${from}", which is no node of the graph`,
        );
      }
      if (loopOps.has(source.op)) continue;
      count++;
      const list = readers.get(from);
      if (list === undefined) readers.set(from, [name]);
      else list.push(name);
    }
    missing.set(name, count);
  }
  const ready = [...missing].filter(([, count]) => count === 0).map(([name]) => name);
  let reached = 0;
  for (let name = ready.pop(); name !== undefined; name = ready.pop()) {
    reached++;
    for (const reader of readers.get(name) ?? []) {
      const left = missing.get(reader)! - 1;
      missing.set(reader, left);
      if (left === 0) ready.push(reader);
    }
  }
  if (reached < nodes.size) {
    const [name] = [...missing].find(([, count]) => count > 0)!;
    throw new InputError(`${path}: node "${name}" waits for itself`);
  }
}

/** "name", "name:1" and the control edge "^name" all name one node. */
export function nodeOf(edge: string): string {
  return edge.replace(/^\^/, "").replace(/:.*$/, "");
}

/** Names of the nodes that no other reads: what tfjs gives where no signature says it. */
export function unread(nodes: readonly GraphNode[]): string[] {
  const read = new Set(nodes.flatMap(({ inputs }) => inputs.map(nodeOf)));
  return nodes.filter(({ name }) => !read.has(name)).map(({ name }) => name);
}
