/** Two devices at once, another backend set in the middle of warmUp and tune, and tf.engine().reset(). */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {nmSparseMatMul, tune, warmUp} from '../../src/index.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {tunedPlan} from '../tuning/stored.js';
import {prunedModel, rejection} from '../tuning/support.js';
import {backendName} from '../support/backend.js';
import {disposeModel, predicted} from '../support/models.js';
import {forgetOwnBackend, onOwnBackend, registerOwnBackend} from '../support/own_device.js';
import {mulberry32, seed} from '../support/random.js';
import {drawMatrix, expectNear, randomValues, referenceSums, toSparseMatrix} from '../support/reference.js';

const NAME = 'webgpu-second';
const FRESH = {cache: false} as const;
const SHAPES = [1, 2].map(rows => ({rows, k: 32, n: 8, pattern: '2:4'}));

/** Multiplies random numbers on the active backend. */
async function multiply(shape: [number, number], pattern: string, rows: number): Promise<void> {
  const random = mulberry32(seed);
  const drawn = drawMatrix(shape, pattern, 'float32', random);
  const values = randomValues(rows * shape[0], random);
  const matrix = toSparseMatrix(drawn);
  const x = tf.tensor2d(values, [rows, shape[0]]);
  const y = nmSparseMatMul(x, matrix);
  expectNear(await y.data(), referenceSums(values, drawn));
  tf.dispose([x, y]);
  matrix.dispose();
}

describe('two WebGPU devices at once', function() {
  this.timeout(60_000);
  before(() => registerOwnBackend(NAME));
  after(() => forgetOwnBackend(NAME));

  it('each multiply, and choose for themselves', async () => {
    const first = tf.backend() as WebGPUBackend;
    await multiply([40, 24], '2:4v4', 5);
    await onOwnBackend(NAME, async second => {
      await multiply([40, 24], '2:4v4', 5);
      expect(second.device).to.not.equal(first.device);
      expect(chooserOf(second)).to.not.equal(chooserOf(first));
      const plans = {'n 9 k 9 2:4 float32': [tunedPlan(7)]};
      chooserOf(second).learn({plans, profile: {...chooserOf(second).profile, name: 'the second'}});
      expect(chooserOf(first).profile.name).to.not.equal('the second');
    });
    await multiply([40, 24], '2:4v4', 5);
  });

  it('the second has the default limits, and gets a product whose transposed x would exceed them', async function() {
    this.timeout(120_000);
    await onOwnBackend(NAME, async ({device}) => {
      expect(device.limits.maxStorageBufferBindingSize).to.equal(2 ** 27);
      const x = tf.ones([1010, 33_000]);
      const matrix = toSparseMatrix(drawMatrix([33_000, 4], '8:32v32', 'float32', mulberry32(seed)));
      const y = nmSparseMatMul(x, matrix);
      const single = tf.tidy(() => nmSparseMatMul(tf.ones([1, 33_000]), matrix));
      const [got, expected] = await Promise.all([y.data(), single.data()]);
      expect(got).to.have.length(1010 * 4);
      got.forEach((value, i) => expect(value).to.be.closeTo(expected[i % 4], 1e-2));
      tf.dispose([x, y, single]);
      matrix.dispose();
    });
  });

  it('tune goes on, on its own, where another backend becomes the active one', async () => {
    let switched: Promise<void> | undefined;
    const {tuned, skipped} = await tune(SHAPES, {...FRESH, onProgress: () => {
      switched ??= onOwnBackend(NAME, () => multiply([40, 24], '2:4v4', 5));
    }});
    await switched;
    expect(skipped).to.deep.equal([]);
    expect(tuned).to.have.length(2);
  });

  it('warmUp and tune refuse to predict where another backend becomes active, and the model is whole', async () => {
    const model = await prunedModel();
    const x = tf.ones([2, 64]);
    const [before] = await predicted(model, x);
    const meanwhile = (caller: string) =>
      `${caller}: the active backend is '${NAME}' meanwhile; await ${caller} before you set another.`;
    const calls = [rejection(warmUp(model, x)), rejection(tune(model, FRESH))];
    await onOwnBackend(NAME, async () => {
      expect(await Promise.all(calls)).to.deep.equal([meanwhile('warmUp'), meanwhile('tune')]);
    });
    expect([...(await predicted(model, x))[0]]).to.deep.equal([...before]);
    x.dispose();
    disposeModel(model);
  });

  it('warmUp refuses a backend switch between its two compilations, too', async () => {
    const x = tf.ones([2, 64]);
    const calls: {warming?: Promise<string>; switched?: Promise<void>} = {};
    const like = {predict: (given: tf.Tensor) => {
      calls.switched ??= onOwnBackend(NAME, async () => void await calls.warming);
      return tf.clone(given);
    }};
    calls.warming = rejection(warmUp(like, x, {cache: false}));
    expect(await calls.warming).to.include(`the active backend is '${NAME}' meanwhile`);
    await calls.switched;
    x.dispose();
  });
});

describe('tf.engine().reset()', () => {
  it('is survived: the kernels stay, and a new device is watched and multiplies', async function() {
    this.timeout(60_000);
    const {device} = tf.backend() as WebGPUBackend;
    const flags = {...tf.env().getFlags()};
    tf.engine().reset();
    tf.env().setFlags(flags);
    await tf.setBackend(backendName);
    expect((tf.backend() as WebGPUBackend).device).to.not.equal(device);
    await multiply([40, 24], '2:4v4', 5);
    expect((await tune(SHAPES.slice(1), FRESH)).tuned).to.have.length(1);
  });
});
