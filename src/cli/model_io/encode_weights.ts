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
import {packHalves, unpackHalves} from '../../format/pack.js';
import {NMDense} from '../../layers/nm_dense.js';
import {isModelWeight, type StoredModel, type StoredWeight} from './read_model.js';
import {byVariableName} from './weight_names.js';
import {printable} from '../printable.js';

type Quantization = NonNullable<io.WeightsManifestEntry['quantization']>;

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
  const byValues = new Map(quantized.map(weight => [fingerprint(weight.entry, decodeValues(weight)), weight]));
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
    const again = kernel && quantizeAgain(weight, kernel.entry.quantization!);
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
      const weight = {entry, bytes: bytesOf(await matrix.values.data() as Float32Array)};
      return (quantizeAgain(weight, quantization) ?? weight).bytes.length + 4 * matrix.indices.size;
    },
  };
}

/** What tfjs makes of a quantized weight: the bytes of its float32 or int32 elements. */
function decodeValues({entry: {dtype, quantization}, bytes}: StoredWeight): Uint8Array {
  const elements = quantizedElements(bytes, quantization!);
  let values: Float32Array | Int32Array;
  if (quantization!.dtype === 'float16') {
    values = decodeHalves(elements as Uint16Array);
  } else {
    const {scale, min} = quantization as Required<Quantization>;
    const real = (element: number) => element * scale + min;
    values = dtype === 'int32' ? Int32Array.from(elements, element => Math.round(real(element))) :
      Float32Array.from(elements, real);
  }
  return bytesOf(values);
}

function quantizedElements(bytes: Uint8Array, {dtype}: Quantization): Uint8Array | Uint16Array {
  // A copy, because a weight may start at any byte of its file.
  return dtype === 'uint8' ? bytes : new Uint16Array(new Uint8Array(bytes).buffer);
}

function decodeHalves(halves: Uint16Array): Float32Array {
  const words = new Int32Array(Math.ceil(halves.length / 2));
  new Uint16Array(words.buffer).set(halves);
  return unpackHalves(words, 1, halves.length);
}

function fingerprint({dtype, shape}: io.WeightsManifestEntry, bytes: Uint8Array): string {
  return `${dtype} [${shape}] ${createHash('sha256').update(bytes).digest('hex')}`;
}

/** The weight in this quantization; undefined if a single value would change. */
function quantizeAgain(weight: StoredWeight, quantization: Quantization): StoredWeight | undefined {
  const values = floatsOf(weight.bytes);
  const entry = {...weight.entry, quantization};
  let bytes: Uint8Array;
  if (quantization.dtype === 'float16') {
    bytes = halfBytes(values);
  } else {
    const {scale, min} = quantization as Required<Quantization>;
    // Out of range, or NaN where scale is 0, wraps to some other element: the comparison below notices.
    const element = (value: number) => Math.round((value - min) / scale);
    const elements = Array.from(values, element);
    bytes = bytesOf(quantization.dtype === 'uint8' ? Uint8Array.from(elements) : Uint16Array.from(elements));
  }
  const stored = {entry, bytes};
  return Buffer.compare(decodeValues(stored), weight.bytes) === 0 ? stored : undefined;
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

function halfBytes(values: Float32Array): Uint8Array {
  return bytesOf(packHalves(values, 1, values.length)).subarray(0, 2 * values.length);
}

/** Weight files are little-endian, as are all machines that Node 20 is built for but one; tfjs assumes it too. */
function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(new Uint8Array(bytes).buffer);
}

function bytesOf(values: Float32Array | Int32Array | Uint8Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
