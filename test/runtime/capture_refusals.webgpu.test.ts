/**
 * What captureModel() refuses, because a recording would be wrong. Each refusal says what to do, leaves tfjs as it was,
 * and becomes one warning with `fallback: true`.
 */
import * as tf from '@tensorflow/tfjs-core';
import {layers, sequential} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {captureModel, type CapturedModel} from '../../src/index.js';
import {allowLeak, backendName} from '../support/backend.js';
import {disposeModel} from '../support/models.js';
import {forgetOwnBackend, onOwnBackend, registerOwnBackend} from '../support/own_device.js';
import {prunedModel, rejection} from '../tuning/support.js';
import {
  contents, expectSame, graphModel, held, placeholder, samples, uploaded, warnings, webgpu,
} from './capture_support.js';

type Predict = (x: tf.Tensor) => unknown;

describe('captureModel refuses', function() {
  this.timeout(60_000);

  /** Checks the message, that nothing is left behind, and that `fallback: true` predicts as the model does. */
  async function expectRefused(predict: Predict, message: string | RegExp, x = uploaded(samples(2, 6))): Promise<void> {
    const model = {predict};
    const overridden = () => [webgpu(), webgpu().device, webgpu().queue, tf.engine(), webgpu().tensorMap, Math]
      .map(each => Object.keys(each).sort());
    const [own, {random}, flags] = [overridden(), Math, {...tf.env().getFlags()}];
    const before = await held();
    const refusal = await rejection(captureModel(model, x));
    if (typeof message === 'string') {
      expect(refusal).to.include(`captureModel: ${message}`);
    } else {
      expect(refusal).to.match(message);
    }
    expect(await held()).to.deep.equal(before);
    expect(overridden()).to.deep.equal(own);
    expect(Math.random).to.equal(random);
    expect(tf.env().getFlags()).to.include(flags); // tfjs looks some up at first use
    const shouted = await warnings(async () => {
      const captured = await captureModel(model, x, {fallback: true});
      expect(captured.bytes).to.equal(0);
      for (let i = 0; i < 2; ++i) {
        const y = captured.predict(x);
        const expected = predict(x) as tf.Tensor;
        if (!refusal.includes('random')) {
          expect(await contents(y)).to.deep.equal(await contents(expected));
        }
        tf.dispose([y, expected]);
      }
      captured.dispose();
    });
    expect(shouted).to.deep.equal([`${refusal} (fallback: predict runs model.predict)`]);
    x.dispose();
  }

  it('random ops, by name', async () => {
    const random = (op: string) => `the model draws other random numbers at each call (${op}); run model.predict`;
    await expectRefused(x => tf.tidy(() => tf.add(x, tf.randomNormal([6]))), random('randomNormal'));
    await expectRefused(x => tf.tidy(() => tf.add(x, tf.randomUniform([6]))), random('randomUniform'));
    await expectRefused(x => tf.dropout(x, 0.5), random('dropout > randomUniform'));
    await expectRefused(x => tf.multinomial(x as tf.Tensor2D, 4), random('multinomial'));
    await expectRefused(
      x => tf.tidy(() => tf.mul(x, Math.random())), 'the model draws other random numbers at each call;');
  });

  it('results that are read back, and data that is copied on the GPU', async () => {
    const reading = (x: tf.Tensor) => {
      const y = tf.square(x);
      void y.data().catch(() => undefined);
      return y;
    };
    await expectRefused(reading, 'the model reads results back to the CPU');
    await expectRefused(x => tf.tidy(() => { // catches what is thrown
      try {
        return tf.add(x, Math.random());
      } catch {
        return tf.add(x, 0);
      }
    }), 'the model draws other random numbers');
    await expectRefused(x => {
      const y = tf.square(x);
      y.dataToGPU().tensorRef.dispose();
      return y;
    }, 'the model copies GPU buffers (dataToGPU, or tf.tensor of a GPUBuffer)');
  });

  it('strings', async () => {
    await expectRefused(x => tf.tidy(() => {
      tf.tensor1d(['a', 'b']);
      return tf.square(x);
    }), 'the model uses tensors of dtype string');
  });

  it('complex numbers', async () => {
    await expectRefused(x => tf.tidy(() => tf.abs(tf.complex(x, x))), 'the model uses tensors of dtype complex64');
  });

  it('images', async () => {
    const pixels = {data: new Uint8Array(4 * 6).fill(9), width: 2, height: 3};
    const image = () => tf.reshape(tf.cast(tf.browser.fromPixels(pixels, 1), 'float32'), [6]);
    await expectRefused(x => tf.tidy(() => tf.add(x, image())),
      'the model runs FromPixels, whose image may change; run it before predict.');
  });

  it('tensors without elements', async () => {
    await expectRefused(x => tf.clone(x), 'an input has no elements; run model.predict.', tf.zeros([0, 6]));
    await expectRefused(x => tf.slice(x, [0, 0], [0, 6]), 'an output has no elements; run model.predict.');
  });

  it('what predict returns but tensors', async () => {
    const x = samples(2, 6);
    for (const [outputs, shown] of [
      [5, '5'], [{}, 'an object with no keys'], [Promise.resolve(x), 'a Promise (forgotten await?)'],
    ] as const) {
      expect(await rejection(captureModel({predict: () => outputs}, x)))
        .to.include(`captureModel: model.predict returns ${shown}; only tensors, lists of them, and objects`);
    }
    x.dispose();
  });

  it('state that a predict leaves to the next', async () => {
    allowLeak('tfjs-layers does not dispose of states with the model');
    const state = 'captureModel: the model keeps state from call to call';
    const x = samples(2, 6);
    let sum: tf.Tensor = tf.zeros([2, 6]);
    const adding = {predict: (given: tf.Tensor) => {
      const next = tf.keep(tf.add(sum, given));
      sum.dispose();
      sum = next;
      return tf.square(sum);
    }};
    expect(await rejection(captureModel(adding, x))).to.include(state);
    expect(await contents(sum)).to.be.an('object'); // the model's state is whole
    const variable = tf.variable(x);
    expect(await rejection(captureModel({predict: (given: tf.Tensor) => {
      variable.assign(tf.add(variable as tf.Tensor, given));
      return tf.square(given);
    }}, x))).to.include(state);
    expect(await contents(variable as tf.Tensor)).to.be.an('object');
    const rnn = sequential({layers: [layers.lstm({
      units: 3, stateful: true, batchInputShape: [2, 4, 6], recurrentInitializer: 'glorotUniform',
    })]});
    const steps = samples(2, 4, 6);
    expect(await rejection(captureModel(rnn, steps))).to.include(state);
    tf.dispose([x, sum, variable, steps]);
    disposeModel(rnn);
  });

  it('but not tensors that the first predict makes for all', async () => {
    let doubled: tf.Tensor | undefined;
    const two = tf.scalar(2);
    const predict = (x: tf.Tensor) => tf.tidy(() => {
      doubled ??= tf.keep(tf.square(two));
      return tf.mul(x, doubled);
    });
    const x = samples(2, 6);
    const captured = await captureModel({predict}, x);
    await expectSame(captured, {predict}, x);
    captured.dispose();
    tf.dispose([doubled!, two, x]);
  });

  it('graphs with control flow', async () => {
    const model = await graphModel([
      placeholder('x', -1, 6), {name: 'where', op: 'Where', input: ['x']},
    ], {}, ['where']);
    const x = samples(2, 6);
    expect(await rejection(captureModel(model, x)))
      .to.include('captureModel: the graph has control flow or outputs of unknown shape; run model.executeAsync.');
    model.dispose();
    x.dispose();
  });

  it('gradients through a recording', async () => {
    const x = samples(2, 6);
    const captured = await captureModel({predict: (given: tf.Tensor) => tf.square(given)}, x);
    expect(() => tf.grad(given => captured.predict(given) as tf.Tensor)(x))
      .to.throw('captureModel: a recording has no gradient; run model.predict where gradients are computed.');
    captured.dispose();
    await warnings(async () => {
      const falling = await captureModel({predict: (given: tf.Tensor) => tf.square(given)}, x, {fallback: true});
      const gradient = tf.grad(given => falling.predict(given) as tf.Tensor)(x);
      expect([...await gradient.data()]).to.deep.equal([...await x.data()].map(value => 2 * value));
      gradient.dispose();
      falling.dispose();
    });
    x.dispose();
  });

  it('weights that are disposed, before and after', async () => {
    const model = sequential({layers: [layers.dense({units: 3, inputShape: [6]})]});
    const x = samples(2, 6);
    const captured = await captureModel(model, x);
    disposeModel(model);
    const message = 'captureModel: weights of the model are disposed; load the model again and capture that';
    expect(() => captured.predict(x)).to.throw(message);
    expect(await rejection(captureModel(model, x))).to.include(message);
    const weight = samples(6);
    const predict = (given: tf.Tensor) => tf.mul(given, weight);
    const other = await captureModel({predict}, x);
    weight.dispose();
    const tensors = tf.memory().numTensors;
    expect(() => other.predict(x)).to.throw(message);
    expect(tf.memory().numTensors).to.equal(tensors);
    captured.dispose();
    other.dispose();
    x.dispose();
  });

  it('the debug mode', async () => {
    const x = samples(2, 6);
    tf.env().set('DEBUG', true);
    const message = await rejection(captureModel({predict: (given: tf.Tensor) => tf.square(given)}, x));
    tf.env().set('DEBUG', false);
    expect(message).to.include("captureModel: tf.profile or tfjs's debug mode is on");
    x.dispose();
  });
});

