/** nmSparseConv2D against tf.conv2d of the same filter, its gradients, and what it refuses. */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {
  compress, decompress, nmSparseConv2D, type NMSparseConv2DOptions, type NMSparseMatrix,
} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';

const random = mulberry32(seed);
const draw = (shape: number[]) => tf.tensor(randomValues(shape.reduce((a, b) => a * b, 1), random), shape);

/** A compressed filter [height, width, channels, units]. */
async function filterOf([height, width, channels, units]: number[]): Promise<NMSparseMatrix> {
  const dense = draw([height * width * channels, units]) as tf.Tensor2D;
  const matrix = await compress(dense, {pattern: '2:4v4'});
  dense.dispose();
  return matrix;
}

const denseFilter = (matrix: NMSparseMatrix, shape: number[]): tf.Tensor4D =>
  tf.reshape(decompress(matrix), shape as [number, number, number, number]);

async function expectClose(y: tf.Tensor, expected: tf.Tensor): Promise<void> {
  expect(y.shape).to.deep.equal(expected.shape);
  const [a, b] = [await y.data(), await expected.data()];
  a.forEach((value, i) => expect(value).to.be.closeTo(b[i], 1e-4));
}

describe('nmSparseConv2D', function() {
  this.timeout(60_000);

  it('is tf.conv2d of the decompressed filter, with bias and activation', async () => {
    const cases: Array<[filter: number[], options: NMSparseConv2DOptions]> = [
      [[1, 1, 8, 12], {}], [[1, 1, 8, 12], {strides: 2, pad: 'same'}], [[3, 3, 8, 12], {pad: 'same', strides: [2, 1]}],
      [[2, 3, 8, 12], {dilations: 2}], [[3, 3, 8, 12], {pad: [[0, 0], [1, 0], [0, 2], [0, 0]]}],
      [[1, 1, 8, 12], {pad: [[0, 0], [1, 0], [0, 2], [0, 0]], strides: 2}],
    ];
    for (const [filter, options] of cases) {
      for (const activation of ['linear', 'relu6', 'tanh', 'leakyrelu'] as const) {
        const x = draw([2, 7, 6, 8]) as tf.Tensor4D;
        const [matrix, bias] = [await filterOf(filter), draw([12]) as tf.Tensor1D];
        const y = nmSparseConv2D(
          x, matrix, {...options, filterSize: [filter[0], filter[1]], bias, activation, leakyreluAlpha: 0.1});
        const expected = tf.tidy(() => {
          const {strides = 1, pad = 'valid', dilations = 1} = options;
          const z = tf.add(tf.conv2d(x, denseFilter(matrix, filter), strides, pad as 'same', 'NHWC', dilations), bias);
          return {linear: () => z, relu6: () => tf.relu6(z), tanh: () => tf.tanh(z),
            leakyrelu: () => tf.leakyRelu(z, 0.1)}[activation]();
        });
        await expectClose(y, expected);
        tf.dispose([x, bias, y, expected]);
        matrix.dispose();
      }
    }
  });

  it('takes integers, and slopes by channel', async () => {
    for (const size of [1, 3] as const) {
      const matrix = await filterOf([size, size, 8, 12]);
      const slopes = draw([12]);
      const x = tf.tidy(() => tf.cast(tf.mul(draw([1, 4, 4, 8]), 9), 'int32')) as tf.Tensor4D;
      const y = nmSparseConv2D(
        x, matrix, {filterSize: [size, size], activation: 'prelu', preluActivationWeights: slopes});
      const expected = tf.tidy(() => tf.prelu(tf.conv2d(
        tf.cast(x, 'float32'), denseFilter(matrix, [size, size, 8, 12]), 1, 'valid'), slopes));
      await expectClose(y, expected);
      tf.dispose([x, slopes, y, expected]);
      matrix.dispose();
    }
  });

  it('takes channels first', async () => {
    for (const size of [1, 3] as const) {
      const x = draw([2, 8, 5, 6]) as tf.Tensor4D;
      const matrix = await filterOf([size, size, 8, 12]);
      const y = nmSparseConv2D(x, matrix, {filterSize: [size, size], dataFormat: 'NCHW', pad: 'same'});
      const expected = tf.tidy(() => tf.transpose(tf.conv2d(
        tf.transpose(x, [0, 2, 3, 1]), denseFilter(matrix, [size, size, 8, 12]), 1, 'same'), [0, 3, 1, 2]));
      await expectClose(y, expected);
      tf.dispose([x, y, expected]);
      matrix.dispose();
    }
  });

  // tfjs has no gradient of conv2d's filter on wasm.
  (backendName === 'wasm' ? it.skip : it)('has the gradients of tf.conv2d, of the kept values only', async () => {
    for (const size of [1, 3] as const) {
      const shape = [size, size, 8, 12];
      const x = draw([1, 5, 4, 8]) as tf.Tensor4D;
      const matrix = await filterOf(shape);
      const {values, indices, pattern, dtype} = matrix;
      const product = (given: tf.Tensor, kept: tf.Tensor) => nmSparseConv2D(given as tf.Tensor4D,
        {values: kept as tf.Tensor2D, indices, pattern, dtype, shape: matrix.shape},
        {filterSize: [size, size], pad: 'same', activation: 'relu'});
      const [dx, dvalues] = tf.grads((a, b) => tf.sum(tf.square(product(a, b))))([x, values]);
      const filter = tf.tidy(() => denseFilter(matrix, shape));
      const [expectedX, dense] = tf.grads((a, w) => tf.sum(tf.square(tf.relu(
        tf.conv2d(a as tf.Tensor4D, w as tf.Tensor4D, 1, 'same')))))([x, filter]);
      await expectClose(dx, expectedX);
      const spread = tf.tidy(() => decompress({values: dvalues as tf.Tensor2D, indices, pattern, dtype,
        shape: matrix.shape}));
      const mask = tf.tidy(() => tf.cast(tf.notEqual(decompress(matrix), 0), 'float32'));
      const expected = tf.tidy(() => tf.mul(tf.reshape(dense, matrix.shape), mask));
      await expectClose(spread, expected);
      tf.dispose([x, filter, dx, dvalues, expectedX, dense, spread, mask, expected]);
      matrix.dispose();
    }
  });

  it('refuses what does not fit, by name', async () => {
    const matrix = await filterOf([3, 3, 8, 12]);
    const x = draw([1, 5, 4, 8]) as tf.Tensor4D;
    const refuses = (why: string, options: unknown, given: unknown = x) => expect(
      () => nmSparseConv2D(given as tf.Tensor4D, matrix, options as NMSparseConv2DOptions)).to.throw(why);
    refuses('nmSparseConv2D: matrix is a compressed matrix', {});
    refuses('takes k = 128', {filterSize: [4, 4]});
    refuses('nmSparseConv2D: strides is [0,1]; give one or two whole numbers', {filterSize: [3, 3], strides: [0, 1]});
    refuses("nmSparseConv2D: pad is 'full'; give 'same', 'valid' or", {filterSize: [3, 3], pad: 'full'});
    for (const pad of [[[1, 0], [0, 0], [0, 0], [0, 0]], [[0, 0], [-1, 0], [0, 0], [0, 0]]]) {
      refuses("nmSparseConv2D: pad is an array of 4; give 'same', 'valid' or", {filterSize: [3, 3], pad});
    }
    refuses("nmSparseConv2D: dataFormat is 'CHW'; give 'NHWC' or 'NCHW'.", {filterSize: [3, 3], dataFormat: 'CHW'});
    refuses('nmSparseConv2D: strides is [2,2] and dilations [1,2]; one of them must be 1',
      {filterSize: [3, 3], strides: 2, dilations: [1, 2]});
    refuses('smaller than a filter of 3 × 3 with dilations [4,4]', {filterSize: [3, 3], dilations: 4});
    refuses("nmSparseConv2D: activation is 'softmax'; give one of", {filterSize: [3, 3], activation: 'softmax'});
    refuses("nmSparseConv2D: activation 'prelu' needs", {filterSize: [3, 3], activation: 'prelu'});
    const five = tf.ones([5]);
    refuses('nmSparseConv2D: bias is float32 [5]; a matrix with n=12 takes', {filterSize: [3, 3], bias: five});
    const slopes = tf.ones([12]);
    const channelsFirst = tf.ones([1, 8, 5, 4]);
    refuses("nmSparseConv2D: preluActivationWeights is float32 [12]; with dataFormat 'NCHW' give one slope.",
      {filterSize: [3, 3], dataFormat: 'NCHW', activation: 'prelu', preluActivationWeights: slopes}, channelsFirst);
    const disposed = tf.ones([1, 5, 4, 8]);
    tf.dispose([five, slopes, channelsFirst, disposed]);
    refuses('nmSparseConv2D: x is disposed.', {filterSize: [3, 3]}, disposed);
    refuses("there is no option 'stride'", {stride: 2});
    refuses("nmSparseConv2D: x is 'x'; give a tensor of rank 4.", {filterSize: [3, 3]}, 'x');
    x.dispose();
    matrix.dispose();
  });
});
