/** The row numbers of a compressed matrix, unpacked on the CPU once and kept for as long as its indices live. */
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import {keptRowIndices} from '../src/format/pack.js';
import type {MatrixAttrs} from './contract.js';
import {PerMatrix} from './per_matrix.js';

const kept = new PerMatrix<Int32Array>();

/** @returns rows of W by group and kept row, [groups, w]. */
export function rowIdsOf(backend: KernelBackend, indices: TensorInfo, matrix: MatrixAttrs): Int32Array {
  return kept.get(indices, indices, matrix) ?? kept.set(indices, indices, matrix, keptRowIndices(
    backend.readSync(indices.dataId) as Int32Array, matrix.shape, matrix.pattern));
}
