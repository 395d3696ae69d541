/** captureModel() on models of many kinds: each captured predict gives what model.predict gives, bit for bit. */
import * as tf from '@tensorflow/tfjs-core';
import {layers, model as functional, sequential, type LayersModel, type SymbolicTensor} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {captureModel, pruneGraphModel} from '../../src/index.js';
import {disposeModel} from '../support/models.js';
import {prunedModel} from '../tuning/support.js';
import {
  contents, expectSame, graphModel, placeholder, samples, uploaded, webgpu, type Inputs,
} from './capture_support.js';

const uniform = {kernelInitializer: 'glorotUniform', biasInitializer: 'glorotUniform'} as const;
const bias = {biasInitializer: 'randomUniform'} as const;

function convolutional(): LayersModel {
  return sequential({layers: [
    layers.conv2d({filters: 6, kernelSize: 3, inputShape: [12, 12, 3], activation: 'relu', ...bias}),
    layers.batchNormalization({movingMeanInitializer: 'randomUniform', gammaInitializer: 'randomUniform'}),
    layers.maxPooling2d({poolSize: 2}),
    layers.depthwiseConv2d({kernelSize: 2, ...bias}),
    layers.globalAveragePooling2d({}),
    layers.dense({units: 5, activation: 'softmax', ...bias}),
  ]});
}

function twoInputsTwoOutputs(): LayersModel {
  const [a, b] = [8, 6].map(size => layers.input({shape: [size]}) as SymbolicTensor);
  const hidden = layers.concatenate().apply([
    layers.dense({units: 7, activation: 'tanh', ...bias}).apply(a), b] as SymbolicTensor[]);
  const sum = layers.dense({units: 4, ...bias}).apply(hidden) as SymbolicTensor;
  const other = layers.dense({units: 3, activation: 'elu', ...bias}).apply(hidden) as SymbolicTensor;
  return functional({inputs: [a, b], outputs: [sum, other]});
}

