/**
 * Cached expansion: the dense W of a compressed matrix, kept beside it. Backends without a sparse kernel rebuild W once
 * and not for every product, so that a product costs what tf.matMul costs.
 *
 * An expansion takes 4·k·n bytes and counts as a tensor in tf.memory(). It is disposed with the matrix's values or
 * indices; training updates give the values another dataId. The flag NM_SPARSE_MAX_EXPANDED_BYTES bounds all expansions
 * together. Beyond it, backends with a sparse program run that; the others expand W for every product.
 */
import {
  env, keep, type KernelBackend, type KernelConfig, type Tensor2D, type TensorInfo,
} from '@tensorflow/tfjs-core';
import {describeValue} from '../src/util/options.js';
import {fromAttrs, type MatrixAttrs} from './contract.js';
import {PerMatrix} from './per_matrix.js';

const MAX_BYTES = 'NM_SPARSE_MAX_EXPANDED_BYTES';

env().registerFlag(MAX_BYTES, () => 512 * 1024 * 1024);

const expansions = new PerMatrix<Tensor2D>();

/** Bytes of all expansions. */
let bytes = 0;

/** @returns the kept W [k, n], which the caller must not dispose; undefined if there is none. */
export function keptExpansion(values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): Tensor2D | undefined {
  return expansions.get(values, indices, matrix);
}

/**
 * Whether the matrix has an expansion, or the bound allows one.
 * @throws Error if the flag is not a number of bytes.
 */
export function mayExpand(values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): boolean {
  const most: unknown = env().get(MAX_BYTES);
  if (typeof most !== 'number' || !(most >= 0)) {
    throw new Error(
      `nmSparseMatMul: the flag ${MAX_BYTES} is ${describeValue(most)}; give a number of bytes, 0 for none.`);
  }
  const [k, n] = matrix.shape;
  // With IS_TEST, tfjs takes every tensor that a kernel leaves behind for a leak.
  return keptExpansion(values, indices, matrix) !== undefined ||
    (bytes + 4 * k * n <= most && !env().getBool('IS_TEST'));
}

/**
 * Keeps a dense W [k, n] for as long as the matrix lives, if the bound allows it.
 * @param W on the active backend; the caller disposes it if it is not kept.
 */
export function keepExpansion(
    backend: KernelBackend, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs, W: Tensor2D): void {
  if (mayExpand(values, indices, matrix)) {
    const size = 4 * W.size;
    bytes += size;
    expansions.setUntilDisposal(backend, values, indices, matrix, keep(W), () => {
      bytes -= size;
      W.dispose();
    });
  }
}

/**
 * A decompression kernel that hands out the kept W where there is one: the backward pass of a training step then needs
 * no second expansion.
 */
export function sharingExpansions(decompress: KernelConfig): KernelConfig {
  return {...decompress, kernelFunc: args => {
    const {values, indices} = args.inputs as {values: TensorInfo; indices: TensorInfo};
    const W = keptExpansion(values, indices, fromAttrs<MatrixAttrs>(args.attrs));
    if (!W) {
      return decompress.kernelFunc(args);
    }
    (args.backend as KernelBackend).incRef(W.dataId);
    return {dataId: W.dataId, shape: W.shape, dtype: W.dtype};
  }};
}
