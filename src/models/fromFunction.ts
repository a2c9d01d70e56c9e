/** A model that is a JavaScript function. */
import { createHash } from "node:crypto";
import { checkNames, numberIn, show, wholeNumber } from "../check.js";
import type { Preprocessor } from "../data/preprocess.js";
import { InputError } from "../errors.js";
import { elements, type Shape } from "../graph/graph.js";
import { isUsableShape } from "../graph/shapes.js";
import { foreignOf } from "./assemble.js";
import type { Autoencoder } from "./autoencoder.js";
import type { RowFunction, RowFunctions } from "./source.js";

export interface FunctionOptions {
  /** Shape of one latent; k is its number of elements. */
  readonly latentShape: Shape;
  /**
   * f of `count` latents, [count, k] flattened row-major, to as many: a Float32Array or a promise of one. Rows must not
   * depend on one another. Default: encode(decode(z)).
   */
  readonly apply?: RowFunction;
  /** Shape of one input; with it `encode` and `decode` are needed. Without it the function is a square map. */
  readonly inputShape?: Shape;
  /** E: [count, elements of an input] → [count, k] */
  readonly encode?: RowFunction;
  /** D: [count, k] → [count, elements of an input] */
  readonly decode?: RowFunction;
  /** J_f(z)·v, row by row. Default: central differences of f. */
  readonly jacobianVector?: NonNullable<RowFunctions["jacobianVector"]>;
  /** Rows of one call, at least 1. Default 256. */
  readonly batchRows?: number;
  /** Seconds after which a promise that has not settled is an error. Default 600; Infinity waits for ever. */
  readonly timeout?: number;
  /** What messages and folders call the model. Default "function". */
  readonly name?: string;
  /** How files become inputs. Default: 0–255 to [0, 1]. */
  readonly preprocessor?: Preprocessor | null;
}

const KNOWN: Record<keyof FunctionOptions, true> = {
  latentShape: true,
  apply: true,
  inputShape: true,
  encode: true,
  decode: true,
  jacobianVector: true,
  batchRows: true,
  timeout: true,
  name: true,
  preprocessor: true,
};

/**
 * An Autoencoder whose map is computed by functions. Its hash is over the shapes and the functions' source text, which
 * does not see what they close over. Throws InputError for options that do not fit.
 */
export function fromFunction(options: FunctionOptions): Autoencoder {
  if (typeof options !== "object" || options === null) {
    throw new InputError("fromFunction: options are missing, expected at least { latentShape, apply }");
  }
  checkNames(options, Object.keys(KNOWN), "option");
  const { latentShape, inputShape, name = "function", preprocessor = null } = options;
  checkShape("latentShape", latentShape);
  if (inputShape !== undefined) checkShape("inputShape", inputShape);
  const functions = functionsOf(options);
  const { apply, encode, decode, jacobianVector } = functions;
  const sources = [apply, encode, decode, jacobianVector].map((f) => (f === null ? null : String(f)));
  const shapes = {
    latentShape: [...latentShape],
    inputShape: inputShape === undefined ? null : [...inputShape],
  };
  return foreignOf(
    shapes,
    new InputError(`${name}: is a function, which the engine "function" runs and no other`),
    {
      name,
      path: name,
      format: "function",
      hash: createHash("sha256")
        .update(JSON.stringify([shapes, sources]))
        .digest("hex"),
      files: [],
      preprocessor,
      notes: [],
      source: { kind: "function", functions },
    },
  );
}

function functionsOf(options: FunctionOptions): RowFunctions {
  const { inputShape, encode, decode, jacobianVector } = options;
  for (const key of ["apply", "encode", "decode", "jacobianVector"] as const) {
    const value: unknown = options[key];
    if (value !== undefined && typeof value !== "function") {
      throw new InputError(`${key} is ${show(value)}, expected a function`);
    }
  }
  const both = encode !== undefined && decode !== undefined;
  if (inputShape !== undefined ? !both : encode !== undefined || decode !== undefined) {
    throw new InputError(
      "inputShape, encode and decode go together: expected all three, or none of them for a square map",
    );
  }
  const apply = options.apply ?? (both ? composed(encode, decode) : undefined);
  if (apply === undefined) throw new InputError("apply is missing, expected a function of latents");
  return {
    apply,
    encode: encode ?? null,
    decode: decode ?? null,
    jacobianVector: jacobianVector ?? null,
    batchRows: wholeNumber("batchRows", options.batchRows ?? 256, 1, 2 ** 24),
    timeout: numberIn("timeout", options.timeout ?? 600, "seconds above 0", (v) => v > 0),
  };
}

function composed(encode: RowFunction, decode: RowFunction): RowFunction {
  return async (rows, count) => encode(await decode(rows, count), count);
}

function checkShape(name: string, shape: Shape): void {
  if (Array.isArray(shape) && shape.length > 0 && isUsableShape(shape) && elements(shape) < 2 ** 31) return;
  throw new InputError(`${name} is ${JSON.stringify(shape)}, expected whole numbers of at least 1`);
}
