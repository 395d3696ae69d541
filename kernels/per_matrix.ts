/**
 * What a kernel keeps beside a compressed matrix: W in another layout, or dense. Kept by the dataId of the matrix's
 * values and by all else that decides what they mean. Looked up for every product, so no key is built.
 */
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import {onDisposal} from '../src/tfjs/disposal.js';
import type {MatrixAttrs} from './contract.js';

interface Entry<T> {
  indices: object;
  matrix: MatrixAttrs;
  kept: T;
}

export class PerMatrix<T> {
  private readonly entries = new WeakMap<object, Array<Entry<T>>>();

  /** @returns what is kept for the matrix; undefined if nothing is. */
  get(values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): T | undefined {
    return this.entries.get(values.dataId)?.find(entry =>
      entry.indices === indices.dataId && isSame(entry.matrix, matrix))?.kept;
  }

  /** Keeps plain data, which is garbage-collected with the tensors. @returns `kept`. */
  set(values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs, kept: T): T {
    const others = this.entries.get(values.dataId) ?? [];
    this.entries.set(values.dataId, [...others, {indices: indices.dataId, matrix, kept}]);
    return kept;
  }

  /** Keeps what has to be freed: once the values or the indices are disposed on this backend. @returns `kept`. */
  setUntilDisposal(
      backend: KernelBackend, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs, kept: T,
      free: () => void): T {
    let isFreed = false;
    const drop = () => {
      if (!isFreed) {
        isFreed = true;
        const others = this.entries.get(values.dataId)?.filter(entry => entry.kept !== kept) ?? [];
        this.entries.set(values.dataId, others);
        free();
      }
    };
    onDisposal(backend, values.dataId, drop);
    onDisposal(backend, indices.dataId, drop);
    return this.set(values, indices, matrix, kept);
  }
}

function isSame(a: MatrixAttrs, b: MatrixAttrs): boolean {
  return a.shape[0] === b.shape[0] && a.shape[1] === b.shape[1] && a.dtype === b.dtype &&
    (a.pattern === b.pattern || (a.pattern.n === b.pattern.n && a.pattern.m === b.pattern.m &&
      a.pattern.vectorLength === b.pattern.vectorLength));
}
