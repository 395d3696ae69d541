/** One product: its inputs drawn, its result checked, then timed. */
import {
  dispose, engine, type NamedTensorInfoMap, type Tensor, type Tensor2D, type TensorInfo,
} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {NM_SPARSE_MAT_MUL, toAttrs} from '../../../kernels/contract.js';
import {NO_EPILOGUE} from '../../../kernels/webgpu/epilogue.js';
import {webgpuKernels} from '../../../kernels/webgpu/nm_sparse_mat_mul.js';
import type {MatMulProblem, Plan} from '../../../kernels/webgpu/select.js';
import type {NMSparseMatrix} from '../../../src/format/nm_sparse_matrix.js';
import {nmSparseMatMul} from '../../../src/index.js';
import {largestError, sampleOutputs} from './check.js';
import {drawMatrix, drawX, type MatrixSpec} from './data.js';
import type {Stopwatch, Timing} from './measure.js';

export type Multiply = (x: Tensor2D, matrix: NMSparseMatrix) => Tensor;

export interface Measured {
  timing: Timing;
  /** Largest error of the sampled outputs. */
  error: number;
  keptRows: number;
  /** Of the weights, without the offsets of a dense matrix, which nobody needs. */
  weightBytes: number;
}

/** Sampled errors above this are bugs, not rounding. */
const MAX_ERROR = 2e-6;
const MAX_SETS = 256;
/** The layer before leaves x in the cache, unless x is larger than this share of it. */
const LARGE_SHARE = 1 / 16;

/** What users call: the package chooses the plan. */
export const multiplyAsUsersDo: Multiply = (x, matrix) => nmSparseMatMul(x, matrix);

/** By a plan of one's own. */
export function multiplyWith(webgpu: WebGPUBackend, plan: Plan): Multiply {
  const {kernelFunc} = webgpuKernels(() => plan).find(({kernelName}) => kernelName === NM_SPARSE_MAT_MUL)!;
  return (x, {values, indices, pattern, shape, dtype}) => engine().makeTensorFromTensorInfo(kernelFunc({
    inputs: {x, values, indices} as NamedTensorInfoMap,
    attrs: toAttrs({pattern, shape, dtype, activation: 'linear', leakyreluAlpha: 0}),
    backend: webgpu,
  }) as TensorInfo);
}

export function problemOf(rows: number, spec: MatrixSpec): MatMulProblem {
  return {...spec, rows, epilogue: NO_EPILOGUE};
}

/**
 * Weights, and x where it is large, come in as many sets as outgrow any cache, and are used in turn.
 * @throws Error if the product is wrong.
 */
export async function measureProduct(
    stopwatch: Stopwatch, rows: number, spec: MatrixSpec, multiply: Multiply): Promise<Measured> {
  const {webgpu, effort: {cacheBytes}} = stopwatch;
  const setsOf = (bytes: number) => Math.max(1, Math.min(MAX_SETS, Math.ceil(cacheBytes / bytes)));
  const [k] = spec.shape;
  const xSets = 4 * rows * k > cacheBytes * LARGE_SHARE ? setsOf(4 * rows * k) : 1;
  const xs = Array.from({length: xSets}, () => drawX(webgpu, rows, k));
  const first = drawMatrix(webgpu, spec);
  const {keptRows, values, pattern: {n, m}} = first;
  const weightBytes = n === m ? 4 * values.size : first.bytes;
  const matrices = [first, ...Array.from({length: setsOf(weightBytes) - 1}, () => drawMatrix(webgpu, spec))];
  const product = (i: number) => multiply(xs[i % xs.length], matrices[i % matrices.length]);
  try {
    const y = product(0);
    const samples = await sampleOutputs(webgpu, y);
    y.dispose();
    stopwatch.keepWarm();
    const error = largestError(samples, spec);
    if (!(error <= MAX_ERROR)) {
      throw new Error(`wrong: the relative error of an output is ${error}`);
    }
    const timing = await stopwatch.measure(product, Math.max(xs.length, matrices.length));
    return {timing, error, keptRows, weightBytes};
  } finally {
    dispose(xs);
    matrices.forEach(matrix => matrix.dispose());
  }
}
