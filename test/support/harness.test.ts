/**
 * The harness tests itself: that each runner really runs where it says it does. Without this a run that fell back to
 * the CPU would pass every other test.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {backendName} from './backend.js';
import {mulberry32, seed} from './random.js';

describe('the test harness', () => {
  it('runs on the backend it was asked to', () => {
    expect(tf.getBackend()).to.equal(backendName);
  });

  it('multiplies matrices', async () => {
    const product = tf.tidy(() => tf.matMul(tf.tensor2d([[1, 2], [3, 4]]), tf.tensor2d([[5, 6], [7, 8]])));
    const values = await product.data();
    product.dispose();
    [19, 22, 43, 50].forEach((expected, i) => expect(values[i]).to.be.closeTo(expected, 1e-5));
  });

  it('draws the same numbers again from the same seed', () => {
    expect(seed).to.be.a('number').that.satisfies(Number.isInteger);
    const draw = () => Array.from({length: 5}, mulberry32(seed));
    expect(draw()).to.deep.equal(draw());
    draw().forEach(number => expect(number).to.be.within(0, 1));
  });
});
