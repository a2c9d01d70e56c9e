/**
 * ONNX models, each fed by the one before, as one model: names rewired, operators and weights as they are. A runtime
 * then optimises across the seam, and what lies between never leaves it.
 */
import type { Shape } from "../../graph/graph.js";
import { sameShape } from "../../graph/shapes.js";
import { attributeTypes, dataTypes } from "./schema.js";
import {
  decodeWhole,
  encodeWhole,
  toNumber,
  visitGraphs,
  type WholeGraph,
  type WholeModel,
  type WholeValueInfo,
} from "./whole.js";

export interface ChainPart {
  readonly bytes: Uint8Array;
  /** What messages call it. */
  readonly file: string;
  /** Name of the input that is fed. */
  readonly input: string;
  /** Shape of one row of it. */
  readonly inputShape: Shape;
  /** Rows it takes at once; undefined where any number will do. */
  readonly batchSize: number | undefined;
  /** Name of the output that is passed on. */
  readonly output: string;
}

export interface Chain {
  readonly bytes: Uint8Array;
  readonly input: string;
  readonly output: string;
  readonly batchSize: number | undefined;
}

/** No file of protocol buffers may be larger. */
const largestModel = 2 ** 31 - 1;
/** The first version in which initializers need not be inputs as well. */
const leastIrVersion = 4;

/**
 * One model of float32 input and output made of `parts` in the order in which they run. Where what one gives and what
 * the next takes differ in type or shape, a Cast or a Reshape stands between them. Gives the reason instead where they
 * cannot be one model. Throws InputError where a part is no ONNX model.
 */
export function chainModels(parts: readonly ChainPart[]): Chain | { readonly reason: string } {
  const size = parts.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (size > largestModel) return { reason: "together the files are larger than 2 GiB" };
  const models = parts.map(({ bytes, file }) => decodeWhole(bytes, file));
  const reason = whyApart(parts, models);
  if (reason !== undefined) return { reason };

  const batchSize = parts.find((part) => part.batchSize !== undefined)?.batchSize;
  const nodes: object[] = [];
  const initializers: object[] = [];
  let at: Passed = { name: "input", type: dataTypes.float, shape: parts[0]!.inputShape };
  models.forEach(({ graph }, i) => {
    const part = parts[i]!;
    const prefix = `part${i}/`;
    const wanted = { type: typeOf(graph.input, part.input) ?? dataTypes.float, shape: part.inputShape };
    const seam = seamBetween(at, wanted, batchSize, `seam${i}/`);
    rename(graph, prefix, part.input, seam.name);
    nodes.push(...seam.nodes, ...graph.node);
    initializers.push(...seam.initializers, ...graph.initializer);
    const name = part.output === part.input ? seam.name : prefix + part.output;
    at = { name, type: typeOf(graph.output, name) ?? wanted.type, shape: fixedShape(graph.output, name) };
  });
  const end = seamBetween(at, { type: dataTypes.float, shape: at.shape }, batchSize, "end/");
  const batch = batchSize === undefined ? { dimParam: "batch" } : { dimValue: batchSize };
  const dim = [batch, ...parts[0]!.inputShape.map((dimValue) => ({ dimValue }))];
  const bytes = encodeWhole({
    irVersion: Math.max(leastIrVersion, ...models.map(({ irVersion }) => toNumber(irVersion))),
    opsetImport: [...opsetsOf(models)].map(([domain, version]) => ({ domain, version })),
    functions: models.flatMap(({ functions }) => functions),
    graph: {
      name: "chain",
      node: [...nodes, ...end.nodes],
      initializer: [...initializers, ...end.initializers],
      sparseInitializer: models.flatMap(({ graph }) => graph.sparseInitializer),
      input: [{ name: "input", type: { tensorType: { elemType: dataTypes.float, shape: { dim } } } }],
      output: [{ name: end.name, type: { tensorType: { elemType: dataTypes.float } } }],
      valueInfo: models.flatMap(({ graph }) => graph.valueInfo),
    },
  });
  return { bytes, input: "input", output: end.name, batchSize };
}

/** A tensor between two parts; the shape is that of one row where it is known. */
interface Passed {
  readonly name: string;
  /** TensorProto.DataType */
  readonly type: number;
  readonly shape: Shape | undefined;
}

