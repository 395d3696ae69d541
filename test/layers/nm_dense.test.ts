/**
 * NMDense beside tf.layers.dense with the same weights, dropped ones as zeros: whatever Dense can do in a model,
 * NMDense has to do alike. Then what is its own: the two storages, setMatrix, and that training leaves dropped weights
 * 0.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {
  decompress, layers, NMDense, type NMDenseArgs, type NMSparseMatrix, type StorageDtype,
} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {disposeModel} from '../support/models.js';
import {mulberry32, seed} from '../support/random.js';
import {drawMatrix, randomValues, toSparseMatrix} from '../support/reference.js';

const [ROWS, K, UNITS] = [18, 12, 8];
const PATTERN = '2:4v4';
const X = randomValues(ROWS * K, mulberry32(seed));
const BIAS = randomValues(UNITS, mulberry32(seed + 1));

type DenseArgs = Parameters<typeof tfl.layers.dense>[0];

function drawn(storage: StorageDtype = 'float32', pattern = PATTERN): NMSparseMatrix {
  return toSparseMatrix(drawMatrix([K, UNITS], pattern, storage, mulberry32(seed + 2)));
}

/** Runs `use` with a tensor x, and disposes it and all else that `use` names. */
async function using<T>(make: () => T, dispose: (made: T) => void, use: (made: T) => Promise<void>): Promise<void> {
  const made = make();
  try {
    await use(made);
  } finally {
    dispose(made);
  }
}

/** A model of one NMDense layer with drawn weights. */
function oneLayerModel(args: Partial<NMDenseArgs> = {}, inputShape: Array<number | null> = [K]): tfl.Sequential {
  const model = tfl.sequential();
  const layer = layers.nmDense({units: UNITS, pattern: PATTERN, inputShape, ...args});
  model.add(layer);
  const matrix = drawn(args.storage);
  const bias = args.useBias === false ? undefined : tf.tensor1d(BIAS);
  layer.setMatrix(matrix, bias);
  matrix.dispose();
  bias?.dispose();
  return model;
}

function layerOf(model: tfl.LayersModel): NMDense {
  return model.layers[model.layers.length - 1] as unknown as NMDense;
}

const withModel = (args: Partial<NMDenseArgs>, use: (model: tfl.Sequential) => Promise<void>) =>
  using(() => oneLayerModel(args), model => model.dispose(), use);

async function predict(model: tfl.LayersModel, shape = [ROWS, K], values = X): Promise<Float32Array> {
  const x = tf.tensor(values, shape);
  const y = model.predict(x) as tf.Tensor;
  const data = await y.data() as Float32Array;
  tf.dispose([x, y]);
  return data;
}

async function weightsOf(layer: NMDense): Promise<Float32Array> {
  const dense = decompress(layer.matrix());
  const data = await dense.data() as Float32Array;
  dense.dispose();
  return data;
}

/** The same model with Dense, its kernel decompressed. */
function denseModel(model: tfl.LayersModel, args: Partial<DenseArgs> = {}): tfl.Sequential {
  const dense = tfl.sequential();
  const layer = layerOf(model);
  dense.add(tfl.layers.dense({units: UNITS, inputShape: model.inputs[0].shape.slice(1), ...args}));
  tf.tidy(() => dense.layers[0].setWeights(
    [decompress(layer.matrix()), ...(args.useBias === false ? [] : [tf.tensor1d(BIAS)])]));
  return dense;
}

function expectAlike(got: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(got).to.have.length(expected.length);
  for (let i = 0; i < got.length; ++i) {
    expect(got[i], `element ${i}`).to.be.closeTo(expected[i], 3e-5 * Math.max(1, Math.abs(expected[i])));
  }
}

/** Compares with Dense. */
async function checkAlike(
    args: Partial<DenseArgs>, inputShape: Array<number | null> = [K], shape = [ROWS, K]): Promise<void> {
  await using(() => oneLayerModel(args as Partial<NMDenseArgs>, inputShape), model => model.dispose(), model =>
    using(() => denseModel(model, args), dense => dense.dispose(), async dense => {
      expect(model.outputs[0].shape).to.deep.equal(dense.outputs[0].shape);
      expectAlike(await predict(model, shape), await predict(dense, shape));
    }));
}

