/**
 * nm-prune end to end, as a function: real models of every make, saved, converted, and loaded again by tfjs alone.
 */
import {existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {
  add, div, randomUniform, serialization, tensor2d, tidy, zerosLike, type Tensor, type Tensor2D,
} from '@tensorflow/tfjs-core';
import {input, layers, model as functional, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {run, type RunOptions} from '../../src/cli/prune_model_folder.js';
import {disposeModel} from '../../src/cli/verify.js';
import {compress, decompress, NMDense} from '../../src/index.js';
import {allowLeak} from '../support/backend.js';
import {seed} from '../support/random.js';
import {messageOf} from '../support/errors.js';
import {inFolder, load, predict, readJson, save, snapshot, storedWeights, weightBytes} from './support.js';

function denseModel(): LayersModel {
  return sequential({layers: [
    layers.dense({name: 'first', units: 48, inputShape: [64], activation: 'relu'}),
    layers.batchNormalization({name: 'norm'}),
    layers.dense({name: 'last', units: 10, activation: 'softmax'}),
  ]});
}

function functionalModel(): LayersModel {
  const [left, right] = [input({shape: [32], name: 'left'}), input({shape: [16], name: 'right'})];
  const shared = layers.dense({name: 'shared', units: 24});
  const a = shared.apply(layers.dense({name: 'a', units: 16}).apply(left));
  const b = shared.apply(right);
  const sum = layers.add({name: 'sum'}).apply([a, b] as never);
  return functional({
    inputs: [left, right],
    outputs: [layers.dense({name: 'y', units: 3}).apply(sum), layers.dense({name: 'z', units: 8}).apply(sum)] as never,
  });
}

function nestedModel(): LayersModel {
  const encoder = sequential({name: 'encoder', layers: [
    layers.dense({name: 'wide', units: 64, inputShape: [32], activation: 'tanh'}),
    layers.dense({name: 'narrow', units: 16}),
  ]});
  return sequential({name: 'outer', layers: [encoder, layers.dense({name: 'head', units: 12})]});
}

function textModel(): LayersModel {
  return sequential({layers: [
    layers.embedding({name: 'words', inputDim: 50, outputDim: 32, inputLength: 6}),
    layers.lstm({name: 'memory', units: 8, returnSequences: true, recurrentInitializer: 'glorotUniform'}),
    layers.timeDistributed({name: 'each', layer: layers.dense({name: 'inner', units: 32})}),
    layers.flatten(),
    layers.dense({name: 'out', units: 20}),
  ]});
}

function convModel(): LayersModel {
  return sequential({layers: [
    layers.conv2d({name: 'conv', filters: 4, kernelSize: 3, inputShape: [8, 8, 2]}),
    layers.flatten(),
    layers.dense({name: 'out', units: 20, useBias: false}),
  ]});
}

/** Converts; the verification must have been done, and found nothing. */
async function convert(folder: string, modelJson: string, options: Partial<RunOptions> = {}) {
  const outDir = join(folder, 'out');
  const report = await run({modelJson, outDir, pattern: '2:4', backend: 'cpu', ...options});
  return {report, outJson: join(outDir, 'model.json'), outDir};
}

/** The layers of a model and of the models in it that are NMDense. */
function sparseLayers(model: {layers: layers.Layer[]}): NMDense[] {
  return model.layers.flatMap(layer => layer instanceof NMDense ? [layer] :
    sparseLayers({layers: (layer as layers.Layer & {layers?: layers.Layer[]}).layers ?? []}));
}

async function expectSameValues(a: Tensor, b: Tensor): Promise<void> {
  expect(a.shape).to.deep.equal(b.shape);
  expect(await a.data()).to.deep.equal(await b.data());
}

const MODELS: Array<[name: string, make: () => LayersModel, sparse: string[]]> = [
  ['a sequential model with BatchNormalization', denseModel, ['first', 'last']],
  ['a functional model with two inputs, two outputs and a shared layer', functionalModel, ['a', 'shared', 'y', 'z']],
  ['a model in a model', nestedModel, ['wide', 'narrow', 'head']],
  ['a model with Embedding, LSTM and TimeDistributed', textModel, ['each', 'out']],
  ['a convolutional model whose Dense has no bias', convModel, ['out']],
];

describe('nm-prune converts', () => {
  for (const [name, make, sparse] of MODELS) {
    it(`${name}: kept weights exactly, untouched weights exactly, verified`, () => inFolder(async folder => {
      const inputJson = await save(make(), join(folder, 'in'), {shardBytes: 5000});
      const before = storedWeights(inputJson);
      const untouchedFiles = snapshot(join(folder, 'in'));
      const {report, outJson} = await convert(folder, inputJson);
      expect(report.verification).to.deep.equal({verified: true, maxRelativeDifference: 0, bound: 1e-3});
      expect(snapshot(join(folder, 'in'))).to.deep.equal(untouchedFiles);

      const after = storedWeights(outJson);
      const loaded = await load(outJson);
      const found = sparseLayers(loaded);
      expect(found.map(layer => layer.name)).to.have.members(sparse);
      for (const layer of found) {
        const kernelName = [...before.keys()].find(key => key === `${layer.name}/kernel`)!;
        const [entry, bytes] = before.get(kernelName)!;
        const kernel = tensor2d(new Float32Array(new Uint8Array(bytes).buffer), entry.shape as [number, number]);
        const matrix = await compress(kernel, {pattern: '2:4'});
        const [wanted, got] = [decompress(matrix), decompress(layer.matrix())];
        await expectSameValues(got, wanted);
        matrix.dispose();
        [kernel, wanted, got].forEach(tensor => tensor.dispose());
      }
      disposeModel(loaded);
      for (const [weight, stored] of before) {
        if (!weight.endsWith('/kernel') || !sparse.includes(weight.split('/')[0])) {
          expect(after.get(weight), weight).to.deep.equal(stored);
        }
      }
    }));
  }

  it('so that the new model predicts what the old one does with the dropped weights set to 0', () =>
    inFolder(async folder => {
      const inputJson = await save(nestedModel(), join(folder, 'in'));
      const x = randomUniform([4, 32], -1, 1, 'float32', seed) as Tensor2D;
      const {outJson} = await convert(folder, inputJson);
      const dense = await load(inputJson);
      const sparse = await load(outJson);
      const kernels = sparseLayers(sparse).map(layer => decompress(layer.matrix()));
      const biases = sparseLayers(sparse).map(layer => layer.getWeights()[1]);
      dense.setWeights(kernels.flatMap((kernel, i) => [kernel, biases[i]]));
      const [wanted, got] = [dense.predict(x) as Tensor, sparse.predict(x) as Tensor];
      const [a, b] = [await wanted.data(), await got.data()];
      a.forEach((value, i) => expect(b[i]).to.be.closeTo(value, 1e-5));
      [x, wanted, got, ...kernels].forEach(tensor => tensor.dispose());
      dense.dispose();
      sparse.dispose();
    }));

  it('a model it converted before, from float32 to float16', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const {outJson} = await convert(folder, inputJson, {pattern: '8:32v32'});
    const {outJson: again, report} = await convert(folder, outJson, {
      pattern: '8:32v32', quantizeFloat16: [], outDir: join(folder, 'half'),
    });
    expect(again).to.equal(join(folder, 'out', 'model.json'));
    const half = join(folder, 'half', 'model.json');
    expect(report.layers.filter(({converted}) => converted).every(({keptEnergy}) => keptEnergy! > 0.9999)).to.be.true;
    const [values] = storedWeights(half).get('first/values')!;
    expect(values).to.include({dtype: 'int32'}).and.not.have.property('quantization');
    expect(storedWeights(half).get('first/indices')).to.deep.equal(storedWeights(outJson).get('first/indices'));
    expect(storedWeights(half).get('first/bias')![0]).not.to.have.property('quantization');
  }));

  it('only what include and exclude say, each layer by its own pattern', () => inFolder(async folder => {
    const inputJson = await save(functionalModel(), join(folder, 'in'));
    const {report} = await convert(folder, inputJson, {
      pattern: undefined, perLayer: {'a': '1:4', 'y': 'dense', '*': '2:4'}, exclude: ['z'],
    });
    const patterns = Object.fromEntries(report.layers.filter(({shape}) => shape).map(layer => [layer.name, layer]));
    expect(patterns.a.pattern).to.equal('1:4');
    expect(patterns.shared.pattern).to.equal('2:4');
    expect(patterns.y).to.include({converted: false, reason: "perLayer['y'] says dense"});
    expect(patterns.z.converted).to.be.false;
  }));

  it('weights outside their constraints, which tfjs would project: all stay as they are stored', () =>
    inFolder(async folder => {
      allowLeak('tfjs keeps the tensor that a constraint makes of a weight that is loaded');
      const inputJson = await save(textModel(), join(folder, 'in'));
      const text = readFileSync(inputJson, 'utf8');
      const nonNeg = '_constraint":{"class_name":"NonNeg","config":{}}';
      writeFileSync(inputJson, text.replaceAll('_constraint":null', nonNeg));
      const {outJson, report} = await convert(folder, inputJson, {include: ['out']});
      expect(report.verification).to.include({verified: true, maxRelativeDifference: 0});
      const after = storedWeights(outJson);
      for (const [name, [entry, bytes]] of storedWeights(inputJson)) {
        const values = new Float32Array(new Uint8Array(bytes).buffer);
        expect(values.some(value => value < 0), `${name} is outside`).to.equal(true);
        if (name !== 'out/kernel') {
          expect(after.get(name), name).to.deep.equal([entry, bytes]);
        }
      }
      const kept = new Float32Array(new Uint8Array(after.get('out/values')![1]).buffer);
      expect(kept.some(value => value < 0)).to.equal(true);
    }));

  it('each layer by its own weights, where one is named like a part of another', () => inFolder(async folder => {
    allowLeak('tfjs keeps the tensor that a constraint makes of a weight that is loaded');
    const model = sequential({layers: [
      layers.dense({name: 'block', units: 64, inputShape: [64], kernelConstraint: 'maxNorm'}),
      layers.dense({name: 'block/out', units: 64}),
    ]});
    const inputJson = await save(model, join(folder, 'in'));
    const {outJson} = await convert(folder, inputJson, {include: ['block/out']});
    expect(storedWeights(outJson).get('block/kernel')).to.deep.equal(storedWeights(inputJson).get('block/kernel'));
  }));

  it('what masks keep, where another pruner chose', () => inFolder(async folder => {
    const inputJson = await save(nestedModel(), join(folder, 'in'));
    const lastTwoOfFour = Uint8Array.from({length: 32 * 64}, (_, i) => Math.floor(i / 64) % 4 > 1 ? 1 : 0);
    const masks = join(folder, 'masks.json');
    writeFileSync(join(folder, 'wide.bin'), lastTwoOfFour);
    writeFileSync(masks, JSON.stringify(
      [{paths: ['wide.bin'], weights: [{name: 'encoder/wide', shape: [32, 64], dtype: 'bool'}]}]));
    const {outJson} = await convert(folder, inputJson, {masks});
    const [, dense] = storedWeights(inputJson).get('wide/kernel')!;
    const [, kept] = storedWeights(outJson).get('wide/values')!;
    const rows = Array.from({length: 32}, (_, row) => row).filter(row => row % 4 > 1);
    expect(kept).to.deep.equal(new Uint8Array(Buffer.concat(rows.map(row => dense.slice(row * 256, (row + 1) * 256)))));
    const onto = {masks, overwrite: true, json: masks};
    expect(await messageOf(() => convert(folder, inputJson, onto))).to.match(/^--json .*: that is a file of a model/);
  }));

  it('with progress that goes from 0 to 1', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const fractions: number[] = [];
    await convert(folder, inputJson, {onProgress: ({fraction}) => fractions.push(fraction)});
    expect(fractions[0]).to.equal(0);
    expect(fractions.at(-1)).to.equal(1);
    expect([...fractions].sort((a, b) => a - b)).to.deep.equal(fractions);
  }));
});

