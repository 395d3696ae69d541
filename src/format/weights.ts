/**
 * What this room asks of a dense weight matrix that a caller hands in, said in one place so that every function
 * refuses the same things in the same words.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';

/**
 * Reads W's values, without blocking the GPU's queue.
 * @param caller the public function's name, which opens the error.
 * @returns [k, n] row-major. It may be W's own memory: do not write to it.
 * @throws Error if W is not a float32 tensor [k, n] with k, n ≥ 1; before anything is read.
 */
export async function readWeights(caller: string, W: Tensor2D): Promise<Float32Array> {
  if (W?.dtype !== 'float32' || W.shape.length !== 2 || W.size === 0) {
    throw new Error(`${caller}: W is ${describe(W)}; give a float32 tensor [k, n] with k and n at least 1.`);
  }
  return await W.data() as Float32Array;
}

/** What a caller handed in where a tensor was wanted: 'a tensor int32 [2,3]', 'undefined'. */
export function describe(given: unknown): string {
  const {dtype, shape} = (given ?? {}) as {dtype?: string; shape?: number[]};
  if (dtype && shape) {
    return `a tensor ${dtype} [${shape}]`;
  }
  return given === null || given === undefined ? String(given) : `no tensor but of type ${typeof given}`;
}