describe('NMDense does as Dense does', () => {
  const ACTIVATIONS: Array<DenseArgs['activation']> = [
    'linear', 'relu', 'relu6', 'elu', 'sigmoid', 'tanh', 'gelu', 'gelu_new', // fused
    'softmax', 'hardSigmoid', 'selu', 'softplus', 'softsign', 'swish', 'mish',
  ];
  for (const activation of ACTIVATIONS) {
    it(`with activation ${activation}`, () => checkAlike({activation}));
  }

  it('without an activation', () => checkAlike({}));
  it('without a bias', () => checkAlike({useBias: false, activation: 'relu'}));
  it('on an input of rank 3', () => checkAlike({activation: 'tanh'}, [9, K], [2, 9, K]));
  it('on an input of rank 3 with softmax over the last axis', () =>
    checkAlike({activation: 'softmax'}, [null, K], [2, 9, K]));

  it('inside TimeDistributed', async () => {
    const model = tfl.sequential();
    const inner = layers.nmDense({units: UNITS, pattern: PATTERN, activation: 'relu'});
    model.add(tfl.layers.timeDistributed({layer: inner, inputShape: [9, K]}));
    const matrix = drawn();
    const bias = tf.tensor1d(BIAS);
    inner.setMatrix(matrix, bias);
    bias.dispose();
    const flat = oneLayerModel({activation: 'relu'});
    expectAlike(await predict(model, [2, 9, K]), await predict(flat));
    matrix.dispose();
    model.dispose();
    flat.dispose();
  });

  it('in passing a mask on', () => {
    const layer = layers.nmDense({units: UNITS, pattern: PATTERN});
    expect(layer.supportsMasking).to.be.true;
    tf.tidy(() => {
      const mask = tf.ones([2, 9], 'bool');
      expect(layer.computeMask(tf.zeros([2, 9, K]), mask)).to.equal(mask);
    });
  });

  it('behind a Masking layer and before one that uses the mask', async function() {
    if (backendName === 'webgpu') {
      this.skip(); // tfjs's own transposition of a bool mask does not compile there
    }
    const withMask = (layer: tfl.layers.Layer) => tfl.sequential({layers: [
      tfl.layers.masking({maskValue: 0, inputShape: [9, K]}), layer,
      tfl.layers.simpleRNN({units: 2, recurrentInitializer: 'ones', kernelInitializer: 'ones'}),
    ]});
    const sparse = layers.nmDense({units: UNITS, pattern: PATTERN});
    const dense = tfl.layers.dense({units: UNITS});
    const models = [withMask(sparse), withMask(dense)];
    tf.tidy(() => {
      sparse.setMatrix(drawn(), tf.tensor1d(BIAS));
      dense.setWeights([decompress(sparse.matrix()), tf.tensor1d(BIAS)]);
    });
    const masked = X.map((value, i) => i % (9 * K) < 4 * K ? value : 0);
    const [got, expected] = [await predict(models[0], [2, 9, K], masked), await predict(models[1], [2, 9, K], masked)];
    expectAlike(got, expected);
    models.forEach(model => model.dispose());
  });

  it('in refusing an input of another size, and of rank 1', () => withModel({}, async model => {
    const layer = layerOf(model);
    tf.tidy(() => {
      expect(() => layer.apply(tf.zeros([2, K + 1]))).to.throw(/axis -1 .* value 12/);
      expect(() => layer.apply(tf.zeros([K]))).to.throw(/min_?ndim|minNDim/i);
    });
  }));

  it('in its loss terms', () => withModel({
    kernelRegularizer: tfl.regularizers.l1l2({l1: 0.1, l2: 0.2}), biasRegularizer: 'l1l2',
  }, async model => {
    const sums = async (of: tfl.layers.Layer) => {
      const losses = tf.tidy(() => of.calculateLosses());
      const values = await Promise.all(losses.map(async loss => (await loss.data())[0]));
      tf.dispose(losses);
      return values;
    };
    await using(() => denseModel(model, {
      kernelRegularizer: tfl.regularizers.l1l2({l1: 0.1, l2: 0.2}), biasRegularizer: 'l1l2',
    }), dense => dense.dispose(), async dense => {
      expectAlike(await sums(layerOf(model)), await sums(dense.layers[0]));
    });
  }));

  it('in what it counts and prints', () => withModel({}, async model => {
    const layer = layerOf(model);
    const trainable = 6 * UNITS + UNITS;
    const indices = 2 * 1; // groups × words
    expect(layer.countParams()).to.equal(trainable + indices);
    const lines: string[] = [];
    model.summary(undefined, undefined, line => lines.push(String(line)));
    const text = lines.join('\n');
    expect(text).to.include('NMDense');
    expect(text).to.include(`Trainable params: ${trainable}`);
    expect(text).to.include(`Non-trainable params: ${indices}`);
  }));
});

