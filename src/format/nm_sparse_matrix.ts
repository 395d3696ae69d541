/**
 * An N:M-sparse weight matrix: plain tensors and the numbers needed to read them. Plain tensors, so that tfjs saves,
 * loads, moves and disposes them like any weight. The layout is specified in docs/format.md.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';
import {describeValue} from '../util/options.js';
import {indexWordsPerGroup} from './pack.js';
import {formatPattern, groupCount, keptRowCount, parsePattern, type NMPattern, type PatternLike} from './pattern.js';
import {checkDtype, STORAGE, type StorageDtype} from './storage.js';

export interface NMSparseMatrixParts {
  /** float32 [w, n], or int32 words [w, ceil(n/2)] for float16. */
  values: Tensor2D;
  /** int32 words [groups, words per group]: the packed offsets. */
  indices: Tensor2D;
  pattern: PatternLike;
  /** [k, n] of the dense matrix. */
  shape: [number, number];
  dtype?: StorageDtype;
}

/** The shapes of the two tensors of a matrix of shape [k, n]. */
export function partShapes([k, n]: [number, number], pattern: NMPattern, dtype: StorageDtype) {
  const w = keptRowCount(k, pattern);
  return {
    values: [w, STORAGE[dtype].columns(n)] as [number, number],
    indices: [groupCount(n, pattern), indexWordsPerGroup(w, pattern)] as [number, number],
  };
}

/**
 * A compressed matrix `W [k, n]`. Make one with {@link compress}; the constructor is for tensors that came from
 * elsewhere (a file, another implementation). It takes over the tensors: dispose() disposes them.
 */
export class NMSparseMatrix {
  readonly values: Tensor2D;
  readonly indices: Tensor2D;
  readonly pattern: NMPattern;
  readonly shape: [number, number];
  readonly dtype: StorageDtype;

  /**
   * Reads no data. The offsets of a matrix from elsewhere must be checked once, with {@link validateMatrix}: kernels
   * trust them.
   * @throws Error if a tensor is disposed, or its shape or dtype is not what pattern, shape and dtype call for.
   */
  constructor(parts: NMSparseMatrixParts) {
    if (parts === null || typeof parts !== 'object' || 'then' in parts) {
      throw new Error(
        `NMSparseMatrix: parts is ${describeValue(parts)}; give {values, indices, pattern, shape, dtype?}.`);
    }
    const {values, indices, pattern, shape, dtype = 'float32'} = parts;
    this.pattern = parsePattern(pattern);
    if (!Array.isArray(shape) || shape.length !== 2 || !shape.every(size => Number.isInteger(size) && size >= 1)) {
      const shown = Array.isArray(shape) ? `[${(shape as unknown[]).map(String)}]` : describeValue(shape);
      throw new Error(`NMSparseMatrix: shape is ${shown}; give [k, n], two whole numbers of at least 1.`);
    }
    checkDtype('NMSparseMatrix', dtype);
    const expected = partShapes(shape, this.pattern, dtype);
    checkPart('values', values, expected.values, STORAGE[dtype].tensorDtype);
    checkPart('indices', indices, expected.indices, 'int32');
    this.values = values;
    this.indices = indices;
    this.shape = [shape[0], shape[1]];
    this.dtype = dtype;

    function checkPart(name: string, tensor: Tensor2D, wanted: [number, number], wantedDtype: string): void {
      if (tensor?.dtype !== wantedDtype || tensor.shape.length !== 2 || tensor.shape[0] !== wanted[0] ||
          tensor.shape[1] !== wanted[1] || tensor.isDisposed) {
        throw new Error(`NMSparseMatrix: ${name} is ${describeValue(tensor)}; a ` +
            `${formatPattern(parsePattern(pattern))} matrix of shape [${shape}] stored as ${dtype} has ${name} ` +
            `${wantedDtype} [${wanted}].`);
      }
    }
  }

  /** w: how many rows every column keeps. */
  get keptRows(): number {
    return keptRowCount(this.shape[0], this.pattern);
  }

  /** Bytes of values and indices together. */
  get bytes(): number {
    return 4 * (this.values.size + this.indices.size);
  }

  dispose(): void {
    this.values.dispose();
    this.indices.dispose();
  }
}