function whyApart(parts: readonly ChainPart[], models: readonly WholeModel[]): string | undefined {
  const sizes = new Set(parts.flatMap(({ batchSize }) => batchSize ?? []));
  if (sizes.size > 1) return `the files take batches of ${[...sizes].join(" and ")} rows`;
  const versions = new Map<string, number>();
  for (const model of models) {
    for (const [domain, version] of opsetsOf([model])) {
      const other = versions.get(domain) ?? version;
      if (other !== version) {
        return `the files are written in operator sets ${other} and ${version}${domain && ` of ${domain}`}`;
      }
      versions.set(domain, version);
    }
  }
  if (models.filter(({ functions }) => functions.length > 0).length > 1) {
    return "several of the files bring functions of their own, whose names may clash";
  }
  return undefined;
}

/** Operator sets by domain; the standard one, which has two names, as "". */
function opsetsOf(models: readonly WholeModel[]): Map<string, number> {
  const imports = models.flatMap(({ opsetImport }) => opsetImport);
  return new Map(
    imports.map(({ domain = "", version }) => [domain === "ai.onnx" ? "" : domain, toNumber(version)]),
  );
}

/** The nodes that make `wanted` of `from`, and the name of what they give. */
function seamBetween(
  from: Passed,
  wanted: Omit<Passed, "name">,
  batchSize: number | undefined,
  prefix: string,
): { name: string; nodes: object[]; initializers: object[] } {
  const nodes: object[] = [];
  const initializers: object[] = [];
  let { name } = from;
  const add = (opType: string, inputs: string[], attribute: object[] = []): void => {
    nodes.push({ opType, name: prefix + opType, input: inputs, output: [prefix + opType], attribute });
    name = prefix + opType;
  };
  if (from.type !== wanted.type) {
    add("Cast", [name], [{ name: "to", type: attributeTypes.int, i: wanted.type }]);
  }
  const fits = from.shape !== undefined && wanted.shape !== undefined && sameShape(from.shape, wanted.shape);
  if (wanted.shape !== undefined && !fits) {
    const int64Data = [batchSize ?? -1, ...wanted.shape];
    const target = { name: `${prefix}shape`, dataType: dataTypes.int64, dims: [int64Data.length], int64Data };
    initializers.push(target);
    add("Reshape", [name, target.name]);
  }
  return { name, nodes, initializers };
}

/** Puts `prefix` before every name of the graph and of the graphs inside it; the input gets the name that feeds it. */
function rename(graph: WholeGraph, prefix: string, input: string, fed: string): void {
  const renamed = (name: string | undefined): string => {
    if (name === undefined || name === "") return "";
    return name === input ? fed : prefix + name;
  };
  const renameValue = (value: WholeValueInfo): void => {
    value.name = renamed(value.name);
    for (const dimension of value.type?.tensorType?.shape?.dim ?? []) {
      // A name that both files use need not mean the same length.
      if (dimension.dimParam) dimension.dimParam = prefix + dimension.dimParam;
    }
  };
  graph.valueInfo = graph.valueInfo.filter(({ name }) => name !== input);
  visitGraphs(graph, (inner) => {
    for (const node of inner.node) {
      node.input = node.input.map(renamed);
      node.output = node.output.map(renamed);
      if (node.name) node.name = prefix + node.name;
    }
    for (const tensor of inner.initializer) tensor.name = renamed(tensor.name);
    for (const { values } of inner.sparseInitializer) if (values) values.name = renamed(values.name);
    [...inner.input, ...inner.output, ...inner.valueInfo].forEach(renameValue);
  });
}

function typeOf(values: readonly WholeValueInfo[], name: string): number | undefined {
  return values.find((value) => value.name === name)?.type?.tensorType?.elemType || undefined;
}

/** Shape of one row where every axis has a number. */
function fixedShape(values: readonly WholeValueInfo[], name: string): Shape | undefined {
  const axes = values.find((value) => value.name === name)?.type?.tensorType?.shape?.dim.slice(1);
  const lengths = axes?.map(({ dimValue }) => toNumber(dimValue));
  return lengths?.every((length) => length > 0) ? lengths : undefined;
}
