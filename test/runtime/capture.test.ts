/** captureModel() on every backend: only WebGPU can be recorded, and wrong calls are refused by name. */
import * as tf from '@tensorflow/tfjs-core';
import {layers, sequential} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {captureModel} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {disposeModel} from '../support/models.js';
import {rejection} from '../tuning/support.js';

describe('captureModel', () => {
  const model = () => sequential({layers: [layers.dense({units: 3, inputShape: [4], biasInitializer: 'ones'})]});

  it('refuses other backends than WebGPU, or predicts as the model does', async () => {
    const name = backendName === 'webgpu' ? 'cpu' : backendName;
    await tf.setBackend(name);
    const dense = model();
    const x = tf.ones([2, 4]);
    const refusal = `captureModel: the active backend is '${name}', and only WebGPU can be recorded; ` +
      "await tf.setBackend('webgpu') first.";
    const {warn} = console;
    const warned: string[] = [];
    console.warn = (message: string) => warned.push(message);
    try {
      expect(await rejection(captureModel(dense, x))).to.equal(refusal);
      const captured = await captureModel(dense, undefined, {fallback: true});
      for (let i = 0; i < 2; ++i) {
        const [y, expected] = [captured, dense].map(each => each.predict(x) as tf.Tensor);
        expect([...await y.data()]).to.deep.equal([...await expected.data()]);
        tf.dispose([y, expected]);
      }
      expect(captured.bytes).to.equal(0);
      captured.dispose();
      expect(() => captured.predict(x)).to.throw('predict: the captured model is disposed');
    } finally {
      console.warn = warn;
      x.dispose();
      disposeModel(dense);
      await tf.setBackend(backendName);
    }
    expect(warned).to.deep.equal([`${refusal} (fallback: predict runs model.predict)`]);
  });

  const some = {predict: () => 0};
  const wrong: Array<[string, unknown[], string]> = [
    ['no model', [{}], 'captureModel: model has no method predict; give a tf.LayersModel'],
    ['options in the place of the example', [some, {batchSize: 4}], "captureModel: example has 'batchSize', which"],
    ['null for the example', [some, null], 'captureModel: example is null'],
    ['an empty list for the example', [some, []], 'captureModel: example is an empty list; give a tensor'],
    ['a misspelt option', [some, undefined, {shapes: 4}],
      "captureModel: there is no option 'shapes'; the options are batchSize, maxShapes, fallback."],
    ['no shape at all', [some, undefined, {maxShapes: 0}], 'captureModel: maxShapes is 0; give a whole number of at'],
    ['half a sample', [some, undefined, {batchSize: 0.5}], 'captureModel: batchSize is 0.5'],
    ['a fallback that is none', [some, undefined, {fallback: 'predict'}],
      "captureModel: fallback is 'predict'; give true or false."],
    ['a model that does not say what it takes', [some], 'captureModel: the model does not say what inputs it takes'],
  ];
  for (const [what, args, message] of wrong) {
    it(`refuses ${what}`, async () => {
      expect(await rejection(captureModel(...args as Parameters<typeof captureModel>))).to.include(message);
    });
  }
});
