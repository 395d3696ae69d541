/** warmUp(): after it the first predict compiles nothing, and is right; and wrong calls are refused by name. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {layers, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {warmUp} from '../../src/index.js';
import {allowLeak, backendName} from '../support/backend.js';
import {disposeModel, predicted, relativeDifference} from '../support/models.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';
import {prunedModel, rejection} from '../tuning/support.js';

/** How many shader modules and pipelines are made while `run` runs. */
async function compilesOf(run: () => Promise<unknown>): Promise<number> {
  if (backendName !== 'webgpu') {
    await run();
    return 0;
  }
  const {device} = tf.backend() as WebGPUBackend;
  const names = ['createShaderModule', 'createComputePipeline', 'createComputePipelineAsync'] as const;
  let count = 0;
  for (const name of names) {
    const made = device[name].bind(device) as (descriptor: never) => never;
    Object.defineProperty(device, name, {configurable: true, value: (descriptor: never) => {
      ++count;
      return made(descriptor);
    }});
  }
  try {
    await run();
  } finally {
    names.forEach(name => delete (device as Partial<GPUDevice>)[name]);
  }
  return count;
}

/** As if none had run before. */
function forgetPrograms(): void {
  const {pipelineCache = {}} = tf.backend() as unknown as {pipelineCache?: Record<string, unknown>};
  Object.keys(pipelineCache).forEach(key => delete pipelineCache[key]);
}

/** So that no program is compiled already: a number of columns that no other test has. */
let units = 1000;

function freshModel(): LayersModel {
  return sequential({layers: [
    layers.dense({units: ++units, inputShape: [24], activation: 'selu'}),
    layers.dense({units: ++units, activation: 'relu'}),
  ]});
}