describe('captureModel gives what predict gives', function() {
  this.timeout(60_000);

  /** Captures a model, and predicts three other inputs. */
  async function check(model: LayersModel, draw: () => Inputs): Promise<void> {
    const example = draw();
    const captured = await captureModel(model, example, {batchSize: 64});
    tf.dispose(example);
    for (let i = 0; i < 3; ++i) {
      const inputs = draw();
      await expectSame(captured, model, inputs, 64);
      tf.dispose(inputs);
    }
    captured.dispose();
    disposeModel(model);
  }

  it('for dense layers', () => check(sequential({layers: [
    layers.dense({units: 32, inputShape: [20], activation: 'relu', ...bias}),
    layers.dense({units: 24, activation: 'sigmoid', ...bias}),
    layers.dense({units: 10, activation: 'softmax'}),
  ]}), () => samples(5, 20)));

  it('for a converted model', async () => check(await prunedModel(), () => samples(3, 64)));

  it('for a convolution, with batch normalization and pooling', () =>
    check(convolutional(), () => samples(2, 12, 12, 3)));

  it('for two inputs and two outputs', () => check(twoInputsTwoOutputs(), () => [samples(4, 8), samples(4, 6)]));

  it('for an LSTM and a GRU', () => check(sequential({layers: [
    layers.lstm({units: 6, inputShape: [5, 4], returnSequences: true, recurrentInitializer: 'glorotUniform'}),
    layers.gru({units: 3, recurrentInitializer: 'glorotUniform'}),
  ]}), () => samples(2, 5, 4)));

  it('for an embedding of int32 inputs', () => check(sequential({layers: [
    layers.embedding({inputDim: 50, outputDim: 8, inputLength: 6}),
    layers.flatten(),
    layers.dense({units: 3, ...uniform}),
  ]}), () => tf.tidy(() => tf.cast(tf.mul(tf.abs(samples(4, 6)), 49), 'int32'))));

  it('for several batches of a LayersModel', async () => {
    const model = sequential({layers: [layers.dense({units: 4, inputShape: [5], ...bias})]});
    const x = samples(40, 5);
    for (const batchSize of [undefined, 7, 40]) {
      const captured = await captureModel(model, x, {batchSize});
      await expectSame(captured, model, x, batchSize);
      captured.dispose();
    }
    x.dispose();
    disposeModel(model);
  });

  it('without an example', async () => {
    const model = twoInputsTwoOutputs();
    const captured = await captureModel(model, undefined, {batchSize: 2});
    const inputs = [samples(2, 8), samples(2, 6)];
    const {bytes} = captured;
    await expectSame(captured, model, inputs);
    expect(captured.bytes).to.equal(bytes);
    captured.dispose();
    tf.dispose(inputs);
    disposeModel(model);
  });

  /** An object with predict, captured and compared. */
  async function checkOps(predict: (x: tf.Tensor) => unknown, draw: () => tf.Tensor): Promise<void> {
    const model = {predict};
    const example = draw();
    const captured = await captureModel(model, example);
    for (let i = 0; i < 2; ++i) {
      const x = uploaded(draw());
      const copies = (outputs: unknown) =>
        Array.isArray(outputs) ? outputs.map(y => tf.clone(y as tf.Tensor)) : outputs;
      await expectSame(captured, {predict: given => tf.tidy(() => copies(predict(given)) as tf.Tensor)}, x);
      x.dispose();
    }
    captured.dispose();
    example.dispose();
  }

  it('for constants made in predict, and chains that share memory', () => checkOps(x => {
    let y = x;
    for (let i = 0; i < 6; ++i) {
      y = tf.add(tf.mul(y, tf.scalar(0.5 + i)), tf.tensor1d([i, 1, 2]));
      y = tf.sub(tf.square(y), tf.tanh(x));
    }
    return y;
  }, () => samples(7, 3)));

  it('for scatter, gather, topk, cumsum, resize and other ops of several programs', () => checkOps(x => {
    const {values, indices} = tf.topk(x, 3);
    return {
      values, indices,
      scattered: tf.scatterND(tf.tensor2d([[1], [0]], [2, 1], 'int32'), tf.slice(x, [0, 0], [2, 8]), [6, 8]),
      gathered: tf.gather(x, tf.tensor1d([2, 0], 'int32')),
      sums: tf.cumsum(x, 1),
      resized: tf.image.resizeBilinear(tf.reshape(x, [4, 8, 1]) as tf.Tensor3D, [6, 5]),
      normed: tf.softmax(tf.batchNorm(x, tf.zeros([8]), tf.ones([8]))),
      where: tf.where(tf.greater(x, 0), x, tf.zerosLike(x)),
      onehot: tf.oneHot(tf.argMax(x, 1) as tf.Tensor1D, 8),
      product: tf.matMul(x as tf.Tensor2D, x as tf.Tensor2D, false, true),
    };
  }, () => samples(4, 8)));

  it('for outputs that are the input, a weight, a constant, and one tensor twice', async () => {
    const weight = samples(3);
    await checkOps(x => {
      const y = tf.relu(x);
      return [x, weight, tf.scalar(7), y, y, tf.reshape(y, [-1])];
    }, () => samples(2, 3));
    expect((await weight.data()).length).to.equal(3);
    weight.dispose();
  });

  it('for casts that share the buffer of another dtype, as inputs and as outputs', async () => {
    const draw = () => tf.tidy(() => tf.cast(uploaded(tf.tensor1d([5, -3, 2, 0], 'int32')), 'float32'));
    const x = draw();
    expect(webgpu().tensorMap.get(x.dataId).dtype).to.equal('int32'); // else this tests nothing
    x.dispose();
    await checkOps(given => [tf.mul(given, 0.5), tf.cast(tf.cast(given, 'int32'), 'float32'), given], draw);
    const example = draw();
    const captured = await captureModel({predict: (given: tf.Tensor) => tf.mul(given, 0.5)}, example);
    const both = [draw(), tf.tensor1d([1.5, 2.5, -0.5, 4])];
    const results = both.map(each => captured.predict(each) as tf.Tensor);
    expect([...await results[0].data()]).to.deep.equal([2.5, -1.5, 1, 0]);
    expect([...await results[1].data()]).to.deep.equal([0.75, 1.25, -0.25, 2]);
    captured.dispose();
    tf.dispose([example, ...both, ...results]);
  });

  it('for bool and int32 inputs from the CPU and from the GPU', async () => {
    const predict = (x: tf.Tensor) => tf.add(tf.cast(x, 'float32'), 1);
    const values = [0, 1, 1, 0, 1];
    for (const dtype of ['bool', 'int32'] as const) {
      const draw = () => tf.tensor1d(values, dtype);
      const [cpu, gpu] = [draw(), uploaded(draw())];
      const captured = await captureModel({predict}, cpu);
      const results = [cpu, gpu].map(x => captured.predict(x) as tf.Tensor);
      for (const result of results) {
        expect([...await result.data()]).to.deep.equal([1, 2, 2, 1, 2]);
      }
      expect(cpu.isDisposed).to.equal(false);
      captured.dispose();
      tf.dispose([cpu, gpu, ...results]);
    }
  });

  it('for seeded random ops', () => checkOps(x => [
    tf.add(x, tf.randomNormal([3], 0, 1, 'float32', 5)), tf.dropout(x, 0.5, undefined, 9),
  ], () => samples(2, 3)));
});

