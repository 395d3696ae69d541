/** One product: its inputs drawn, its result checked, then timed; by one plan, or by several in turn. */
import {
  dispose, engine, type NamedTensorInfoMap, type Tensor, type Tensor2D, type TensorInfo,
} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {NM_SPARSE_MAT_MUL, toAttrs} from '../../../kernels/contract.js';
import {NO_EPILOGUE} from '../../../kernels/webgpu/wgsl/epilogue.js';
import {webgpuKernels} from '../../../kernels/webgpu/run_plan.js';
import {largestBinding, type MatMulProblem, type Plan} from '../../../kernels/webgpu/plan.js';
import type {NMSparseMatrix} from '../../../src/format/nm_sparse_matrix.js';
import {nmSparseMatMul} from '../../../src/index.js';
import {compileInParallel} from '../../../src/tfjs/compile.js';
import {freeUnusedBuffers} from '../../../src/tfjs/recorder.js';
import {largestError, referenceOf, type Reference} from './check.js';
import {drawMatrix, drawX, type MatrixSpec} from './data.js';
import type {Product, Stopwatch, Timing} from './measure.js';


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
/** tfjs takes a while to record each set for each plan, and each has outputs of its own. */
const MAX_RACE_RECORDINGS = 2000;
const MAX_RACE_BYTES = 4 * 2 ** 30;
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

/** Weights, and x where it is large, come in as many sets as outgrow any cache, unless that is more than `most`. */
function drawInputs(
    {webgpu, effort: {cacheBytes}}: Stopwatch, rows: number, spec: MatrixSpec, most = MAX_SETS): Inputs {
  const setsOf = (bytes: number) => Math.max(1, Math.min(most, Math.ceil(cacheBytes / bytes)));
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
 * @returns milliseconds of each; null for a plan that is wrong or does not run, of which `failed` hears.
 */
export async function racePlans(
    stopwatch: Stopwatch, rows: number, spec: MatrixSpec, plans: Plan[], failed: (plan: Plan, why: string) => void):
    Promise<(number | null)[]> {
  const {webgpu} = stopwatch;
  const problem = problemOf(rows, spec);
  // Recordings keep their outputs until the race is over.
  const bytes = plans.reduce((sum, plan) => sum + 2 * largestBinding(plan, problem) + 4 * rows * spec.shape[1], 0);
  const most = Math.max(1, Math.floor(Math.min(MAX_RACE_BYTES / bytes, MAX_RACE_RECORDINGS / plans.length)));
  const inputs = drawInputs(stopwatch, rows, spec, most);
  const products = plans.map(plan => productOf(inputs, multiplyWith(webgpu, plan)));
  const running: number[] = [];
  try {
    // What does not compile fails below.
    await compileInParallel(webgpu, () => products.forEach(product => product(0).dispose())).catch(() => undefined);
    stopwatch.keepWarm();
    const reference = referenceOf(rows, spec);
    for (const [i, product] of products.entries()) {
      try {
        await checkOutput(webgpu, product(0), reference);
        running.push(i);
      } catch (error) {
        failed(plans[i], (error as Error).message);
      }
    }
    const times = await stopwatch.race(running.map(i => products[i]), inputs.sets);
    return plans.map((_, i) => running.includes(i) ? times[running.indexOf(i)] : null);
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
