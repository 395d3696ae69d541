/**
 * Products to check: x · W of certain sizes, by the public op, against float64. On WebGPU by any plan on offer, so that
 * no shape need be found for which the choice falls on it, and as if the device had lesser limits than it has.
 */
import * as tf from '@tensorflow/tfjs-core';
import {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {NM_SPARSE_MAT_MUL, type FusedActivation} from '../../kernels/contract.js';
import type {GemmStrategy} from '../../kernels/webgpu/gemm/config.js';
import {webgpuKernels} from '../../kernels/webgpu/run_plan.js';
import {type MatMulProblem, type Plan, planName} from '../../kernels/webgpu/plan.js';
import type {StorageDtype} from '../../src/format/storage.js';
import {formatPattern, parsePattern, type PatternLike} from '../../src/format/pattern.js';
import {nmSparseMatMul} from '../../src/index.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {
  between, drawMatrix, expectNear, pick, poisonBuffers, randomValues, referenceSums, toSparseMatrix, type Random,
} from './reference.js';

export interface Product {
  rows: number;
  /** [k, n] */
  shape: [number, number];
  pattern: PatternLike;
  dtype: StorageDtype;
  activation: FusedActivation;
  hasBias: boolean;
  /** For prelu: one slope, or, unless said otherwise, one a column. */
  slopes?: 'scalar' | 'column';
}

/** A product with nothing after it, float32 unless said otherwise. */
export function plainProduct(of: Pick<Product, 'rows' | 'shape' | 'pattern'> & Partial<Product>): Product {
  return {dtype: 'float32', activation: 'linear', hasBias: false, ...of};
}

/** As the kernels see it. */
export function problemOf(
    {rows, shape, pattern, dtype, activation, hasBias, slopes = 'column'}: Product): MatMulProblem {
  const prelu = activation !== 'prelu' ? 'none' : shape[1] === 1 ? 'scalar' : slopes;
  return {rows, shape, pattern: parsePattern(pattern), dtype, epilogue: {activation, hasBias, prelu}};
}

export function describeProduct({rows, shape: [k, n], pattern, dtype, activation, hasBias}: Product): string {
  return `${rows}×${k} by ${k}×${n} ${formatPattern(parsePattern(pattern))} ${dtype}, ${activation}` +
      (hasBias ? ' with bias' : '');
}

/** The ways to multiply; 'expand' is 'dense' after W was expanded. */
export type PlanKind = GemmStrategy | 'expand' | 'gemv';

export const PLAN_KINDS: readonly PlanKind[] = ['gemv', 'packed', 'window', 'spread', 'dense', 'expand'];

export function kindOf(plan: Plan): PlanKind {
  return plan.kind === 'gemv' ? 'gemv' : plan.expand ? 'expand' : plan.config.strategy;
}

/** The sizes of all that a plan writes. */
export function writtenShapes(plan: Plan, {rows, shape: [k, n]}: Pick<Product, 'rows' | 'shape'>): number[][] {
  const tileRows = plan.kind === 'gemm' ? plan.config.tileRows : plan.config.rows;
  return [
    [rows, n],
    ...(plan.splits > 1 ? [[plan.splits, rows, n]] : []),
    ...(plan.kind === 'gemm' || tileRows >= 4 ? [[k, Math.ceil(rows / tileRows) * tileRows]] : []),
    ...(kindOf(plan) === 'expand' ? [[k, n]] : []),
  ];
}

export type Limits = Partial<Record<keyof GPUSupportedLimits, number>>;

