/** Reads model.json and the weights beside it, as tfjs and its converter write them. */
import { type FileHandle, open, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileError } from "../../data/bytes.js";
import { InputError } from "../../errors.js";
import { isObject, type JsonObject, readJsonObject } from "../json.js";
import { insideFolder } from "../onnx/externalData.js";
import { byteLength, cutWeights, parseWeightSpec, type StoredWeight, type WeightSpec } from "./weights.js";

/** One tfjs model: what it computes, and its weights. */
export interface TfjsModel {
  /** What messages call it: the path of model.json, or the name of a live object. */
  readonly path: string;
  /** Layers models are built of layers and can be converted; Graph models are a TensorFlow graph. */
  readonly kind: "layers" | "graph";
  /** What the file holds besides weights: topology, format, signature. */
  readonly json: JsonObject;
  readonly topology: JsonObject;
  readonly weights: ReadonlyMap<string, StoredWeight>;
  /** All the weights' bytes in the order of the manifest. */
  readonly weightData: ArrayBuffer;
  /** model.json, then the files of its weights in the order of the manifest. */
  readonly files: readonly string[];
}

interface Shard {
  readonly path: string;
  readonly size: number;
}

interface Group {
  readonly specs: readonly WeightSpec[];
  readonly shards: readonly Shard[];
}

/** The system takes at most 2 GiB in one read. */
const transferBytes = 2 ** 30;

/**
 * Reads a tfjs model. What the manifest claims is compared with the sizes of the files before anything is allocated;
 * files outside the model's folder are refused. Throws InputError naming the file and the field.
 */
export async function readTfjsModel(path: string): Promise<TfjsModel> {
  const json = await readJsonObject(path);
  if (json === null) throw new InputError(`${path}: no such file`);
  const topology = json.modelTopology;
  if (!isObject(topology)) throw new InputError(`${path}: has no "modelTopology", expected a tfjs model`);
  const kind = kindOf(json, topology, path);

  const groups = await readManifest(json, path);
  const total = groups.reduce((sum, { shards }) => sum + sizeOf(shards), 0);
  const weightData = allocate(total, path);
  const weights = new Map<string, StoredWeight>();
  let offset = 0;
  for (const { specs, shards } of groups) {
    const bytes = new Uint8Array(weightData, offset, sizeOf(shards));
    await readShards(shards, bytes);
    offset += bytes.length;
    for (const weight of cutWeights(specs, bytes, path)) {
      if (weights.has(weight.name)) throw new InputError(`${path}: names the weight "${weight.name}" twice`);
      weights.set(weight.name, weight);
    }
  }
  const files = groups.flatMap(({ shards }) => shards.map((shard) => shard.path));
  return { path, kind, json, topology, weights, weightData, files: [path, ...files] };
}

function sizeOf(shards: readonly Shard[]): number {
  return shards.reduce((sum, { size }) => sum + size, 0);
}

/** `format` says it in files of 2018 and later; before that only the topology does. */
export function kindOf({ format }: JsonObject, topology: JsonObject, path: string): TfjsModel["kind"] {
  if (format === "layers-model") return "layers";
  if (format === "graph-model") return "graph";
  if (format !== undefined && format !== null) {
    throw new InputError(
      `${path}: "format" is ${JSON.stringify(format)}, expected "layers-model" or "graph-model"`,
    );
  }
  if (Array.isArray(topology.node)) return "graph";
  if ("class_name" in topology || "model_config" in topology) return "layers";
  throw new InputError(`${path}: "modelTopology" is neither that of a Layers nor that of a Graph model`);
}

/** The manifest with the files it names, every claim compared with the sizes of the files. */
async function readManifest({ weightsManifest }: JsonObject, path: string): Promise<Group[]> {
  if (!Array.isArray(weightsManifest)) {
    throw new InputError(`${path}: has no "weightsManifest", expected a list of groups of weights`);
  }
  const groups: Group[] = [];
  for (const [i, group] of weightsManifest.entries()) {
    const where = `${path}: group ${i} of its weightsManifest`;
    if (!isObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights)) {
      throw new InputError(`${where} is not an object with the lists "paths" and "weights"`);
    }
    const specs = group.weights.map((spec) => parseWeightSpec(spec, where));
    const shards: Shard[] = [];
    for (const name of group.paths) {
      if (typeof name !== "string") {
        throw new InputError(`${where} names the file ${JSON.stringify(name)}, expected a text`);
      }
      shards.push(await shardAt(insideFolder(dirname(path), name, path), join(dirname(path), name)));
    }
    // Texts are not counted: their bytes have to be read to know how many they are.
    const claimed = specs.reduce((sum, spec) => sum + (byteLength(spec) ?? 0), 0);
    const exact = specs.every((spec) => byteLength(spec) !== undefined);
    const held = sizeOf(shards);
    if (claimed > held || (exact && claimed !== held)) {
      throw new InputError(
        `${where} lists weights of ${claimed} bytes${exact ? "" : " or more"}, but its files hold ${held}`,
      );
    }
    groups.push({ specs, shards });
  }
  return groups;
}

async function shardAt(real: string, path: string): Promise<Shard> {
  try {
    const status = await stat(real);
    if (!status.isFile()) throw new InputError(`${path}: is not a file, expected weights`);
    return { path, size: status.size };
  } catch (error) {
    throw fileError(error, path);
  }
}

function allocate(bytes: number, path: string): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (error) {
    throw new InputError(`${path}: its weights take ${bytes} bytes, more than there is memory for`, {
      cause: error,
    });
  }
}

async function readShards(shards: readonly Shard[], into: Uint8Array): Promise<void> {
  let offset = 0;
  for (const { path, size } of shards) {
    let file: FileHandle | undefined;
    try {
      file = await open(path, "r");
      for (let done = 0; done < size; ) {
        const length = Math.min(size - done, transferBytes);
        const { bytesRead } = await file.read(into, offset + done, length, done);
        if (bytesRead === 0) throw new InputError(`${path}: ended while it was read`);
        done += bytesRead;
      }
    } catch (error) {
      throw fileError(error, path);
    } finally {
      await file?.close();
    }
    offset += size;
  }
}
