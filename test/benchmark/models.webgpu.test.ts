/** The suite `models` runs on a model of one layer, refuses a wrong model, and compiles again for a cold predict. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {withFreshPrograms} from '../../examples/benchmark/harness/fresh_programs.js';
import {buildModel, DENSE} from '../../examples/benchmark/harness/model_data.js';
import {head, line} from '../../examples/benchmark/harness/table.js';
import {MODEL_COLUMNS, modelSummaryText} from '../../examples/benchmark/harness/model_table.js';
import {measureAt, measureModels, parseModelOptions} from '../../examples/benchmark/harness/models.js';

const webgpu = () => tf.backend() as WebGPUBackend;
const SPARSE = {kernel: '8:32v32', dtype: 'float32'} as const;
const OPTIONS = parseModelOptions({points: '3x40x64', patterns: '8:32v32', ms: '2', rounds: '1'});

describe('the suite models', function() {
  this.timeout(180_000); // software GPUs compile slowly

  it('measures dense and sparse, and leaves nothing behind', async () => {
    const before = tf.memory().numTensors;
    const failures: string[] = [];
    const report = await measureModels(webgpu(), 'a test', OPTIONS, {
      started: () => undefined,
      measured: () => undefined,
      failed: ({why}) => failures.push(why),
    });
    expect(failures).to.deep.equal([]);
    expect(tf.memory().numTensors).to.equal(before);
    expect(report.rows.map(({model, rows, kernel}) => [model, rows, kernel])).to.deep.equal(
      [['64→40', 3, 'dense'], ['64→40', 3, '8:32v32']]);
    for (const row of report.rows) {
      // predict slices x, then multiplies.
      expect(row.programs).to.be.within(2, 4);
      for (const ms of [row.jsMs, row.latencyMs, row.sustainedMs, row.coldMs, row.warmUpMs, row.warmMs, row.nextMs]) {
        expect(ms).to.be.finite.and.above(0);
      }
      if (row.gpuMs !== null) {
        expect(row.gpuMs).to.be.finite.and.above(0);
      }
      expect(row.sustainedOverDense).to.be.finite.and.above(0);
    }
    const [dense, sparse] = report.rows;
    expect([dense.sustainedOverDense, dense.latencyOverDense, dense.error]).to.deep.equal([1, 1, null]);
    expect(sparse.sustainedOverDense).to.equal(dense.sustainedMs / sparse.sustainedMs);
    expect(sparse.error).to.be.below(1e-5);
    expect(report.means.map(({kernel, count}) => [kernel, count])).to.deep.equal([['dense', 1], ['8:32v32', 1]]);
    const widths = [head(MODEL_COLUMNS), line(MODEL_COLUMNS, sparse)].map(text => text.length);
    expect(widths[0]).to.equal(widths[1]);
    expect(modelSummaryText(report)).to.include('2 measured, 0 failed');
  });

  it('refuses a model that predicts wrong numbers, and measures the others', async () => {
    const models = [DENSE, SPARSE].map(kernel => ({kernel, model: buildModel(webgpu(), [64, 40], kernel)}));
    const {model} = models[1];
    const predict = model.predict.bind(model);
    model.predict = (x, args) => tf.tidy(() => tf.mul(predict(x, args) as tf.Tensor, 1.001));
    const heard: string[] = [];
    const measured = await measureAt(
      webgpu(), models, 3, OPTIONS, ({kernel}, error) => heard.push(`${kernel.kernel}: ${(error as Error).message}`));
    models.forEach(each => each.model.dispose());
    expect(measured.map(({kernel}) => kernel)).to.deep.equal([DENSE]);
    expect(heard).to.have.length(1);
    expect(heard[0]).to.match(/^8:32v32: wrong: an output differs by/);
  });
});

describe('a first predict', function() {
  this.timeout(60_000);

  it('compiles programs that were compiled before, to the same results', async () => {
    const x = tf.tensor2d([[1, 2, 3]]);
    const double = async () => {
      const y = tf.mul(x, 2);
      const values = await y.data();
      y.dispose();
      return Array.from(values);
    };
    const {device} = webgpu();
    const usual = await double();
    const codes: string[] = [];
    const create = device.createShaderModule;
    device.createShaderModule = descriptor => {
      codes.push(descriptor.code);
      return create.call(device, descriptor);
    };
    try {
      for (let i = 0; i < 2; ++i) {
        expect(await withFreshPrograms(webgpu(), double)).to.deep.equal(usual);
      }
    } finally {
      device.createShaderModule = create;
    }
    expect(new Set(codes).size).to.equal(2);
    x.dispose();
  });

  it('is refused if it compiles nothing', async () => {
    const error = await withFreshPrograms(webgpu(), async () => undefined).catch((thrown: Error) => thrown);
    expect(error).to.be.an('error').with.property('message').that.includes('this is no first predict');
  });
});

describe('the options of the suite models', () => {
  it('have defaults', () => {
    const {networks, patterns, dtypes, ms} = parseModelOptions({});
    expect(networks.flatMap(({name, rows}) => rows.map(each => `${name} ${each}`))).to.deep.equal([
      '8x4096 1', '8x4096 64', '8x4096 512', '12x768 1', '12x768 197', '6x384 16', '6x384 128', 'mlp 1', 'mlp 128',
    ]);
    expect(patterns).to.deep.equal(['8:32v32', '4:32v32', '2:4']);
    expect([dtypes, ms]).to.deep.equal([['float32'], 500]);
  });

  it('choose models, rows, points, patterns and dtypes', () => {
    const {networks, patterns, dtypes} = parseModelOptions(
      {models: 'mlp', rows: '1,2048', points: '64x1024x512', patterns: '2:4, 8:32v32,2:4', dtypes: 'float16,float32'});
    expect(networks).to.deep.equal([
      {name: 'mlp', widths: [784, 512, 512, 10], rows: [1, 2048]}, {name: '512→1024', widths: [512, 1024], rows: [64]},
    ]);
    expect(patterns).to.deep.equal(['2:4', '8:32v32']);
    expect(dtypes).to.deep.equal(['float16', 'float32']);
  });

  const REFUSED: Array<[what: string, options: Parameters<typeof parseModelOptions>[0], message: RegExp]> = [
    ['an unknown model', {models: 'resnet'}, /^bench: models is 'resnet'; expected names among 8x4096, .*mlp\.$/],
    ['too many rows', {rows: '1,2049'}, /^bench: rows is '2049'; expected a whole number from 1 to 2048\.$/],
    ['a point without k', {points: '64x1024'}, /^bench: points is '64x1024'; expected ROWSxNxK/],
    ['a point too large to draw', {points: '1x40000x40000'}, /^bench: points is '1x40000x40000'; .*2\^30 elements/],
    ['what is no pattern', {patterns: '2:4,3'}, /^bench: patterns is '2:4,3': pattern '3' is not an N:M pattern/],
    ['an unknown dtype', {dtypes: 'int8'}, /^bench: dtypes is 'int8'; expected names among float32, float16\.$/],
    ['a duration that is no number', {ms: 'long'}, /^bench: ms is 'long'; expected a whole number from 1/],
  ];
  for (const [what, options, message] of REFUSED) {
    it(`refuse ${what}`, () => {
      expect(() => parseModelOptions(options)).to.throw(message);
    });
  }
});
