/**
 * The composite kernels on tfjs's 'wasm' backend. webgl runs them in every test; wasm gets this file, because its
 * batched gather is wrong in tfjs 4.22 and the kernels go around it. Several groups, or nothing would show.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import {expect} from 'chai';
import type {StorageDtype} from '../../src/format/storage.js';
import {decompress, nmSparseMatMul, type NMSparseMatrix} from '../../src/index.js';
import {mulberry32, seed} from '../support/random.js';
import {drawMatrix, expectNear, randomValues, referenceSums, toSparseMatrix} from '../support/reference.js';

const ROWS = 5;

const CASES: Array<{shape: [number, number]; pattern: string; dtype: StorageDtype}> = [
  {shape: [64, 96], pattern: '8:32v32', dtype: 'float32'},
  {shape: [70, 50], pattern: '8:32v16', dtype: 'float16'},
  {shape: [18, 33], pattern: '2:4', dtype: 'float32'},
  {shape: [18, 33], pattern: '2:4', dtype: 'float16'},
];

async function onWasm(test: () => Promise<void>): Promise<void> {
  const before = tf.getBackend();
  await tf.setBackend('wasm');
  try {
    await test();
  } finally {
    await tf.setBackend(before);
  }
}

describe('composite kernels on wasm', () => {
  for (const {shape: [k, n], pattern, dtype} of CASES) {
    it(`multiply ${k}×${n} weights of ${pattern} in ${dtype}`, () => onWasm(async () => {
      const random = mulberry32(seed);
      const drawn = drawMatrix([k, n], pattern, dtype, random);
      const [xs, biases] = [randomValues(ROWS * k, random), randomValues(n, random)];
      const matrix = toSparseMatrix(drawn);
      const y = tf.tidy(() =>
        nmSparseMatMul(tf.tensor2d(xs, [ROWS, k]), matrix, {bias: tf.tensor1d(biases), activation: 'relu'}));
      expectNear(await y.data(), {...referenceSums(xs, drawn, biases), activation: 'relu'});
      y.dispose();
      matrix.dispose();
    }));
  }

  it('gather the gradient of values from where the weights were kept', () => onWasm(async () => {
    const random = mulberry32(seed);
    const shape: [number, number] = [64, 96];
    const drawn = drawMatrix(shape, '8:32v32', 'float32', random);
    const outer = randomValues(drawn.dense.length, random);
    const matrix = toSparseMatrix(drawn);
    // With L = sum(W·dy), elementwise, dL/dvalues is dy's kept entries: dy with zeros where W has them, once spread.
    const spread = tf.tidy(() => {
      const gradient = tf.grad(values => decompress({...matrix, values} as unknown as NMSparseMatrix))(
        matrix.values, tf.tensor2d(outer, shape));
      return decompress({...matrix, values: gradient} as unknown as NMSparseMatrix);
    });
    expect(Array.from(await spread.data())).to.deep.equal(Array.from(outer, (dy, i) => drawn.dense[i] === 0 ? 0 : dy));
    spread.dispose();
    matrix.dispose();
  }));
});
