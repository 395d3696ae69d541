/**
 * Compresses one layer's kernel, or says why the layer is better left alone.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';
import {compress} from '../../format/compress.js';
import {NMSparseMatrix, type StorageDtype} from '../../format/nm_sparse_matrix.js';
import {formatPattern, type NMPattern} from '../../format/pattern.js';
import {NMDense} from '../../layers/nm_dense.js';
import {decompress} from '../../ops/nm_sparse_mat_mul.js';
import {UnsupportedWeightsError} from '../../util/options.js';
import type {Layer} from './find.js';
import type {WeightsSnapshot} from './weights.js';

/**
 * How kernels are stored, where the caller knows more than the model in memory tells: nm-prune has files in which they
 * may be quantized.
 */
export interface KernelStorage {
  /** How the values of a converted layer are to be stored. */
  dtypeOf(dense: Layer): StorageDtype;
  /** Bytes of a layer's kernel as it is stored now. */
  bytesNow(dense: Layer): number;
  /** Bytes that a matrix would take in its place. */
  bytesOf(dense: Layer, matrix: NMSparseMatrix): Promise<number>;
}

/** What is stored is what lies in memory. */
export function memoryStorage(dtype: StorageDtype | undefined): KernelStorage {
  return {
    dtypeOf: dense => dtype ?? (dense instanceof NMDense ? dense.storage : 'float32'),
    bytesNow: dense => dense instanceof NMDense ? dense.matrix().bytes : 4 * dense.weights[0].read().size,
    bytesOf: async (_dense, {bytes}) => bytes,
  };
}

export interface Compressed {
  matrix: NMSparseMatrix;
  /** Share of the squared weights that was kept. */
  keptEnergy: number;
  /** What else there is to know. */
  reason?: string;
}

/**
 * @param mask [k, n]: what to keep; without one the largest weights are kept.
 * @throws what is not this layer's matter: a lost GPU, an error in the callback.
 */
export async function compressKernel(
    dense: Layer, weights: WeightsSnapshot,
    {pattern, mask, storage, onProgress}:
    {pattern: NMPattern; mask?: Tensor2D; storage: KernelStorage; onProgress: (fraction: number) => void},
): Promise<Compressed | {reason: string}> {
  const disposable: {dispose(): void}[] = [];
  try {
    const kernel = kernelOf(dense, weights, disposable);
    const dtype = storage.dtypeOf(dense);
    const matrix = await compress(kernel, {pattern, dtype, onProgress, ...(mask && {mask})});
    const [now, then] = [storage.bytesNow(dense), await storage.bytesOf(dense, matrix)];
    // Values that cannot be trained are unpacked because the caller asked for it; everything else must not grow.
    const unpacked = dense instanceof NMDense && dense.storage === 'float16' && dtype === 'float32';
    if (dense instanceof NMDense ? then > now && !unpacked : then >= now) {
      disposable.push(matrix);
      return {reason: `${formatPattern(pattern)} would take ${then} bytes, the kernel takes ${now} now`};
    }
    const kept = decompress(matrix);
    disposable.push(kept);
    const keptEnergy = energy(await kept.data()) / energy(await kernel.data());
    return {
      matrix,
      keptEnergy: Number.isNaN(keptEnergy) ? 1 : keptEnergy,
      ...(then > now ? {reason: `float16 became float32: ${now} → ${then} bytes`} : {}),
    };
  } catch (error) {
    if (error instanceof UnsupportedWeightsError) {
      return {reason: error.message};
    }
    throw error;
  } finally {
    disposable.forEach(each => each.dispose());
  }
}

/** The dense kernel. If it had to be made, it is added to `disposable`. */
function kernelOf(dense: Layer, weights: WeightsSnapshot, disposable: {dispose(): void}[]): Tensor2D {
  if (!(dense instanceof NMDense)) {
    return weights.of(dense.weights[0].read() as Tensor2D);
  }
  const {values, indices, pattern, shape, dtype} = dense.matrix();
  const matrix = new NMSparseMatrix(
    {values: weights.of(values), indices: weights.of(indices), pattern, shape, dtype});
  const kernel = decompress(matrix);
  disposable.push(kernel);
  return kernel;
}

function energy(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; ++i) {
    sum += values[i] * values[i];
  }
  return sum;
}
