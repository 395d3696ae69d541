/**
 * The entry for pages that only load and run converted models: `import 'tfjs-nm-sparse/runtime'`. It registers the
 * kernels and the layer NMDense like src/index.ts, but has neither pruning nor tuning, nor reads tuned plans.
 */
import {nmDense} from './layers/nm_dense.js';
import {registerGraphOps} from './ops/graph_ops.js';
import {registerAll} from './ops/register.js';

registerAll();
registerGraphOps();

export {NMSparseMatrix, type NMSparseMatrixParts} from './format/nm_sparse_matrix.js';
export {NMDense, type NMDenseArgs} from './layers/nm_dense.js';
export {decompress, nmSparseMatMul, type NMSparseMatMulOptions} from './ops/nm_sparse_mat_mul.js';
export {nmSparseConv2D, type NMSparseConv2DOptions} from './ops/nm_sparse_conv2d.js';

/** Layer factories, named and used as tf.layers' are. */
export const layers = {nmDense};
