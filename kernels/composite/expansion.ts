/**
 * Cached expansion: the dense W of a compressed matrix, kept beside it. Backends without a sparse kernel rebuild W once
 * and not for every product, so that a product costs what tf.matMul costs.
 *
 * An expansion takes 4·k·n bytes and counts as a tensor in tf.memory(). It is disposed with the matrix's values or
 * indices; training updates give the values another dataId. The flag NM_SPARSE_MAX_EXPANDED_BYTES bounds all expansions
 * together; a matrix beyond it is expanded for every product.
 */
import {
  env, keep, type KernelBackend, type KernelConfig, type Tensor2D, type TensorInfo,
} from '@tensorflow/tfjs-core';
import {onDisposal} from '../../src/tfjs/disposal.js';
import {fromAttrs, type MatrixAttrs} from '../contract.js';
import {PerMatrix} from '../per_matrix.js';

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
 * Keeps a dense W [k, n] for as long as the matrix lives, if the bound allows it.
 * @param W on the active backend; the caller disposes it if it is not kept.
 */
export function keepExpansion(
    backend: KernelBackend, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs, W: Tensor2D): void {
  const size = 4 * W.size;
  // With IS_TEST, tfjs takes every tensor that a kernel leaves behind for a leak.
  if (bytes + size > env().getNumber(MAX_BYTES) || env().getBool('IS_TEST')) {
    return;
  }
  bytes += size;
  expansions.set(values, indices, matrix, keep(W));
  const drop = () => {
    if (!W.isDisposed) {
      bytes -= size;
      expansions.delete(values);
      W.dispose();
    }
  };
  onDisposal(backend, values.dataId, drop);
  onDisposal(backend, indices.dataId, drop);
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
