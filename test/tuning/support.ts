/** What tests of tuning share: a small pruned model. */
import {sequential, layers, type LayersModel} from '@tensorflow/tfjs-layers';
import {pruneLayersModel} from '../../src/index.js';
import {disposeModel} from '../support/models.js';

/** 64 → 96 → 40 → 10, the first two layers N:M, with bias and activation. */
export async function prunedModel(): Promise<LayersModel> {
  const dense = sequential({layers: [
    layers.dense({units: 96, inputShape: [64], activation: 'relu'}),
    layers.dense({units: 40, activation: 'tanh'}),
    layers.dense({units: 10, name: 'head'}),
  ]});
  const {model} = await pruneLayersModel(dense, {pattern: '4:8v8', exclude: 'head'});
  disposeModel(dense);
  return model;
}

/** What a promise is rejected with, as its message. */
export async function rejection(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'nothing was thrown', (error: Error) => error.message);
}
