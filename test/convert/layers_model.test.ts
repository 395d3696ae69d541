/**
 * pruneLayersModel on every kind of layers model: the result must be an ordinary model that predicts what the same
 * weights predict densely, and the one given must be left alone.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {
  checkPattern, compress, decompress, NMDense, pruneLayersModel, type PruneLayersModelOptions,
} from '../../src/index.js';
import {assignWeight} from '../../src/layers/assign_weight.js';
import {allowLeak} from '../support/backend.js';
import {seed} from '../support/random.js';
import {
  artifactsOf, denseTwin, disposeModel, predicted, relativeDifference, reloaded, weightBytes,
} from '../support/models.js';

/** float32 sums in another order; the models here are a few layers deep. */
const TOLERANCE = 1e-5;

const {dense} = tfl.layers;
const glorot = (offset: number) => tfl.initializers.glorotUniform({seed: seed + offset});

interface Kind {
  make: () => tfl.LayersModel;
  input: () => tf.Tensor | tf.Tensor[];
  /** Paths of the layers that can be converted. */
  converted: string[];
}

/** Named kinds of models, each with an input that fits. */
const MODELS: Record<string, Kind> = {
  'a Sequential model': {
    make: () => tfl.sequential({layers: [
      dense({units: 24, inputShape: [20], activation: 'relu', kernelInitializer: glorot(0), name: 'hidden'}),
      tfl.layers.dropout({rate: 0.5}),
      dense({units: 10, activation: 'softmax', kernelInitializer: glorot(1), name: 'head'}),
    ]}),
    input: () => tf.randomNormal([5, 20], 0, 1, 'float32', seed),
    converted: ['hidden', 'head'],
  },
  'a functional model with a shared layer, two inputs and two outputs': {
    make: () => {
      const [a, b] = [tfl.input({shape: [12], name: 'a'}), tfl.input({shape: [12], name: 'b'})];
      const shared = dense({units: 16, activation: 'tanh', kernelInitializer: glorot(2), name: 'shared'});
      const both = tfl.layers.concatenate({name: 'both'})
        .apply([shared.apply(a) as tfl.SymbolicTensor, shared.apply(b) as tfl.SymbolicTensor]);
      const left = dense({units: 6, useBias: false, kernelInitializer: glorot(3), name: 'left'}).apply(both);
      const right = dense({units: 7, activation: 'sigmoid', kernelInitializer: glorot(4), name: 'right'}).apply(both);
      return tfl.model({inputs: [a, b], outputs: [left as tfl.SymbolicTensor, right as tfl.SymbolicTensor]});
    },
    input: () => [tf.randomNormal([3, 12], 0, 1, 'float32', seed), tf.randomNormal([3, 12], 0, 1, 'float32', seed + 1)],
    converted: ['shared', 'left', 'right'],
  },
  'models nested in models, beside layers of other kinds': {
    make: () => {
      const block = tfl.sequential({name: 'block', layers: [
        dense({units: 16, inputShape: [6, 12], activation: 'elu', kernelInitializer: glorot(5), name: 'inside'}),
        tfl.layers.layerNormalization({name: 'norm'}),
      ]});
      const wrapper = tfl.sequential({name: 'wrapper', layers: [block]});
      const x = tfl.input({shape: [6, 8], name: 'x'});
      const wide = tfl.layers.conv1d({filters: 12, kernelSize: 1, name: 'conv'}).apply(x) as tfl.SymbolicTensor;
      const flat = tfl.layers.flatten().apply(wrapper.apply(wide)) as tfl.SymbolicTensor;
      const y = dense({units: 4, kernelInitializer: glorot(6), name: 'encoder/out'}).apply(flat);
      return tfl.model({inputs: x, outputs: y as tfl.SymbolicTensor});
    },
    input: () => tf.randomNormal([2, 6, 8], 0, 1, 'float32', seed),
    converted: ['wrapper/block/inside', 'encoder/out'],
  },
  'TimeDistributed(Dense)': {
    make: () => tfl.sequential({layers: [
      tfl.layers.timeDistributed({
        layer: dense({units: 10, activation: 'relu', kernelInitializer: glorot(7)}), inputShape: [5, 9], name: 'steps',
      }),
      dense({units: 3, kernelInitializer: glorot(8), name: 'each'}),
    ]}),
    input: () => tf.randomNormal([2, 5, 9], 0, 1, 'float32', seed),
    converted: ['steps', 'each'],
  },
};

