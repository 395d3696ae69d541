/**
 * Derivatives of the composed activations, up to the third, against central differences in float64. tfjs's own second
 * derivatives of tanh, sigmoid and exp are wrong: their gradients use the saved output as if it were a constant.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-layers'; // registers tfjs's gradients
import {expect} from 'chai';
import {applyActivation} from '../../kernels/composite/activation.js';
import {ACTIVATIONS, type FusedActivation} from '../../kernels/contract.js';
import {referenceActivation} from '../support/reference.js';

/** Away from the kinks at 0 and 6. */
const POINTS = [-2.5, -1.2, -0.6, -0.2, 0.3, 0.8, 1.7, 3.1, 7];
const SLOPE = 0.3;

/** Piecewise linear: no derivative but the first depends on z. */
const LINEAR: readonly FusedActivation[] = ['linear', 'relu', 'relu6', 'leakyrelu', 'prelu'];

function derivative(f: (z: number) => number, order: number): (z: number) => number {
  if (order === 0) {
    return f;
  }
  const inner = derivative(f, order - 1);
  const step = 1e-3;
  // Five points, so that three differences of differences keep five digits.
  return z => (8 * (inner(z + step) - inner(z - step)) - (inner(z + 2 * step) - inner(z - 2 * step))) / (12 * step);
}

/** The derivative in z of f, as tfjs computes it. */
function gradientOf(f: (z: tf.Tensor) => tf.Tensor, order: number): (z: tf.Tensor) => tf.Tensor {
  return order === 0 ? f : tf.grad(gradientOf(f, order - 1));
}

describe('the composed activation', () => {
  for (const activation of ACTIVATIONS) {
    it(`${activation} has the right derivatives`, async () => {
      for (const order of activation === 'linear' ? [0, 1] : LINEAR.includes(activation) ? [0, 1, 2] : [0, 1, 2, 3]) {
        const results = tf.tidy(() => gradientOf(z => applyActivation(tf.mul(z, 1), {
          activation, leakyreluAlpha: SLOPE, preluActivationWeights: tf.scalar(SLOPE),
        }), order)(tf.tensor1d(POINTS)));
        const got = await results.data();
        results.dispose();
        POINTS.forEach((z, i) => {
          const expected = derivative(at => referenceActivation(activation, at, SLOPE), order)(z);
          expect(got[i], `derivative ${order} at ${z}`).to.be.closeTo(expected, 3e-5);
        });
      }
    });
  }

  it('prelu has the right second derivative in z and the slopes', async () => {
    const [z, slopes] = [[-2, 3, -0.5, 1, -1, 4], [0.25, 0.5, -0.75]];
    const results = tf.tidy(() => {
      const inSlopes = (at: tf.Tensor) => tf.grad((alpha: tf.Tensor) => applyActivation(
        at, {activation: 'prelu', leakyreluAlpha: 0, preluActivationWeights: alpha}))(tf.tensor1d(slopes));
      return [inSlopes(tf.tensor2d(z, [2, 3])), tf.grad(inSlopes)(tf.tensor2d(z, [2, 3]))];
    });
    const [first, mixed] = await Promise.all(results.map(result => result.data()));
    tf.dispose(results);
    expect([...first]).to.deep.equal([-2, -1, -0.5]);
    expect([...mixed]).to.deep.equal([1, 0, 1, 0, 1, 0]);
  });
});
