/**
 * The kernels of the cpu backend. The product is the reference to read when a shader is in doubt.
 *
 * x is transposed to [k][rows] in blocks of 8 rows. Each column of W then updates 8 sums per kept row, from one value
 * of W and 8 neighbouring values of x. W is laid out by columns, once per matrix. tfjs's dense kernel reads W with a
 * stride of n, so the sparse one is faster at every pattern, N = M included.
 */
import type {KernelBackend, KernelConfig, KernelFunc, TensorInfo, TypedArray} from '@tensorflow/tfjs-core';
import {decompressValues} from '../../src/format/compress.js';
import {keptRowCount} from '../../src/format/pattern.js';
import {STORAGE} from '../../src/format/storage.js';
import {
  fromAttrs, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, type FusedActivation, type MatMulAttrs, type
  MatMulInputs, type MatrixAttrs,
} from '../contract.js';
import {packPanels, type Panels} from '../panels.js';
import {PerMatrix} from '../per_matrix.js';
import {rowIdsOf} from '../row_ids.js';

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

const panelsOf = new PerMatrix<Panels>();

/** Bias and activation of a sum, in float64. */
type Finish = (sum: number, col: number) => number;

/** Rows of x that are multiplied together. */
const BLOCK = 8;

function nmSparseMatMul({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const backend = anyBackend as KernelBackend;
  const {x, values, indices, bias, preluActivationWeights} = inputs as unknown as MatMulInputs;
  const matrix = fromAttrs<MatMulAttrs>(attrs);
  const {shape: [k, n], activation, leakyreluAlpha} = matrix;
  const [rows] = x.shape;
  const panels = panelsFor(backend, values, indices, matrix);
  const xs = read(backend, x);
  const biases = bias && read(backend, bias);
  const slopes = preluActivationWeights ? read(backend, preluActivationWeights) : [leakyreluAlpha];
  const finish: Finish = (sum, col) =>
    activate(biases ? sum + biases[col] : sum, activation, slopes.length === n ? slopes[col] : slopes[0]);
  const y = new Float32Array(rows * n);
  if (rows === 1) {
    multiplyRow(xs, panels, y, finish);
  } else {
    const block = new Float32Array(k * BLOCK);
    for (let row = 0; row < rows; row += BLOCK) {
      const used = Math.min(BLOCK, rows - row);
      transposeRows(xs, row, used, k, block);
      multiplyBlock(block, panels, y.subarray(row * n, (row + used) * n), n, finish);
    }
  }
  return write(backend, y, [rows, n]);
}

function panelsFor(backend: KernelBackend, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): Panels {
  return panelsOf.get(values, indices, matrix) ?? panelsOf.set(values, indices, matrix, packPanels(
    1, read(backend, values) as Float32Array | Int32Array, rowIdsOf(backend, indices, matrix), matrix));
}

/** Rows of x [rows, k] → block [k, BLOCK]; what rows past the last would fill keeps what it had, and is not stored. */
function transposeRows(xs: TypedArray, firstRow: number, count: number, k: number, block: Float32Array): void {
  for (let r = 0; r < count; ++r) {
    for (let i = 0, from = (firstRow + r) * k; i < k; ++i) {
      block[i * BLOCK + r] = xs[from + i];
    }
  }
}

/** y [up to BLOCK rows, n] = block · W. Sums in float64. */
function multiplyBlock(
    block: Float32Array, {values, rowIds, panelsPerGroup}: Panels, y: Float32Array, n: number, finish: Finish): void {
  const keptRows = values.length / n;
  const sums = new Float64Array(BLOCK);
  for (let col = 0; col < n; ++col) {
    const first = col * keptRows;
    const firstId = Math.floor(col / panelsPerGroup) * keptRows;
    let [s0, s1, s2, s3, s4, s5, s6, s7] = [0, 0, 0, 0, 0, 0, 0, 0];
    for (let j = 0; j < keptRows; ++j) {
      const w = values[first + j];
      const at = rowIds[firstId + j] * BLOCK;
      s0 += w * block[at];
      s1 += w * block[at + 1];
      s2 += w * block[at + 2];
      s3 += w * block[at + 3];
      s4 += w * block[at + 4];
      s5 += w * block[at + 5];
      s6 += w * block[at + 6];
      s7 += w * block[at + 7];
    }
    sums.set([s0, s1, s2, s3, s4, s5, s6, s7]);
    for (let r = 0, to = col; to < y.length; ++r, to += n) {
      y[to] = finish(sums[r], col);
    }
  }
}

/** y [n] = x [k] · W. Two sums per column, so that an addition need not wait for the one before. */
function multiplyRow(xs: TypedArray, {values, rowIds, panelsPerGroup}: Panels, y: Float32Array, finish: Finish): void {
  const keptRows = values.length / y.length;
  for (let col = 0; col < y.length; ++col) {
    const first = col * keptRows;
    const firstId = Math.floor(col / panelsPerGroup) * keptRows;
    let even = 0;
    let odd = 0;
    let j = 0;
    for (; j + 1 < keptRows; j += 2) {
      even += values[first + j] * xs[rowIds[firstId + j]];
      odd += values[first + j + 1] * xs[rowIds[firstId + j + 1]];
    }
    if (j < keptRows) {
      even += values[first + j] * xs[rowIds[firstId + j]];
    }
    y[col] = finish(even + odd, col);
  }
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
  const rowIds = rowIdsOf(backend, inputs.indices as TensorInfo, matrix);
  const values = readValues(backend, inputs.values as TensorInfo, matrix);
  return write(backend, decompressValues(values, rowIds, matrix.shape, matrix.pattern), matrix.shape);
}

function nmGatherKept({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const backend = anyBackend as KernelBackend;
  const matrix = fromAttrs<MatrixAttrs>(attrs);
  const {pattern, shape: [k, n]} = matrix;
  const keptRows = keptRowCount(k, pattern);
  const rowIds = rowIdsOf(backend, inputs.indices as TensorInfo, matrix);
  const dense = read(backend, inputs.dense as TensorInfo);
  const kept = new Float32Array(keptRows * n);
  for (let j = 0; j < keptRows; ++j) {
    for (let col = 0, id = j; col < n; id += keptRows) {
      const from = rowIds[id] * n;
      for (const end = Math.min(col + pattern.vectorLength, n); col < end; ++col) {
        kept[j * n + col] = dense[from + col];
      }
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