describe('the size of what nm-prune writes', () => {
  const big = () => sequential({layers: [layers.dense({name: 'big', units: 1024, inputShape: [1024]})]});
  const DENSE_BYTES = 4 * (1024 * 1024 + 1024);

  it('is at most 0.13 of dense float32 for 8:32v32 in float16', () => inFolder(async folder => {
    const inputJson = await save(big(), join(folder, 'in'));
    const {report, outJson} = await convert(folder, inputJson, {pattern: '8:32v32', quantizeFloat16: ['*']});
    expect(weightBytes(inputJson)).to.equal(DENSE_BYTES);
    expect(weightBytes(outJson)).to.equal(4 * (256 * 512 + 32 * 64) + 2 * 1024);
    expect(weightBytes(outJson) / DENSE_BYTES).to.be.at.most(0.13);
    expect(report.disk.weightsAfter).to.equal(weightBytes(outJson));
  }));

  it('is at most 0.54 of dense float32 for 2:4 in float32', () => inFolder(async folder => {
    const inputJson = await save(big(), join(folder, 'in'));
    const {report, outJson} = await convert(folder, inputJson);
    expect(weightBytes(outJson) / DENSE_BYTES).to.be.at.most(0.54);
    expect(report.memory.bytesAfter).to.equal(weightBytes(outJson));
  }));

  it('is what weight_shard_size_bytes says, for every weight file but the last', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const {outDir, outJson} = await convert(folder, inputJson, {weightShardSizeBytes: 1000});
    const {paths} = readJson(outJson).weightsManifest[0];
    const sizes = paths.map(path => readFileSync(join(outDir, path)).length);
    expect(paths[0]).to.equal(`group1-shard1of${paths.length}.bin`);
    expect(sizes.slice(0, -1).every(size => size === 1000)).to.be.true;
    expect(sizes.at(-1)).to.be.within(1, 1000);
    expect(readdirSync(outDir)).to.have.members(['model.json', ...paths]);
  }));
});