describe('a captured model and other backends', function() {
  this.timeout(60_000);
  const NAME = 'webgpu-captured';
  const LOST = /^\w+: the WebGPU device was lost \(\w+: .+\), and all tensors on it; .*load the model again\.$/;

  it('predicts only on the one on which it was captured', async () => {
    const model = await prunedModel();
    const x = samples(2, 64);
    const captured = await captureModel(model, x);
    const right = captured.predict(x) as tf.Tensor;
    await tf.setBackend('cpu');
    try {
      expect(() => captured.predict(x)).to.throw("captureModel: the active backend is 'cpu', not the one on which");
    } finally {
      await tf.setBackend(backendName);
    }
    await expectSame(captured, model, x);
    captured.dispose();
    tf.dispose([x, right]);
    disposeModel(model);
  });

  it('is refused on a second device if the weights lie on the first', async () => {
    const model = await prunedModel();
    const x = samples(2, 64);
    registerOwnBackend(NAME);
    await onOwnBackend(NAME, async () => {
      expect(await rejection(captureModel(model, x)))
        .to.include('captureModel: a weight lies on another WebGPU device, from which tfjs cannot move it; load');
      const predict = (given: tf.Tensor) => tf.square(given);
      expect(await rejection(captureModel({predict}, x)))
        .to.include('captureModel: an input lies on another WebGPU device');
    });
    forgetOwnBackend(NAME);
    const captured = await captureModel(model, x);
    await expectSame(captured, model, x);
    captured.dispose();
    x.dispose();
    disposeModel(model);
  });

  it('says that the device is lost', async () => {
    registerOwnBackend(NAME);
    let captured!: CapturedModel;
    await onOwnBackend(NAME, async ({device}) => {
      const model = await prunedModel();
      const x = tf.ones([2, 64]);
      captured = await captureModel(model, x);
      tf.dispose(captured.predict(x));
      device.destroy();
      await device.lost;
      expect(() => captured.predict(x)).to.throw(LOST);
      expect(await rejection(captureModel(model, x))).to.match(LOST);
      captured.dispose();
      x.dispose();
      disposeModel(model);
    });
    forgetOwnBackend(NAME);
  });
});
