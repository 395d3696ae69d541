/**
 * The entry `tfjs-nm-sparse/runtime`: all that a page needs which loads and runs a converted model, and nothing else.
 * Importing it registers the kernels, their gradients and the layer NMDense with tfjs, as the main entry does.
 */
import {nmDense} from './layers/nm_dense.js';
import {registerAll} from './ops/register.js';

registerAll();

export {NMSparseMatrix, type NMSparseMatrixParts} from './format/nm_sparse_matrix.js';
export type {NMPattern, PatternLike} from './format/pattern.js';
export type {StorageDtype} from './format/storage.js';
export {decompress, nmSparseMatMul, type NMSparseMatMulOptions} from './ops/nm_sparse_mat_mul.js';
export type {FusedActivation} from '../kernels/contract.js';
export {NMDense, type NMDenseArgs} from './layers/nm_dense.js';

/** Layer factories, named and used as tf.layers' are. */
export const layers = {nmDense};
