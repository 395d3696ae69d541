/** A lost device: every entry point says so, and a new backend under the same name works. */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import {decompress, type NMSparseMatrix, nmSparseMatMul, tune, warmUp} from '../../src/index.js';
import {disposeModel, predicted} from '../support/models.js';
import {forgetOwnBackend, onOwnBackend, registerOwnBackend} from '../support/own_device.js';
import {mulberry32, seed} from '../support/random.js';
import {drawMatrix, expectNear, randomValues, referenceSums, toSparseMatrix} from '../support/reference.js';
import {prunedModel, rejection} from '../tuning/support.js';

const NAME = 'webgpu-lost';
const LOST = /^\w+: the WebGPU device was lost \(\w+: .+\), and all tensors on it; .*load the model again\.$/;
const FRESH = {cache: false} as const;

describe('a lost WebGPU device', function() {
  this.timeout(60_000);
  let model: LayersModel;
  let x: tf.Tensor;
  let matrix: NMSparseMatrix;

  beforeEach(() => {
    registerOwnBackend(NAME);
    return onOwnBackend(NAME, async () => {
      model = await prunedModel();
      x = tf.ones([2, 64]);
      matrix = toSparseMatrix(drawMatrix([64, 8], '2:4v4', 'float32', mulberry32(seed)));
      await predicted(model, x);
    });
  });

  afterEach(() => onOwnBackend(NAME, async () => {
    disposeModel(model);
    x.dispose();
    matrix.dispose();
  }).then(() => forgetOwnBackend(NAME)));

  /** Loses the device, then runs. */
  const lost = (run: () => Promise<void>) => onOwnBackend(NAME, async ({device}) => {
    device.destroy();
    await device.lost;
    await run();
  });

  it('is named by the ops', () => lost(async () => {
    const tensors = tf.memory().numTensors;
    expect(() => nmSparseMatMul(x, matrix)).to.throw(LOST);
    expect(() => decompress(matrix)).to.throw(LOST);
    expect(() => tf.tidy(() => model.predict(x))).to.throw(LOST);
    expect(tf.memory().numTensors).to.equal(tensors);
  }));

  it('is named by warmUp, whatever the cache', () => lost(async () => {
    expect(await rejection(warmUp(model, x, {cache: false}))).to.match(LOST);
    expect(await rejection(warmUp(model))).to.match(LOST);
  }));

  it('is named by tune, for models and for products', () => lost(async () => {
    expect(await rejection(tune(model, FRESH))).to.match(LOST);
    expect(await rejection(tune([{rows: 2, k: 16, n: 8, pattern: '2:4'}], FRESH))).to.match(LOST);
  }));

  it('is named where it is lost while warmUp and tune are at work', () => onOwnBackend(NAME, async ({device}) => {
    const shapes = [1, 2, 3].map(rows => ({rows, k: 32, n: 8, pattern: '2:4'}));
    const working = [warmUp(model, x, {cache: false}), tune(shapes, {...FRESH, onProgress: () => device.destroy()})];
    const [, tuned] = await Promise.all(working.map(rejection));
    expect(tuned).to.match(LOST);
    const again = warmUp(model, undefined, {batchSize: 33, cache: false});
    expect(await rejection(again)).to.match(LOST);
  }));

  it('leaves room for a new backend of that name, on which a new model works', async () => {
    await lost(async () => undefined);
    const factory = tf.findBackendFactory(NAME);
    await onOwnBackend(NAME, async () => {
      disposeModel(model);
      x.dispose();
      matrix.dispose();
    });
    tf.removeBackend(NAME);
    tf.registerBackend(NAME, factory);
    await onOwnBackend(NAME, async () => {
      model = await prunedModel();
      const random = mulberry32(seed);
      const drawn = drawMatrix([64, 8], '2:4v4', 'float32', random);
      const values = randomValues(2 * 64, random);
      matrix = toSparseMatrix(drawn);
      x = tf.tensor2d(values, [2, 64]);
      const y = nmSparseMatMul(x, matrix);
      expectNear(await y.data(), referenceSums(values, drawn));
      y.dispose();
      expect((await warmUp(model, x, {cache: false})).programs).to.be.above(0);
      expect((await tune([{rows: 2, k: 16, n: 8, pattern: '2:4'}], FRESH)).tuned).to.have.length(1);
      expect([...(await predicted(model, x))[0]].every(Number.isFinite)).to.equal(true);
    });
  });
});
