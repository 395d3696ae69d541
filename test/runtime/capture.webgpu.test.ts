/**
 * captureModel(): what holds for every model. Outputs are the caller's, changed weights are noticed, recordings share
 * memory and are freed, and nothing else that runs on the GPU disturbs them.
 */
import * as tf from '@tensorflow/tfjs-core';
import {layers, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {captureModel, tune, warmUp, type CapturedModel} from '../../src/index.js';
import {flush} from '../../src/tfjs/recorder.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {disposeModel, reloaded} from '../support/models.js';
import {between} from '../support/reference.js';
import {forgetTuned, prunedModel} from '../tuning/support.js';
import {contents, expectSame, held, random, samples, uploaded, webgpu} from './capture_support.js';

/** Predicts in the test of random use. */
const {process: node} = globalThis as {process?: {env: Record<string, string | undefined>}};
const CASES = Number(node?.env.NM_SPARSE_CASES ?? 500);

function denseModel(...units: number[]): LayersModel {
  return sequential({layers: units.slice(1).map((size, i) => layers.dense({
    units: size, inputShape: [units[i]], activation: 'tanh', biasInitializer: 'randomUniform',
  }))});
}

/** Runs `use` with a captured dense model for two rows. */
async function withCaptured(
    use: (captured: CapturedModel, model: LayersModel, x: tf.Tensor) => Promise<void> | void,
    options?: {maxShapes: number}): Promise<void> {
  const model = denseModel(6, 8, 4);
  const x = samples(2, 6);
  const captured = await captureModel(model, x, options);
  await use(captured, model, x);
  captured.dispose();
  x.dispose();
  disposeModel(model);
}

describe('a captured model', function() {
  this.timeout(60_000);

  it('gives outputs that stay as they are while it predicts again', () => withCaptured(async (captured, model) => {
    const inputs = Array.from({length: 5}, () => samples(2, 6));
    const outputs = inputs.map(x => captured.predict(x) as tf.Tensor);
    const expected = inputs.map(x => model.predict(x) as tf.Tensor);
    for (const i of [3, 0, 4, 1, 2]) {
      expect(await contents(outputs[i])).to.deep.equal(await contents(expected[i]));
      outputs[i].dispose();
    }
    tf.dispose([inputs, expected]);
  }));

  it('gives outputs that other ops and tf.tidy treat as any tensor', () => withCaptured(async (captured, model, x) => {
    const before = tf.memory().numTensors;
    const sums = [captured, model].map(each => tf.tidy(() => {
      const y = (each as LayersModel).predict(x) as tf.Tensor;
      return tf.sum(tf.mul(y, tf.add(y, (each as LayersModel).predict(tf.square(x)) as tf.Tensor)));
    }));
    expect(tf.memory().numTensors).to.equal(before + 2);
    expect([...await sums[0].data()]).to.deep.equal([...await sums[1].data()]);
    tf.dispose(sums);
  }));

  it('takes inputs that tfjs has not computed yet, or that are read and disposed at once', () =>
    withCaptured(async (captured, model, x) => {
      for (let i = 0; i < 4; ++i) {
        const y = tf.tidy(() => captured.predict(tf.mul(x, i)) as tf.Tensor);
        const other = tf.tidy(() => tf.square(samples(2, 6))); // gets the buffer of the product, if that is free
        const expected = tf.tidy(() => model.predict(tf.mul(x, i)) as tf.Tensor);
        expect(await contents(y)).to.deep.equal(await contents(expected));
        tf.dispose([y, other, expected]);
      }
      const read = samples(2, 6);
      const squares = tf.square(read); // uploads it
      await squares.data();
      await read.data();
      await expectSame(captured, model, read);
      await expectSame(captured, model, squares);
      tf.dispose([read, squares]);
    }));

  it('is not disturbed by tensors of the sizes of its buffers', () => withCaptured(async (captured, model, x) => {
    for (let i = 0; i < 5; ++i) {
      const filled = [[2, 6], [2, 8], [2, 4], [2, 8]].map(shape => tf.tidy(() => tf.square(tf.fill(shape, 1000))));
      flush(webgpu());
      await expectSame(captured, model, x);
      for (const each of filled) {
        expect(new Set(await each.data())).to.deep.equal(new Set([1e6]));
      }
      tf.dispose(filled);
    }
  }));

  it('follows weights that fit, setWeights and assign change', () => withCaptured(async (captured, model, x) => {
    model.compile({optimizer: tf.train.sgd(0.5), loss: 'meanSquaredError'});
    const y = samples(2, 4);
    const first = captured.predict(x);
    const before = await contents(first);
    for (let i = 0; i < 2; ++i) {
      await model.fit(x, y, {epochs: 1, verbose: 0});
      await expectSame(captured, model, x);
    }
    const weights = model.getWeights().map(weight => tf.mul(weight, 2));
    model.setWeights(weights);
    await expectSame(captured, model, x);
    const variable = model.layers[1].weights[1].read() as tf.Variable;
    const old = tf.clone(variable); // keeps the data of the old value
    variable.assign(weights[3]);
    const shifted = tf.add(weights[3], 1) as tf.Tensor1D;
    variable.assign(shifted);
    await expectSame(captured, model, x);
    const last = captured.predict(x);
    expect(await contents(last)).not.to.deep.equal(before);
    tf.dispose([y, weights, old, shifted, first, last]);
    model.optimizer.dispose();
  }));

  it('follows variables that no model lists', async () => {
    const first = tf.tensor1d([1, 2, 3]);
    const scale = tf.variable(first);
    first.dispose();
    const x = samples(2, 3);
    const predict = (given: tf.Tensor) => tf.mul(given, scale);
    const captured = await captureModel({predict}, x);
    await expectSame(captured, {predict}, x);
    const [old, other] = [tf.clone(scale as tf.Tensor), tf.tensor1d([-1, 0, 1])];
    scale.assign(other);
    await expectSame(captured, {predict}, x);
    captured.dispose();
    tf.dispose([scale, x, old, other]);
  });

  it('records new shapes, and forgets the least recently used', () => withCaptured(async (captured, model, x) => {
    const {bytes} = captured;
    const larger = [3, 4].map(rows => samples(rows, 6));
    await expectSame(captured, model, larger[0]);
    expect(captured.bytes).to.be.above(bytes);
    await expectSame(captured, model, x);
    await expectSame(captured, model, larger[1]); // in the place of three rows
    const full = captured.bytes;
    await expectSame(captured, model, x);
    await expectSame(captured, model, larger[1]);
    expect(captured.bytes).to.equal(full);
    await expectSame(captured, model, larger[0]); // in the place of two rows
    expect(captured.bytes).to.be.above(full);
    tf.dispose(larger);
  }, {maxShapes: 2}));

  it('takes less memory than its intermediates together', async () => {
    const [rows, width, depth] = [16, 128, 12];
    const model = denseModel(...new Array<number>(depth + 1).fill(width));
    const x = samples(rows, width);
    const captured = await captureModel(model, x);
    const activations = rows * width * 4;
    expect(captured.bytes).to.be.below(depth * activations);
    expect(captured.bytes).to.be.above(3 * activations); // the input, and two that alternate
    await expectSame(captured, model, x);
    captured.dispose();
    expect(captured.bytes).to.equal(0);
    x.dispose();
    disposeModel(model);
  });

  it('leaves tfjs as it found it, and nothing behind when it is disposed', async () => {
    const model = await prunedModel();
    const x = uploaded(samples(2, 64));
    tf.dispose(model.predict(x) as tf.Tensor);
    const before = await held();
    const flags = {...tf.env().getFlags()};
    const overridden = [webgpu(), webgpu().device, webgpu().queue, tf.engine(), Math];
    const keys = (but?: string) => overridden.map(each => Object.keys(each).filter(key => key !== but).sort());
    const own = keys();
    const manager = webgpu().bufferManager;
    const captured = await captureModel(model, x);
    tf.dispose(captured.predict(x));
    expect(await held()).to.deep.equal(before);
    expect(tf.env().getFlags()).to.deep.equal(flags);
    expect(keys('read'), 'all but prompt reads').to.deep.equal(own);
    expect(webgpu().bufferManager).to.equal(manager);
    captured.dispose();
    captured.dispose();
    expect(keys()).to.deep.equal(own);
    expect(() => captured.predict(x)).to.throw('predict: the captured model is disposed; capture the model again.');
    x.dispose();
    disposeModel(model);
  });

  it('may be a part of a model that is captured itself', () => withCaptured(async (inner, model, x) => {
    const predict = (given: tf.Tensor) => tf.square(inner.predict(tf.add(given, 1)) as tf.Tensor);
    const outer = await captureModel({predict}, x);
    inner.dispose();
    const y = outer.predict(x) as tf.Tensor;
    const expected = tf.tidy(() => tf.square(model.predict(tf.add(x, 1)) as tf.Tensor));
    expect(await contents(y)).to.deep.equal(await contents(expected));
    outer.dispose();
    tf.dispose([y, expected]);
  }));

  it('works beside warmUp and tune', async () => {
    const model = await prunedModel();
    const x = samples(3, 64);
    const captured = await captureModel(model, x);
    const more = samples(4, 64);
    await warmUp(captured, more, {measureMs: 0});
    await expectSame(captured, model, more);
    more.dispose();
    await warmUp(model, x, {measureMs: 0, cache: false});
    await expectSame(captured, model, x);
    await tune(model, {cache: false, rows: 3});
    await expectSame(captured, model, x);
    tf.env().set('NM_SPARSE_PLAN', 'splits 2'); // other plans than those recorded
    chooserOf(webgpu()).learn({plans: {}});
    await expectSame(captured, model, x);
    tf.env().set('NM_SPARSE_PLAN', '');
    forgetTuned();
    captured.dispose();
    x.dispose();
    disposeModel(model);
  });

  it('refuses inputs of other names, disposed ones, and what is none', () => withCaptured((captured, _, x) => {
    const disposed = samples(2, 6);
    disposed.dispose();
    expect(() => captured.predict(disposed)).to.throw('predict: input is float32 [2,6], disposed; give tensors that');
    expect(() => captured.predict([x, disposed])).to.throw('predict: input 1 is float32 [2,6], disposed');
    expect(() => captured.predict({x: disposed})).to.throw("predict: input 'x' is float32 [2,6], disposed");
    expect(() => captured.predict([1, 2] as never)).to.throw("predict: inputs has '0', which is no tensor");
    expect(() => captured.predict(undefined as never)).to.throw('predict: inputs is undefined');
    const wrong = samples(2, 5);
    expect(() => captured.predict(wrong)).to.throw('to have shape [null,6]');
    wrong.dispose();
  }));
});

describe('captured models in random use', function() {
  this.timeout(60_000 + CASES * 200);

  it(`predict ${CASES} times what the models do, and take no more memory`, async () => {
    const trained = denseModel(6, 8, 4);
    trained.compile({optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError'});
    const models = [trained, await prunedModel(), await reloaded(trained)];
    const widths = [6, 64, 6];
    const captured: CapturedModel[] = [];
    for (const [i, model] of models.entries()) {
      const x = samples(1, widths[i]);
      captured.push(await captureModel(model, x, {maxShapes: 3, batchSize: 8}));
      x.dispose();
    }
    const kept: Array<{y: tf.Tensor; expected: tf.Tensor}> = [];
    const check = async ({y, expected}: typeof kept[number]) => {
      const [got, right] = await Promise.all([y.data(), expected.data()]);
      expect([...got]).to.deep.equal([...right]);
      tf.dispose([y, expected]);
    };
    const train = async () => {
      const [inputs, targets] = [samples(4, 6), samples(4, 4)];
      await trained.trainOnBatch(inputs, targets);
      tf.dispose([inputs, targets]);
    };
    const use = async (cases: number) => {
      for (let i = 0; i < cases; ++i) {
        const which = between(random, 0, 2);
        const x = samples(between(random, 1, 4), widths[which]);
        if (random() < 0.5) {
          uploaded(x);
        }
        kept.push({
          y: captured[which].predict(x) as tf.Tensor,
          expected: models[which].predict(x, {batchSize: 8}) as tf.Tensor,
        });
        x.dispose();
        const action = random();
        if (action < 0.3) {
          tf.dispose(tf.tidy(() => tf.square(tf.fill([between(random, 1, 5), [4, 6, 8, 10, 40, 64][i % 6]], 7))));
        } else if (action < 0.32) {
          await train();
        } else if (action < 0.4) {
          models[2].setWeights(trained.getWeights());
        }
        while (kept.length > between(random, 0, 8)) {
          await check(kept.splice(between(random, 0, kept.length - 1), 1)[0]);
        }
      }
      await Promise.all(kept.splice(0).map(check));
      models[2].setWeights(trained.getWeights()); // both have the same data then
    };
    await train();
    await use(50); // makes tfjs allocate what it keeps for later
    const before = await held();
    const {numBytesAllocated} = webgpu().bufferManager;
    await use(CASES);
    expect(await held()).to.deep.equal(before);
    // tfjs's pool grows until it has met every size; a leak would take CASES buffers.
    expect(webgpu().bufferManager.numBytesAllocated).to.be.below(1.5 * numBytesAllocated);
    captured.forEach(each => each.dispose());
    models.forEach(disposeModel);
    trained.optimizer.dispose();
  });
});
