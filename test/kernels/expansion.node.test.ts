/** Cached expansion, on a backend without kernels: made once, counted by tf.memory(), disposed with its matrix. */
import * as tf from '@tensorflow/tfjs-core';
import {MathBackendCPU} from '@tensorflow/tfjs-backend-cpu';
import {expect} from 'chai';
import {NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL} from '../../kernels/contract.js';
import {compress, NMSparseMatrix, nmSparseMatMul} from '../../src/index.js';
import {backendName} from '../support/backend.js';

const NAME = 'without-kernels';
const MAX_BYTES = 'NM_SPARSE_MAX_EXPANDED_BYTES';
const [K, N] = [8, 6];
const DENSE_BYTES = 4 * K * N;

describe('a cached expansion', () => {
  let matrix: NMSparseMatrix;
  let x: tf.Tensor2D;
  const state = () => [tf.memory().numTensors, tf.memory().numBytes];
  const product = async (of = matrix) => {
    const y = nmSparseMatMul(x, of);
    const values = [...await y.data()];
    y.dispose();
    return values;
  };

  /** As a test with a `before` would, but within its body, where leaks are looked for. */
  async function onBackend(run: () => Promise<void>): Promise<void> {
    tf.registerBackend(NAME, () => new MathBackendCPU());
    tf.copyRegisteredKernels('cpu', NAME);
    [NM_SPARSE_MAT_MUL, NM_DECOMPRESS, NM_GATHER_KEPT].forEach(kernel => tf.unregisterKernel(kernel, NAME));
    await tf.setBackend(NAME);
    const W = tf.tensor2d(Array.from({length: K * N}, (_, i) => i + 1), [K, N]);
    matrix = await compress(W, {pattern: '2:4'});
    x = tf.ones([1, K]);
    W.dispose();
    try {
      await run();
    } finally {
      x.dispose();
      matrix.dispose();
      await tf.setBackend(backendName);
      tf.getKernelsForBackend(NAME).forEach(({kernelName}) => tf.unregisterKernel(kernelName, NAME));
      tf.removeBackend(NAME);
    }
  }

  /** Column sums of what 2:4 keeps of 1 … 48: the two lower rows of each window. */
  const expected = Array.from({length: N}, (_, col) => [2, 3, 6, 7].reduce((sum, row) => sum + row * N + col + 1, 0));

  it('is made by the first product, used by the others, and disposed with its matrix', () => onBackend(async () => {
    const [tensors, bytes] = state();
    expect(await product()).to.deep.equal(expected);
    expect(state()).to.deep.equal([tensors + 1, bytes + DENSE_BYTES]);
    const {kernelFunc} = tf.getKernel(NM_DECOMPRESS, NAME);
    tf.unregisterKernel(NM_DECOMPRESS, NAME);
    expect(await product()).to.deep.equal(expected);
    tf.registerKernel({kernelName: NM_DECOMPRESS, backendName: NAME, kernelFunc});
    expect(state()).to.deep.equal([tensors + 1, bytes + DENSE_BYTES]);
    matrix.values.dispose();
    expect(state()).to.deep.equal([tensors - 1, bytes - matrix.values.size * 4]);
  }));

  it('is of these values with these offsets: others get their own', () => onBackend(async () => {
    const first = tf.tensor2d([1, 0, 0, 0, 1, 0, 0, 0], [1, K]); // the first row of each window
    const firstRows = async (of: NMSparseMatrix) => {
      const y = nmSparseMatMul(first, of);
      const values = [...await y.data()];
      y.dispose();
      return values;
    };
    const {values, pattern, shape, dtype} = matrix;
    const falling = tf.tensor2d(Array.from({length: K * N}, (_, i) => 100 - i), [K, N]);
    const other = await compress(falling, {pattern: '2:4'}); // keeps the upper two rows
    const mixed = new NMSparseMatrix({values, indices: other.indices, pattern, shape, dtype});
    expect(await firstRows(matrix)).to.deep.equal([0, 0, 0, 0, 0, 0]);
    expect(await firstRows(mixed)).to.deep.equal(
      Array.from({length: N}, (_, col) => 2 * N + col + 1 + (6 * N + col + 1)));
    expect(await product()).to.deep.equal(expected);
    tf.dispose([first, falling]);
    other.dispose();
  }));

  it('is dropped where the values of a variable change', () => onBackend(async () => {
    const {values, indices, pattern, shape, dtype} = matrix;
    const variable = tf.variable(values);
    const trained = new NMSparseMatrix({values: variable as tf.Tensor2D, indices, pattern, shape, dtype});
    await product(trained);
    const [tensors, bytes] = state();
    tf.tidy(() => variable.assign(tf.mul(values, 2)));
    expect(await product(trained)).to.deep.equal(expected.map(sum => 2 * sum));
    // The variable's first data is still the matrix's, and so is its expansion.
    expect(state()).to.deep.equal([tensors + 1, bytes + DENSE_BYTES]);
    tf.tidy(() => variable.assign(tf.mul(values, 3)));
    expect(state()).to.deep.equal([tensors, bytes]);
    variable.dispose();
  }));

  it('is not made beyond the bound, nor where tfjs looks for leaks', () => onBackend(async () => {
    const before = state();
    for (const [flag, value] of [[MAX_BYTES, DENSE_BYTES - 1], ['IS_TEST', true]] as const) {
      const usual = tf.env().get(flag);
      tf.env().set(flag, value);
      expect(await product()).to.deep.equal(expected);
      tf.env().set(flag, usual);
      expect(state(), flag).to.deep.equal(before);
    }
    tf.env().set(MAX_BYTES, 512 * 2 ** 20);
    await product();
    expect(state()[1]).to.equal(before[1] + DENSE_BYTES);
  }));
});
