/** The other implementation of ONNX: an optional package, met through the little of it that tests need. */

interface Tensor {
  readonly data: Float32Array;
}
interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}
interface Package {
  readonly InferenceSession: { create(bytes: Uint8Array, options?: object): Promise<Session> };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => Tensor;
}

const packageName: string = "onnxruntime-node";

/** The package, or null where it is not installed; tests that need it are skipped, by name, then. */
export const onnxruntime: Package | null = await import(packageName).then(
  (found: { default?: Package } & Package) => found.default ?? found,
  () => null,
);

/** The model's first output for `count` rows of the given shape. */
export async function runOnnxruntime(
  bytes: Uint8Array,
  rows: Float32Array,
  shape: readonly number[],
): Promise<Float32Array> {
  if (onnxruntime === null) throw new Error(`${packageName} is not installed`);
  const session = await onnxruntime.InferenceSession.create(bytes, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const size = shape.reduce((product, n) => product * n, 1);
    const feed = new onnxruntime.Tensor("float32", rows, [rows.length / size, ...shape]);
    const results = await session.run({ [session.inputNames[0]]: feed });
    return Float32Array.from(results[session.outputNames[0]].data);
  } finally {
    await session.release();
  }
}
