/** Base of every error this library throws on purpose. The message is one sentence that stands by itself. */
export class LatdynError extends Error {
  override readonly name: string = "LatdynError";
}

/**
 * What the caller gave cannot be used: a file, an option, a model. The message names the thing, what was
 * found and what was expected. The command line ends with exit code 2.
 */
export class InputError extends LatdynError {
  override readonly name: string = "InputError";
}

/** A model uses an operator that the native graph does not run; `operator` and `node` say which and where. */
export class UnsupportedOperatorError extends InputError {
  override readonly name = "UnsupportedOperatorError";
  constructor(
    message: string,
    readonly operator: string,
    readonly node: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The caller's AbortSignal fired. `partial` holds what was finished, where the call has such a thing. */
export class AbortedError<Partial = unknown> extends LatdynError {
  override readonly name = "AbortedError";
  constructor(
    message: string,
    readonly partial?: Partial,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A CUDA device cannot be used, has no room, or failed. The process can go on computing on the CPU. */
export class DeviceError extends LatdynError {
  override readonly name = "DeviceError";
}

/** Something that computes a model outside this library failed: a runtime, a child process, a function. */
export class EngineError extends LatdynError {
  override readonly name = "EngineError";
}
