/**
 * Weights as files hold them: a manifest entry, and bytes that are quantized if the entry says so. Weight files are
 * little-endian, as are all machines that Node 20 and browsers are built for but one; tfjs assumes it too.
 */
import {io, type Tensor} from '@tensorflow/tfjs-core';
import {packHalves, unpackHalves} from './pack.js';

export interface StoredWeight {
  entry: io.WeightsManifestEntry;
  bytes: Uint8Array;
}

export type Quantization = NonNullable<io.WeightsManifestEntry['quantization']>;

type Values = Float32Array | Int32Array;

const ELEMENT_BYTES: Record<string, number> = {
  float32: 4, int32: 4, bool: 1, complex64: 8, uint8: 1, uint16: 2, float16: 2,
};
const STRING_LENGTH_BYTES = 4;

/**
 * Number of bytes of a weight; more than there are, if a string weight is cut short.
 * @param from where its bytes begin. Strings say their lengths in the file itself.
 */
export function storedBytes({shape, dtype, quantization}: io.WeightsManifestEntry, from: Uint8Array): number {
  const count = shape.reduce((product, size) => product * size, 1);
  if (dtype !== 'string') {
    return count * ELEMENT_BYTES[quantization?.dtype ?? dtype];
  }
  const view = new DataView(from.buffer, from.byteOffset, from.byteLength);
  let length = 0;
  for (let i = 0; i < count && length <= from.length; ++i) {
    const fits = length + STRING_LENGTH_BYTES <= from.length;
    length += STRING_LENGTH_BYTES + (fits ? view.getUint32(length, true) : 0);
  }
  return length;
}

/** A weight as a tensor. */
export function readWeight({entry, bytes}: StoredWeight): Tensor {
  // tfjs reads a typed array by its whole buffer.
  return io.decodeWeights(new Uint8Array(bytes).buffer, [entry])[entry.name];
}

/** What tfjs makes of a quantized weight. */
export function dequantize({entry: {dtype, quantization}, bytes}: StoredWeight): Values {
  // A copy, because a weight may start at any byte of its file.
  const elements = quantization!.dtype === 'uint8' ? bytes : new Uint16Array(new Uint8Array(bytes).buffer);
  if (quantization!.dtype === 'float16') {
    const words = new Int32Array(Math.ceil(elements.length / 2));
    new Uint16Array(words.buffer).set(elements);
    return unpackHalves(words, 1, elements.length);
  }
  const {scale, min} = quantization as Required<Quantization>;
  const real = (element: number) => element * scale + min;
  return dtype === 'int32' ? Int32Array.from(elements, element => Math.round(real(element))) :
    Float32Array.from(elements, real);
}

/** A float32 weight in this quantization; undefined if a single value would change. */
export function quantizeExactly(
    entry: io.WeightsManifestEntry, values: Float32Array, quantization: Quantization): StoredWeight | undefined {
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
  const stored = {entry: {...entry, quantization}, bytes};
  const bits = (array: Values) => new Int32Array(array.buffer, array.byteOffset, array.length);
  const wanted = bits(values);
  return bits(dequantize(stored)).every((word, i) => word === wanted[i]) ? stored : undefined;
}

/** float32 values rounded to float16. */
export function halfBytes(values: Float32Array): Uint8Array {
  return bytesOf(packHalves(values, 1, values.length)).subarray(0, 2 * values.length);
}

/** The floats of a weight that is not quantized. */
export function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(new Uint8Array(bytes).buffer);
}

export function bytesOf(values: Float32Array | Int32Array | Uint8Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
