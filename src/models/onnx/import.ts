/** From the bytes of an ONNX model to a graph of one row. */
import { InputError } from "../../errors.js";
import { graphBuilder } from "../../graph/builder.js";
import { checkGraph } from "../../graph/check.js";
import { formatShape, type Graph, type Shape } from "../../graph/graph.js";
import { prune } from "../../graph/rewrite.js";
import { type ImportContext, onnxNode } from "./node.js";
import type { Operand } from "./operand.js";
import { operators } from "./operators/index.js";
import {
  decodeModel,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "./schema.js";
import { type ExternalReader, isFloatType, readTensor } from "./tensorData.js";

/** Versions of the standard operator set whose meanings are known. */
const oldestOpset = 7;
const newestOpset = 24;

export interface OnnxImportOptions {
  /** Shape of one row of the input, without the batch, for the axes that the model leaves open. */
  readonly inputShape?: Shape;
  /** Reads weights kept in other files; without it a model that has some is refused. */
  readonly readExternal?: ExternalReader;
}

export interface OnnxImport {
  readonly graph: Graph;
  /** Sentences a user should read. */
  readonly notes: readonly string[];
  readonly opset: number;
}

/**
 * Imports an ONNX model with one input whose first axis is the batch. Constants are worked out, shapes are those of
 * one row, weights of any width become float32. `file` is what messages call the model.
 *
 * Throws InputError where the bytes are damaged, shapes do not fit or are not known, or rows would mix, and
 * UnsupportedOperatorError where an operator cannot be expressed in the graph.
 */
export function importOnnx(bytes: Uint8Array, file: string, options: OnnxImportOptions = {}): OnnxImport {
  const { graph: model, opsetImport } = decodeModel(bytes, file);
  const opset = opsetOf(opsetImport, file);
  const notes: string[] = [];
  if (model.sparseInitializer.length > 0) {
    throw new InputError(`${file}: holds sparse tensors, expected dense ones`);
  }

  const initializers = new Map<string, TensorProto>(model.initializer.map((t) => [t.name ?? "", t]));
  const input = inputOf(model, initializers, file);
  const output = outputOf(model, file, notes);
  const { shape, batchSize } = inputShapeOf(input, options.inputShape, file, notes);

  const builder = graphBuilder(file);
  const operands = new Map<string, Operand>();
  const inputId = builder.input(input.name ?? "input", shape);
  operands.set(input.name ?? "", { kind: "row", id: inputId, batch: 0 });

  const context: ImportContext = { file, opset, builder, batchSize, readExternal: options.readExternal };
  const initializer = (name: string): Operand | undefined => {
    const tensor = initializers.get(name);
    if (tensor === undefined) return undefined;
    const value = readTensor(tensor, name, file, options.readExternal);
    noteNotFinite(name, value.data, notes);
    operands.set(name, value);
    return value;
  };

  for (const proto of neededNodes(model.node, output)) {
    const inputs = proto.input.map((name) => {
      if (name === "") return undefined;
      const operand = operands.get(name) ?? initializer(name);
      if (operand === undefined) {
        throw new InputError(
          `${file}: node "${proto.name || proto.opType}" reads "${name}", which nothing computes before it`,
        );
      }
      return operand;
    });
    const results = importNode(proto, inputs, context);
    proto.output.forEach((name, i) => {
      const result = results[i];
      if (name === "" || result === undefined) return;
      if (operands.has(name)) throw new InputError(`${file}: "${name}" is computed twice`);
      operands.set(name, result);
    });
  }

  const result = operands.get(output) ?? initializer(output);
  if (result === undefined) throw new InputError(`${file}: nothing computes its output "${output}"`);
  if (result.kind === "constant") {
    throw new InputError(`${file}: its output "${output}" does not depend on its input`);
  }
  if (result.kind === "picked") {
    throw new InputError(
      `${file}: its output "${output}" is a list of the largest elements, expected a tensor`,
    );
  }
  if (result.batch !== 0) {
    throw new InputError(`${file}: its output "${output}" has its batch on axis ${result.batch}, expected 0`);
  }
  // A graph's output always comes out of a node, even where the model only hands its input on.
  const outputId =
    result.id === inputId
      ? builder.node({ op: "reshape", name: output, inputs: [inputId] }, shape)
      : result.id;
  const graph = prune(builder.finish(inputId, outputId));
  checkGraph(graph);
  return { graph, notes, opset };
}

function importNode(
  proto: NodeProto,
  inputs: readonly (Operand | undefined)[],
  context: ImportContext,
): readonly Operand[] {
  const node = onnxNode(proto, inputs, context);
  const standard = proto.domain === undefined || proto.domain === "" || proto.domain === "ai.onnx";
  const operator = standard ? operators.get(node.op) : undefined;
  if (operator === undefined) return node.unsupported();
  try {
    const results = operator(node);
    return "kind" in results ? [results] : results;
  } catch (error) {
    // The graph's own messages do not know the file.
    if (error instanceof InputError && !error.message.startsWith(context.file)) {
      throw new InputError(`${context.file}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

function opsetOf(opsetImport: readonly { domain?: string; version?: number }[], file: string): number {
  const standard = opsetImport.find(({ domain = "" }) => domain === "" || domain === "ai.onnx");
  const version = standard?.version ?? 0;
  if (version >= oldestOpset && version <= newestOpset) return version;
  const range = `expected ${oldestOpset} to ${newestOpset}`;
  const hint = version > newestOpset ? "; export it at an older one or run it with --engine onnxruntime" : "";
  throw new InputError(`${file}: is written in operator set ${version}, ${range}${hint}`);
}

/** Old files list their weights among the inputs. */
export function inputOf(
  model: GraphProto,
  initializers: ReadonlyMap<string, unknown>,
  file: string,
): ValueInfoProto {
  const inputs = model.input.filter(({ name }) => !initializers.has(name ?? ""));
  const [input] = inputs;
  if (input === undefined || inputs.length > 1) {
    const names = inputs.map(({ name }) => `"${name}"`).join(", ");
    throw new InputError(`${file}: has ${inputs.length} inputs${names && ` (${names})`}, expected one`);
  }
  return input;
}

export function outputOf(model: GraphProto, file: string, notes: string[]): string {
  const names = model.output.map(({ name }) => name ?? "");
  if (names.length > 1) {
    notes.push(
      `${file}: has ${names.length} outputs (${names.join(", ")}), of which the first, "${names[0]}", is used`,
    );
  }
  return names[0]!;
}

export function inputShapeOf(input: ValueInfoProto, given: Shape | undefined, file: string, notes: string[]) {
  const tensor = input.type?.tensorType;
  const where = `${file}: input "${input.name}"`;
  const type = tensor?.elemType ?? 0;
  if (!isFloatType(type)) throw new InputError(`${where} is of data type ${type}, expected floating point`);
  if (type !== 1) notes.push(`${where} is not float32 (data type ${type}): it is computed in float32`);
  const dims = tensor?.shape?.dim;
  if (dims === undefined) {
    if (given === undefined) throw new InputError(`${where} has no shape; ${sayShape}`);
    return { shape: given, batchSize: undefined };
  }
  const [batch, ...axes] = dims;
  const described = `[${dims.map(({ dimValue, dimParam }) => dimValue ?? dimParam ?? "?").join(", ")}]`;
  if (batch === undefined) throw new InputError(`${where} has shape [], expected a batch axis first`);
  if (given !== undefined && given.length !== axes.length) {
    throw new InputError(`${where} has shape ${described}, expected a batch of ${formatShape(given)}`);
  }
  const shape = axes.map(({ dimValue }, axis) => {
    const length = dimValue || given?.[axis];
    if (length === undefined) {
      throw new InputError(
        `${where} has shape ${described}, whose axis ${axis + 1} is not fixed; ${sayShape}`,
      );
    }
    if (given !== undefined && length !== given[axis]) {
      throw new InputError(`${where} has shape ${described}, expected a batch of ${formatShape(given)}`);
    }
    return length;
  });
  return { shape, batchSize: batch.dimValue || undefined };
}

const sayShape = 'say it in config.json ("latent_shape" for a decoder, "input_shape" for an encoder)';

/** The nodes that the output depends on, in the file's order. */
function neededNodes(nodes: readonly NodeProto[], output: string): NodeProto[] {
  const producers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)));
  const needed = new Set<NodeProto>();
  const open = [output];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = name === "" ? undefined : producers.get(name);
    if (node === undefined || needed.has(node)) continue;
    needed.add(node);
    open.push(...node.input);
  }
  return nodes.filter((node) => needed.has(node));
}

function noteNotFinite(name: string, data: ArrayLike<number | string>, notes: string[]) {
  if (!(data instanceof Float32Array)) return;
  const count = data.reduce((sum, value) => sum + (Number.isFinite(value) ? 0 : 1), 0);
  if (count > 0) notes.push(`tensor "${name}" holds ${count} elements that are NaN or infinite`);
}
