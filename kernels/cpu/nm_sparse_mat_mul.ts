/**
 * The kernels of the cpu backend: direct loops over the compressed form. The reference to read when a shader is in
 * doubt, and what runs where nothing else is available.
 */
import type {KernelBackend, KernelConfig, KernelFunc, TensorInfo, TypedArray} from '@tensorflow/tfjs-core';
import {decompressValues} from '../../src/format/compress.js';
import {keptRowIndices} from '../../src/format/pack.js';
import {groupCount, keptRowCount} from '../../src/format/pattern.js';
import {STORAGE} from '../../src/format/storage.js';
import {
  fromAttrs, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, type FusedActivation, type MatMulAttrs, type
  MatMulInputs, type MatrixAttrs,
} from '../contract.js';

type Args = Parameters<KernelFunc>[0];

function read(backend: KernelBackend, {dataId}: TensorInfo): TypedArray {
  return backend.readSync(dataId) as TypedArray;
}

function write(backend: KernelBackend, values: Float32Array, shape: number[]): TensorInfo {
  return {dataId: backend.write(values, shape, 'float32'), shape, dtype: 'float32'};
}

/** Kept values as floats, whatever their storage. */
function readValues(
    backend: KernelBackend, values: TensorInfo, {shape: [k, n], pattern, dtype}: MatrixAttrs): Float32Array {
  const stored = read(backend, values);
  return STORAGE[dtype].decode(stored as Float32Array | Int32Array, keptRowCount(k, pattern), n);
}

function nmSparseMatMul({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const backend = anyBackend as KernelBackend;
  const {x, values, indices, bias, preluActivationWeights} = inputs as unknown as MatMulInputs;
  const matrix = fromAttrs<MatMulAttrs>(attrs);
  const {pattern: {vectorLength}, pattern, shape: [k, n], activation, leakyreluAlpha} = matrix;
  const [rows] = x.shape;
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const xs = read(backend, x);
  const ws = readValues(backend, values, matrix);
  const rowIds = keptRowIndices(read(backend, indices) as Int32Array, [k, n], pattern);
  const biases = bias && read(backend, bias);
  const slopes = preluActivationWeights ? read(backend, preluActivationWeights) : [leakyreluAlpha];
  const y = new Float32Array(rows * n);
  const sums = new Float64Array(n);
  for (let row = 0; row < rows; ++row) {
    sums.fill(0);
    for (let j = 0; j < keptRows; ++j) {
      for (let group = 0; group < groups; ++group) {
        const xValue = xs[row * k + rowIds[group * keptRows + j]];
        const end = Math.min(n, (group + 1) * vectorLength);
        for (let col = group * vectorLength; col < end; ++col) {
          sums[col] += xValue * ws[j * n + col];
        }
      }
    }
    for (let col = 0; col < n; ++col) {
      const z = biases ? sums[col] + biases[col] : sums[col];
      y[row * n + col] = activate(z, activation, slopes.length === n ? slopes[col] : slopes[0]);
    }
  }
  return write(backend, y, [rows, n]);
}

/** @param slope below zero, for leakyrelu and prelu. */
function activate(z: number, activation: FusedActivation, slope: number): number {
  switch (activation) {
    case 'linear': return z;
    case 'relu': return z < 0 ? 0 : z;
    case 'relu6': return z < 0 ? 0 : z > 6 ? 6 : z;
    case 'elu': return z < 0 ? Math.expm1(z) : z;
    case 'sigmoid': return 1 / (1 + Math.exp(-z));
    case 'tanh': return Math.tanh(z);
    case 'gelu': return 0.5 * z * (1 + erf(z * Math.SQRT1_2));
    case 'gelu_new': return 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
    case 'leakyrelu':
    case 'prelu': return z < 0 ? z * slope : z;
  }
}

/** Abramowitz and Stegun 7.1.26, as tf.erf: absolute error below 1.5e-7. */
function erf(v: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(v));
  const poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(v) * (1 - poly * Math.exp(-v * v));
}

function nmDecompress({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const backend = anyBackend as KernelBackend;
  const matrix = fromAttrs<MatrixAttrs>(attrs);
  const words = read(backend, inputs.indices as TensorInfo) as Int32Array;
  const rowIds = keptRowIndices(words, matrix.shape, matrix.pattern);
  const values = readValues(backend, inputs.values as TensorInfo, matrix);
  return write(backend, decompressValues(values, rowIds, matrix.shape, matrix.pattern), matrix.shape);
}

function nmGatherKept({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const backend = anyBackend as KernelBackend;
  const {pattern, shape: [k, n]} = fromAttrs<MatrixAttrs>(attrs);
  const keptRows = keptRowCount(k, pattern);
  const rowIds = keptRowIndices(read(backend, inputs.indices as TensorInfo) as Int32Array, [k, n], pattern);
  const dense = read(backend, inputs.dense as TensorInfo);
  const kept = new Float32Array(keptRows * n);
  for (let j = 0; j < keptRows; ++j) {
    for (let col = 0; col < n; ++col) {
      kept[j * n + col] = dense[rowIds[Math.floor(col / pattern.vectorLength) * keptRows + j] * n + col];
    }
  }
  return write(backend, kept, [keptRows, n]);
}

/** The loops of W alone, for a backend whose tensors can be read and written synchronously. */
export function hostKernels(backendName: string): KernelConfig[] {
  return [
    {kernelName: NM_DECOMPRESS, backendName, kernelFunc: nmDecompress},
    {kernelName: NM_GATHER_KEPT, backendName, kernelFunc: nmGatherKept},
  ];
}

export const cpuKernels: KernelConfig[] =
    [{kernelName: NM_SPARSE_MAT_MUL, backendName: 'cpu', kernelFunc: nmSparseMatMul}, ...hostKernels('cpu')];