describe('pruneLayersModel', () => {
  for (const [kind, {make, input, converted}] of Object.entries(MODELS)) {
    describe(`on ${kind}`, () => {
      let model: tfl.LayersModel;
      let x: tf.Tensor | tf.Tensor[];
      before(() => {
        model = make();
        x = input();
      });
      after(() => {
        disposeModel(model);
        tf.dispose(x);
      });

      it('predicts the same where the pattern keeps everything that counts', async () => {
        const {model: sparse, report} = await pruneLayersModel(model, {pattern: '2:4'});
        const twin = await denseTwin(model, sparse);
        const [got, expected] = [await predicted(sparse, x), await predicted(twin, x)];
        got.forEach((values, i) => expect(relativeDifference(values, expected[i])).to.be.below(TOLERANCE));
        expect(report.layers.filter(layer => layer.converted).map(({name}) => name)).to.have.members(converted);
        [sparse, twin].forEach(disposeModel);
      });

      it('comes back from storage as it was', async () => {
        const {model: sparse} = await pruneLayersModel(model, {pattern: '4:8v4', dtype: 'float16'});
        const again = await reloaded(sparse);
        const [got, expected] = [await predicted(again, x), await predicted(sparse, x)];
        got.forEach((values, i) => expect(relativeDifference(values, expected[i])).to.equal(0));
        [sparse, again].forEach(disposeModel);
      });

      it('leaves the model it was given as it was', async () => {
        const before = await predicted(model, x);
        const {model: sparse} = await pruneLayersModel(model, {pattern: '1:4'});
        disposeModel(sparse);
        const after = await predicted(model, x);
        after.forEach((values, i) => expect([...values]).to.deep.equal([...before[i]]));
      });
    });
  }

  it('keeps the zeros through training, and the loss falls', async () => {
    // No dropout here: one full batch an epoch is plain gradient descent, which must go down.
    const model = tfl.sequential({layers: [
      dense({units: 24, inputShape: [20], activation: 'relu', kernelInitializer: glorot(9)}),
      dense({units: 10, kernelInitializer: glorot(10)}),
    ]});
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4v2'});
    const optimizer = tf.train.sgd(0.05);
    sparse.compile({optimizer, loss: 'meanSquaredError'});
    const x = tf.randomNormal([32, 20], 0, 1, 'float32', seed);
    const y = tf.randomNormal([32, 10], 0, 1, 'float32', seed + 1);
    const {history} = await sparse.fit(x, y, {epochs: 6, shuffle: false});
    expect(history.loss[5]).to.be.below(history.loss[0] as number);
    for (const layer of sparse.layers.filter((layer): layer is NMDense => layer instanceof NMDense)) {
      const kernel = decompress(layer.matrix());
      expect(await checkPattern(kernel, '2:4v2')).to.equal(true);
      kernel.dispose();
    }
    tf.dispose([x, y]);
    optimizer.dispose();
    [model, sparse].forEach(disposeModel);
  });

  it('stores a model that was trained as float32 as float16, with the same choice of weights', async () => {
    const model = MODELS['a Sequential model'].make();
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4'});
    const {model: half, report} = await pruneLayersModel(sparse, {pattern: '2:4', dtype: 'float16'});
    const [from, to] = [sparse, half].map(each => (each.layers[0] as NMDense).matrix());
    expect([...await to.indices.data()]).to.deep.equal([...await from.indices.data()]);
    expect(to.dtype).to.equal('float16');
    expect(report.layers[0].keptEnergy).to.be.closeTo(1, 1e-3);
    [model, sparse, half].forEach(disposeModel);
  });

  it('makes a file that is refused when it is damaged', async () => {
    const model = MODELS['a Sequential model'].make();
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4'});
    const artifacts = await artifactsOf(sparse);
    // The words of the last weights saved, which are indices: bits of padding that must be zero.
    const words = new Int32Array(artifacts.weightData as ArrayBuffer);
    words[words.length - 1] = -1;
    const before = tf.memory().numTensors;
    expect(await messageOf(tfl.loadLayersModel(tf.io.fromMemory(artifacts))))
      .to.match(/^NMDense 'head': indices of a 2:4 matrix of shape \[24,10\] have .* corrupt/);
    // tfjs keeps what it had built when loading failed.
    allowLeak(`${tf.memory().numTensors - before} tensors of the model that was not to be`);
    [model, sparse].forEach(disposeModel);
  });

  it('takes 0.13 of the dense bytes at 8:32v32 float16, and 0.54 at 2:4 float32, for 1024×1024', async () => {
    const model = tfl.sequential({layers: [dense({units: 1024, inputShape: [1024]})]});
    const before = await weightBytes(model);
    for (const [options, bound] of [
      [{pattern: '8:32v32', dtype: 'float16'}, 0.13], [{pattern: '2:4'}, 0.54],
    ] as [PruneLayersModelOptions, number][]) {
      const {model: sparse, report} = await pruneLayersModel(model, options);
      const after = await weightBytes(sparse);
      expect(after / before).to.be.at.most(bound);
      expect(report.bytesAfter).to.equal(after);
      expect(report.bytesBefore).to.equal(before);
      sparse.dispose();
    }
    model.dispose();
  });

  it('tells of every layer, and why one stayed dense', async () => {
    const {make} = MODELS['models nested in models, beside layers of other kinds'];
    const model = make();
    const {model: sparse, report} = await pruneLayersModel(model, {pattern: '2:4', exclude: '*inside'});
    const reasons = Object.fromEntries(report.layers.map(({name, reason}) => [name, reason]));
    expect(reasons).to.deep.include({
      'x': 'InputLayer: only Dense layers are converted',
      'conv': 'Conv1D: only Dense layers are converted',
      'wrapper/block/inside': 'excluded by the option exclude',
      'wrapper/block/norm': 'LayerNormalization: only Dense layers are converted',
      'encoder/out': undefined,
    });
    const head = report.layers.find(({name}) => name === 'encoder/out');
    expect(head).to.deep.include({className: 'Dense', converted: true, shape: [96, 4], pattern: '2:4'});
    expect(head?.keptEnergy).to.be.within(0.7, 1);
    [model, sparse].forEach(disposeModel);
  });

  it('gives each layer the pattern that its name asks for', async () => {
    const model = MODELS['models nested in models, beside layers of other kinds'].make();
    const {model: sparse, report} = await pruneLayersModel(model, {
      perLayer: {'*/inside': '4:8v4', 'encoder/*': 'dense'}, pattern: '2:4', include: 'conv',
    });
    const patterns = Object.fromEntries(report.layers.map(({name, pattern, reason}) => [name, pattern ?? reason]));
    expect(patterns['wrapper/block/inside']).to.equal('4:8v4');
    expect(patterns['encoder/out']).to.equal("perLayer['encoder/*'] says dense");
    [model, sparse].forEach(disposeModel);
  });

  it('leaves a layer dense that would grow, or that holds no numbers, and says so', async () => {
    const model = tfl.sequential({layers: [
      dense({units: 3, inputShape: [3], name: 'tiny'}),
      dense({units: 8, name: 'broken', kernelInitializer: tfl.initializers.constant({value: NaN})}),
    ]});
    const {model: sparse, report} = await pruneLayersModel(model, {pattern: '7:8'});
    expect(report.layers.map(({converted}) => converted)).to.deep.equal([false, false]);
    expect(report.layers[0].reason).to.match(/^7:8 would take 48 bytes, dense takes 36$/);
    expect(report.layers[1].reason).to.match(/NaN/);
    [model, sparse].forEach(disposeModel);
  });

  it('keeps a frozen model frozen', async () => {
    const model = MODELS['models nested in models, beside layers of other kinds'].make();
    (model.getLayer('wrapper') as tfl.LayersModel).trainable = false;
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4'});
    expect(sparse.trainableWeights).to.have.lengthOf(model.trainableWeights.length);
    [model, sparse].forEach(disposeModel);
  });

  it('reports progress that rises to 1', async () => {
    const model = MODELS['a Sequential model'].make();
    const fractions: number[] = [];
    const {model: sparse} = await pruneLayersModel(
      model, {pattern: '2:4', onProgress: ({fraction}) => fractions.push(fraction)});
    expect(fractions).to.deep.equal([...fractions].sort((a, b) => a - b));
    expect(fractions[0]).to.equal(0);
    expect(fractions[fractions.length - 1]).to.equal(1);
    [model, sparse].forEach(disposeModel);
  });

  it('stops when the callback throws, and leaves nothing behind', async () => {
    const model = MODELS['a Sequential model'].make();
    const cancel = ({fraction}: {fraction: number}) => {
      if (fraction >= 0.5) {
        throw new Error('cancelled');
      }
    };
    expect(await messageOf(pruneLayersModel(model, {pattern: '2:4', onProgress: cancel}))).to.equal('cancelled');
    disposeModel(model);
  });

  it('changes no weight that it does not prune, not even by a constraint that tfjs would apply', async () => {
    const model = tfl.sequential({layers: [
      dense({units: 6, inputShape: [4], name: 'kept', kernelConstraint: 'nonNeg', biasConstraint: 'nonNeg'}),
      dense({units: 8, name: 'sparse', kernelConstraint: 'minMaxNorm', biasConstraint: 'unitNorm'}),
    ]});
    const weights = model.weights.map(weight => {
      const value = tf.randomNormal(weight.shape as number[], 0, 9, 'float32', seed);
      assignWeight(weight, value);
      return value;
    });
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4', exclude: 'kept'});
    const [kept, layer] = sparse.layers as [tfl.layers.Layer, NMDense];
    const sameValues = async (a: tf.Tensor, b: tf.Tensor) =>
      expect([...await a.data()]).to.deep.equal([...await b.data()]);
    await sameValues(kept.weights[0].read(), weights[0]);
    await sameValues(kept.weights[1].read(), weights[1]);
    await sameValues(layer.bias!.read(), weights[3]);
    const matrix = await compress(weights[2] as tf.Tensor2D, {pattern: '2:4'});
    await sameValues(layer.matrix().values, matrix.values);
    const again = await reloaded(sparse);
    await sameValues((again.layers[1] as NMDense).matrix().values, matrix.values);
    allowLeak('tfjs keeps the tensor that a constraint makes of a weight that is loaded');
    tf.dispose([...weights, matrix.values, matrix.indices]);
    [model, sparse, again].forEach(disposeModel);
  });

  it('reads all weights at one moment, however they change meanwhile', async () => {
    const model = tfl.sequential({layers: [
      dense({units: 8, inputShape: [8], name: 'first'}), tfl.layers.layerNormalization({name: 'norm'}),
      dense({units: 8, name: 'second'}),
    ]});
    const x = tf.randomNormal([2, 8], 0, 1, 'float32', seed);
    const {model: before} = await pruneLayersModel(model, {pattern: '2:4'});
    const [expected] = await predicted(before, x);
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4', onProgress: () => {
      tf.tidy(() => model.setWeights(model.getWeights().map(weight => tf.add(weight, 1))));
    }});
    const [got] = await predicted(sparse, x);
    expect([...got]).to.deep.equal([...expected]);
    x.dispose();
    [model, before, sparse].forEach(disposeModel);
  });

  it('keeps the weights that masks keep', async () => {
    const model = MODELS['models nested in models, beside layers of other kinds'].make();
    const lastTwoOfFour = Array.from({length: 12 * 16}, (_, i) => Math.floor(i / 16) % 4 > 1 ? 1 : 0);
    const mask = tf.tensor2d(lastTwoOfFour, [12, 16]);
    const kernel = model.weights.find(({originalName}) => originalName === 'inside/kernel')!.read();
    const expected = tf.mul(kernel, mask);
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4', masks: {'wrapper/block/inside': mask}});
    mask.dispose();
    const [block] = (sparse.getLayer('wrapper') as unknown as tfl.LayersModel).layers as unknown as [tfl.LayersModel];
    const got = decompress((block.layers[0] as NMDense).matrix());
    const withoutMinusZero = async (tensor: tf.Tensor) => Array.from(await tensor.data(), value => value + 0);
    expect(await withoutMinusZero(got)).to.deep.equal(await withoutMinusZero(expected));
    tf.dispose([got, expected]);
    [model, sparse].forEach(disposeModel);
  });

  it('lets no layer grow: a sparse layer keeps its storage, a pattern that saves nothing is not used', async () => {
    const model = tfl.sequential({layers: [dense({units: 32, inputShape: [32], name: 'only'})]});
    const {model: half, report: first} = await pruneLayersModel(model, {pattern: '2:4', dtype: 'float16'});
    const convert = async (options: PruneLayersModelOptions) => {
      const {model: again, report} = await pruneLayersModel(half, options);
      const {dtype, pattern} = (again.layers[0] as NMDense).matrix();
      disposeModel(again);
      return {...report.layers[0], dtype, n: pattern.n};
    };
    const [{bytesAfter}] = first.layers;
    expect(await convert({pattern: '2:4'})).to.include({converted: false, dtype: 'float16', bytesAfter,
      reason: 'the layer is 2:4 stored as float16 already'});
    expect(await convert({pattern: '1:4'})).to.include({converted: true, dtype: 'float16', n: 1});
    expect(await convert({pattern: '3:4'})).to.include({converted: false, dtype: 'float16', n: 2,
      reason: '3:4 would take 1792 bytes, 2:4 stored as float16 takes 1152'});
    // To train it, it has to be float32: that is asked for by name.
    expect(await convert({pattern: '2:4', dtype: 'float32'})).to.include({converted: true, dtype: 'float32',
      reason: "grows from 1152 to 2176 bytes, because dtype 'float32', which can be trained, was asked for"});
    [model, half].forEach(disposeModel);
  });

  it('leaves alone a custom layer that keeps layers of its own', async () => {
    class Residual extends tfl.layers.Layer {
      static readonly className = 'Residual';
      readonly layers = [dense({units: 8, inputShape: [8], name: 'inside'})];
      override call(inputs: tf.Tensor[]): tf.Tensor {
        return tf.tidy(() => tf.mul(inputs[0], 2));
      }
    }
    tf.serialization.registerClass(Residual as never);
    const first = dense({units: 8, inputShape: [8], name: 'first'});
    const model = tfl.sequential({layers: [first, new Residual({name: 'own'})]});
    const {model: sparse, report} = await pruneLayersModel(model, {pattern: '2:4'});
    expect(report.layers.map(({converted}) => converted)).to.deep.equal([true, false]);
    [model, sparse].forEach(disposeModel);
  });

  it('refuses options that give one shared layer two patterns', async () => {
    const shared = dense({units: 8, inputShape: [8], name: 'shared'});
    const [a, b] = ['a', 'b'].map(name => tfl.sequential({name, layers: [shared]}));
    const x = tfl.input({shape: [8]});
    const model = tfl.model({inputs: x, outputs: b.apply(a.apply(x)) as tfl.SymbolicTensor});
    expect(await messageOf(pruneLayersModel(model, {pattern: '2:4', exclude: 'a/*'})))
      .to.match(/^pruneLayersModel: 'a\/shared' and 'b\/shared' are the same shared layer, but the options give /);
    const {model: sparse} = await pruneLayersModel(model, {pattern: '2:4'});
    disposeModel(sparse);
    allowLeak('tfjs cannot dispose a model in which two others share a layer: it disposes it twice, and throws');
  });

  describe('refuses', () => {
    const model = () => tfl.sequential({layers: [dense({units: 8, inputShape: [8], name: 'only'})]});
    const wrong: [string, unknown, RegExp][] = [
      ['no options', undefined, /^pruneLayersModel: options is undefined; give an object such as \{pattern: /],
      ['no pattern', {}, /^pruneLayersModel: pattern is missing; give one, e\.g\. '2:4' or '8:32v32', or perLayer\.$/],
      ['a pattern that is none', {pattern: '2-4'}, /^pruneLayersModel: option pattern: pattern '2-4' is not an N:M/],
      ['a perLayer pattern that is none', {perLayer: {'a*': '5:4'}}, /^pruneLayersModel: perLayer\['a\*'\]: .*N=5 of/],
      ['perLayer as a list', {perLayer: ['2:4']}, /^pruneLayersModel: perLayer is an array of 1; give an object/],
      ['an unknown criterion', {pattern: '2:4', criterion: 'luck'}, /^pruneLayersModel: criterion is 'luck'; give /],
      ['an unknown dtype', {pattern: '2:4', dtype: 'int8'}, /^pruneLayersModel: dtype is 'int8'; give 'float32' or/],
      ['an empty include', {pattern: '2:4', include: []}, /^pruneLayersModel: include is an array of 0; give a glob/],
      ['an exclude that is no glob', {pattern: '2:4', exclude: 7}, /^pruneLayersModel: exclude is 7; give a glob/],
      ['an include that matches no layer', {pattern: '2:4', include: ['only', 'haed']},
        /^pruneLayersModel: include has the glob 'haed', which matches no layer; the layers are only\.$/],
      ['masks that are still to come', {pattern: '2:4', masks: Promise.resolve({})},
        /^pruneLayersModel: masks is a Promise \(forgotten await\?\); give an object/],
      ['perLayer as a Map', {pattern: '2:4', perLayer: new Map([['only', 'dense']])},
        /^pruneLayersModel: perLayer is an object with no keys; give an object/],
      ['masks that are no object', {pattern: '2:4', masks: 7}, /^pruneLayersModel: masks is 7; give an object/],
      ['a mask of no layer', {pattern: '2:4', masks: {haed: null}},
        /^pruneLayersModel: masks\['haed'\] names no layer; the layers are only\.$/],
      ['a mask that is no tensor', {pattern: '2:4', masks: {only: 1}},
        /^pruneLayersModel: masks\['only'\] is 1; give a bool, int32 or float32 tensor .*, \[8,8\]\.$/],
      ['a mask of a layer that stays dense', {pattern: '2:4', exclude: 'only', masks: {only: 1}},
        /^pruneLayersModel: masks\['only'\] is for a layer that stays as it is: excluded by/],
      ['an exclude that matches no layer', {pattern: '2:4', exclude: 'haed'},
        /^pruneLayersModel: exclude has the glob 'haed', which matches no layer; the layers are only\.$/],
      ['progress that is no function', {pattern: '2:4', onProgress: true}, /^pruneLayersModel: onProgress is true; /],
      ['a misspelt option', {pattern: '2:4', excludes: 'a'}, /^pruneLayersModel: there is no option 'excludes'; /],
    ];
    for (const [what, options, message] of wrong) {
      it(what, async () => {
        const given = model();
        expect(await messageOf(pruneLayersModel(given, options as PruneLayersModelOptions))).to.match(message);
        given.dispose();
      });
    }

    it('what is no model', async () => {
      const disposed = model();
      disposed.dispose();
      const graphModel = {predict: () => undefined, executeAsync: () => undefined};
      const wrong: [unknown, string][] = [
        [{}, 'is an object with no keys; give a tf.LayersModel'],
        [undefined, 'is undefined; give a tf.LayersModel'],
        [Promise.resolve(disposed), 'is a Promise (forgotten await?); give a tf.LayersModel'],
        [graphModel, 'is a tf.GraphModel; call pruneGraphModel.'],
        [disposed, "is disposed: layer 'only' has no weights any more; load the model again."],
        [tfl.sequential({name: 'empty'}), "'empty' has no layers; add some, the first of them with an inputShape."],
      ];
      for (const [given, why] of wrong) {
        expect(await messageOf(pruneLayersModel(given as tfl.LayersModel, {pattern: '2:4'})))
          .to.include(`pruneLayersModel: model ${why}`);
      }
    });
  });
});

/** The message a promise is rejected with; a fulfilled one fails the test. */
async function messageOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}
