/** The part of tfjs' interface that is used here: the packages are optional, so their own types may be missing. */

export interface TfTensor {
  readonly shape: readonly number[];
  readonly dtype: string;
  reshape(shape: readonly number[]): TfTensor;
  transpose(permutation: readonly number[]): TfTensor;
  slice(begin: readonly number[], size: readonly number[]): TfTensor;
  data(): Promise<ArrayLike<number>>;
  dispose(): void;
}

type TfOutput = TfTensor | readonly TfTensor[];

/** tf.LayersModel and tf.Sequential. */
export interface TfLayersModel {
  readonly inputs: readonly { readonly name: string; readonly shape: readonly (number | null)[] }[];
  readonly outputs: readonly { readonly name: string }[];
  predictOnBatch(inputs: TfTensor): TfOutput;
  save(handler: { save(artifacts: TfArtifacts): Promise<object> }): Promise<unknown>;
  dispose(): unknown;
}

/** tf.GraphModel. */
export interface TfGraphModel {
  readonly inputs: readonly { readonly name: string; readonly shape?: readonly number[] }[];
  readonly outputs: readonly { readonly name: string }[];
  readonly executor: object;
  execute(inputs: TfTensor, output: string): TfOutput;
  save(handler: { save(artifacts: TfArtifacts): Promise<object> }): Promise<unknown>;
  dispose(): void;
}

export type TfModel = TfLayersModel | TfGraphModel;

/** A model taken apart, as tfjs saves and loads it. */
export interface TfArtifacts {
  readonly modelTopology?: object;
  readonly weightSpecs?: readonly object[];
  readonly weightData?: ArrayBuffer | readonly ArrayBuffer[];
  readonly format?: string;
  readonly signature?: object;
  readonly userDefinedMetadata?: object;
  readonly modelInitializer?: object;
  readonly initializerSignature?: object;
}

export interface TfBackend {
  /** Of tfjs-node's backend only. */
  readonly isUsingGpuDevice?: boolean;
}

/** What `@tensorflow/tfjs` exports, and the tfjs-node packages with it. */
export interface Tf {
  readonly version: Readonly<Record<string, string>>;
  tidy<Result>(compute: () => Result): Result;
  tensor(values: Float32Array, shape: readonly number[], dtype: "float32"): TfTensor;
  concat(tensors: readonly TfTensor[], axis: number): TfTensor;
  loadLayersModel(handler: { load(): Promise<TfArtifacts> }): Promise<TfLayersModel>;
  loadGraphModel(handler: { load(): Promise<TfArtifacts> }): Promise<TfGraphModel>;
  setBackend(name: string): Promise<boolean>;
  getBackend(): string;
  backend(): TfBackend;
  ready(): Promise<void>;
  enableProdMode(): void;
  memory(): { readonly numTensors: number };
}

export interface TfWasm {
  setWasmPaths(folder: string): void;
}

/** Models of the caller's: they belong to the caller's tfjs and compute on its backend, in the caller's thread. */
export interface LiveModels {
  readonly tf: Tf;
  /** null for a square map. */
  readonly encoder: TfModel | null;
  readonly decoder: TfModel;
}
