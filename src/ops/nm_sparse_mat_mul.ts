/**
 * The public ops: nmSparseMatMul and decompress. They check all arguments before any GPU work, then convert them to the
 * form that kernels take: x of rank 2, bias as a vector, an activation that the kernel can apply.
 */
import {
  cast, customGrad, engine, reshape, tidy, zeros, zerosLike,
  type NamedTensorMap, type Tensor, type Tensor1D, type Tensor2D,
} from '@tensorflow/tfjs-core';
import {applyActivation} from '../../kernels/composite/activation.js';
import {ACTIVATIONS, NM_SPARSE_MAT_MUL, toAttrs, type FusedActivation} from '../../kernels/contract.js';
import {NMSparseMatrix} from '../format/nm_sparse_matrix.js';
import {STORAGE} from '../format/storage.js';
import {checkOptionNames, describeValue} from '../util/options.js';
import {runDecompress} from './gradient.js';
import {ensureKernels} from './register.js';

export interface NMSparseMatMulOptions {
  /** float32 [n], added before the activation. */
  bias?: Tensor1D;
  /** Default 'linear'. 'gelu' is the erf form, 'gelu_new' the tanh form. */
  activation?: FusedActivation;
  /** For 'prelu': slopes below zero, of a shape that broadcasts to y: a scalar, [n], or any other. */
  preluActivationWeights?: Tensor;
  /** For 'leakyrelu': the slope below zero. Default 0.2, as tf.leakyRelu. */
  leakyreluAlpha?: number;
}

/** The parts of {@link NMSparseMatrix} the op reads: layers pass their variables' tensors in such an object. */
export type MatrixLike = Pick<NMSparseMatrix, 'values' | 'indices' | 'pattern' | 'shape' | 'dtype'>;

/**
 * `y = activation(x · W + bias)` with W compressed. Differentiable with respect to x, matrix.values (float32 storage),
 * bias and preluActivationWeights. Non-finite values in x may or may not meet W's dropped entries.
 *
 * ```ts
 * const W = await compress(tf.randomNormal([1024, 4096]), {pattern: '8:32v32', dtype: 'float16'});
 * const y = nmSparseMatMul(x, W, {bias, activation: 'relu'});   // x [.., 1024] → y [.., 4096]
 * ```
 *
 * @param x float32 (int32 and bool are cast), rank ≥ 2, [.., k]. All leading dims are kept.
 * @param matrix W, of shape [k, n].
 * @returns float32 [.., n]
 * @throws Error naming the argument that does not fit, before any work is done.
 */
export function nmSparseMatMul(x: Tensor, matrix: MatrixLike, options: NMSparseMatMulOptions = {}): Tensor {
  checkOptionNames('nmSparseMatMul', options, OPTION_NAMES, "{bias, activation: 'relu'}");
  const {bias, activation = 'linear', preluActivationWeights, leakyreluAlpha = 0.2} = options;
  const checked = check(x, matrix, {...options, activation, leakyreluAlpha});
  const {values, indices, pattern, shape, dtype} = checked;
  const [k, n] = shape;
  const leading = x.shape.slice(0, -1);
  const outShape = [...leading, n];
  if (x.size === 0) {
    return emptyProduct(outShape, [x, ...(STORAGE[dtype].trainable ? [values] : []), ...(bias ? [bias] : []),
      ...(preluActivationWeights ? [preluActivationWeights] : [])]);
  }
  ensureKernels();
  return tidy(() => {
    const rows = inShape(x.dtype === 'float32' ? x : cast(x, 'float32'), [x.size / k, k]);
    // A gradient cannot pass through a fused activation. So while one is recorded, the activation is a separate op, as
    // in tf.fused.matMul. Prelu slopes that differ by row are not fused either: the epilogue supports columns only.
    const slopesByColumn = preluActivationWeights && isByColumn(preluActivationWeights, n);
    const recording = engine().state.gradientDepth > 0;
    const fused = activation === 'linear' || (!recording && (activation !== 'prelu' || slopesByColumn));
    const inputs: Record<string, Tensor> = {x: rows, values, indices};
    if (bias) {
      inputs.bias = bias;
    }
    if (fused && preluActivationWeights) {
      inputs.preluActivationWeights = inShape(preluActivationWeights, [preluActivationWeights.size]);
    }
    const product: Tensor2D = engine().runKernel(NM_SPARSE_MAT_MUL, inputs as NamedTensorMap,
      toAttrs({pattern, shape, dtype, activation: fused ? activation : 'linear', leakyreluAlpha}));
    const y = inShape(product, outShape);
    if (fused) {
      return y;
    }
    return applyActivation(y, {activation, leakyreluAlpha, preluActivationWeights});
  });
}

/**
 * The dense W of a compressed matrix, float32 [k, n], made on the active backend without reading anything back.
 * Differentiable with respect to matrix.values.
 * @throws Error if it is no compressed matrix, or a disposed one.
 */
export function decompress(matrix: MatrixLike): Tensor2D {
  const checked = checkMatrix(matrix, why => {
    throw new Error(`decompress: ${why}`);
  });
  ensureKernels();
  return runDecompress(checked.values, checked.indices, checked);
}