describe('NMDense in a saved model', () => {
  it('has its config, and is made from it again', () => {
    const layer = layers.nmDense({
      units: UNITS, pattern: {n: 2, m: 4, vectorLength: 4}, storage: 'float16', activation: 'gelu_new', useBias: false,
      kernelInitializer: 'heNormal', kernelConstraint: tfl.constraints.maxNorm({maxValue: 3}), name: 'hidden',
    });
    const config = layer.getConfig();
    expect(config).to.include({units: UNITS, pattern: PATTERN, storage: 'float16', activation: 'gelu_new',
      useBias: false, name: 'hidden'});
    expect(layer.getClassName()).to.equal('NMDense');
    type Class = typeof NMDense & {fromConfig(cls: typeof NMDense, config: tf.serialization.ConfigDict): NMDense};
    const again = (NMDense as Class).fromConfig(NMDense, config);
    expect(again).to.be.instanceOf(NMDense);
    // tfjs leaves a trace in the nested configs that it has read.
    const plain = (of: NMDense) => JSON.stringify(of.getConfig(), (key, value: unknown) =>
      key === 'customObjects' ? undefined : value);
    expect(plain(again)).to.equal(plain(layer));
    expect(again.pattern).to.deep.equal({n: 2, m: 4, vectorLength: 4});
  });

  for (const storage of ['float32', 'float16'] as const) {
    it(`predicts the same to the last bit when loaded again, storage ${storage}`, () =>
      withModel({storage, activation: 'relu'}, async model => {
        const before = await predict(model);
        let artifacts: tf.io.ModelArtifacts | undefined;
        await model.save(tf.io.withSaveHandler(async saved => {
          artifacts = saved;
          return {modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'}};
        }));
        const specs = artifacts!.weightSpecs!.map(({shape, dtype}) => [shape, dtype]);
        expect(specs).to.deep.include([[2, 1], 'int32']);
        expect(specs).to.deep.include(storage === 'float16' ? [[6, 4], 'int32'] : [[6, 8], 'float32']);
        const loaded = await tfl.loadLayersModel(tf.io.fromMemory(artifacts!));
        const after = await predict(loaded);
        expect(layerOf(loaded)).to.be.instanceOf(NMDense);
        expect(layerOf(loaded).storage).to.equal(storage);
        loaded.dispose();
        expect([...after]).to.deep.equal([...before]);
      }));
  }
});

describe('NMDense in training', () => {
  const target = randomValues(ROWS * UNITS, mulberry32(seed + 3));

  /** Fits to random targets; the loss of each epoch. */
  async function fit(model: tfl.LayersModel, epochs = 4): Promise<number[]> {
    const [x, y] = [tf.tensor2d(X, [ROWS, K]), tf.tensor2d(target, [ROWS, UNITS])];
    const optimizer = tf.train.sgd(0.05);
    model.compile({optimizer, loss: 'meanSquaredError'});
    const {history} = await model.fit(x, y, {epochs, batchSize: ROWS, shuffle: false, verbose: 0, yieldEvery: 'never'});
    tf.dispose([x, y]);
    optimizer.dispose();
    return history['loss'] as number[];
  }

  it('learns, and leaves every dropped weight 0', () => withModel({activation: 'tanh'}, async model => {
    const before = await weightsOf(layerOf(model));
    const losses = await fit(model);
    const after = await weightsOf(layerOf(model));
    losses.slice(1).forEach((loss, i) => expect(loss).to.be.below(losses[i]));
    after.forEach((weight, i) => expect(weight !== 0).to.equal(before[i] !== 0));
    expect([...after]).to.not.deep.equal([...before]);
  }));

  it('trains as Dense does, but for what is dropped', () => withModel({}, async model => {
    const kept = await weightsOf(layerOf(model));
    await using(() => denseModel(model), dense => dense.dispose(), async dense => {
      await fit(model, 1);
      await fit(dense, 1);
      const expected = await dense.layers[0].getWeights()[0].data();
      expectAlike(await weightsOf(layerOf(model)), expected.map((weight, i) => kept[i] === 0 ? 0 : weight));
    });
  }));

  it('starts from kept rows spread over all of its inputs, none of them in vain', async () => {
    const model = tfl.sequential();
    model.add(layers.nmDense({units: 64, pattern: '2:8v8', inputShape: [20], kernelInitializer: 'ones'}));
    const weights = await weightsOf(layerOf(model));
    model.dispose();
    for (let col = 0; col < 64; ++col) {
      const rows = Array.from({length: 20}, (_, row) => weights[row * 64 + col]);
      expect([rows.slice(0, 8), rows.slice(8, 16), rows.slice(16)].map(window => window.filter(Boolean).length))
        .to.deep.equal([2, 2, 2]);
    }
    for (let row = 0; row < 20; ++row) {
      expect(weights.slice(row * 64, (row + 1) * 64).some(Boolean), `row ${row}`).to.be.true;
    }
  });

  it('saves a constraint of the dense kernel, and does not project the kept values by it', () =>
    withModel({kernelConstraint: 'unitNorm'}, async model => {
      const layer = layerOf(model);
      expect(layer.getConfig().kernelConstraint).to.deep.include({className: 'UnitNorm'});
      const values = tf.fill(layer.weights[0].shape as number[], -3);
      layer.setWeights([values, ...layer.getWeights().slice(1)]);
      values.dispose();
      expect([...new Set(await layer.matrix().values.data())]).to.deep.equal([-3]);
    }));

  it('trains only the bias with storage float16', () => withModel({storage: 'float16'}, async model => {
    const layer = layerOf(model);
    expect(layer.trainableWeights.map(({shape}) => shape)).to.deep.equal([[UNITS]]);
    const before = await weightsOf(layer);
    const losses = await fit(model, 2);
    expect(losses[1]).to.be.below(losses[0]);
    expect([...await weightsOf(layer)]).to.deep.equal([...before]);
  }));

  it('trains nothing where trainable is false', () => withModel({trainable: false}, async model => {
    const layer = layerOf(model);
    expect(layer.trainableWeights).to.deep.equal([]);
    expect(layer.nonTrainableWeights).to.have.length(3);
    layer.trainable = true;
    expect(layer.trainableWeights).to.have.length(2);
  }));
});

describe('NMDense and its tensors', () => {
  it('leaves none behind', async () => {
    const before = tf.memory().numTensors;
    const model = oneLayerModel({activation: 'softmax'});
    await predict(model);
    model.dispose();
    expect(tf.memory().numTensors).to.equal(before);
  });

  it('copies what setMatrix gets', async () => {
    const model = oneLayerModel();
    const matrix = drawn();
    tf.tidy(() => layerOf(model).setMatrix(matrix, tf.zeros([UNITS])));
    const before = await predict(model);
    matrix.dispose();
    expect([...await predict(model)]).to.deep.equal([...before]);
    model.dispose();
  });

  const REFUSED: Array<[string, () => NMSparseMatrix, RegExp]> = [
    ['another pattern, though all shapes are the same', () => drawn('float32', '1:2v4'),
      /got a 1:2v4 .* takes a 2:4v4/],
    ['another storage', () => drawn('float16'), /as float16; .* as float32/],
    ['another shape', () => toSparseMatrix(drawMatrix([K, 2 * UNITS], PATTERN, 'float32', mulberry32(seed))),
      /\[12,16\].*\[12,8\]/],
  ];
  for (const [what, make, message] of REFUSED) {
    it(`refuses a matrix of ${what}`, () => withModel({}, model => using(make, matrix => matrix.dispose(),
      async matrix => {
        const bias = tf.tensor1d(BIAS);
        expect(() => layerOf(model).setMatrix(matrix, bias)).to.throw(message);
        bias.dispose();
      })));
  }

  it('has no matrix before it is built', () => {
    expect(() => layers.nmDense({units: 4, pattern: PATTERN, name: 'early'}).matrix())
      .to.throw("NMDense 'early': the layer is not built yet");
  });

  it('refuses a pattern or a storage that is none', () => {
    expect(() => layers.nmDense(undefined as unknown as Parameters<typeof layers.nmDense>[0]))
      .to.throw("nmDense: options is undefined; give an object such as {units: 64, pattern: '2:4'}.");
    expect(() => layers.nmDense({units: 4, pattern: '5:4'})).to.throw("pattern '5:4' keeps N=5 of M=4");
    const open = layers.nmDense({units: 4, pattern: '2:4', inputShape: [null], name: 'open'});
    expect(() => tfl.sequential({layers: [open]})).to.throw(
      "NMDense 'open': the input has shape [null,null]; its last dimension must be known.");
    expect(() => layers.nmDense({units: 4, pattern: PATTERN, storage: 'int8' as StorageDtype}))
      .to.throw("nmDense: storage is 'int8'; give 'float32' or 'float16'.");
  });

  it('takes dtype and storage for one thing, and refuses others by name', () => {
    const {nmDense} = layers;
    const made = (args: object) => nmDense({units: 4, pattern: PATTERN, ...args}).storage;
    expect([{}, {dtype: 'float16'}, {storage: 'float16'}, {dtype: 'float32'}, {dtype: 'float16', storage: 'float16'}]
      .map(made)).to.deep.equal(['float32', 'float16', 'float16', 'float32', 'float16']);
    expect(new NMDense({units: 4, pattern: PATTERN, dtype: 'float16'}).storage).to.equal('float16');
    const refused: Array<[object, string]> = [
      [{dtype: 'int32'}, "nmDense: dtype is 'int32'; give 'float32' or 'float16'."],
      [{dtype: 'float32', storage: 'float16'},
        "nmDense: dtype is 'float32', but storage is 'float16'; give dtype alone."],
      [{unit: 3}, "nmDense: there is no option 'unit'; the options are pattern, dtype, storage, units,"],
      [{vectorLength: 32}, "nmDense: there is no option 'vectorLength'; the options are"],
    ];
    refused.forEach(([args, message]) => expect(() => made(args)).to.throw(message));
  });

  it('takes every argument of a layer and of Dense', () => {
    const args: DenseArgs = {
      units: 4, activation: 'relu', useBias: true, kernelInitializer: 'ones', biasInitializer: 'ones', inputDim: K,
      kernelConstraint: 'nonNeg', biasConstraint: 'nonNeg', kernelRegularizer: 'l1l2', biasRegularizer: 'l1l2',
      inputShape: [K], batchSize: 2, inputDType: 'float32', name: 'all', trainable: false, weights: undefined,
    };
    const own = layers.nmDense({...args, pattern: PATTERN} as NMDenseArgs).getConfig();
    const {pattern, storage, ...others} = own;
    expect([pattern, storage]).to.deep.equal([PATTERN, 'float32']);
    expect(others).to.deep.equal(tfl.layers.dense(args).getConfig());
  });

  it('is made of a saved configuration with the dtype of its input and fields of other versions', () => {
    const config = {...layers.nmDense({units: 4, pattern: PATTERN, storage: 'float16'}).getConfig(),
      dtype: 'float32', batchInputShape: [null, K], later: 7};
    const layer = new NMDense(config as unknown as NMDenseArgs);
    expect(layer.storage).to.equal('float16');
    expect(layer.getConfig().dtype).to.equal('float32');
  });
});

describe('NMDense stored as float16', () => {
  /** What console.warn gets while `run` runs. */
  async function warnings(run: () => Promise<void>): Promise<string[]> {
    const said: string[] = [];
    const {warn} = console;
    console.warn = (...args: unknown[]) => said.push(args.map(String).join(' '));
    try {
      await run();
    } finally {
      console.warn = warn;
    }
    return said.filter(line => line.startsWith('NMDense'));
  }

  /** Two models of two such layers each, fitted twice. */
  async function fitTwice(args: Partial<NMDenseArgs>): Promise<string[]> {
    const models = ['first', 'second'].map(name => tfl.sequential({layers: [
      layers.nmDense({units: 4, pattern: PATTERN, inputShape: [K], name: `${name}_a`, ...args}),
      tfl.sequential({layers: [layers.nmDense({units: 2, pattern: PATTERN, inputShape: [4], ...args})]}),
      tfl.layers.dense({units: 2}),
    ]}));
    const [x, y] = [tf.ones([3, K]), tf.ones([3, 2])];
    const said = await warnings(async () => {
      for (const model of models) {
        const optimizer = tf.train.sgd(0.01);
        model.compile({optimizer, loss: 'meanSquaredError'});
        tf.dispose(model.predict(x));
        await model.fit(x, y, {epochs: 2, verbose: 0});
        await model.fit(x, y, {epochs: 1, verbose: 0});
        optimizer.dispose();
      }
    });
    tf.dispose([x, y]);
    models.forEach(disposeModel);
    return said;
  }

  it('warns once for a model that fit does not train it, and says what does', async () => {
    const said = await fitTwice({dtype: 'float16'});
    expect(said).to.have.lengthOf(2);
    expect(said[0]).to.equal("NMDense 'first_a': values stored as float16 are not trained, in this layer and all " +
        "like it. To train them, convert with pruneLayersModel(model, {pattern, dtype: 'float32'}), train, and " +
        "convert back with dtype 'float16'.");
    expect(said[1]).to.match(/^NMDense 'second_a'/);
  });

  it('warns of nothing where it is frozen, or stored as float32', async () => {
    expect(await fitTwice({dtype: 'float16', trainable: false})).to.deep.equal([]);
    expect(await fitTwice({})).to.deep.equal([]);
  });
});
