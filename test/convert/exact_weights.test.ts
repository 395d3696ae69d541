/**
 * Pruning and storage are the only things that may change a weight: not constraints, not training that goes on during a
 * conversion, not the model being disposed meanwhile. And masks, which say what is pruned.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {decompress, NMDense, pruneLayersModel, type PruneLayersModelOptions} from '../../src/index.js';
import {assignWeight} from '../../src/layers/assign_weight.js';
import {allowLeak} from '../support/backend.js';
import {disposeModel, reloaded} from '../support/models.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';

const {dense} = tfl.layers;

/** Every weight of a model by name, NMDense kernels dense again. */
async function weightsOf(model: tfl.LayersModel): Promise<Record<string, number[]>> {
  const values: Record<string, number[]> = {};
  for (const layer of model.layers) {
    for (const {originalName, shape} of layer.weights) {
      expect(shape, originalName).to.not.equal(undefined);
    }
    if (layer instanceof NMDense) {
      const kernel = decompress(layer.matrix());
      values[`${layer.name}/kernel`] = [...await kernel.data()];
      kernel.dispose();
      if (layer.bias) {
        values[`${layer.name}/bias`] = [...await layer.bias.read().data()];
      }
      continue;
    }
    for (const variable of layer.weights) {
      values[variable.originalName] = [...await variable.read().data()];
    }
  }
  return values;
}

const {maxNorm, minMaxNorm, nonNeg, unitNorm} = tfl.constraints;

/** Weights in ±1, half of them below 0 and all of them of norms that no constraint here allows. */
function constrainedModel(): tfl.Sequential {
  const model = tfl.sequential({layers: [
    dense({units: 8, name: 'max', inputShape: [8], kernelConstraint: maxNorm({maxValue: 0.1}),
      biasConstraint: nonNeg()}),
    dense({units: 8, name: 'unit', kernelConstraint: unitNorm({}), biasConstraint: nonNeg()}),
    dense({units: 8, name: 'min', kernelConstraint: minMaxNorm({minValue: 9, maxValue: 10})}),
    dense({units: 4, name: 'head', kernelConstraint: nonNeg(), biasConstraint: nonNeg()}),
  ]});
  const random = mulberry32(seed);
  tf.tidy(() => model.layers.forEach(layer => layer.weights.forEach(variable => assignWeight(
    variable, tf.tensor(randomValues(variable.read().size, random), variable.shape as number[])))));
  return model;
}

/** The kernel with all but the kept weights 0. */
function expectPruned(got: number[], original: number[], kept: number): void {
  expect(got.filter(weight => weight !== 0)).to.have.lengthOf(kept);
  got.forEach((weight, i) => expect(weight === 0 || weight === original[i], `element ${i}`).to.equal(true));
}

describe('pruneLayersModel changes weights by pruning alone', () => {
  it('whatever their constraints, and so does loading what it made', async () => {
    const model = constrainedModel();
    const before = await weightsOf(model);
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4', exclude: 'head'});
    const after = await weightsOf(sparse);
    allowLeak('tfjs leaves what a constraint returns behind when it loads a model');
    const loaded = await reloaded(sparse);
    const again = await weightsOf(loaded);
    for (const name of Object.keys(before)) {
      if (name.endsWith('kernel') && !name.startsWith('head')) {
        expectPruned(after[name], before[name], before[name].length / 2);
        expect(again[name], `${name}, loaded`).to.deep.equal(after[name]);
      } else {
        expect(after[name], name).to.deep.equal(before[name]);
      }
    }
    [model, sparse, loaded].forEach(disposeModel);
  });

  it('and keeps the constraint in the configuration', async () => {
    const model = constrainedModel();
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4'});
    const [from, to] = [model, sparse].map(({layers}) =>
      (layers[0].getConfig().kernelConstraint as tf.serialization.ConfigDict).config);
    expect(to).to.deep.equal(from);
    [model, sparse].forEach(disposeModel);
  });

  it('even if they are trained or the model is disposed meanwhile', async () => {
    const model = constrainedModel();
    const before = await weightsOf(model);
    let disturbed = false;
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4', exclude: 'head', onProgress: ({done}) => {
      if (done === 1 && !disturbed) {
        disturbed = true;
        tf.tidy(() => model.weights.forEach(variable => variable.write(tf.zeros(variable.shape as number[]))));
        model.dispose();
      }
    }});
    expect(disturbed).to.equal(true);
    const after = await weightsOf(sparse);
    for (const name of ['max', 'unit', 'min']) {
      expectPruned(after[`${name}/kernel`], before[`${name}/kernel`], 32);
    }
    for (const name of ['max/bias', 'head/kernel', 'head/bias']) {
      expect(after[name], name).to.deep.equal(before[name]);
    }
    disposeModel(sparse);
  });

  it('of sparse layers too, which it converts again', async () => {
    const model = constrainedModel();
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4'});
    const before = await weightsOf(sparse);
    const {model: again} = await pruneLayersModel(
      sparse, {perLayer: {max: '1:4', unit: '2:4', min: 'dense'}, onProgress: ({done}) => {
        if (done === 1) {
          tf.tidy(() => sparse.layers.forEach(layer => layer.weights.filter(({dtype}) => dtype === 'float32')
            .forEach(variable => variable.write(tf.zeros(variable.shape as number[])))));
        }
      }});
    const after = await weightsOf(again);
    expectPruned(after['max/kernel'], before['max/kernel'], 16);
    for (const name of ['unit/kernel', 'min/kernel', 'min/bias', 'head/kernel']) {
      expect(after[name], name).to.deep.equal(before[name]);
    }
    [model, sparse, again].forEach(disposeModel);
  });
});

