/**
 * A WebGPU backend under another name, with a device of its own: it runs the WebGPU kernels, is tuned and warmed up,
 * and converts models, whether its kernels were copied before this package was imported or after.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL} from '../../kernels/contract.js';
import {nmSparseMatMul, tune, warmUp} from '../../src/index.js';
import {observeProblems} from '../../src/tuning/choose.js';
import {disposeModel, predicted, relativeDifference} from '../support/models.js';
import {forgetOwnBackend, onOwnBackend, registerOwnBackend} from '../support/own_device.js';
import {mulberry32, seed} from '../support/random.js';
import {drawMatrix, expectNear, randomValues, referenceSums, toSparseMatrix} from '../support/reference.js';
import {prunedModel} from '../tuning/support.js';

const OURS = [NM_SPARSE_MAT_MUL, NM_DECOMPRESS, NM_GATHER_KEPT];

for (const copied of ['before', 'after'] as const) {
  describe(`a WebGPU backend whose kernels were copied ${copied} the import`, function() {
    this.timeout(60_000);
    const name = `webgpu-copied-${copied}`;

    before(() => {
      registerOwnBackend(name);
      if (copied === 'before') { // then the copies lack what this package registers
        OURS.forEach(kernel => tf.unregisterKernel(kernel, name));
      }
    });

    after(() => forgetOwnBackend(name));

    const renamed = (run: () => Promise<void>) => onOwnBackend(name, run);

    it('multiplies by the WebGPU kernels', () => renamed(async () => {
      const random = mulberry32(seed);
      const drawn = drawMatrix([40, 24], '2:4v4', 'float32', random);
      const values = randomValues(5 * 40, random);
      const x = tf.tensor2d(values, [5, 40]);
      const matrix = toSparseMatrix(drawn);
      let y!: tf.Tensor;
      const problems = observeProblems(() => y = nmSparseMatMul(x, matrix));
      expect(problems.map(({rows, shape}) => [rows, ...shape])).to.deep.equal([[5, 40, 24]]);
      expectNear(await y.data(), referenceSums(values, drawn));
      tf.dispose([x, y]);
      matrix.dispose();
    }));

    it('converts a model and predicts', () => renamed(async () => {
      const model = await prunedModel();
      const x = tf.tensor2d(randomValues(3 * 64, mulberry32(seed)), [3, 64]);
      const [y] = await predicted(model, x);
      const byHand = tf.tidy(() => model.layers.reduce(
        (sum: tf.Tensor, layer) => layer.apply(sum) as tf.Tensor, x as tf.Tensor));
      expect(relativeDifference(y, await byHand.data())).to.be.below(1e-5);
      tf.dispose([x, byHand]);
      disposeModel(model);
    }));

    it('compiles in warmUp and measures in tune', () => renamed(async () => {
      const model = await prunedModel();
      const {programs} = await warmUp(model, undefined, {batchSize: copied === 'before' ? 17 : 18, cache: false});
      expect(programs).to.be.above(0);
      const {tuned, skipped} = await tune([{rows: 3, k: 24, n: 12, pattern: '2:4'}],
        {cache: false});
      expect(skipped).to.deep.equal([]);
      expect(tuned).to.have.length(1);
      disposeModel(model);
    }));
  });
}
