/**
 * The public API. Importing it registers the kernels, their gradients and the layer NMDense with tfjs: that is the one
 * side effect of this package, and all a page that only loads and runs a converted model needs.
 */
import {nmDense} from './layers/nm_dense.js';
import {registerGraphOps} from './ops/graph_ops.js';
import {registerAll} from './ops/register.js';
import {chooserOf} from './tuning/choose.js';
import {loadTuned} from './tuning/plan_cache.js';

registerAll(backend => void loadTuned(chooserOf(backend)));
registerGraphOps();

export {httpWithChecksums} from './format/checksums.js';
export {compress, type CompressOptions} from './format/compress.js';
export {checkPattern, detectPattern, type DetectOptions} from './format/detect.js';
export {NMSparseMatrix, type NMSparseMatrixParts} from './format/nm_sparse_matrix.js';
export {formatPattern, parsePattern, type NMPattern, type PatternLike} from './format/pattern.js';
export {validateMatrix} from './format/validate.js';
export type {StorageDtype} from './format/storage.js';
export {decompress, nmSparseMatMul, type NMSparseMatMulOptions} from './ops/nm_sparse_mat_mul.js';
export type {FusedActivation} from '../kernels/contract.js';
export {NMDense, type NMDenseArgs} from './layers/nm_dense.js';
export {nmSparseConv2D, type NMSparseConv2DOptions} from './ops/nm_sparse_conv2d.js';
export {pruneGraphModel, type PruneGraphModelOptions} from './convert/graph_model.js';
export {pruneLayersModel, type PruneLayersModelOptions, type PruneProgress} from './convert/layers_model.js';
export type {LayerReport, PruneReport} from './convert/report.js';
export {tune} from './tuning/tune.js';
export type {
  ProductShape, SkippedProduct, TunedProduct, TuneOptions, TuneProgress, TuneReport,
} from './tuning/tune_options.js';
export type {PredictModel} from './tfjs/predict_model.js';
export {captureModel, type CapturedModel, type CaptureOptions} from './runtime/capture.js';
export {
  explainModel, type ExplainedLayer, type ExplainOptions, type ExplainReport,
} from './runtime/explain_model.js';
export {warmUp, type WarmUpOptions, type WarmUpReport} from './runtime/warm_up.js';
export {UnsupportedWeightsError} from './util/options.js';

/** Layer factories, named and used as tf.layers' are. */
export const layers = {nmDense};