describe('captureModel of a graph model', function() {
  this.timeout(60_000);

  it('gives what predict gives, with inputs by name and outputs by name', async () => {
    const weights = {w: samples(6, 4), b: samples(4), shape: tf.tensor1d([-1, 2], 'int32')};
    const model = await graphModel([
      placeholder('x', -1, 6), placeholder('z', -1, 4),
      {name: 'product', op: 'MatMul', input: ['x', 'w']},
      {name: 'sum', op: 'BiasAdd', input: ['product', 'b']},
      {name: 'relu', op: 'Relu', input: ['sum']},
      {name: 'y', op: 'Mul', input: ['relu', 'z']},
      {name: 'pairs', op: 'Reshape', input: ['y', 'shape']}, // reads its shape on the CPU
    ], weights, ['pairs', 'relu']);
    const draw = () => ({z: samples(3, 4), x: samples(3, 6)});
    const example = draw();
    const captured = await captureModel(model, example);
    for (const inputs of [draw(), draw()]) {
      await expectSame(captured, model, inputs);
      await expectSame(captured, model, [inputs.x, inputs.z]);
      tf.dispose(inputs);
    }
    captured.dispose();
    model.dispose();
    tf.dispose([weights, example]);
  });

  it('repeats shapes that the graph computes on the CPU', async () => {
    const forward = tf.env().getBool('WEBGPU_CPU_FORWARD');
    tf.env().set('WEBGPU_CPU_FORWARD', true); // else tfjs cannot read the shape
    try {
      const weights = {factors: tf.tensor1d([2, -1], 'int32'), axis: tf.scalar(0, 'int32')};
      const model = await graphModel([
        placeholder('x', -1, 6),
        {name: 'size', op: 'Shape', input: ['x']},
        {name: 'shape', op: 'Mul', input: ['size', 'factors']},
        {name: 'abs', op: 'Abs', input: ['shape']},
        {name: 'twice', op: 'ConcatV2', input: ['x', 'x', 'axis'], attr: {N: {i: 2}}},
        {name: 'y', op: 'Reshape', input: ['twice', 'abs']},
      ], weights, ['y']);
      const example = uploaded(samples(3, 6));
      const captured = await captureModel(model, example);
      for (const rows of [3, 5]) {
        const x = uploaded(samples(rows, 6));
        await expectSame(captured, model, x);
        x.dispose();
      }
      captured.dispose();
      model.dispose();
      tf.dispose([weights, example]);
    } finally {
      tf.env().set('WEBGPU_CPU_FORWARD', forward);
    }
  });

  it('for a converted graph model', async () => {
    const random = (...shape: number[]) => tf.randomNormal(shape, 0, 1, 'float32', 3);
    const ones = {list: {i: [1, 1, 1, 1]}};
    const attr = {strides: ones, dilations: ones, padding: {s: btoa('SAME')}};
    const weights = {w: random(3, 3, 16, 32), v: random(1, 1, 32, 48), u: random(48, 64)};
    const model = await graphModel([
      placeholder('x', 1, 6, 5, 16), {name: 'p', op: 'Conv2D', input: ['x', 'w'], attr},
      {name: 'q', op: 'Relu', input: ['p']}, {name: 'r', op: 'Conv2D', input: ['q', 'v'], attr},
      {name: 'y', op: 'BatchMatMulV2', input: ['r', 'u']},
    ], weights, ['y']);
    tf.dispose(weights);
    const {model: sparse, report} = await pruneGraphModel(model, {pattern: '2:8v8', include: '*'});
    expect(report.layers.map(({converted}) => converted)).to.deep.equal([true, true, true]);
    const x = uploaded(random(1, 6, 5, 16));
    const captured = await captureModel(sparse, x);
    for (let i = 0; i < 2; ++i) {
      const [y, expected] = [captured.predict(x) as tf.Tensor, sparse.predict(x) as tf.Tensor];
      expect(await contents(y)).to.deep.equal(await contents(expected));
      tf.dispose([y, expected]);
    }
    captured.dispose();
    x.dispose();
    sparse.dispose();
    model.dispose();
  });

  it('is refused after its weights are disposed', async () => {
    const weights = {w: samples(6, 4)};
    const model = await graphModel(
      [placeholder('x', -1, 6), {name: 'y', op: 'MatMul', input: ['x', 'w']}], weights, ['y']);
    const x = samples(2, 6);
    const captured = await captureModel(model, x);
    const before = captured.predict(x);
    model.dispose();
    expect(() => captured.predict(x)).to.throw('captureModel: weights of the model are disposed; load the model again');
    expect(await contents(before)).to.have.nested.property('values[0].shape').that.deep.equals([2, 4]);
    captured.dispose();
    tf.dispose([weights, x, before]);
  });
});
