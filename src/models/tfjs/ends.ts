/** What a tfjs model takes and gives, as far as its file says: one input, and the output that is used. */
import { InputError } from "../../errors.js";
import { formatShape, type Shape } from "../../graph/graph.js";
import { isUsableShape } from "../../graph/shapes.js";
import { isObject } from "../json.js";
import type { TfjsModel } from "./file.js";
import { nodeOf, nodesOf, unread } from "./graphNodes.js";
import { type LayerCall, type LayersTopology, type LayerTensor, readTopology } from "./topology.js";

export interface ModelEnds {
  readonly inputName: string;
  /** One input as tfjs takes it, without the batch. */
  readonly inputShape: Shape;
  /** Rows of every call where the model fixes them. */
  readonly batchRows: number | null;
  /** Which of the model's outputs is used, counted from 0, and its name. */
  readonly outputIndex: number;
  readonly outputName: string;
  /** Of a Layers model: its calls, the input among them, and the output that is used. */
  readonly layers: { topology: LayersTopology; input: LayerCall; output: LayerTensor } | null;
  /** Sentences a user should read. */
  readonly notes: readonly string[];
}

export interface EndsOptions {
  /** Shape of one input without the batch, for axes that the file leaves open. */
  readonly inputShape?: Shape;
  /** The output to use, by name. Default: one whose name says that it is a mean, else the first. */
  readonly output?: string;
}

/** An axis that the file leaves open is null. */
type OpenShape = readonly (number | null)[];

/** Throws InputError where the file is damaged, has more than one input, or says too little about its shape. */
export function endsOf(model: TfjsModel, options: EndsOptions = {}): ModelEnds {
  return model.kind === "layers" ? layersEnds(model, options) : graphEnds(model, options);
}

function layersEnds({ path, topology: json }: TfjsModel, options: EndsOptions): ModelEnds {
  const topology = readTopology(json, path);
  const [input] = topology.inputs;
  if (input === undefined || topology.inputs.length > 1) {
    throw severalInputs(
      path,
      topology.inputs.map(({ name }) => name),
    );
  }
  const { dtype, batch_input_shape: shape, batch_shape: newer } = input.config;
  if (dtype !== undefined && dtype !== null && dtype !== "float32") {
    throw new InputError(
      `${path}: input "${input.name}" is of type ${JSON.stringify(dtype)}, expected float32`,
    );
  }
  const names = topology.outputs.map(({ call }) => call.name);
  const { index, notes } = chosenOutput(names, options.output, path);
  return {
    inputName: input.name,
    ...settled(openShape(shape ?? newer ?? null, input.name, path), options.inputShape, input.name, path),
    outputIndex: index,
    outputName: names[index]!,
    layers: { topology, input, output: topology.outputs[index]! },
    notes,
  };
}

/** The signature says it, and where there is none, the placeholders. */
function graphEnds({ path, json, topology }: TfjsModel, options: EndsOptions): ModelEnds {
  const nodes = nodesOf(topology, path);
  const metadata = isObject(json.userDefinedMetadata) ? json.userDefinedMetadata : {};
  const signature = [metadata.signature, json.signature].find(isObject) ?? {};
  const inputs = isObject(signature.inputs) ? Object.entries(signature.inputs) : [];
  const placeholders = nodes.filter(({ op }) => op.startsWith("Placeholder"));
  const names = inputs.length > 0 ? inputs.map(([name]) => name) : placeholders.map(({ name }) => name);
  const [inputName] = names;
  if (inputName === undefined || names.length > 1) throw severalInputs(path, names);
  const declared = inputs[0]?.[1];
  const node = placeholders.find(({ name }) => name === (nodeName(declared) ?? inputName)) ?? placeholders[0];
  const type = typeOf(declared) ?? typeOf(node?.attributes.dtype) ?? "DT_FLOAT";
  if (type !== "DT_FLOAT" && type !== 1) {
    throw new InputError(
      `${path}: input "${inputName}" is of type ${JSON.stringify(type)}, expected DT_FLOAT`,
    );
  }
  const shape = tensorShape(declared) ?? tensorShape(node?.attributes.shape);
  const outputs = isObject(signature.outputs) ? Object.keys(signature.outputs) : unread(nodes);
  const { index, notes } = chosenOutput(outputs, options.output, path);
  return {
    inputName,
    ...settled(openShape(shape ?? null, inputName, path), options.inputShape, inputName, path),
    outputIndex: index,
    outputName: outputs[index]!,
    layers: null,
    notes,
  };
}

