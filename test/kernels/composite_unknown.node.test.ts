/**
 * A backend this package has never heard of gets the composite kernels when it first needs them. It is the CPU's under
 * another name, and so in every other respect one that works.
 */
import * as tf from '@tensorflow/tfjs-core';
import {MathBackendCPU} from '@tensorflow/tfjs-backend-cpu';
import {expect} from 'chai';
import {NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL} from '../../kernels/contract.js';
import {decompress, nmSparseMatMul} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {drawMatrix, expectNear, randomValues, referenceSums, toSparseMatrix} from '../support/reference.js';

const NAME = 'unheard-of';
const OURS = [NM_SPARSE_MAT_MUL, NM_DECOMPRESS, NM_GATHER_KEPT];

describe('a backend unknown to the package', () => {
  before('register it', () => {
    tf.registerBackend(NAME, () => new MathBackendCPU());
    tf.copyRegisteredKernels('cpu', NAME);
    OURS.forEach(kernel => tf.unregisterKernel(kernel, NAME));
  });

  after('forget it', () => {
    tf.getKernelsForBackend(NAME).forEach(({kernelName}) => tf.unregisterKernel(kernelName, NAME));
    tf.removeBackend(NAME);
  });

  it('multiplies, decompresses and differentiates', async () => {
    const random = mulberry32(seed);
    for (const dtype of ['float32', 'float16'] as const) {
      const drawn = drawMatrix([21, 13], '3:8v4', dtype, random);
      const [x, bias] = [randomValues(5 * 21, random), randomValues(13, random)];
      await tf.setBackend(NAME);
      const matrix = toSparseMatrix(drawn);
      const results = tf.tidy(() => {
        const xTensor = tf.tensor2d(x, [5, 21]);
        const multiply = (of: tf.Tensor) => nmSparseMatMul(of, matrix, {bias: tf.tensor1d(bias), activation: 'relu'});
        return [multiply(xTensor), decompress(matrix), tf.grad(multiply)(xTensor)];
      });
      const [y, dense, dx] = await Promise.all(results.map(result => result.data()));
      tf.dispose(results);
      matrix.dispose();
      await tf.setBackend(backendName);

      const expected = referenceSums(x, drawn, bias);
      expectNear(y, {...expected, activation: 'relu'});
      expect([...dense]).to.deep.equal([...drawn.dense]);
      const slopes = expected.sums.map(z => z > 0 ? 1 : 0);
      const transposed = drawn.dense.map((_, i) => drawn.dense[(i % 21) * 13 + Math.floor(i / 21)]);
      expectNear(dx, referenceSums(slopes, {shape: [13, 21], dense: transposed}));
    }
    OURS.slice(0, 2).forEach(kernel => expect(tf.getKernel(kernel, NAME), kernel).to.exist);
  });
});
