/**
 * Reads and checks dense weight matrices and masks from callers. The checks are in one place so that every function
 * refuses the same arguments with the same message.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';
import {describeValue, UnfitMaskError} from '../util/options.js';

/**
 * Reads W's values, without blocking the GPU's queue.
 * @param caller the public function's name, which opens the error.
 * @returns [k, n] row-major. It may be W's own memory: do not write to it.
 * @throws Error if W is not a float32 tensor [k, n] with k, n ≥ 1, or is disposed; before anything is read.
 */
export async function readWeights(caller: string, W: Tensor2D): Promise<Float32Array> {
  if (W?.dtype !== 'float32' || W.shape.length !== 2 || !(W.size > 0) || W.isDisposed) {
    throw new Error(`${caller}: W is ${describeValue(W)}; give a float32 tensor [k, n] with k and n at least 1.`);
  }
  return await W.data() as Float32Array;
}

/** Whether it is a bool, int32 or float32 tensor of this shape, and not disposed. */
export function isMask(mask: unknown, [k, n]: readonly number[]): mask is Tensor2D {
  const {shape, dtype, data, isDisposed} = (mask ?? {}) as Partial<Tensor2D>;
  return shape?.length === 2 && shape[0] === k && shape[1] === n &&
      ['bool', 'int32', 'float32'].includes(dtype as string) && typeof data === 'function' && !isDisposed;
}

/**
 * Reads a mask's values.
 * @returns [k, n] row-major, non-zero keeps. It may be the mask's own memory: do not write to it.
 * @throws UnfitMaskError if the mask holds a NaN, which says neither "keep" nor "drop".
 */
export async function readMask(mask: Tensor2D): Promise<Uint8Array> {
  const data = await mask.data();
  if (data instanceof Uint8Array) {
    return data;
  }
  const keep = new Uint8Array(data.length);
  for (let i = 0; i < keep.length; ++i) {
    if (Number.isNaN(data[i])) {
      const n = mask.shape[1];
      throw new UnfitMaskError(`mask is NaN in row ${Math.floor(i / n)}, column ${i % n}; give 0 to drop a ` +
          'weight, 1 to keep it.');
    }
    keep[i] = data[i] !== 0 ? 1 : 0;
  }
  return keep;
}
