/** What tests of tuning share: a small pruned model, and a GPU of which nothing is known. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {sequential, layers, type LayersModel} from '@tensorflow/tfjs-layers';
import {pruneLayersModel} from '../../src/index.js';
import {chooserOf} from '../../src/tuning/choose.js';
import type {TuningRecord} from '../../src/tuning/plan_cache.js';
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

/** Forgets the plans measured on the active device; the profile stays. */
export function forgetTuned(): void {
  const chooser = chooserOf(tf.backend() as WebGPUBackend) as unknown as {record: TuningRecord};
  chooser.record = {...chooser.record, plans: {}};
}

/** What a promise is rejected with, as its message. */
export async function rejection(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'nothing was thrown', (error: Error) => error.message);
}
