/**
 * How each weight of the converted model is stored, so that no weight takes more room than it did before:
 *
 * - If the input holds the same values quantized, the weight is stored in the input's own bytes. The comparison is by
 *   values, not by name, so a weight that was changed is never taken for unchanged.
 * - The kept values of a quantized kernel are stored in the same quantization, if every one is restored exactly. This
 *   is the case for values that pruning did not change. So a uint8 kernel stays uint8, also under --quantize_float16.
 * - With --quantize_float16, float32 weights that match become float16.
 * - All others are stored as they are. Packed int32 words are never quantized again.
 */
import {createHash} from 'node:crypto';
import type {io} from '@tensorflow/tfjs-core';
import type {layers} from '@tensorflow/tfjs-layers';
import {memoryStorage, type KernelStorage} from '../../convert/prune_kernels.js';
import {
  bytesOf, dequantize, floatsOf, halfBytes, quantizeExactly, type StoredWeight,
} from '../../format/stored_weights.js';
import {NMDense} from '../../layers/nm_dense.js';
import {isModelWeight, type StoredModel} from './read_model.js';
import {byVariableName} from './weight_names.js';
import {printable} from '../printable.js';

/** From here on a float32 rounds to an infinite float16. */
const HALF_OVERFLOW = 65520;

/**
 * The converted model's weights as they are to be written.
 * @param toFloat16 says of a weight's name whether it may become float16.
 * @throws Error naming a weight that float16 cannot hold.
 */
export function storeWeights(
    weights: StoredWeight[], input: StoredModel, toFloat16: (name: string) => boolean): StoredWeight[] {
  const quantized = input.weights.filter(weight => isModelWeight(weight) && weight.entry.quantization);
  const byValues = new Map(quantized.map(weight => [fingerprint(weight.entry, bytesOf(dequantize(weight))), weight]));
  const storedFor = byVariableName(quantized);
  return weights.map(weight => {
    const {entry, bytes} = weight;
    const same = byValues.size > 0 ? byValues.get(fingerprint(entry, bytes)) : undefined;
    if (same) {
      return {entry: {...entry, quantization: same.entry.quantization}, bytes: same.bytes};
    }
    if (entry.dtype !== 'float32') {
      return weight;
    }
    // The kept values of a kernel that was dense, or sparse already.
    const kernel = storedFor(entry.name) ?? storedFor(entry.name.replace(/\/values$/, '/kernel'));
    const again = kernel && quantizeExactly(entry, floatsOf(bytes), kernel.entry.quantization!);
    return again ?? (toFloat16(entry.name) ? asFloat16(weight) : weight);
  });
}

/**
 * How kernels are stored in files, so that a conversion can tell which layers would grow.
 * @param float16 whether --quantize_float16 was given.
 */
export function fileStorage(input: StoredModel, float16: boolean): KernelStorage {
  const storedFor = byVariableName(input.weights.filter(isModelWeight));
  const kernelOf = (dense: layers.Layer): StoredWeight | undefined => {
    const name = dense instanceof NMDense ? '/values' : '/kernel';
    return storedFor(dense.weights.find(({originalName}) => originalName.endsWith(name))?.originalName ?? '');
  };
  const inMemory = memoryStorage(float16 ? 'float16' : undefined);
  return {
    // A float16 value takes two bytes, more than a uint8 one.
    dtypeOf: dense => kernelOf(dense)?.entry.quantization?.dtype === 'uint8' ? 'float32' : inMemory.dtypeOf(dense),
    bytesNow(dense) {
      const kernel = kernelOf(dense);
      return kernel ? kernel.bytes.length + (dense instanceof NMDense ? 4 * dense.matrix().indices.size : 0) :
        inMemory.bytesNow(dense);
    },
    async bytesOf(dense, matrix) {
      const quantization = kernelOf(dense)?.entry.quantization;
      if (matrix.dtype === 'float16' || !quantization) {
        return inMemory.bytesOf(dense, matrix);
      }
      const entry = {name: 'values', shape: matrix.values.shape, dtype: 'float32' as const};
      const values = await matrix.values.data() as Float32Array;
      return (quantizeExactly(entry, values, quantization)?.bytes ?? values.buffer).byteLength +
        4 * matrix.indices.size;
    },
  };
}

function fingerprint({dtype, shape}: io.WeightsManifestEntry, bytes: Uint8Array): string {
  return `${dtype} [${shape}] ${createHash('sha256').update(bytes).digest('hex')}`;
}

function asFloat16({entry, bytes}: StoredWeight): StoredWeight {
  const values = floatsOf(bytes);
  const misfit = values.find(value => !(Math.abs(value) < HALF_OVERFLOW));
  if (misfit !== undefined) {
    throw new Error(`--quantize_float16: weight '${printable(entry.name)}' holds ${misfit}, beyond float16's ` +
        'largest, 65504; give globs that leave it out');
  }
  return {entry: {...entry, quantization: {dtype: 'float16'}}, bytes: halfBytes(values)};
}
