/**
 * A backend this package has never heard of gets the composite kernels when it first needs them. It is the CPU's under
 * another name, and so in every other respect one that works.
 */
import * as tf from '@tensorflow/tfjs-core';
import {MathBackendCPU} from '@tensorflow/tfjs-backend-cpu';
import {expect} from 'chai';
import {NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL} from '../../kernels/contract.js';
import {decompress, NMSparseMatrix, nmSparseMatMul} from '../../src/index.js';
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

  it('decodes a tensor again for another pattern, shape or size of a row', async () => {
    const random = mulberry32(seed + 1);
    const [narrow, wide] = [[16, 6], [32, 6]] as Array<[number, number]>;
    const drawn = drawMatrix(narrow, '4:8', 'float16', random);
    await tf.setBackend(NAME);
    // 8 kept rows of 4 bits in both; the words of a row hold 6 values or 5.
    const first = toSparseMatrix(drawn);
    const {values, indices} = first;
    const others = [
      new NMSparseMatrix({values, indices, pattern: '4:16', shape: wide, dtype: 'float16'}),
      new NMSparseMatrix({
        values, indices: tf.slice(indices, [0, 0], [5, 1]), pattern: '4:8', shape: [16, 5], dtype: 'float16',
      }),
    ];
    const results = tf.tidy(() => [first, ...others].map(matrix => decompress(matrix)));
    const [asDrawn, asWide, cut] = await Promise.all(results.map(result => result.data()));
    tf.dispose(results);
    [first, others[1]].forEach(matrix => matrix.dispose());
    await tf.setBackend(backendName);

    expect([...asDrawn]).to.deep.equal([...drawn.dense]);
    const expected = new Float32Array(32 * 6);
    drawn.dense.forEach((weight, i) => {
      const [row, col] = [Math.floor(i / 6), i % 6];
      const keptBefore = drawn.dense.filter((each, at) => at < i && at % 6 === col && each !== 0).length;
      if (weight !== 0) {
        const window = Math.floor(keptBefore / 4);
        expected[(window * 16 + row % 8) * 6 + col] = weight;
      }
    });
    expect([...asWide]).to.deep.equal([...expected]);
    expect([...cut]).to.deep.equal([...drawn.dense.filter((_, i) => i % 6 < 5)]);
  });
});