function nodeName(declared: unknown): string | undefined {
  return isObject(declared) && typeof declared.name === "string" ? nodeOf(declared.name) : undefined;
}

function typeOf(value: unknown): unknown {
  if (!isObject(value)) return undefined;
  return value.dtype ?? value.type;
}

/** { tensorShape: { dim: [{ size: "-1" }, …] } } of a signature, { shape: { dim } } of a node. */
function tensorShape(value: unknown): (number | null)[] | undefined {
  if (!isObject(value)) return undefined;
  const shape = [value.tensorShape, value.shape].find(isObject);
  if (shape === undefined || shape.unknownRank === true) return undefined;
  if (shape.dim === undefined) return [];
  if (!Array.isArray(shape.dim)) return undefined;
  return shape.dim.map((dim) => {
    const size = isObject(dim) ? Number(dim.size) : Number.NaN;
    return size >= 0 ? size : null;
  });
}

function severalInputs(path: string, names: readonly string[]): InputError {
  const list = names.length === 0 ? "" : ` (${names.slice(0, 8).join(", ")})`;
  return new InputError(`${path}: has ${names.length} inputs${list}, expected one`);
}

function openShape(value: unknown, name: string, path: string): OpenShape | null {
  if (value === null) return null;
  const isAxis = (d: unknown): d is number | null =>
    d === null || (Number.isSafeInteger(d) && (d as number) >= -1);
  if (!Array.isArray(value) || !value.every(isAxis)) {
    throw new InputError(
      `${path}: input "${name}" has shape ${JSON.stringify(value)}, expected a list of axes`,
    );
  }
  if (value.length === 0)
    throw new InputError(`${path}: input "${name}" has shape [], expected a batch axis first`);
  return value.map((d) => (d === -1 ? null : d));
}

/** The shape of one row, open axes filled from `given`. */
function settled(
  declared: OpenShape | null,
  given: Shape | undefined,
  name: string,
  path: string,
): { inputShape: Shape; batchRows: number | null } {
  const where = `${path}: input "${name}"`;
  if (declared === null) {
    if (given === undefined) throw new InputError(`${where} has no shape; ${sayShape}`);
    return { inputShape: given, batchRows: null };
  }
  const [batch = null, ...axes] = declared;
  const described = `[${declared.map((d) => d ?? "?").join(", ")}]`;
  const shape = axes.map((d, axis) => d ?? given?.[axis] ?? null);
  const contradicts =
    given !== undefined && (given.length !== axes.length || shape.some((d, axis) => d !== given[axis]));
  if (contradicts) {
    throw new InputError(`${where} has shape ${described}, expected a batch of ${formatShape(given)}`);
  }
  const open = shape.indexOf(null);
  if (open >= 0) {
    throw new InputError(`${where} has shape ${described}, whose axis ${open + 1} is not fixed; ${sayShape}`);
  }
  const inputShape = shape as readonly number[];
  if (inputShape.length === 0 || !isUsableShape(inputShape)) {
    throw new InputError(`${where} has shape ${described}, expected axes of at least 1 behind the batch`);
  }
  if (batch !== null && (batch < 1 || batch > mostBatchRows)) {
    throw new InputError(
      `${where} has shape ${described}, expected a batch that is open or of 1 to ${mostBatchRows} rows`,
    );
  }
  return { inputShape, batchRows: batch };
}

/** What a model may fix its batch at: rows that are missing are filled up. */
const mostBatchRows = 4096;

const sayShape =
  'say it in config.json as tfjs has it ("latent_shape" for a decoder, "input_shape" for an encoder)';

/** "z_mean", "mean", "mu", "encoder/z_mean_2" */
const saysMean = /(^|[_/.-])(mean|mu)([_/.-]|\d|$)/i;

/** Variational encoders give a mean, a variance and a sample: the mean is the latent. */
function chosenOutput(
  names: readonly string[],
  wanted: string | undefined,
  path: string,
): { index: number; notes: string[] } {
  if (names.length === 0) throw new InputError(`${path}: has no output`);
  const all = names.slice(0, 8).join(", ");
  if (wanted !== undefined) {
    const index = names.indexOf(wanted);
    if (index < 0) throw new InputError(`${path}: has no output "${wanted}", expected one of ${all}`);
    return { index, notes: [] };
  }
  if (names.length === 1) return { index: 0, notes: [] };
  const mean = names.findIndex((name) => saysMean.test(name));
  const index = Math.max(0, mean);
  const why = mean < 0 ? "the first" : "the one whose name says mean";
  const note = `${path}: has ${names.length} outputs (${all}), of which "${names[index]}", ${why}, is used`;
  return { index, notes: [note] };
}
