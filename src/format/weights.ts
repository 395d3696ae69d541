/**
 * What this folder asks of a dense weight matrix that a caller hands in, said in one place so that every function
 * refuses the same things in the same words.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';
import {describeValue} from '../util/options.js';

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