describe('warmUp', function() {
  this.timeout(60_000);
  const samples = (rows: number, k: number) => tf.tensor2d(randomValues(rows * k, mulberry32(seed)), [rows, k]);

  it('leaves nothing to compile to the first predict of a pruned model, which is right', async () => {
    const model = await prunedModel();
    const x = samples(3, 64);
    forgetPrograms();
    const tensors = tf.memory().numTensors;
    const {ms, programs} = await warmUp(model, undefined, {batchSize: 3, measureMs: 0});
    // Backends without a sparse kernel expand the weights of both layers, and keep them.
    const expanded = backendName === 'webgl' || backendName === 'tensorflow' ? 2 : 0;
    expect(tf.memory().numTensors).to.equal(tensors + expanded);
    expect(ms).to.be.above(0);
    expect(programs > 0).to.equal(backendName === 'webgpu');
    let warm: Float32Array[] = [];
    expect(await compilesOf(async () => warm = await predicted(model, x))).to.equal(0);
    const [again] = await predicted(model, x);
    expect(relativeDifference(warm[0], again)).to.be.below(1e-6);
    const byHand = tf.tidy(() => model.layers.reduce(
      (y: tf.Tensor, layer) => layer.apply(y) as tf.Tensor, x as tf.Tensor));
    expect(relativeDifference(warm[0], await byHand.data())).to.be.below(1e-5);
    tf.dispose([x, byHand]);
    disposeModel(model);
  });

  it('compiles what it is given: the first predict of just that compiles nothing, of more it may', async () => {
    const model = freshModel();
    const x = samples(40, 24); // in two batches, as predict does
    let programs = 0;
    const compiled = await compilesOf(async () => ({programs} = await warmUp(model, x)));
    expect(x.isDisposed).to.equal(false);
    if (backendName === 'webgpu') {
      expect(programs).to.be.above(0);
      expect(compiled).to.equal(2 * programs); // a module and a pipeline each
    }
    const fresh = samples(40, 24);
    expect(await compilesOf(() => predicted(model, fresh))).to.equal(0);
    tf.dispose([x, fresh]);
    disposeModel(model);
  });

  it('also compiles programs that tfjs runs on the CPU the first time', async () => {
    const [small, square] = [tf.tensor1d([1, 2, 3]), tf.ones([3, 3]) as tf.Tensor2D];
    const model = {
      inputs: [{name: 'x', shape: [null, 3], dtype: 'float32' as const}],
      // The sum is the CPU's as long as the product has not brought both to the GPU.
      predict: (x: tf.Tensor) => tf.matMul(tf.add(x as tf.Tensor2D, tf.sub(small, tf.sum(square, 0))), square),
    };
    const before = backendName === 'webgpu' && tf.env().getBool('WEBGPU_CPU_FORWARD');
    if (backendName === 'webgpu') {
      tf.env().set('WEBGPU_CPU_FORWARD', true);
    }
    try {
      await warmUp(model);
      expect(await compilesOf(async () => {
        const x = tf.ones([1, 3]);
        const y = tf.tidy(() => model.predict(x));
        expect([...await y.data()]).to.deep.equal([0, 0, 0]);
        tf.dispose([x, y]);
      })).to.equal(0);
    } finally {
      if (backendName === 'webgpu') {
        tf.env().set('WEBGPU_CPU_FORWARD', before);
      }
      tf.dispose([small, square]);
    }
  });

  it('leaves the states of recurrent layers as they were, in wrappers and nested models too', async () => {
    allowLeak('tfjs-layers does not dispose of states with the model');
    const stateful = {stateful: true, recurrentInitializer: 'glorotUniform'} as const; // 'orthogonal' needs all of tfjs
    const nested = sequential({layers: [
      layers.gru({...stateful, units: 5, returnSequences: true, batchInputShape: [2, 4, 6]}),
    ]});
    const both = layers.bidirectional({layer: layers.lstm({...stateful, units: 3}) as layers.RNN, mergeMode: 'concat'});
    const model = sequential({layers: [nested, both]});
    const x = tf.tensor3d(randomValues(2 * 4 * 6, mulberry32(seed)), [2, 4, 6]);
    await predicted(model, x);
    const tensors = tf.memory().numTensors;
    await warmUp(model, x, {batchSize: 2});
    await warmUp(model);
    expect(tf.memory().numTensors).to.equal(tensors);
    const [second] = await predicted(model, x);
    model.resetStates();
    await predicted(model, x);
    const [expected] = await predicted(model, x);
    expect(relativeDifference(second, expected)).to.be.below(1e-6);
    x.dispose();
    disposeModel(model);
  });

  it('passes on what predict throws, and leaves the backend as it was', async () => {
    const broken = {inputs: [{shape: [null, 2]}], predict: (x: tf.Tensor) => {
      tf.add(x, 1);
      throw new Error('broken model');
    }};
    const tensors = tf.memory().numTensors;
    expect(await rejection(warmUp(broken))).to.equal('broken model');
    expect(tf.memory().numTensors).to.equal(tensors);
    const sum = tf.tidy(() => tf.add(tf.tensor1d([1, 2]), tf.tensor1d([3, 4])));
    expect([...await sum.data()]).to.deep.equal([4, 6]);
    sum.dispose();
  });

  const wrong: Array<[string, unknown[], string]> = [
    ['no model', [{}], 'warmUp: model has no method predict'],
    ['options in the place of inputs', [{predict: () => 0}, {batchSize: 4}],
      "warmUp: inputs has 'batchSize', which is no tensor"],
    ['null for inputs', [{predict: () => 0}, null], 'warmUp: inputs is null'],
    ['a misspelt option', [{predict: () => 0}, undefined, {batch: 4}], "warmUp: there is no option 'batch'"],
    ['options that are none', [{predict: () => 0}, undefined, null], 'warmUp: options is null'],
    ['time below zero', [{predict: () => 0}, undefined, {measureMs: -1}], 'warmUp: measureMs is -1'],
    ['time as text', [{predict: () => 0}, undefined, {measureMs: '100'}], "warmUp: measureMs is '100'"],
    ['time that is none', [{predict: () => 0}, undefined, {measureMs: 'long'}], "warmUp: measureMs is 'long'"],
    ['half a sample', [{predict: () => 0}, undefined, {batchSize: 0.5}], 'warmUp: batchSize is 0.5'],
    ['a cache that is none', [{predict: () => 0}, undefined, {cache: 7}], 'warmUp: cache is 7; give true or false.'],
    ['a path', [{predict: () => 0}, undefined, {cache: 'plans.json'}], "warmUp: cache is 'plans.json'"],
    ['a model that says nothing of its inputs', [{predict: () => 0}], 'warmUp: the model does not say what inputs'],
    ['an input of open size', [{predict: () => 0, inputs: [{name: 'ids', shape: [-1, -1], dtype: 'int32'}]}],
      "warmUp: the model's input 'ids' has shape [-1,-1] and dtype int32; give inputs."],
    ['an input of words', [{predict: () => 0, inputs: [{name: 'text', shape: [1], dtype: 'string'}]}],
      "warmUp: the model's input 'text' has shape [1] and dtype string; give inputs."],
  ];
  for (const [what, args, message] of wrong) {
    it(`refuses ${what}`, async () => {
      expect(await rejection(warmUp(...args as Parameters<typeof warmUp>))).to.include(message);
    });
  }
});
