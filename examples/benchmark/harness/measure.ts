/**
 * Times a product on the GPU: the sum of the GPU timestamps of all its programs, many products a round, the median of
 * several rounds. So a transpose or a second pass counts, and JavaScript and submission don't. tfjs takes the stamps
 * (tf.time); run Dawn or Chromium with the feature timestamp_quantization disabled, or they are rounded to 65 µs.
 */
import {dispose, time, type Tensor} from '@tensorflow/tfjs-core';

export interface MeasureOptions {
  /** Products a round. */
  repeats?: number;
  rounds?: number;
}

/**
 * @param product runs it for the i-th set of inputs: give several sets in turn where the cache could hold one.
 * @returns milliseconds of one product.
 */
export async function measure(
    product: (i: number) => Tensor, {repeats = 10, rounds = 5}: MeasureOptions = {}): Promise<number> {
  const round = async (count: number): Promise<number> => {
    const {kernelMs} = await time(() => {
      for (let i = 0; i < count; ++i) {
        dispose(product(i));
      }
    });
    if (typeof kernelMs !== 'number' || !(kernelMs > 0)) {
      throw new Error(`measure: the backend gave no GPU time (${JSON.stringify(kernelMs)}); is timestamp-query there?`);
    }
    return kernelMs / count;
  };
  await round(3);
  const times: number[] = [];
  for (let i = 0; i < rounds; ++i) {
    times.push(await round(repeats));
  }
  return times.sort((a, b) => a - b)[Math.floor(rounds / 2)];
}
