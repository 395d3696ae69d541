/**
 * The product on the webgl backend: a program of our own where it reads fewer texels than the dense one (nm_webgl.ts),
 * else a W that is expanded once, times x by tfjs's program. The row numbers, and values stored as words, are uploaded
 * once per matrix as float textures, and disposed with it.
 */
import {
  env, keep, tensor2d, type KernelBackend, type KernelConfig, type KernelFunc, type Tensor2D, type TensorInfo,
} from '@tensorflow/tfjs-core';
import type {MathBackendWebGL} from '@tensorflow/tfjs-backend-webgl';
import {groupCount, keptRowCount} from '../../src/format/pattern.js';
import {STORAGE} from '../../src/format/storage.js';
import {fromAttrs, NM_SPARSE_MAT_MUL, type MatMulAttrs, type MatMulInputs, type MatrixAttrs} from '../contract.js';
import {mayExpand} from '../expansion.js';
import {PerMatrix} from '../per_matrix.js';
import {rowIdsOf} from '../row_ids.js';
import {NMSparseMatMulPackedProgram, packRowIds} from './nm_webgl.js';

type Args = Parameters<KernelFunc>[0];

/** Largest share of kept rows at which the program is faster than the dense one; with L = 1, and with larger L. */
const MOST_KEPT_SINGLE = 0.25;
const MOST_KEPT = 0.5;

/** Row numbers as {@link packRowIds} lays them out, and values [w, n] of matrices that store words. */
const rowIdTextures = new PerMatrix<Tensor2D>();
const valueTextures = new PerMatrix<Tensor2D>();

/** Whether a matrix is multiplied with an expanded W. */
export function webglRunsDense(values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): boolean {
  const {pattern: {n, m, vectorLength}, shape: [k]} = matrix;
  // Row numbers are exact in 32-bit floats only, and up to 2^24. With IS_TEST, tfjs takes kept tensors for leaks.
  const isAble = env().getNumber('WEBGL_VERSION') === 2 && env().getBool('WEBGL_RENDER_FLOAT32_ENABLED') &&
      env().getBool('WEBGL_PACK') && k < 2 ** 24 && !env().getBool('IS_TEST');
  const isDenseFaster = n / m > (vectorLength === 1 ? MOST_KEPT_SINGLE : MOST_KEPT);
  return !isAble || (isDenseFaster && mayExpand(values, indices, matrix));
}

/** @param dense multiplies with an expanded W. */
function nmSparseMatMul(args: Args, dense: KernelFunc): TensorInfo | TensorInfo[] {
  const {inputs, attrs, backend: anyBackend} = args;
  const matrix = fromAttrs<MatMulAttrs>(attrs);
  const {x, values, indices, bias, preluActivationWeights: slopes} = inputs as unknown as MatMulInputs;
  if (webglRunsDense(values, indices, matrix)) {
    return dense(args);
  }
  const backend = anyBackend as unknown as MathBackendWebGL & KernelBackend;
  const {shape: [k, n], pattern, activation, leakyreluAlpha} = matrix;
  const program = new NMSparseMatMulPackedProgram(
    [x.shape[0], n], keptRowCount(k, pattern), pattern.vectorLength,
    {hasBias: bias !== undefined, activation, leakyreluAlpha});
  const w = STORAGE[matrix.dtype].tensorDtype === 'float32' ? values : decodedValues(backend, values, matrix);
  return backend.runWebGLProgram(
    program, [x, w, rowIdTexture(backend, indices, matrix), ...(bias ? [bias] : []), ...(slopes ? [slopes] : [])],
    'float32');
}

function rowIdTexture(backend: KernelBackend, indices: TensorInfo, matrix: MatrixAttrs): Tensor2D {
  return rowIdTextures.get(indices, indices, matrix) ?? upload(rowIdTextures, backend, indices, matrix,
    packRowIds(rowIdsOf(backend, indices, matrix), groupCount(matrix.shape[1], matrix.pattern)));
}

function decodedValues(backend: KernelBackend, values: TensorInfo, matrix: MatrixAttrs): Tensor2D {
  const {shape: [k, n], pattern, dtype} = matrix;
  const keptRows = keptRowCount(k, pattern);
  return valueTextures.get(values, values, matrix) ?? upload(valueTextures, backend, values, matrix, {
    values: STORAGE[dtype].decode(backend.readSync(values.dataId) as Int32Array, keptRows, n), shape: [keptRows, n],
  });
}

/** Keeps a tensor until the data that it is made of is disposed. */
function upload(
    textures: PerMatrix<Tensor2D>, backend: KernelBackend, source: TensorInfo, matrix: MatrixAttrs,
    {values, shape}: {values: Float32Array; shape: [number, number]}): Tensor2D {
  const tensor = keep(tensor2d(values, shape));
  return textures.setUntilDisposal(backend, source, source, matrix, tensor, () => tensor.dispose());
}

/** @param dense the kernel that multiplies with an expanded W, for where the program cannot run or would lose. */
export function webglMatMul(dense: KernelConfig): KernelConfig {
  return {
    kernelName: NM_SPARSE_MAT_MUL, backendName: dense.backendName,
    kernelFunc: args => nmSparseMatMul(args, dense.kernelFunc),
  };
}
