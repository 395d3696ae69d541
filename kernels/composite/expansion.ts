/**
 * Cached expansion: the dense W of a compressed matrix, kept beside it. Backends without a sparse kernel rebuild W once
 * and not for every product, so that a product costs what tf.matMul costs.
 *
 * An expansion takes 4·k·n bytes and counts as a tensor in tf.memory(). It is disposed with the matrix's values or
 * indices; training updates give the values another dataId. The flag NM_SPARSE_MAX_EXPANDED_BYTES bounds all expansions
 * together; a matrix beyond it is expanded for every product.
 */
import {env, keep, type KernelBackend, type Tensor2D, type TensorInfo} from '@tensorflow/tfjs-core';
import {formatPattern} from '../../src/format/pattern.js';
import {onDisposal} from '../../src/tfjs/disposal.js';
import type {MatrixAttrs} from '../contract.js';

const MAX_BYTES = 'NM_SPARSE_MAX_EXPANDED_BYTES';

env().registerFlag(MAX_BYTES, () => 512 * 1024 * 1024);

/** Expansions by the dataId of the values, then by all else that decides what W is. */
const expansions = new WeakMap<object, Map<string, {indices: object; W: Tensor2D}>>();

/** Bytes of all expansions. */
let bytes = 0;

function meaningOf({shape, pattern, dtype}: MatrixAttrs): string {
  return `${formatPattern(pattern)} [${shape}] ${dtype}`;
}

/** @returns the kept W [k, n], which the caller must not dispose; undefined if there is none. */
export function keptExpansion(values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): Tensor2D | undefined {
  const known = expansions.get(values.dataId)?.get(meaningOf(matrix));
  return known?.indices === indices.dataId ? known.W : undefined;
}

/**
 * Keeps a dense W [k, n] for as long as the matrix lives, if the bound allows it.
 * @param W of the active backend; the caller disposes it if it is not kept.
 * @returns whether it is kept.
 */
export function keepExpansion(
    backend: KernelBackend, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs, W: Tensor2D): boolean {
  const size = 4 * W.size;
  const known = expansions.get(values.dataId) ?? new Map<string, {indices: object; W: Tensor2D}>();
  const meaning = meaningOf(matrix);
  // With IS_TEST, tfjs takes every tensor that a kernel leaves behind for a leak.
  if (bytes + size > env().getNumber(MAX_BYTES) || known.has(meaning) || env().getBool('IS_TEST')) {
    return false;
  }
  bytes += size;
  known.set(meaning, {indices: indices.dataId, W: keep(W)});
  expansions.set(values.dataId, known);
  const drop = () => {
    if (!W.isDisposed) {
      bytes -= size;
      known.delete(meaning);
      W.dispose();
    }
  };
  onDisposal(backend, values.dataId, drop);
  onDisposal(backend, indices.dataId, drop);
  return true;
}
