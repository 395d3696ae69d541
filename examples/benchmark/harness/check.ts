/**
 * No figure counts before its result does: sampled outputs of a product against sums in float64.
 */
import type {Tensor} from '@tensorflow/tfjs-core';

const SAMPLES = 200;

/**
 * @param y [rows, n], the product of x [rows, k] and the dense W [k, n].
 * @returns the largest error, relative to the sum of the magnitudes added: float32 rounding is some 1e-7.
 */
export async function sampledError(y: Tensor, x: Float32Array, w: Float32Array, k: number): Promise<number> {
  const [rows, n] = y.shape;
  const values = await y.data();
  let worst = 0;
  for (let sample = 0; sample < SAMPLES; ++sample) {
    // The corners first, then a stride that meets every residue of the tile sizes.
    const row = sample < 2 ? sample * (rows - 1) : (sample * 7919) % rows;
    const col = sample < 4 ? (sample % 2) * (n - 1) : (sample * 104729) % n;
    let sum = 0;
    let magnitude = 0;
    for (let i = 0; i < k; ++i) {
      const product = x[row * k + i] * w[i * n + col];
      sum += product;
      magnitude += Math.abs(product);
    }
    const error = Math.abs(values[row * n + col] - sum) / (magnitude || 1);
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }
  return worst;
}