describe('weights that the input stores quantized', () => {
  for (const dtype of ['uint8', 'uint16', 'float16'] as const) {
    it(`stay ${dtype}: untouched ones byte for byte, kept ones in the same quantization`, () =>
      inFolder(async folder => {
        const inputJson = await save(denseModel(), join(folder, 'in'), {
          quantize: () => dtype, shardBytes: 1001, groupSize: 3,
        });
        const before = storedWeights(inputJson);
        const {outJson, report} = await convert(folder, inputJson);
        const after = storedWeights(outJson);
        for (const name of ['first/bias', 'norm/gamma', 'norm/moving_variance', 'last/bias']) {
          expect(after.get(name), name).to.deep.equal(before.get(name));
        }
        for (const name of ['first', 'last']) {
          const [values] = after.get(`${name}/values`)!;
          expect(values.quantization).to.deep.equal(before.get(`${name}/kernel`)![0].quantization);
        }
        expect(report.disk.weightsAfter).to.be.below(report.disk.weightsBefore);

        const [dense, sparse] = [await load(inputJson), await load(outJson)];
        const matrix = await compress(dense.getWeights()[0] as Tensor2D, {pattern: '2:4'});
        const [wanted, got] = [decompress(matrix), decompress(sparseLayers(sparse)[0].matrix())];
        await expectSameValues(got, wanted);
        [wanted, got, matrix, dense, sparse].forEach(thing => thing.dispose());
      }));
  }

  it('stay as they are under --quantize_float16 too, and float32 ones become float16', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'), {
      quantize: ({name}) => name.startsWith('norm/') ? 'uint8' : undefined,
    });
    const {outJson, report} = await convert(folder, inputJson, {quantizeFloat16: ['*'], pattern: '8:32v32'});
    const after = storedWeights(outJson);
    expect(after.get('norm/gamma')).to.deep.equal(storedWeights(inputJson).get('norm/gamma'));
    expect(after.get('first/bias')![0].quantization).to.deep.equal({dtype: 'float16'});
    expect(after.get('first/values')![0]).to.include({dtype: 'int32'}).and.not.have.property('quantization');
    expect(after.get('first/indices')![0]).to.include({dtype: 'int32'}).and.not.have.property('quantization');
    expect(report.verification).to.include({verified: true, bound: 1e-2});
  }));

  for (const quantizeFloat16 of [undefined, ['*']]) {
    const how = quantizeFloat16 ? ' under --quantize_float16' : '';
    it(`never grow${how}: values stay uint8, and a pattern that saves nothing is not used`, () =>
      inFolder(async folder => {
        const big = sequential({layers: [layers.dense({name: 'big', units: 64, inputShape: [64]})]});
        const inputJson = await save(big, join(folder, 'in'), {quantize: () => 'uint8'});
        const {report, outJson} = await convert(folder, inputJson, {pattern: '16:32v32', quantizeFloat16});
        expect(storedWeights(outJson).get('big/values')![0].quantization).to.include({dtype: 'uint8'});
        expect(report.disk).to.include({weightsBefore: 64 * 64 + 64, weightsAfter: 32 * 64 + 2 * 32 + 64});
        expect(await messageOf(() => convert(folder, inputJson, {pattern: '24:32', quantizeFloat16, overwrite: true})))
          .to.equal('no layer was converted, so nothing was written\n' +
            '  big: 24:32 would take 6144 bytes, dense takes 4096');
      }));
  }

  it('do not grow where a model in float16 is converted again', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const {outJson, report} = await convert(folder, inputJson, {quantizeFloat16: ['*']});
    const outDir = join(folder, 'again');
    const {report: again} = await convert(folder, outJson, {outDir, pattern: '1:4', exclude: ['first']});
    expect(again.disk.weightsAfter).to.be.below(report.disk.weightsAfter);
    expect(storedWeights(join(outDir, 'model.json')).get('first/values'))
      .to.deep.equal(storedWeights(outJson).get('first/values'));
    expect(storedWeights(join(outDir, 'model.json')).get('last/values')![0].dtype).to.equal('int32');
    expect(await messageOf(() => convert(folder, outJson, {outDir, overwrite: true}))).to.equal(
      'no layer was converted, so nothing was written\n  first: the layer is 2:4 stored as float16 already\n' +
        '  norm: BatchNormalization: only Dense layers are converted\n' +
        '  last: the layer is 2:4 stored as float16 already');
  }));

  it('are looked for by every glob of --quantize_float16, in which ! is a character', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    expect(await messageOf(() => convert(folder, inputJson, {quantizeFloat16: ['*', '!first/*']})))
      .to.match(/^--quantize_float16 has the glob '!first\/\*', which matches no weight; the weights are first/);
  }));

  for (const [first, second] of [['2:4', '1:4'], ['3:4', '2:4'], ['8:32v32', '4:32v32']]) {
    it(`stay so when a model is converted from ${first} to ${second}`, () => inFolder(async folder => {
      for (const dtype of ['uint8', 'uint16', 'float16'] as const) {
        const model = sequential({layers: [layers.dense({name: 'big', units: 64, inputShape: [64]})]});
        const inputJson = await save(model, join(folder, dtype), {quantize: () => dtype});
        const outDir = join(folder, `${dtype}-out`);
        await convert(folder, inputJson, {pattern: first, outDir});
        const options = {pattern: second, outDir: join(folder, `${dtype}-again`)};
        const {report} = await convert(folder, join(outDir, 'model.json'), options);
        expect(report.disk.weightsAfter, dtype).to.be.below(report.disk.weightsBefore);
      }
    }));
  }

  it('are found where a name has an inner part, which tfjs leaves out', () => inFolder(async folder => {
    const model = sequential({layers: [layers.dense({name: 'a', units: 64, inputShape: [64]})]});
    const inputJson = await save(model, join(folder, 'in'), {quantize: () => 'uint8'});
    writeFileSync(inputJson, readFileSync(inputJson, 'utf8').replace('"a/kernel"', '"a/x/kernel"'));
    const {outJson, report} = await convert(folder, inputJson);
    expect(storedWeights(outJson).get('a/values')![0].quantization).to.include({dtype: 'uint8'});
    expect(report.disk.weightsAfter).to.be.below(report.disk.weightsBefore);
  }));

  it('become float16 only where the globs of --quantize_float16 match', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const {outJson} = await convert(folder, inputJson, {quantizeFloat16: ['norm/*', 'last/b*']});
    const halved = [...storedWeights(outJson)].filter(([, [entry]]) => entry.quantization).map(([name]) => name);
    expect(halved).to.have.members(
      ['norm/gamma', 'norm/beta', 'norm/moving_mean', 'norm/moving_variance', 'last/bias']);
  }));
});