describe('pruneLayersModel on a kernel that holds NaN', () => {
  for (const pattern of ['2:4', '7:8', '8:8']) {
    it(`says so and leaves the layer as it is, by ${pattern}`, async () => {
      const model = constrainedModel();
      const kernel = model.layers[0].weights[0];
      tf.tidy(() => assignWeight(kernel, tf.fill([8, 8], NaN)));
      const {model: sparse, report} = await pruneLayersModel(model, {pattern});
      expect(report.layers[0]).to.deep.include(
        {converted: false, reason: 'compress: W has NaN at [0, 0]; every weight must be finite.'});
      expect(await weightsOf(sparse)).to.have.property('max/kernel').deep.equal(new Array(64).fill(NaN));
      [model, sparse].forEach(disposeModel);
    });
  }
});

describe('pruneLayersModel with masks', () => {
  /** Keeps rows 2 and 3 of every four, which no magnitude of constrainedModel() would. */
  const lastTwo = (shape: [number, number] = [8, 8]) =>
    tf.tidy(() => tf.cast(tf.tile(tf.tensor2d([0, 0, 1, 1], [4, 1]), [shape[0] / 4, shape[1]]), 'bool')) as tf.Tensor2D;

  it('keeps what a mask keeps, by name and in nested models by path', async () => {
    const inner = tfl.sequential({name: 'block', layers: [dense({units: 8, inputShape: [8], name: 'same'})]});
    const model = tfl.sequential({layers: [inner, dense({units: 8, name: 'same'}), dense({units: 8, name: 'free'})]});
    const mask = lastTwo();
    for (const [keys, expected] of [
      [['block/same', 'free'], [true, false, true]], [['same'], [false, true, false]],
    ] as [string[], boolean[]][]) {
      const masks = Object.fromEntries(keys.map(key => [key, mask]));
      const {model: sparse, report} = await pruneLayersModel(model, {pattern: '2:4v2', masks});
      expect(report.layers.map(({converted}) => converted)).to.deep.equal([true, true, true]);
      const layers = [(sparse.layers[0] as tfl.Sequential).layers[0], ...sparse.layers.slice(1)];
      const masked = await Promise.all(layers.map(async layer => {
        const kernel = decompress((layer as NMDense).matrix());
        const values = await kernel.data();
        kernel.dispose();
        return values.every((weight, i) => (weight !== 0) === (Math.floor(i / 8) % 4 >= 2));
      }));
      expect(masked).to.deep.equal(expected);
      disposeModel(sparse);
    }
    mask.dispose();
    disposeModel(model);
  });

  it('prunes a sparse layer further by a mask, though it stays as large', async () => {
    const model = constrainedModel();
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4'});
    const mask = lastTwo();
    const {model: again, report} = await pruneLayersModel(sparse, {pattern: '2:4', masks: {max: mask}});
    expect(report.layers.map(({converted}) => converted)).to.deep.equal([true, false, false, false]);
    (await weightsOf(again))['max/kernel'].forEach((weight, i) =>
      expect(weight === 0 || Math.floor(i / 8) % 4 >= 2, `element ${i}`).to.equal(true));
    mask.dispose();
    [model, sparse, again].forEach(disposeModel);
  });

  const wrong: [string, Record<string, unknown> | unknown[], Partial<PruneLayersModelOptions>, string][] = [
    ['that are no object', [1], {}, 'masks is an array of 1; give an object {layer name or path: mask [k, n]}.'],
    ['of a name that no layer has', {hed: null}, {},
      "masks['hed'] names no layer; the layers are max, unit, min, head."],
    ['of another shape', {head: [8, 5]}, {},
      "masks['head'] is bool [8,5]; give a bool, int32 or float32 tensor of the kernel's shape, [8,4]."],
    ['that are no tensor', {head: Promise.resolve()}, {}, "masks['head'] is a Promise (forgotten await?); give a bool"],
    ['of a layer that gets no pattern', {head: [8, 4]}, {exclude: 'head'},
      "masks['head'] is for a layer that stays as it is: excluded by the option exclude."],
    ['that do not fit the pattern', {head: [8, 4]}, {pattern: '1:4'},
      "masks['head']: mask is not 1:4: in window 0 (rows 0 to 3), group 0 (columns 0 to 0) it keeps 2 rows; a window"],
  ];
  for (const [what, given, options, message] of wrong) {
    it(`refuses masks ${what}`, async () => {
      const model = constrainedModel();
      const masks = Array.isArray(given) ? given : Object.fromEntries(Object.entries(given).map(([name, mask]) =>
        [name, Array.isArray(mask) ? lastTwo(mask as [number, number]) : mask]));
      let thrown = 'nothing';
      await pruneLayersModel(model, {pattern: '2:4', ...options, masks} as PruneLayersModelOptions)
        .catch((error: Error) => thrown = error.message);
      expect(thrown).to.include(`pruneLayersModel: ${message}`);
      tf.dispose(Object.values(masks) as tf.Tensor[]);
      model.dispose();
    });
  }
});
