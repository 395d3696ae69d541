/**
 * Converts a layer's kernel to an N:M matrix, or returns the reason why the layer should stay as it is. A layer must
 * not grow unless the options demand it, so the bytes of the matrix are compared with the present bytes of the layer.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';
import {compress, compressBy} from '../format/compress.js';
import {NMSparseMatrix} from '../format/nm_sparse_matrix.js';
import {STORAGE, type StorageDtype} from '../format/storage.js';
import {formatPattern, type NMPattern} from '../format/pattern.js';
import {readWeights} from '../format/weights.js';
import {NMDense} from '../layers/nm_dense.js';
import {decompress} from '../ops/nm_sparse_mat_mul.js';
import type {Criterion} from '../pruning/criteria/criterion.js';
import {UnsupportedWeightsError} from '../util/options.js';
import type {Layer} from './layers/find.js';

/** A kernel as a layer holds it: dense [k, n], or compressed. */
export type StoredKernel = Tensor2D | NMSparseMatrix;

/**
 * How kernels are stored outside memory. nm-prune provides it, because kernels may be quantized in files.
 */
export interface KernelStorage {
  /** How the values of a converted layer are to be stored. */
  dtypeOf(dense: Layer): StorageDtype | undefined;
  /** Bytes of a layer's kernel as it is stored now. */
  bytesNow(dense: Layer): number;
  /** Bytes that a matrix would take in its place. */
  bytesOf(dense: Layer, matrix: NMSparseMatrix): Promise<number>;
}

/** What is stored is what lies in memory. */
export function memoryStorage(dtype?: StorageDtype): KernelStorage {
  return {
    dtypeOf: () => dtype,
    bytesNow: dense => dense instanceof NMDense ? dense.matrix().bytes : 4 * dense.weights[0].read().size,
    bytesOf: async (_dense, {bytes}) => bytes,
  };
}

export interface KernelRequest {
  pattern: NMPattern;
  /** How to store values. Left out: as they are stored now; those of a dense kernel as float32. */
  dtype?: StorageDtype;
  /** Decides where no mask is given. */
  criterion: Criterion;
  /** [k, n]; see compress. */
  mask?: Tensor2D;
  /** The layer becomes another one anyway, so a matrix of equal size is taken. */
  replaced: boolean;
  /** Bytes that the kernel takes now, and that a matrix would take in its place. */
  bytesNow: number;
  bytesOf: (matrix: NMSparseMatrix) => Promise<number>;
  onProgress: (fraction: number) => void;
}

export interface PrunedKernel {
  matrix: NMSparseMatrix;
  /** Share of the squared weights that was kept, 0 … 1. */
  keptEnergy: number;
  /** What the report says about the layer, beyond its figures. */
  note?: string;
}

/**
 * Prunes and compresses a kernel; it is not disposed.
 * @returns the matrix, which the caller disposes; or the reason why there is none.
 * @throws UnfitMaskError if the mask does not fit the pattern, and what onProgress throws.
 */
export async function pruneKernel(
    kernel: StoredKernel, request: KernelRequest): Promise<PrunedKernel | {reason: string}> {
  const {pattern, criterion, mask, onProgress} = request;
  const dtype = request.dtype ?? (kernel instanceof NMSparseMatrix ? kernel.dtype : 'float32');
  const dense = kernel instanceof NMSparseMatrix ? decompress(kernel) : kernel;
  let matrix: NMSparseMatrix | undefined;
  try {
    // Compress before judging the size: if the kernel holds a NaN, that is the reason to report.
    matrix = mask ? await compress(dense, {pattern, dtype, mask, onProgress}) : await compressBy(
      criterion.prune, await readWeights('compress', dense), dense.shape, {pattern, dtype, onProgress});
    const verdict = judgeSize(kernel, matrix, await request.bytesOf(matrix), request);
    if ('reason' in verdict) {
      matrix.dispose();
      return verdict;
    }
    return {matrix, keptEnergy: await keptEnergy(matrix, dense), note: verdict.note};
  } catch (error) {
    matrix?.dispose();
    // Weights that cannot be stored concern this layer alone; all else (a lost GPU, a callback) the caller.
    if (error instanceof UnsupportedWeightsError) {
      return {reason: error.message};
    }
    throw error;
  } finally {
    if (dense !== kernel) {
      dense.dispose();
    }
  }
}

/** Why the matrix should not replace the kernel, or what should be said if it does. */
function judgeSize(
    kernel: StoredKernel, matrix: NMSparseMatrix, bytes: number, {dtype, mask, replaced, bytesNow}: KernelRequest):
    {note?: string} | {reason: string} {
  const name = formatPattern(matrix.pattern);
  const mayEqual = mask !== undefined || replaced;
  if (!(kernel instanceof NMSparseMatrix)) {
    return bytes < bytesNow ? {} : {reason: `${name} would take ${bytes} bytes, dense takes ${bytesNow}`};
  }
  const nameNow = formatPattern(kernel.pattern);
  if (bytes < bytesNow || (bytes === bytesNow && mayEqual)) {
    return {};
  }
  if (dtype && STORAGE[dtype].trainable && !STORAGE[kernel.dtype].trainable) {
    return {note: `grows from ${bytesNow} to ${bytes} bytes, because dtype '${dtype}', which can be trained, ` +
        'was asked for'};
  }
  return {reason: name === nameNow && matrix.dtype === kernel.dtype ?
    `the layer is ${name} stored as ${kernel.dtype} already` :
    `${name} would take ${bytes} bytes, ${nameNow} stored as ${kernel.dtype} takes ${bytesNow}`};
}

/** 1 for a kernel of zeros, of which nothing can be lost. */
async function keptEnergy(matrix: NMSparseMatrix, dense: Tensor2D): Promise<number> {
  const kept = decompress(matrix);
  try {
    const share = energy(await kept.data()) / energy(await dense.data());
    return Number.isNaN(share) ? 1 : share;
  } finally {
    kept.dispose();
  }
}

function energy(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; ++i) {
    sum += values[i] * values[i];
  }
  return sum;
}

