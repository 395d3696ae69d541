/**
 * The main job, in a real browser: a model saved to the browser's own storage, loaded by plain tf.loadLayersModel once
 * this package is imported, predicts what the same weights predict densely on cpu, and each converted layer is one
 * program with bias and activation in it.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {pruneLayersModel} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {denseTwin, predicted, relativeDifference} from '../support/models.js';
import {seed} from '../support/random.js';

const URL = 'indexeddb://nm-sparse-test';

describe('a converted model in the browser', () => {
  let dense: tfl.LayersModel;
  let loaded: tfl.LayersModel;
  let twin: tfl.LayersModel;
  let x: tf.Tensor;

  before(async () => {
    dense = tfl.sequential({layers: [
      tfl.layers.dense({units: 128, inputShape: [64], activation: 'relu'}),
      tfl.layers.dense({units: 96, activation: 'tanh'}),
      tfl.layers.dense({units: 10, activation: 'sigmoid', name: 'head'}),
    ]});
    const {model: sparse} = await pruneLayersModel(dense, {
      pattern: '8:32v32', perLayer: {head: '2:4'}, dtype: 'float16',
    });
    await sparse.save(URL);
    loaded = await tfl.loadLayersModel(URL);
    twin = await denseTwin(dense, sparse);
    sparse.dispose();
    x = tf.randomNormal([40, 64], 0, 1, 'float32', seed);
  });

  after(async () => {
    [dense, loaded, twin].forEach(model => model.dispose());
    x.dispose();
    await tf.io.removeModel(URL);
  });

  it('predicts within 1e-4 of the same weights run densely on cpu', async () => {
    const [got] = await predicted(loaded, x);
    await tf.setBackend('cpu');
    const [expected] = await predicted(twin, x);
    await tf.setBackend(backendName);
    expect(relativeDifference(got, expected)).to.be.below(1e-4);
  });

  it('runs one nmSparseMatMul a converted layer, with bias and activation in it', async function() {
    if (backendName !== 'webgpu') {
      // The composite kernel is made of other kernels.
      this.skip();
    }
    const {kernels} = await tf.profile(() => tf.dispose(loaded.predict(x)));
    const computing = kernels.map(({name}) => name).filter(name => !['Reshape', 'Identity'].includes(name));
    expect(computing).to.deep.equal(['nmSparseMatMul', 'nmSparseMatMul', 'nmSparseMatMul']);
  });
});