/** A reshape is an op of its own, even to the same shape, and shows on tfjs-node. */
function inShape(tensor: Tensor, shape: number[]): Tensor {
  return tensor.shape.length === shape.length ? tensor : reshape(tensor, shape);
}

/** No rows, so no work; but on the tape, so that an empty last batch doesn't break a training loop. */
function emptyProduct(outShape: number[], inputs: Tensor[]): Tensor {
  return customGrad(() => ({value: zeros(outShape), gradFunc: () => inputs.map(input => zerosLike(input))}))(...inputs);
}

/** One slope for all, or one a column: what an epilogue can apply. */
function isByColumn({shape, size}: Tensor, n: number): boolean {
  return size === 1 || (size === n && shape[shape.length - 1] === n);
}

const OPTION_NAMES = ['bias', 'activation', 'preluActivationWeights', 'leakyreluAlpha'];

/** @returns the matrix, checked whole. */
function check(
    x: Tensor, matrix: MatrixLike,
    {bias, activation, preluActivationWeights, leakyreluAlpha}: NMSparseMatMulOptions): MatrixLike {
  const fail: Fail = why => {
    throw new Error(`nmSparseMatMul: ${why}`);
  };
  if (!Array.isArray(x?.shape) || 'pattern' in x) {
    fail(`x is ${describeValue(x)}; give a tensor of shape [.., k].`);
  }
  const checked = checkMatrix(matrix, fail);
  const [k, n] = checked.shape;
  checkX(x, fail);
  if (x.shape.length < 2) {
    fail(`x has shape [${x.shape}]; give rank 2 or more, [.., ${k}] (tf.expandDims makes a row of a vector).`);
  }
  if (x.shape[x.shape.length - 1] !== k) {
    fail(`x has inner dimension ${x.shape[x.shape.length - 1]}, the matrix has k=${k}.`);
  }
  checkEpilogue({bias, activation, preluActivationWeights, leakyreluAlpha}, [...x.shape.slice(0, -1), n], fail);
  return checked;
}

/** Ends with an Error of the caller. */
export type Fail = (why: string) => never;

/** @throws Error if x is not a tensor of numbers, or is disposed. */
export function checkX(x: Tensor, fail: Fail): void {
  if (x.dtype !== 'float32' && x.dtype !== 'int32' && x.dtype !== 'bool') {
    fail(`x has dtype ${x.dtype}; give float32, int32 or bool.`);
  }
  checkAlive('x', x, fail);
}

/**
 * Checks what follows a product.
 * @param outShape of y; its last dimension is n.
 * @throws Error naming the option that does not fit.
 */
export function checkEpilogue(
    {bias, activation, preluActivationWeights, leakyreluAlpha}: NMSparseMatMulOptions, outShape: number[],
    fail: Fail): void {
  const n = outShape[outShape.length - 1];
  if (!ACTIVATIONS.includes(activation as FusedActivation)) {
    fail(`activation is ${describeValue(activation)}; give one of ${ACTIVATIONS.map(name => `'${name}'`).join(', ')}.`);
  }
  if (bias !== undefined && (bias?.dtype !== 'float32' || bias.shape.length !== 1 || bias.size !== n)) {
    fail(`bias is ${describeValue(bias)}; a matrix with n=${n} takes float32 [${n}].`);
  }
  checkAlive('bias', bias, fail);
  if (activation === 'prelu') {
    if (!preluActivationWeights) {
      fail("activation 'prelu' needs preluActivationWeights, a tensor of slopes.");
    }
    checkSlopes(preluActivationWeights as Tensor, outShape, fail);
  } else if (preluActivationWeights) {
    fail(`preluActivationWeights go with activation 'prelu', not with '${activation}'.`);
  }
  if (typeof leakyreluAlpha !== 'number' || !Number.isFinite(leakyreluAlpha)) {
    fail(`leakyreluAlpha is ${describeValue(leakyreluAlpha)}; give a finite number.`);
  }
}

/** The constructor has checked an NMSparseMatrix; anything that merely looks like one is made one, or refused. */
export function checkMatrix(matrix: MatrixLike, fail: Fail): MatrixLike {
  if (!matrix?.values || !matrix.indices || !matrix.pattern || !matrix.shape) {
    fail(`matrix is ${describeValue(matrix)}; give an NMSparseMatrix, as compress() returns it.`);
  }
  checkAlive('matrix.values', matrix.values, fail);
  checkAlive('matrix.indices', matrix.indices, fail);
  return matrix instanceof NMSparseMatrix ? matrix : new NMSparseMatrix(matrix);
}

function checkAlive(name: string, tensor: Tensor | undefined, fail: Fail): void {
  if (tensor?.isDisposed) {
    fail(`${name} is disposed.`);
  }
}

function checkSlopes(slopes: Tensor, outShape: number[], fail: Fail): void {
  const {dtype, shape = []} = slopes;
  const offset = outShape.length - shape.length;
  const broadcasts = offset >= 0 && shape.every((size, i) => size === 1 || size === outShape[i + offset]);
  if (dtype !== 'float32' || !broadcasts) {
    fail(`preluActivationWeights is ${describeValue(slopes)}; give float32 that broadcasts to y [${outShape}].`);
  }
  checkAlive('preluActivationWeights', slopes, fail);
}
