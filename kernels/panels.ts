/**
 * Compressed weights laid out for CPUs, which the cpu and wasm kernels share: columns in panels, so that the inner loop
 * reads values and row numbers contiguously along the kept rows. Laid out once per matrix.
 */
import type {TensorInfo} from '@tensorflow/tfjs-core';
import {keptRowIndices} from '../src/format/pack.js';
import {formatPattern, keptRowCount} from '../src/format/pattern.js';
import {STORAGE} from '../src/format/storage.js';
import type {MatrixAttrs} from './contract.js';

export interface Panels {
  /** [panels, w, width]; the columns past n are 0. */
  values: Float32Array;
  /** Rows of W by column group and kept row, [groups, w]. */
  rowIds: Int32Array;
  /** Panels that share a group's row numbers. */
  panelsPerGroup: number;
}

/**
 * Lays out a matrix.
 * @param width columns of a panel; they share kept rows.
 * @param stored the elements of its tensor `values`.
 * @param words the elements of its tensor `indices`.
 */
export function packPanels(
    width: number, stored: Float32Array | Int32Array, words: Int32Array,
    {shape: [k, n], pattern, dtype}: MatrixAttrs): Panels {
  const keptRows = keptRowCount(k, pattern);
  const decoded = STORAGE[dtype].decode(stored, keptRows, n);
  const values = new Float32Array(Math.ceil(n / width) * keptRows * width);
  for (let j = 0; j < keptRows; ++j) {
    for (let col = 0, to = j * width; col < n; col += width, to += keptRows * width) {
      for (let c = 0; c < width && col + c < n; ++c) {
        values[to + c] = decoded[j * n + col + c];
      }
    }
  }
  return {values, rowIds: keptRowIndices(words, [k, n], pattern), panelsPerGroup: pattern.vectorLength / width};
}

/** What is kept for a matrix, by the dataId of its values and by all else that decides the layout. */
export class PerMatrix<T> {
  private readonly kept = new WeakMap<object, Map<string, {indices: object; made: T}>>();

  /** @returns what was made for the matrix, made now if it is the first time. */
  get(values: TensorInfo, indices: TensorInfo, {shape, pattern, dtype}: MatrixAttrs, make: () => T): T {
    const meaning = `${formatPattern(pattern)} [${shape}] ${dtype}`;
    const known = this.kept.get(values.dataId) ?? new Map<string, {indices: object; made: T}>();
    this.kept.set(values.dataId, known);
    let entry = known.get(meaning);
    if (entry?.indices !== indices.dataId) {
      entry = {indices: indices.dataId, made: make()};
      known.set(meaning, entry);
    }
    return entry.made;
  }

  /** Forgets what was made for matrices with these values: it is no longer valid. */
  forget({dataId}: TensorInfo): void {
    this.kept.delete(dataId);
  }
}
