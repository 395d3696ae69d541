/**
 * Compressed weights laid out for CPUs, which the cpu and wasm kernels share: columns in panels, so that the inner loop
 * reads values and row numbers contiguously along the kept rows. Laid out once per matrix.
 */
import {keptRowCount} from '../src/format/pattern.js';
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
 * @param rowIds its row numbers, [groups, w].
 */
export function packPanels(
    width: number, stored: Float32Array | Int32Array, rowIds: Int32Array,
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
  return {values, rowIds, panelsPerGroup: pattern.vectorLength / width};
}
