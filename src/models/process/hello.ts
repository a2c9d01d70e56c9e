/** What a child says of its model before anything is asked of it. */
import type { Preprocessor } from "../../data/preprocess.js";
import { EngineError, InputError } from "../../errors.js";
import type { Shape } from "../../graph/graph.js";
import { isObject, type JsonObject, jsonReader } from "../json.js";
import { parsePreprocessor } from "../preprocessor.js";

export const PROTOCOL = 1;

export interface Hello {
  readonly name: string | null;
  readonly latentShape: Shape;
  /** Null for a square map. */
  readonly inputShape: Shape | null;
  readonly preprocessor: Preprocessor | null;
  readonly versions: Readonly<Record<string, string>>;
  readonly device: string;
  readonly batchRows: number;
  /** What makes the model this one and no other, for its hash: the keys that say nothing of machine or libraries. */
  readonly identity: string;
}

/** Throws EngineError naming the key; `child` is how messages call the process. */
export function parseHello(payload: Buffer, child: string): Hello {
  const where = `${child}: its hello`;
  let value: unknown;
  try {
    value = JSON.parse(payload.toString("utf8"));
  } catch (error) {
    throw new EngineError(`${where} is not valid JSON (${(error as Error).message})`, { cause: error });
  }
  if (!isObject(value)) throw new EngineError(`${where} is no JSON object`);
  if (value.protocol !== PROTOCOL) {
    throw new EngineError(
      `${where} speaks protocol ${JSON.stringify(value.protocol)}, this version of latent-dynamics ${PROTOCOL}`,
    );
  }
  try {
    return helloOf(value, where);
  } catch (error) {
    // What is wrong here is what another program said, not what the caller gave.
    if (error instanceof InputError) throw new EngineError(error.message, { cause: error });
    throw error;
  }
}

function helloOf(object: JsonObject, where: string): Hello {
  const read = jsonReader(object, where);
  const latentShape = read.shape("latent_shape") ?? read.fail("latent_shape", "the shape of one latent");
  const { versions = {}, preprocessor = null } = object;
  if (!isObject(versions) || !Object.values(versions).every((version) => typeof version === "string")) {
    return read.fail("versions", "texts by the names of libraries");
  }
  if (preprocessor !== null && !isObject(preprocessor)) {
    return read.fail("preprocessor", "an object with the keys of preprocessor_config.json");
  }
  const { versions: _versions, device: _device, batch_rows: _batchRows, ...identity } = object;
  return {
    name: read.text("name") ?? null,
    latentShape,
    inputShape: read.shape("input_shape") ?? null,
    preprocessor: preprocessor && parsePreprocessor(preprocessor, `${where}: "preprocessor"`),
    versions: versions as Record<string, string>,
    device: read.text("device") ?? "cpu",
    batchRows: read.whole("batch_rows") ?? 256,
    identity: JSON.stringify(Object.entries(identity).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}
