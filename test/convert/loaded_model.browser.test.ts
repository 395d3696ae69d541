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
import {artifactsOf, denseTwin, disposeModel, predicted, relativeDifference} from '../support/models.js';
import {mulberry32, seed} from '../support/random.js';

const URL = 'indexeddb://nm-sparse-test';

describe('a converted model in the browser', () => {
  const values = Float32Array.from({length: 40 * 64}, mulberry32(seed)).map(value => 2 * value - 1);
  const input = () => tf.tensor2d(values, [40, 64]);
  let loaded: tfl.LayersModel;
  /** The same weights, dense. Saved, since tfjs moves tensors between backends by reads that webgpu lacks. */
  let twin: tf.io.ModelArtifacts;

  before(async () => {
    const model = tfl.sequential({layers: [
      tfl.layers.dense({units: 128, inputShape: [64], activation: 'relu'}),
      tfl.layers.dense({units: 96, activation: 'tanh'}),
      tfl.layers.dense({units: 10, activation: 'sigmoid', name: 'head'}),
    ]});
    const {model: sparse} = await pruneLayersModel(model, {
      pattern: '8:32v32', perLayer: {head: '2:4'}, dtype: 'float16',
    });
    await sparse.save(URL);
    loaded = await tfl.loadLayersModel(URL);
    const denseModel = await denseTwin(model, sparse);
    twin = await artifactsOf(denseModel);
    [model, sparse, denseModel].forEach(disposeModel);
    // The first predict leaves expanded weights beside the model's, on backends that expand.
    const x = input();
    await predicted(loaded, x);
    x.dispose();
  });

  after(async () => {
    disposeModel(loaded);
    await tf.io.removeModel(URL);
  });

  it('predicts within 1e-4 of the same weights run densely on cpu', async () => {
    const x = input();
    const [got] = await predicted(loaded, x);
    x.dispose();
    await tf.setBackend('cpu');
    const onCpu = await tfl.loadLayersModel(tf.io.fromMemory(twin));
    const again = input();
    const [expected] = await predicted(onCpu, again);
    again.dispose();
    disposeModel(onCpu);
    await tf.setBackend(backendName);
    expect(relativeDifference(got, expected)).to.be.below(1e-4);
  });

  it('runs one nmSparseMatMul a converted layer, with bias and activation in it', async function() {
    if (backendName !== 'webgpu') {
      // The composite kernel is made of other kernels.
      this.skip();
    }
    const x = input();
    const {kernels} = await tf.profile(() => tf.dispose(loaded.predictOnBatch(x)));
    x.dispose();
    // predictOnBatch slices its one batch out of x; reshaping computes nothing.
    const computing = kernels.map(({name}) => name).filter(name => !['Slice', 'Reshape', 'Identity'].includes(name));
    expect(computing).to.deep.equal(['nmSparseMatMul', 'nmSparseMatMul', 'nmSparseMatMul']);
  });
});
