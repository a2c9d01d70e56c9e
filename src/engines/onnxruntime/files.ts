/** ONNX files as the stages that sessions run: read, checked, and joined where they can be. */
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { InputError } from "../../errors.js";
import { elements, type Shape } from "../../graph/graph.js";
import { type Chain, type ChainPart, chainModels } from "../../models/onnx/chain.js";
import { insideFolder } from "../../models/onnx/externalData.js";
import { inputOf, inputShapeOf, outputOf } from "../../models/onnx/import.js";
import { dataTypes, decodeModel } from "../../models/onnx/schema.js";
import { decodeWhole, externalLocations } from "../../models/onnx/whole.js";
import type { PartFiles } from "../../models/source.js";
import type { OnnxStage, OnnxThreadData } from "./thread.js";

export interface OnnxModel {
  /** What messages call it. */
  readonly name: string;
  readonly tasks: OnnxThreadData["tasks"];
  /** Why f is two sessions; null where it is one. */
  readonly reason: string | null;
  /** k */
  readonly latentDimension: number;
  readonly inputElements: number | null;
  /** Rows of every call of f where a file fixes them. */
  readonly batchSize: number | undefined;
  /** Of all files, external weights included. */
  readonly weightBytes: number;
}

interface OnnxPart extends ChainPart {
  readonly folder: string;
  readonly hasExternal: boolean;
  /** Whether input and output are float32 as they are. */
  readonly isFloat32: boolean;
  readonly weightBytes: number;
}

/** Throws InputError where a file cannot be used; see openOnnxRuntime. */
export async function readOnnxModel(
  files: PartFiles,
  shapes: { readonly latentShape?: Shape; readonly inputShape?: Shape },
): Promise<OnnxModel> {
  if ("map" in files) {
    const map = await readPart(files.map, shapes.latentShape);
    return {
      name: files.map,
      tasks: { map: [stageOf(map)] },
      reason: null,
      latentDimension: elements(map.inputShape),
      inputElements: null,
      batchSize: map.batchSize,
      weightBytes: map.weightBytes,
    };
  }
  const decoder = await readPart(files.decoder, shapes.latentShape);
  const encoder = await readPart(files.encoder, shapes.inputShape);
  const name = `${files.decoder} and ${files.encoder}`;
  const apart = [stageOf(decoder), stageOf(encoder)];
  const joined = join(decoder, encoder);
  return {
    name,
    tasks: {
      map: "reason" in joined ? apart : [{ ...apart[0]!, ...chainStage(joined), name }],
      decode: [apart[0]!],
      encode: [apart[1]!],
    },
    reason: "reason" in joined ? joined.reason : null,
    latentDimension: elements(decoder.inputShape),
    inputElements: elements(encoder.inputShape),
    batchSize: decoder.batchSize ?? encoder.batchSize,
    weightBytes: decoder.weightBytes + encoder.weightBytes,
  };
}

/** The model with f as its two halves, which `reason` made necessary. */
export function apart(model: OnnxModel, reason: string): OnnxModel {
  const { decode, encode } = model.tasks;
  if (decode === undefined || encode === undefined) return model;
  return { ...model, tasks: { ...model.tasks, map: [...decode, ...encode] }, reason };
}

/** The model with every file called for one row at a time. */
export function oneRowAtATime(model: OnnxModel): OnnxModel {
  const single = (stages: readonly OnnxStage[] | undefined) =>
    stages?.map((stage) => ({ ...stage, batchSize: stage.batchSize ?? 1 }));
  const { map, decode, encode } = model.tasks;
  const tasks = { map: single(map), decode: single(decode), encode: single(encode) };
  return { ...model, tasks, batchSize: model.batchSize ?? 1 };
}

function join(decoder: OnnxPart, encoder: OnnxPart): ReturnType<typeof chainModels> {
  if ((decoder.hasExternal || encoder.hasExternal) && decoder.folder !== encoder.folder) {
    return { reason: "the files keep weights in different folders" };
  }
  return chainModels([decoder, encoder]);
}

async function readPart(file: string, shape: Shape | undefined): Promise<OnnxPart> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new InputError(`${file}: cannot be read (${(error as Error).message})`, { cause: error });
  }
  const { graph } = decodeModel(bytes, file);
  const input = inputOf(graph, new Map(graph.initializer.map((tensor) => [tensor.name ?? "", tensor])), file);
  const { shape: inputShape, batchSize } = inputShapeOf(input, shape, file, []);
  const output = outputOf(graph, file, []);
  const types = [input, graph.output[0]!].map(({ type }) => type?.tensorType?.elemType || dataTypes.float);
  // onnxruntime opens these itself, so that they are looked at before it does.
  const folder = resolve(dirname(file));
  const external = externalLocations(decodeWhole(bytes, file), file);
  const paths = external.map((location) => insideFolder(folder, location, file));
  const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size));
  return {
    bytes,
    file,
    folder,
    input: input.name ?? "",
    inputShape,
    batchSize,
    output,
    hasExternal: external.length > 0,
    isFloat32: types.every((type) => type === dataTypes.float),
    weightBytes: sizes.reduce((sum, size) => sum + size, bytes.length),
  };
}

/** A session of one file: the file as it is, or with its input and output made float32. */
function stageOf(part: OnnxPart): OnnxStage {
  const { file, folder, input, inputShape, output, batchSize } = part;
  const stage = { model: resolve(file), folder, name: file, input, inputShape, output, batchSize };
  if (part.isFloat32) return stage;
  const cast = chainModels([part]);
  if ("reason" in cast) throw new InputError(`${file}: ${cast.reason}`);
  return { ...stage, ...chainStage(cast) };
}

/** What a stage takes from a model that was put together; all threads read the same copy of its bytes. */
function chainStage({ bytes, input, output, batchSize }: Chain) {
  const model = new Uint8Array(new SharedArrayBuffer(bytes.length));
  model.set(bytes);
  return { model, input, output, batchSize };
}
