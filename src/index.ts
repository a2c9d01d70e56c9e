/** The public API on one page. */

// Measures
export { type BasinAgreement, type BasinOptions, basinAgreement } from "./analysis/basins.js";
export type {
  ComparedSet,
  ComparisonRecord,
  SetComparison,
  SimilarityValues,
} from "./analysis/comparison.js";
export {
  type Contraction,
  type ContractionOptions,
  type ContractionRecord,
  contraction,
  type Distribution,
} from "./analysis/contraction.js";
export { deviationRatio, redrawWeights } from "./analysis/contractionInitialisation.js";
export { type Deduplicated, type DeduplicateOptions, deduplicate } from "./analysis/deduplicate.js";
export type { DeviceOptions, MeasureOptions, StagedOptions } from "./analysis/kernel.js";
export { type KnnOptions, type KnnRule, type KnnScores, knnScore } from "./analysis/knn.js";
export { type MahalanobisScores, mahalanobis } from "./analysis/mahalanobis.js";
export {
  type Coefficients,
  type Memorization,
  type MemorizationInput,
  type MemorizationOptions,
  type MemorizationRecord,
  type MemorizationRule,
  memorization,
} from "./analysis/memorization.js";
export { type Neighbours, nearest } from "./analysis/nearest.js";
export { type NearestInputs, nearestInputs } from "./analysis/nearestInput.js";
export { matchingPursuit, type PursuitOptions } from "./analysis/omp.js";
export {
  type OodInput,
  type OodOptions,
  type OodRecord,
  type OodScores,
  type OodSet,
  oodScores,
  type ScoreName,
} from "./analysis/ood.js";
export { bestTerms, orthonormalBasis } from "./analysis/orthonormal.js";
export {
  type Probe,
  type ProbeErrors,
  type ProbeOptions,
  type ProbeRecord,
  type ProbeSet,
  probe,
} from "./analysis/probing.js";
export { type PrototypeErrors, type PrototypeInput, prototypeErrors } from "./analysis/prototypes.js";
export { type Rank, type RankRecord, rank, rank90 } from "./analysis/rank.js";
export { type Detection, detection, type RocPoint, rocCurve } from "./analysis/roc.js";
export { pairwiseSimilarity, type Similarity, similarity, type TwoSided } from "./analysis/similarity.js";
export type { Spread } from "./analysis/statistics.js";
// Data
export type { DataRow, Dataset } from "./data/dataset.js";
export { readLatents } from "./data/latents.js";
export { readMatrix } from "./data/matrixFile.js";
export { type NpyArray, readNpyArray, writeNpy } from "./data/npy.js";
export { openData } from "./data/open.js";
export { type Preprocessor, prepareInputs, toPixels } from "./data/preprocess.js";
export { readSafetensors, writeSafetensors } from "./data/safetensors.js";
// Where things compute
export { PRECISIONS, type PrecisionChoice } from "./device.js";
// The method
export { findAttractors } from "./dynamics/attractors.js";
export {
  type Field,
  type FieldOptions,
  type FieldRecord,
  type PlaneChoice,
  vectorField,
} from "./dynamics/field.js";
export {
  type JacobianOptions,
  type Jacobians,
  jacobian,
  type Spectra,
  spectra,
} from "./dynamics/jacobian.js";
export type { MeasureNote } from "./dynamics/note.js";
export type { AttractorOptions, AttractorProgress } from "./dynamics/options.js";
export { data, latents, matched, noise, type PointSource, parsePoints } from "./dynamics/points.js";
export {
  type AttractorRun,
  type RunRecord,
  type RunTiming,
  type SetResult,
  type SetSummary,
  STATUS,
  UNFINISHED,
  type Verification,
} from "./dynamics/result.js";
export {
  type Agreement,
  convergenceSpeed,
  predictedIterations,
  type Speed,
  type SpeedOptions,
  type SpeedRecord,
} from "./dynamics/speed.js";
export {
  type TrajectoryOptions,
  type TrajectoryRecord,
  type TrajectoryRun,
  type TrajectorySet,
  type TrajectorySummary,
  trajectories,
} from "./dynamics/trajectories.js";
export {
  type VerifyOptions,
  type VerifyRunOptions,
  verifyAttractors,
  verifyPoints,
} from "./dynamics/verification.js";
// Engines
export { type EngineOptions, engineOf } from "./engines/choose.js";
export {
  type ComparisonOptions,
  compareEngines,
  type EngineComparison,
  type MeasuredEngine,
  type MissingEngine,
} from "./engines/compare.js";
export { examineMachine, type MachineDescription } from "./engines/doctor.js";
export { drive } from "./engines/drive.js";
export type { CallOptions, Engine, EngineDevice, EngineInfo, EngineState } from "./engines/engine.js";
export { inspectModel, type ModelDescription, type NodeDescription } from "./engines/inspect.js";
export { type NativeEngine, nativeEngine } from "./engines/native.js";
export { type OnnxRuntime, type OnnxRuntimeOptions, openOnnxRuntime } from "./engines/onnxruntime.js";
export type { Runtime } from "./engines/runtime.js";
// Errors
export {
  AbortedError,
  DeviceError,
  EngineError,
  InputError,
  LatdynError,
  UnsupportedOperatorError,
} from "./errors.js";
export { jacobianVectorGraph, vectorJacobianGraph } from "./graph/differentiate.js";
export { elements, formatShape, type Graph, type Node, type Shape, type Value } from "./graph/graph.js";
export { SCHEMES, type Scheme } from "./graph/initialise.js";
// Rows of numbers
export { type Matrix, matrix, row, takeRows } from "./matrix.js";
// Models
export type { Autoencoder, Encoder } from "./models/autoencoder.js";
export { ENGINES, type EngineChoice } from "./models/engineNames.js";
export { type FunctionOptions, fromFunction } from "./models/fromFunction.js";
export { fromProcess, type ProcessOptions } from "./models/fromProcess.js";
export { type LoadOptions, loadAutoencoder } from "./models/load.js";
export { loadEncoder } from "./models/onnxModel.js";
export type { ModelSource, RowFunction } from "./models/source.js";
export { type FromTfjsOptions, fromTfjs, type LiveModel, type LiveTf } from "./models/tfjs/fromTfjs.js";
export type { MaskOptions } from "./models/tokenSpec.js";
export type {
  CompileOptions,
  CpuInfo,
  CpuPlanInfo,
  CudaPlanInfo,
  Isa,
  IterateOptions,
  IterateResult,
  Layout,
  NativePoints,
  PlanInfo,
  Precision,
  Progress,
} from "./native.js";
// What to know before taking figures for a result
export { type Finding, type FoundSet, findings } from "./report/findings.js";
// Runs on disk
export { type ComparisonRunOptions, runComparison } from "./runs/comparisonRun.js";
export { type ContractionRunOptions, runContraction } from "./runs/contractionRun.js";
export { type Extraction, type ExtractOptions, extractAttractors, reportOn } from "./runs/extract.js";
export { type FieldRunOptions, runField } from "./runs/fieldRun.js";
export { type MemorizationRunOptions, runMemorization } from "./runs/memorizationRun.js";
export { type OodRunOptions, runOod } from "./runs/oodRun.js";
export { type ProbeRunOptions, runProbe } from "./runs/probeRun.js";
export { type RankRunOptions, runRank } from "./runs/rankRun.js";
export { readRun, type StoredRun, type StoredSet, type WriteRunOptions, writeRun } from "./runs/run.js";
export { runSpeed, type SpeedRunOptions } from "./runs/speedRun.js";
export { type SurrogateOptions, type SurrogateRecord, trainSurrogate } from "./runs/surrogateRun.js";
export { runTrajectories, type TrajectoryRunOptions } from "./runs/trajectoryRun.js";
// This package
// Training
export { type MlpActivation, type MlpOptions, type TrainedMlp, trainMlp } from "./training/mlp.js";
export { packageVersion } from "./version.js";
