/** tune(): every wrong call is refused by name, on every backend; and where there is no WebGPU it says so. */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {tune} from '../../src/index.js';
import {disposeModel} from '../support/models.js';
import {backendName} from '../support/backend.js';
import {prunedModel, rejection} from './support.js';

const SHAPE = {rows: 4, k: 64, n: 32, pattern: '2:4'};

describe('tune refuses', () => {
  const wrong: Array<[string, unknown, unknown, string]> = [
    ['no model', {}, {}, 'tune: model has no method predict'],
    ['nothing', undefined, {}, 'tune: model has no method predict'],
    ['options that are none', [SHAPE], null, 'tune: options is null'],
    ['a misspelt option', [SHAPE], {maxMS: 5}, "tune: there is no option 'maxMS'"],
    ['rows of shapes', [SHAPE], {rows: 5}, "tune: the option 'rows' is for models"],
    ['inputs of shapes', [SHAPE], {inputs: {}}, "tune: the option 'inputs' is for models"],
    ['no time', [SHAPE], {maxMs: 0}, 'tune: maxMs is 0'],
    ['time as text', [SHAPE], {maxMs: '100'}, "tune: maxMs is '100'"],
    ['time that is none', [SHAPE], {maxMs: 'long'}, "tune: maxMs is 'long'"],
    ['a cache that is none', [SHAPE], {cache: 5}, 'tune: cache is 5'],
    ['a path', [SHAPE], {cache: 'plans.json'}, "tune: cache is 'plans.json'; give true or false."],
    ['a callback that is none', [SHAPE], {onProgress: true}, 'tune: onProgress is true'],
    ['a shape that is none', [SHAPE, null], {}, 'tune: shapes[1] is null'],
    ['a misspelt field', [{...SHAPE, cols: 5}], {}, "tune: shapes[0] has no field 'cols'; its fields are rows, k"],
    ['no rows', [{...SHAPE, rows: 0}], {}, 'tune: shapes[0].rows is 0'],
    ['a missing n', [{rows: 1, k: 64, pattern: '2:4'}], {}, 'tune: shapes[0].n is undefined'],
    ['a pattern that is none', [{...SHAPE, pattern: '2-4'}], {}, "parsePattern: pattern '2-4'"],
    ['a storage that is none', [{...SHAPE, dtype: 'int8'}], {}, "tune: shapes[0].dtype is 'int8'"],
    ['an activation that is none', [{...SHAPE, activation: 'swish'}], {}, "tune: shapes[0].activation is 'swish'"],
    ['half a row', {predict: () => 0}, {rows: 0.5}, 'tune: rows is 0.5'],
    ['an empty list of rows', {predict: () => 0}, {rows: []}, 'tune: rows is an empty list'],
    ['rows and inputs', {predict: () => 0}, {rows: 1, inputs: []}, 'tune: rows and inputs both'],
    ['inputs that are none', {predict: () => 0}, {inputs: {x: 5}}, "tune: inputs has 'x', which is no tensor"],
    ['an empty list of inputs', {predict: () => 0}, {inputs: []}, 'tune: inputs is an empty list; give'],
  ];
  for (const [what, target, options, message] of wrong) {
    it(what, async () => {
      expect(await rejection(tune(target as never, options as never))).to.include(message);
    });
  }

  it('a backend that is not WebGPU, and says which one to set', async function() {
    if (backendName === 'webgpu') {
      this.skip();
    }
    const message = await rejection(tune([SHAPE]));
    expect(message).to.include(`the active backend is '${backendName}'`).and.include("tf.setBackend('webgpu')");
    const model = await prunedModel();
    const tensors = tf.memory().numTensors;
    expect(await rejection(tune(model))).to.equal(message);
    expect(tf.memory().numTensors).to.equal(tensors);
    disposeModel(model);
  });
});
