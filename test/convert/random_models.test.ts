/**
 * Random models, converted twice and trained: no tensor is left over, and a step of training moves every kept weight as
 * it moves in the dense model of the same weights. Where it moves none, as behind a dead relu, that moves none either.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {decompress, NMDense, pruneLayersModel} from '../../src/index.js';
import {denseTwin, disposeModel} from '../support/models.js';
import {mulberry32, seed} from '../support/random.js';
import {between, pick, type Random} from '../support/reference.js';

const K = 15;
const MODELS = 2;

function randomDense(random: Random, inputShape: number[]): tfl.layers.Layer {
  return tfl.layers.dense({
    units: between(random, 2, 20), inputShape, useBias: random() < 0.7,
    activation: pick(random, ['relu', 'tanh', 'linear', 'elu'] as const),
    kernelInitializer: tfl.initializers.glorotUniform({seed: between(random, 1, 1e6)}),
  });
}

/** Two to four layers: Dense, TimeDistributed(Dense), and models of one or two Dense. */
function randomModel(random: Random): tfl.Sequential {
  const model = tfl.sequential();
  for (let i = between(random, 2, 4), shape = [3, K]; i > 0; --i) {
    const kind = random();
    if (kind < 0.5) {
      model.add(randomDense(random, shape));
    } else if (kind < 0.7) {
      model.add(tfl.layers.timeDistributed({layer: randomDense(random, shape.slice(1)), inputShape: shape}));
    } else {
      const inner = tfl.sequential({layers: [randomDense(random, shape)]});
      if (random() < 0.5) {
        inner.add(randomDense(random, inner.outputs[0].shape.slice(1) as number[]));
      }
      model.add(inner);
    }
    shape = model.outputs[0].shape.slice(1) as number[];
  }
  return model;
}

/** Layers in order, those of nested models among them. */
function flat({layers}: {layers: tfl.layers.Layer[]}): tfl.layers.Layer[] {
  return layers.flatMap(layer => 'layers' in layer ? flat(layer as tfl.Sequential) : [layer]);
}

async function kernelsOf(model: tfl.LayersModel, which: number[]): Promise<number[][]> {
  const layers = flat(model);
  return Promise.all(which.map(async at => {
    const layer = layers[at];
    if (layer instanceof NMDense) {
      const kernel = decompress(layer.matrix());
      const values = await kernel.data();
      kernel.dispose();
      return [...values];
    }
    return [...await layer.weights[0].read().data()];
  }));
}

async function step(model: tfl.LayersModel, x: tf.Tensor, y: tf.Tensor): Promise<void> {
  const optimizer = tf.train.sgd(0.1);
  model.compile({optimizer, loss: 'meanSquaredError'});
  await model.fit(x, y, {epochs: 1, batchSize: x.shape[0], verbose: 0, yieldEvery: 'never'});
  optimizer.dispose();
}

describe('random models', () => {
  for (const pattern of ['2:5v2', '1:3v16']) {
    it(`by ${pattern} leave no tensor over when converted, used and converted again`, async () => {
      for (let i = 0; i < MODELS; ++i) {
        const random = mulberry32(seed + i);
        const model = randomModel(random);
        const {model: half} = await pruneLayersModel(model, {pattern, dtype: 'float16'});
        tf.dispose(tf.tidy(() => half.predict(tf.ones([2, 3, K]))));
        const {model: again} = await pruneLayersModel(half, {pattern, dtype: pick(random, ['float32', 'float16'])});
        tf.dispose(tf.tidy(() => again.predict(tf.ones([2, 3, K]))));
        [model, half, again].forEach(disposeModel);
      }
    });

    it(`by ${pattern} move their kept weights as the dense model does`, async () => {
      for (let i = 0; i < MODELS; ++i) {
        const random = mulberry32(seed + i);
        const model = randomModel(random);
        const {model: sparse} = await pruneLayersModel(model, {pattern});
        const twin = await denseTwin(model, sparse);
        const which = flat(sparse).flatMap((layer, at) => layer instanceof NMDense ? [at] : []);
        const before = await kernelsOf(sparse, which);
        const x = tf.randomNormal([4, 3, K], 0, 1, 'float32', seed);
        const y = tf.randomNormal([4, ...sparse.outputs[0].shape.slice(1) as number[]], 0, 1, 'float32', seed + 1);
        await step(sparse, x, y);
        await step(twin, x, y);
        const [got, expected] = [await kernelsOf(sparse, which), await kernelsOf(twin, which)];
        before.forEach((kernel, layer) => kernel.forEach((weight, at) => expect(
          got[layer][at], `model ${i}, layer ${which[layer]}, element ${at}`)
          .to.be.closeTo(weight === 0 ? 0 : expected[layer][at], 1e-5)));
        tf.dispose([x, y]);
        [model, sparse, twin].forEach(disposeModel);
      }
    });
  }
});
