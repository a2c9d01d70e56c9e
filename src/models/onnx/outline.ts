/** What an ONNX file says of itself without being imported: enough for a model that another engine runs. */
import type { Shape } from "../../graph/graph.js";
import { inputOf, inputShapeOf, outputOf } from "./import.js";
import { decodeModel, type TensorProto } from "./schema.js";
import type { ExternalReader } from "./tensorData.js";

export interface OnnxOutline {
  /** Shape of one row of the input, without the batch. */
  readonly inputShape: Shape;
  readonly notes: readonly string[];
}

/**
 * `given` is the input's shape where the file leaves axes open. External weights are looked for, not read. Throws
 * InputError where the bytes are damaged, there is not one input of a known shape, or weights are not there or lie
 * outside the model's folder.
 */
export function outlineOnnx(
  bytes: Uint8Array,
  file: string,
  { inputShape: given, readExternal }: { inputShape?: Shape; readExternal: ExternalReader },
): OnnxOutline {
  const { graph } = decodeModel(bytes, file);
  const notes: string[] = [];
  const initializers = new Map<string, TensorProto>(graph.initializer.map((t) => [t.name ?? "", t]));
  const { shape } = inputShapeOf(inputOf(graph, initializers, file), given, file, notes);
  outputOf(graph, file, notes);
  const attributes = graph.node.flatMap((node) => node.attribute.flatMap(({ t }) => (t ? [t] : [])));
  for (const { dataLocation, externalData } of [...graph.initializer, ...attributes]) {
    const location = externalData.find(({ key }) => key === "location")?.value;
    if (dataLocation === 1 && location !== undefined) readExternal(location, 0, 0);
  }
  return { inputShape: shape, notes };
}
