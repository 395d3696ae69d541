/**
 * assignWeight against what tfjs-layers keeps private: if a release renames the field `constraint` of a LayerVariable,
 * the first test fails.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {layers} from '../../src/index.js';
import {assignWeight} from '../../src/layers/assign_weight.js';

const KERNEL = [-3, 4, 5, -6];

/** A Dense layer whose kernel [2, 2] may not be negative. */
function constrainedModel(): tfl.Sequential {
  return tfl.sequential({layers: [tfl.layers.dense(
    {units: 2, inputShape: [2], kernelConstraint: 'nonNeg', kernelInitializer: 'ones'})]});
}

describe('assignWeight', () => {
  it('writes values that the constraint of the weight does not allow, where write() changes them', async () => {
    const model = constrainedModel();
    const [kernel] = model.layers[0].weights;
    const value = tf.tensor2d(KERNEL, [2, 2]);
    tf.tidy(() => void kernel.write(value)); // tfjs leaves the constraint's result behind
    expect(Array.from(await kernel.read().data(), value => value + 0)).to.deep.equal([0, 4, 5, 0]);
    assignWeight(kernel, value);
    expect([...await kernel.read().data()]).to.deep.equal(KERNEL);
    value.dispose();
    expect([...await kernel.read().data()], 'outlives the tensor given').to.deep.equal(KERNEL);
    assignWeight(kernel, kernel.read());
    expect([...await kernel.read().data()], 'assigned to itself').to.deep.equal(KERNEL);
    model.dispose();
  });

  it('refuses another shape, another dtype and a disposed weight', () => {
    const model = constrainedModel();
    const [kernel, bias] = model.layers[0].weights;
    tf.tidy(() => {
      expect(() => assignWeight(kernel, tf.zeros([2, 3]))).to.throw(/shape/i);
      expect(() => assignWeight(bias, tf.zeros([3]))).to.throw(/shape/i);
      expect(() => assignWeight(kernel, tf.zeros([2, 2], 'int32'))).to.throw(/dtype/);
      model.dispose();
      expect(() => assignWeight(kernel, tf.zeros([2, 2]))).to.throw(/already disposed/);
    });
  });

  it('checks the offsets of an NMDense layer', () => {
    const model = tfl.sequential();
    const layer = layers.nmDense({units: 2, pattern: '2:4', inputShape: [4], name: 'hidden'});
    model.add(layer);
    const indices = layer.weights.find(({originalName}) => originalName.endsWith('indices'))!;
    const equalOffsets = tf.tensor2d([0, 0], [2, 1], 'int32');
    expect(() => assignWeight(indices, equalOffsets))
      .to.throw(/^NMDense 'hidden': indices of a 2:4 matrix .* must ascend/);
    equalOffsets.dispose();
    model.dispose();
  });
});
