/**
 * What kernels are measured against: random N:M matrices and a product in float64, written as plainly as possible and
 * sharing nothing with the code under test but the packing of words. Also the two things around a comparison: how far
 * float32 may be off, and buffers full of NaN, so that an element nobody wrote is seen.
 */
import * as tf from '@tensorflow/tfjs-core';
import {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {FusedActivation} from '../../kernels/contract.js';
import type {ProgramLimits} from '../../kernels/webgpu/candidates.js';
import {NMSparseMatrix, partShapes} from '../../src/format/nm_sparse_matrix.js';
import type {StorageDtype} from '../../src/format/storage.js';
import {packHalves, packIndices, unpackHalves} from '../../src/format/pack.js';
import {groupCount, keptRowCount, parsePattern, type NMPattern, type PatternLike} from '../../src/format/pattern.js';

export type Random = () => number;

/** Uniform in ±scale. */
export function randomValues(length: number, random: Random, scale = 1): Float32Array {
  return Float32Array.from({length}, () => (2 * random() - 1) * scale);
}

/** A whole number from `from` to `to`, both included. */
export function between(random: Random, from: number, to: number): number {
  return from + Math.floor(random() * (to - from + 1));
}

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)];
}

/** A matrix in both forms, on plain arrays. */
export interface DrawnMatrix {
  shape: [number, number];
  pattern: NMPattern;
  dtype: StorageDtype;
  /** [w, n], or words [w, ceil(n/2)]. */
  values: Float32Array | Int32Array;
  indices: Int32Array;
  /** [k, n] row-major, what the two stand for. */
  dense: Float32Array;
}

/** Weights of a size that makes sums of products with x in ±1 spread to about ±2: where activations bend. */
export function drawMatrix(
    shape: [number, number], patternLike: PatternLike, dtype: StorageDtype, random: Random): DrawnMatrix {
  const [k, n] = shape;
  const pattern = parsePattern(patternLike);
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const drawn = randomValues(keptRows * n, random, 6 / Math.sqrt(keptRows));
  const values = dtype === 'float16' ? packHalves(drawn, keptRows, n) : drawn;
  const stored = dtype === 'float16' ? unpackHalves(values as Int32Array, keptRows, n) : drawn;
  const offsets = new Uint8Array(groups * keptRows);
  const dense = new Float32Array(k * n);
  for (let group = 0; group < groups; ++group) {
    const colEnd = Math.min(n, (group + 1) * pattern.vectorLength);
    for (let j = 0, window = 0; j < keptRows; ++window) {
      const rows = Math.min(pattern.m, k - window * pattern.m);
      for (const offset of drawOffsets(rows, Math.min(pattern.n, rows), random)) {
        offsets[group * keptRows + j] = offset;
        for (let col = group * pattern.vectorLength; col < colEnd; ++col) {
          dense[(window * pattern.m + offset) * n + col] = stored[j * n + col];
        }
        ++j;
      }
    }
  }
  return {shape, pattern, dtype, values, indices: packIndices(offsets, groups, keptRows, pattern), dense};
}

/** `kept` of 0 … rows-1, ascending, every choice alike. */
function drawOffsets(rows: number, kept: number, random: Random): number[] {
  const offsets = Array.from({length: rows}, (_, i) => i);
  for (let i = 0; i < kept; ++i) {
    const other = between(random, i, rows - 1);
    [offsets[i], offsets[other]] = [offsets[other], offsets[i]];
  }
  return offsets.slice(0, kept).sort((a, b) => a - b);
}

export function toSparseMatrix({shape, pattern, dtype, values, indices}: DrawnMatrix): NMSparseMatrix {
  const shapes = partShapes(shape, pattern, dtype);
  return new NMSparseMatrix({
    values: tf.tensor2d(values, shapes.values, dtype === 'float16' ? 'int32' : 'float32'),
    indices: tf.tensor2d(indices, shapes.indices, 'int32'),
    pattern, shape, dtype,
  });
}

/** x · W + bias in float64, [rows, n]. */
export interface Sums {
  sums: Float64Array;
  /** sum |x·w| + |bias|: what rounding errors are in proportion to. */
  magnitudes: Float64Array;
}

export function referenceSums(
    x: ArrayLike<number>, {shape: [k, n], dense}: Pick<DrawnMatrix, 'shape' | 'dense'>,
    bias?: ArrayLike<number>): Sums {
  const rows = x.length / k;
  const sums = new Float64Array(rows * n);
  const magnitudes = new Float64Array(rows * n);
  for (let row = 0; row < rows; ++row) {
    for (let i = 0; i < k; ++i) {
      const value = x[row * k + i];
      for (let col = 0; col < n; ++col) {
        const weight = dense[i * n + col];
        if (weight !== 0) { // dropped, so that what x holds there has no say
          sums[row * n + col] += value * weight;
          magnitudes[row * n + col] += Math.abs(value * weight);
        }
      }
    }
    for (let col = 0; bias && col < n; ++col) {
      sums[row * n + col] += bias[col];
      magnitudes[row * n + col] += Math.abs(bias[col]);
    }
  }
  return {sums, magnitudes};
}