describe('model.json', () => {
  it('keeps all that is not topology or weights; the optimizer loses its weights, not its settings', () =>
    inFolder(async folder => {
      allowLeak('the dispose() of Adam forgets the count of iterations');
      const model = denseModel();
      model.compile({optimizer: 'adam', loss: 'categoricalCrossentropy', metrics: ['accuracy']});
      const [x, y] = tidy(() => [randomUniform([4, 64]), randomUniform([4, 10])]);
      await model.fit(x, y, {epochs: 1, verbose: 0});
      [x, y].forEach(tensor => tensor.dispose());
      const inputJson = await save(model, join(folder, 'in'), {
        includeOptimizer: true,
        json: {generatedBy: 'keras v2.9.0', convertedBy: 'TensorFlow.js Converter v3.0.0',
          userDefinedMetadata: {labels: ['cat', 'dog']}, ownField: {kept: true}},
      });
      const {outJson, report} = await convert(folder, inputJson);
      const [before, after] = [readJson(inputJson), readJson(outJson)];
      const rest = ({modelTopology: _topology, weightsManifest: _weights, ...others}: typeof before) => others;
      expect(rest(after)).to.deep.equal(rest(before));
      expect(before.trainingConfig).to.be.an('object');
      expect([...storedWeights(outJson)].filter(([, [entry]]) => entry.group === 'optimizer')).to.be.empty;
      expect(report.disk.optimizerBytesDropped).to.be.above(0);
      expect(report.disk.weightsBefore).to.equal(weightBytes(inputJson));
      const loaded = await load(outJson);
      expect(loaded.optimizer.getClassName()).to.equal('Adam');
      loaded.optimizer.dispose();
      loaded.dispose();
    }));

  it('may come from Keras, with model_config inside modelTopology', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const {modelTopology, ...rest} = readJson(inputJson);
    writeFileSync(inputJson, JSON.stringify(
      {...rest, modelTopology: {keras_version: '2.9.0', backend: 'tensorflow', model_config: modelTopology}}));
    const {report} = await convert(folder, inputJson);
    expect(report.verification.verified).to.be.true;
  }));
});

