/** One product: its inputs drawn, its result checked, then timed; by one plan, or by several in turn. */
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
import {compileInParallel} from '../../../src/tuning/compile.js';
import {largestError, referenceOf, type Reference} from './check.js';
import {drawMatrix, drawX, type MatrixSpec} from './data.js';
import type {Product, Stopwatch, Timing} from './measure.js';
import {freeUnusedBuffers} from './recording.js';

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
/** tfjs takes a while to encode each set for each plan. */
const MAX_RACE_SETS = 12;
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

/** A product's inputs, as many sets as are used in turn. */
interface Inputs {
  xs: Tensor2D[];
  matrices: NMSparseMatrix[];
  sets: number;
  weightBytes: number;
}

/** Weights, and x where it is large, come in as many sets as outgrow any cache. */
function drawInputs({webgpu, effort: {cacheBytes}}: Stopwatch, rows: number, spec: MatrixSpec): Inputs {
  const setsOf = (bytes: number) => Math.max(1, Math.min(MAX_SETS, Math.ceil(cacheBytes / bytes)));
  const [k] = spec.shape;
  const xSets = 4 * rows * k > cacheBytes * LARGE_SHARE ? setsOf(4 * rows * k) : 1;
  const xs = Array.from({length: xSets}, () => drawX(webgpu, rows, k));
  const first = drawMatrix(webgpu, spec);
  const {values, pattern: {n, m}} = first;
  const weightBytes = n === m ? 4 * values.size : first.bytes;
  const matrices = [first, ...Array.from({length: setsOf(weightBytes) - 1}, () => drawMatrix(webgpu, spec))];
  return {xs, matrices, sets: Math.max(xs.length, matrices.length), weightBytes};
}

function disposeInputs({xs, matrices}: Inputs): void {
  dispose(xs);
  matrices.forEach(matrix => matrix.dispose());
}

function productOf({xs, matrices}: Inputs, multiply: Multiply): Product {
  return i => multiply(xs[i % xs.length], matrices[i % matrices.length]);
}

/** @throws Error if the product is wrong. */
export async function measureProduct(
    stopwatch: Stopwatch, rows: number, spec: MatrixSpec, multiply: Multiply): Promise<Measured> {
  const inputs = drawInputs(stopwatch, rows, spec);
  const product = productOf(inputs, multiply);
  try {
    const y = product(0);
    stopwatch.keepWarm();
    const error = await checkOutput(stopwatch.webgpu, y, referenceOf(rows, spec));
    const timing = await stopwatch.measure(product, inputs.sets);
    return {timing, error, keptRows: inputs.matrices[0].keptRows, weightBytes: inputs.weightBytes};
  } finally {
    disposeInputs(inputs);
  }
}

/**
 * Which plan is fastest: they take turns in short rounds, so that the clock is the same to all.
 * @returns milliseconds of each.
 * @throws Error if a product is wrong.
 */
export async function racePlans(
    stopwatch: Stopwatch, rows: number, spec: MatrixSpec, plans: Plan[]): Promise<number[]> {
  const {webgpu} = stopwatch;
  const inputs = drawInputs(stopwatch, rows, spec);
  const products = plans.map(plan => productOf(inputs, multiplyWith(webgpu, plan)));
  try {
    await compileInParallel(webgpu, () => products.forEach(product => product(0).dispose()));
    stopwatch.keepWarm();
    const reference = referenceOf(rows, spec);
    for (const product of products) {
      await checkOutput(webgpu, product(0), reference);
    }
    return await stopwatch.race(products, Math.min(inputs.sets, MAX_RACE_SETS));
  } finally {
    disposeInputs(inputs);
    freeUnusedBuffers(webgpu);
  }
}

async function checkOutput(webgpu: WebGPUBackend, y: Tensor, reference: Reference): Promise<number> {
  const error = await largestError(webgpu, y, reference);
  y.dispose();
  if (!(error <= MAX_ERROR)) {
    throw new Error(`wrong: the relative error of an output is ${error}`);
  }
  return error;
}