/** @param slope below zero, for leakyrelu and prelu. */
export function referenceActivation(activation: FusedActivation, z: number, slope = NaN): number {
  switch (activation) {
    case 'linear': return z;
    case 'relu': return Math.max(z, 0);
    case 'relu6': return Math.min(Math.max(z, 0), 6);
    case 'elu': return z < 0 ? Math.expm1(z) : z;
    case 'sigmoid': return 1 / (1 + Math.exp(-z));
    case 'tanh': return Math.tanh(z);
    case 'gelu': return 0.5 * z * (1 + erf(z / Math.SQRT2));
    case 'gelu_new': return 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
    case 'leakyrelu':
    case 'prelu': return z < 0 ? z * slope : z;
  }
}

/** To the last digits of float64: a series of positive terms only. */
function erf(v: number): number {
  if (Math.abs(v) > 6) {
    return Math.sign(v);
  }
  let term = v;
  let sum = 0;
  for (let i = 1; Math.abs(term) > 1e-20; ++i) {
    sum += term;
    term *= (2 * v * v) / (2 * i + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-v * v) * sum;
}

/** Error of a float32 sum of some hundred products, in units of sum |x·w|: about 16 roundings that all go one way. */
const SUM_ERROR = 2e-6;
/** Error of exp and of what is built on it; WGSL allows exp(z) 3 + 2|z| units in the last place. */
const FUNCTION_ERROR = 1e-6;

/** How far an output may be off. */
function tolerance(activation: FusedActivation, z: number, magnitude: number, slope: number): number {
  const steepness = activation === 'gelu' || activation === 'gelu_new' ? 1.13 :
    activation === 'prelu' || activation === 'leakyrelu' ? Math.max(1, Math.abs(slope)) : 1;
  const ofFunction = activation === 'elu' || activation === 'sigmoid' || activation === 'tanh' ? FUNCTION_ERROR :
    activation === 'gelu' || activation === 'gelu_new' ? FUNCTION_ERROR * (1 + Math.abs(z)) : 0;
  return SUM_ERROR * steepness * magnitude + ofFunction + 1e-30;
}

export interface Expected extends Sums {
  activation?: FusedActivation;
  /** For leakyrelu and prelu: the slope at an index of y. */
  slopeAt?: (index: number) => number;
  /** Elements that are not compared. */
  except?: (index: number) => boolean;
}

/** Fails unless every element is as near to the reference as float32 can be held to. */
export function expectNear(
    got: ArrayLike<number>, {sums, magnitudes, activation = 'linear', slopeAt, except}: Expected, what = ''): void {
  if (got.length !== sums.length) {
    throw new Error(`${what}: ${got.length} elements, not ${sums.length}`);
  }
  for (let i = 0; i < sums.length; ++i) {
    if (except?.(i)) {
      continue;
    }
    const slope = slopeAt ? slopeAt(i) : NaN;
    const expected = referenceActivation(activation, sums[i], slope);
    const error = Math.abs(got[i] - expected);
    const allowed = tolerance(activation, sums[i], magnitudes[i], slope);
    if (!(error <= allowed)) {
      throw new Error(`${what}: element ${i} of ${sums.length} is ${got[i]}, not ${expected}; off by ${error}, ` +
          `where ${allowed} is allowed`);
    }
  }
}

/**
 * Leaves buffers of these shapes full of NaN behind, for the next outputs to be put in. WebGPU hands out pooled buffers
 * as they are; tfjs's own pools do the same on webgl. Three of each, for inputs are uploaded to pooled buffers too.
 */
export async function poisonBuffers(...shapes: number[][]): Promise<void> {
  if (tf.getBackend() === 'cpu') {
    return;
  }
  const poisoned = shapes.flatMap(shape => [1, 2, 3].map(() => tf.fill(shape, NaN)));
  // Only what the GPU has done with goes back to the pool at once.
  await Promise.all(poisoned.map(tensor => tensor.data()));
  tf.dispose(poisoned);
}

/** The limits every WebGPU device has at least. */
export const DEFAULT_LIMITS: ProgramLimits = {
  maxComputeWorkgroupStorageSize: 16384, maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupSizeX: 256,
  maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28,
};

/** What the active device allows; elsewhere the default limits, so that a case means the same everywhere. */
export function activeLimits(): ProgramLimits {
  const backend = tf.backend();
  return backend instanceof WebGPUBackend ? backend.device.limits : DEFAULT_LIMITS;
}