/** A layer that no random input pleases. */
class Picky extends layers.Layer {
  static readonly className = 'Picky';
  override call(): Tensor {
    throw new Error('Picky: this is not a photograph');
  }
}

/** A layer that is another whenever it is made, as it would be if a file were read wrongly. */
class Numbered extends layers.Layer {
  static readonly className = 'Numbered';
  private static made = 0;
  private readonly number = Numbered.made++;
  override call([x]: Tensor[]): Tensor {
    return tidy(() => add(x, this.number));
  }
}

/** A layer that never says the same thing twice, as one that samples. */
class Fickle extends layers.Layer {
  static readonly className = 'Fickle';
  override call([x]: Tensor[]): Tensor {
    return tidy(() => add(x, randomUniform(x.shape)));
  }
}

/** A layer that overflows. */
class Explosive extends layers.Layer {
  static readonly className = 'Explosive';
  override call([x]: Tensor[]): Tensor {
    return tidy(() => div(x, zerosLike(x)));
  }
}

[Picky, Numbered, Fickle, Explosive].forEach(layer => serialization.registerClass(layer as never));

describe('verification', () => {
  it('fails where the files do not predict the same, and then nothing is written', () => inFolder(async folder => {
    const model = sequential({layers: [layers.dense({units: 16, inputShape: [16]}), new Numbered({})]});
    const inputJson = await save(model, join(folder, 'in'));
    expect(await messageOf(() => convert(folder, inputJson))).to.match(
      /^verification failed: loaded again, the converted model differs by \S+ of its largest output; 0.001 is allowed/);
    expect(readdirSync(folder)).to.deep.equal(['in']);
  }));

  it('is left out, with the reason, where the model is random', () => inFolder(async folder => {
    const model = sequential({layers: [layers.dense({units: 16, inputShape: [16]}), new Fickle({})]});
    const {report} = await convert(folder, await save(model, join(folder, 'in')));
    expect(report.verification).to.deep.equal({
      verified: false, reason: 'the model predicts something else each time it is asked',
    });
  }));

  it('is left out, with the reason, where outputs are not finite', () => inFolder(async folder => {
    const model = sequential({layers: [layers.dense({units: 16, inputShape: [16]}), new Explosive({})]});
    const {report} = await convert(folder, await save(model, join(folder, 'in')));
    expect(report.verification).to.deep.equal({
      verified: false, reason: 'on random inputs the converted model predicts values that are not finite',
    });
  }));

  it('gives an Embedding the indices it knows, also one inside a nested model', () => inFolder(async folder => {
    const tokens = input({shape: [null], name: 'tokens', dtype: 'int32'});
    const floats = input({shape: [4], name: 'floats'});
    const encoder = sequential({name: 'encoder', layers: [
      layers.embedding({name: 'words', inputDim: 3, outputDim: 8, inputShape: [null]}),
      layers.globalAveragePooling1d({}),
    ]});
    const joined = layers.concatenate().apply([encoder.apply(tokens), floats] as never);
    const model = functional({
      inputs: [tokens, floats], outputs: layers.dense({name: 'out', units: 8}).apply(joined) as never,
    });
    const {report} = await convert(folder, await save(model, join(folder, 'in')));
    expect(report.verification.verified).to.be.true;
  }));

  it('is left out, with the reason, where random inputs cannot be predicted', () => inFolder(async folder => {
    const model = sequential({layers: [
      layers.dense({units: 16, inputShape: [16]}),
      new Picky({}),
    ]});
    const {report, outJson} = await convert(folder, await save(model, join(folder, 'in')));
    expect(report.verification).to.deep.equal(
      {verified: false, reason: 'predicting on random inputs fails: Picky: this is not a photograph'});
    expect(existsSync(outJson)).to.be.true;
  }));
});

