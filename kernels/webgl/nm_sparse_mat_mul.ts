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
import {onDisposal} from '../../src/tfjs/disposal.js';
import {fromAttrs, NM_SPARSE_MAT_MUL, type MatMulAttrs, type MatMulInputs, type MatrixAttrs} from '../contract.js';
import {PerMatrix} from '../per_matrix.js';
import {rowIdsOf} from '../row_ids.js';
import {NMSparseMatMulPackedProgram, packRowIds} from './nm_webgl.js';

type Args = Parameters<KernelFunc>[0];

/** Largest share of kept rows at which the program is faster than the dense one; with L = 1, and with larger L. */
const MOST_KEPT_SINGLE = 0.25;
const MOST_KEPT = 0.5;

interface Textures {
  /** Kept values [w, n], float32; undefined where the matrix's own tensor serves. */
  values?: Tensor2D;
  rowIds: Tensor2D;
}

const textures = new PerMatrix<Textures>();

/** Whether a matrix is multiplied with an expanded W. */
export function webglRunsDense({pattern: {n, m, vectorLength}, shape: [k]}: MatrixAttrs): boolean {
  // Row numbers are exact in 32-bit floats only, and up to 2^24. With IS_TEST, tfjs takes kept tensors for leaks.
  const isAble = env().getNumber('WEBGL_VERSION') === 2 && env().getBool('WEBGL_RENDER_FLOAT32_ENABLED') &&
      env().getBool('WEBGL_PACK') && k < 2 ** 24 && !env().getBool('IS_TEST');
  return !isAble || n / m > (vectorLength === 1 ? MOST_KEPT_SINGLE : MOST_KEPT);
}

/** @param dense multiplies with an expanded W. */
function nmSparseMatMul(args: Args, dense: KernelFunc): TensorInfo | TensorInfo[] {
  const {inputs, attrs, backend: anyBackend} = args;
  const matrix = fromAttrs<MatMulAttrs>(attrs);
  if (webglRunsDense(matrix)) {
    return dense(args);
  }
  const backend = anyBackend as unknown as MathBackendWebGL;
  const {x, values, indices, bias, preluActivationWeights: slopes} = inputs as unknown as MatMulInputs;
  const {shape: [k, n], pattern, activation, leakyreluAlpha} = matrix;
  const {values: decoded, rowIds} = texturesOf(anyBackend as KernelBackend, values, indices, matrix);
  const program = new NMSparseMatMulPackedProgram(
    [x.shape[0], n], keptRowCount(k, pattern), pattern.vectorLength,
    {hasBias: bias !== undefined, activation, leakyreluAlpha});
  return backend.runWebGLProgram(
    program, [x, decoded ?? values, rowIds, ...(bias ? [bias] : []), ...(slopes ? [slopes] : [])], 'float32');
}

function texturesOf(
    backend: KernelBackend, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): Textures {
  const known = textures.get(values, indices, matrix);
  if (known) {
    return known;
  }
  const {shape: [k, n], pattern, dtype} = matrix;
  const packed = packRowIds(rowIdsOf(backend, indices, matrix), groupCount(n, pattern));
  const made: Textures = {rowIds: keep(tensor2d(packed.values, packed.shape))};
  if (STORAGE[dtype].tensorDtype !== 'float32') {
    const keptRows = keptRowCount(k, pattern);
    const stored = backend.readSync(values.dataId) as Int32Array;
    made.values = keep(tensor2d(STORAGE[dtype].decode(stored, keptRows, n), [keptRows, n]));
  }
  textures.set(values, indices, matrix, made);
  const drop = () => {
    if (!made.rowIds.isDisposed) {
      textures.delete(values);
      made.rowIds.dispose();
      made.values?.dispose();
    }
  };
  onDisposal(backend, values.dataId, drop);
  onDisposal(backend, indices.dataId, drop);
  return made;
}

/** @param dense the kernel that multiplies with an expanded W, for where the program cannot run or would lose. */
export function webglMatMul(dense: KernelConfig): KernelConfig {
  return {
    kernelName: NM_SPARSE_MAT_MUL, backendName: dense.backendName,
    kernelFunc: args => nmSparseMatMul(args, dense.kernelFunc),
  };
}