/** A WebGPU backend whose device seems to have these limits; others are as they are. */
function limitedBackend(backend: WebGPUBackend, limits: Limits): WebGPUBackend {
  const all = new Proxy(backend.device.limits, {
    get: (own, name) => limits[name as keyof Limits] ?? own[name as keyof Limits],
  });
  return new Proxy(backend, {
    get: (target, name) => {
      const value = name === 'device' ? {limits: all} : Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

/** Has WebGPU multiply by this plan while `run` runs. The other backends have one way, and go it. */
export function byPlan<T>(plan: Plan, run: () => T, limits: Limits = {}): T {
  let asked = false;
  const {kernelFunc} = webgpuKernels(({epilogue}) => {
    asked = true;
    if (plan.splits === 1) {
      expect(plan.config.epilogue, 'the plan is one for this product').to.deep.equal(epilogue);
    }
    return plan;
  }).find(({kernelName}) => kernelName === NM_SPARSE_MAT_MUL)!;
  const usual = tf.getKernel(NM_SPARSE_MAT_MUL, 'webgpu');
  const register = (kernel: tf.KernelConfig) => {
    tf.unregisterKernel(NM_SPARSE_MAT_MUL, 'webgpu');
    tf.registerKernel(kernel);
  };
  register({...usual, kernelFunc: args => kernelFunc(
    {...args, backend: limitedBackend(args.backend as unknown as WebGPUBackend, limits)})});
  try {
    return run();
  } finally {
    register(usual);
    if (tf.getBackend() === 'webgpu') {
      expect(asked, 'the plan was asked for').to.be.true;
    }
  }
}

export interface CheckOptions {
  random: Random;
  /** Else the one that the package chooses. */
  plan?: Plan;
  limits?: Limits;
  /** x has a row of NaN and one of infinities, W a column of NaN, as far as there is room: they must not spread. */
  sick?: boolean;
}

/** Multiplies random numbers and compares with float64; an error names the product, and the plan if one was given. */
export async function checkProduct(of: Product, options: CheckOptions): Promise<void> {
  const {plan} = options;
  const backend = tf.backend();
  const device = backend instanceof WebGPUBackend ? backend.device : undefined;
  try {
    const written = plan ?? (backend instanceof WebGPUBackend ? chooserOf(backend).choose(problemOf(of)) : undefined);
    await poisonBuffers(...(written ? writtenShapes(written, of) : [[of.rows, of.shape[1]]]));
    device?.pushErrorScope('validation');
    let error: GPUError | null | undefined;
    try {
      await multiplyAndCompare(of, options);
    } finally {
      error = await device?.popErrorScope();
    }
    if (error) {
      throw new Error(`the GPU reported: ${error.message}`);
    }
  } catch (error) {
    throw new Error(`${describeProduct(of)}${plan ? `, by ${planName(plan)}` : ''}: ${(error as Error).message}`,
      {cause: error});
  }
}

async function multiplyAndCompare(of: Product, {random, plan, limits, sick = false}: CheckOptions): Promise<void> {
  const {rows, shape, pattern, dtype, activation, hasBias} = of;
  const {epilogue} = problemOf(of);
  const [k, n] = shape;
  const drawn = drawMatrix(shape, pattern, dtype, random);
  const x = randomValues(rows * k, random);
  const bias = hasBias ? randomValues(n, random, 2) : undefined;
  const slopeShape = pick(random, epilogue.prelu === 'scalar' ? [[], [1], [1, 1]] : [[n], [1, n]]);
  const slopes = randomValues(slopeShape.reduce((a, b) => a * b, 1), random, 2);
  const leakyreluAlpha = random() < 0.5 ? 0.3 : undefined;
  const slopeAt = (index: number) =>
    activation === 'leakyrelu' ? leakyreluAlpha ?? 0.2 : slopes[slopes.length === n ? index % n : 0];
  const expected = {...referenceSums(x, drawn, bias), activation, slopeAt};

  // Half a product at most: the other half has to be right.
  const nanRow = sick && rows > 1 ? between(random, 0, rows - 1) : -1;
  const infiniteRow = sick && rows > 2 ? (nanRow + between(random, 1, rows - 1)) % rows : -1;
  const nanCol = sick && n > 1 && dtype === 'float32' ? between(random, 0, n - 1) : -1;
  const fillRow = (row: number, value: number) => row >= 0 && x.fill(value, row * k, (row + 1) * k);
  fillRow(nanRow, NaN);
  fillRow(infiniteRow, Infinity);
  for (let i = nanCol; nanCol >= 0 && i < drawn.values.length; i += n) {
    drawn.values[i] = NaN;
  }

  const matrix = toSparseMatrix(drawn);
  const inputs = {
    x: tf.tensor2d(x, [rows, k]),
    bias: bias && tf.tensor1d(bias),
    slopes: activation === 'prelu' ? tf.tensor(slopes, slopeShape) : undefined,
  };
  const multiply = () => nmSparseMatMul(inputs.x, matrix, {
    activation,
    ...(inputs.bias && {bias: inputs.bias}),
    ...(inputs.slopes && {preluActivationWeights: inputs.slopes}),
    ...(leakyreluAlpha !== undefined && {leakyreluAlpha}),
  });
  let y: tf.Tensor | undefined;
  try {
    y = plan ? byPlan(plan, multiply, limits) : multiply();
    const got = await y.data();
    expect(y.shape).to.deep.equal([rows, n]);
    expect(y.dtype).to.equal('float32');
    const isSick = (i: number) =>
      Math.floor(i / n) === nanRow || Math.floor(i / n) === infiniteRow || i % n === nanCol;
    expectNear(got, {...expected, ...(sick && {except: isSick})}, 'y');
    got.forEach((value, i) => {
      const [row, col] = [Math.floor(i / n), i % n];
      if ((row === nanRow || col === nanCol) && !Number.isNaN(value)) {
        throw new Error(`row ${row}, column ${col} meets nothing but NaN and is ${value}`);
      }
      // What an activation makes of infinities, and whether they meet dropped weights, is not promised.
      if (row === infiniteRow && activation === 'linear' && Number.isFinite(value)) {
        throw new Error(`row ${row}, column ${col} meets infinities and is ${value}`);
      }
    });
  } finally {
    tf.dispose([y, inputs.x, inputs.bias, inputs.slopes].filter(tensor => tensor !== undefined));
    matrix.dispose();
  }
}