describe('the folder that nm-prune writes', () => {
  it('may lie in folders that are not there yet, or be there and empty', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const deep = join(folder, 'a', 'b', 'out');
    await convert(folder, inputJson, {outDir: deep});
    mkdirSync(join(folder, 'empty'));
    await convert(folder, inputJson, {outDir: join(folder, 'empty')});
    expect(snapshot(join(folder, 'empty'))[join(folder, 'empty', 'model.json')])
      .to.equal(snapshot(deep)[join(deep, 'model.json')]);
    expect(readdirSync(folder)).to.have.members(['a', 'empty', 'in']);
    expect(readdirSync(join(folder, 'a', 'b'))).to.deep.equal(['out']);
  }));

  it('is replaced by --overwrite, with nothing of the old model left', () => inFolder(async folder => {
    const inputJson = await save(denseModel(), join(folder, 'in'));
    const json = join(folder, 'out', 'report.json');
    await convert(folder, inputJson, {weightShardSizeBytes: 100, json});
    const {outDir, report} = await convert(folder, inputJson, {overwrite: true, json});
    expect(readdirSync(outDir)).to.have.members(['model.json', 'group1-shard1of1.bin', 'report.json']);
    expect(JSON.parse(readFileSync(json, 'utf8'))).to.deep.equal(report);
    expect(readdirSync(folder)).to.have.members(['in', 'out']);
  }));

  it('holds a model that predicts as it should, loaded by tfjs alone', () => inFolder(async folder => {
    const inputJson = await save(textModel(), join(folder, 'in'));
    const {outJson} = await convert(folder, inputJson, {pattern: '1:2v8', perLayer: {out: 'dense'}});
    const tokens = tensor2d([[1, 2, 3, 4, 5, 49]], [1, 6], 'int32');
    const [values] = await predict(outJson, tokens);
    expect(values).to.have.length(20);
    expect(values.every(Number.isFinite)).to.be.true;
    tokens.dispose();
  }));
});
