/** pruneGraphModel: which nodes become N:M products, that outputs hold, and that all else stays as it is. */
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel, type GraphModel} from '@tensorflow/tfjs-converter';
import {expect} from 'chai';
import {compress, decompress, pruneGraphModel, type PruneGraphModelOptions} from '../../src/index.js';
import {graphArtifacts} from '../../src/tfjs/graph_artifacts.js';
import {backendName} from '../support/backend.js';
import {attr, constant, graphArtifacts as graphArtifactsOf, graphModel, input, type Node} from '../support/graphs.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';

const PATTERN = '2:4v4';
const random = mulberry32(seed);
const draw = (...shape: number[]) =>
  tf.tensor(randomValues(shape.reduce((a, b) => a * b, 1), random), shape);

/** Random weights [k, n] in the pattern, so that pruning loses nothing, in another shape if one is given. */
async function fitting(k: number, n: number, shape: number[] = [k, n]): Promise<tf.Tensor> {
  const dense = draw(k, n) as tf.Tensor2D;
  const w = await compress(dense, {pattern: PATTERN});
  const result = tf.tidy(() => tf.reshape(decompress(w), shape));
  dense.dispose();
  w.dispose();
  return result;
}

const topologyOf = async (model: GraphModel) => (await graphArtifacts(model)).modelTopology as {node: Node[]};

async function outputsOf(model: GraphModel, x: tf.Tensor, isAsync: boolean): Promise<Float32Array[]> {
  const outputs = [isAsync ? await model.executeAsync(x) : model.predict(x) as tf.Tensor].flat();
  const values = await Promise.all(outputs.map(async y => await y.data() as Float32Array));
  tf.dispose(outputs);
  return values;
}

interface Case {
  nodes: Node[];
  weights: Record<string, tf.Tensor>;
  x: number[];
  outputs?: string[];
  library?: unknown;
}

/** Converts a model and compares the outputs. @returns the ops of the new graph, by node name. */
async function convert(
    {nodes, weights, x: shape, outputs = ['y'], library}: Case, converted: string[],
    options: PruneGraphModelOptions = {pattern: PATTERN, include: '*'}): Promise<Record<string, string>> {
  const model = await graphModel({nodes: [input('x', shape), ...nodes], weights, outputs, library});
  const before = JSON.stringify(await topologyOf(model));
  const {model: sparse, report} = await pruneGraphModel(model, options);
  expect(JSON.stringify(await topologyOf(model))).to.equal(before);
  expect(report.layers.filter(layer => layer.converted).map(({name}) => name).sort()).to.deep.equal(converted.sort());
  const x = draw(...shape);
  const wanted = await outputsOf(model, x, library !== undefined);
  const got = await outputsOf(sparse, x, library !== undefined);
  expect(got).to.have.length(wanted.length);
  wanted.forEach((values, i) => {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(got[i]).to.have.length(values.length);
    const worst = values.reduce((most, value, j) => Math.max(most, Math.abs(value - got[i][j])), 0);
    expect(worst / largest, 'largest difference').to.be.below(1e-5);
  });
  const ops = Object.fromEntries((await topologyOf(sparse)).node.map(({name, op}) => [name, op]));
  x.dispose();
  sparse.dispose();
  model.dispose();
  return ops;
}

const product = (op: string, more: Node['attr'] = {}, ...inputs: string[]): Node =>
  ({name: 'y', op, input: ['x', 'W', ...inputs], attr: {T: attr.float, ...more}});

describe('pruneGraphModel', function() {
  this.timeout(60_000);

  describe('converts', () => {
    it('MatMul, and with W transposed', async () => {
      const ops = await convert(
        {nodes: [constant('W'), product('MatMul')], weights: {W: await fitting(64, 64)}, x: [3, 64]}, ['y']);
      expect(ops.y).to.equal('NmSparseMatMul');
      expect(ops).to.not.have.property('W');
      const W = await fitting(64, 64);
      const transposed = tf.transpose(W as tf.Tensor2D);
      W.dispose();
      await convert({
        nodes: [constant('W'), product('MatMul', {transpose_b: attr.flag(true)})], weights: {W: transposed}, x: [3, 64],
      }, ['y']);
    });

    it('_FusedMatMul with a bias and every activation', async () => {
      for (const op of ['Relu', 'Relu6', 'Elu', 'Sigmoid', 'LeakyRelu', 'Prelu', undefined]) {
        const isPrelu = op === 'Prelu';
        await convert({
          nodes: [constant('W'), constant('b'), ...(isPrelu ? [constant('s')] : []), product('_FusedMatMul', {
            fused_ops: attr.texts('BiasAdd', ...(op ? [op] : [])), num_args: attr.count(isPrelu ? 2 : 1),
            leakyrelu_alpha: attr.number(0.3),
          }, 'b', ...(isPrelu ? ['s'] : []))],
          weights: {W: await fitting(64, 48), b: draw(48), ...(isPrelu && {s: draw(48)})}, x: [2, 64],
        }, ['y']);
      }
    });

    it('BatchMatMul of any rank by one matrix', async () => {
      const nodes = [constant('W'), product('BatchMatMulV2')];
      await convert({nodes, weights: {W: await fitting(64, 48)}, x: [2, 3, 5, 64]}, ['y']);
    });

    // tfjs has no Einsum on wasm, so there is nothing to compare with.
    (backendName === 'wasm' ? it.skip : it)('Einsum that is a product', async () => {
      for (const [equation, x, w] of [
        ['abc,cd->abd', [2, 3, 64], [64, 48]], ['abcg,gf->abcf', [2, 1, 3, 64], [64, 48]],
        ['abcd,cde->abe', [2, 3, 4, 16], [4, 16, 48]], ['abc,cde->abde', [2, 3, 64], [64, 6, 8]],
      ] as Array<[string, number[], number[]]>) {
        const k = w.slice(0, equation === 'abcd,cde->abe' ? 2 : 1).reduce((a, b) => a * b, 1);
        const n = w.reduce((a, b) => a * b, 1) / k;
        await convert({
          nodes: [constant('W'), product('Einsum', {equation: attr.text(equation)})],
          weights: {W: await fitting(k, n, w)}, x,
        }, ['y']);
      }
    });

    it('Conv2D of every size, stride, padding and dilation', async () => {
      const cases: Array<[filter: number[], more: Node['attr']]> = [
        [[1, 1, 64, 48], {strides: attr.counts(1, 1, 1, 1), padding: attr.text('SAME')}],
        [[1, 1, 64, 48], {strides: attr.counts(1, 2, 2, 1), padding: attr.text('SAME')}],
        [[1, 1, 64, 48], {strides: attr.counts(1, 3, 2, 1), padding: attr.text('VALID')}],
        [[1, 1, 64, 48], {strides: attr.counts(1, 1, 1, 1), padding: attr.text('EXPLICIT'),
          explicit_paddings: attr.counts(0, 0, 1, 0, 2, 1, 0, 0)}],
        [[3, 3, 64, 48], {strides: attr.counts(1, 1, 1, 1), padding: attr.text('SAME')}],
        [[3, 3, 64, 48], {strides: attr.counts(1, 2, 2, 1), padding: attr.text('VALID')}],
        [[3, 2, 64, 48], {strides: attr.counts(1, 1, 1, 1), dilations: attr.counts(1, 2, 2, 1),
          padding: attr.text('SAME')}],
        [[3, 3, 64, 48], {strides: attr.counts(1, 1, 1, 1), padding: attr.text('EXPLICIT'),
          explicit_paddings: attr.counts(0, 0, 1, 1, 2, 2, 0, 0)}],
      ];
      for (const [filter, more] of cases) {
        await convert({
          nodes: [constant('W'), product('Conv2D', {dilations: attr.counts(1, 1, 1, 1), ...more})],
          weights: {W: await fitting(filter[0] * filter[1] * filter[2], filter[3], filter)}, x: [2, 7, 6, 64],
        }, ['y']);
      }
    });

    it('_FusedConv2D', async () => {
      await convert({
        nodes: [constant('W'), constant('b'), product('_FusedConv2D', {
          strides: attr.counts(1, 1, 1, 1), dilations: attr.counts(1, 1, 1, 1), padding: attr.text('SAME'),
          fused_ops: attr.texts('BiasAdd', 'Relu6'), num_args: attr.count(1),
        }, 'b')],
        weights: {W: await fitting(576, 48, [3, 3, 64, 48]), b: draw(48)}, x: [1, 5, 5, 64],
      }, ['y']);
    });

    it('a bias and an activation that follow as nodes of their own', async () => {
      const ops = await convert({
        nodes: [constant('W'), constant('b'), {...product('MatMul'), name: 'p'},
          {name: 'q', op: 'AddV2', input: ['b', 'p']}, {name: 'y', op: 'Tanh', input: ['q']}],
        weights: {W: await fitting(64, 48), b: draw(48)}, x: [2, 64],
      }, ['p']);
      expect(ops).to.deep.equal(
        {'x': 'Placeholder', 'W/nm_values': 'Const', 'W/nm_indices': 'Const', 'b': 'Const', 'y': 'NmSparseMatMul'});
    });

    it('weights behind Identity and Cast, and those that several products share', async () => {
      const ops = await convert({
        nodes: [constant('W'), {name: 'i', op: 'Identity', input: ['W']},
          {name: 'c', op: 'Cast', input: ['i'], attr: {SrcT: attr.float, DstT: attr.float}},
          {name: 'p', op: 'MatMul', input: ['x', 'c']}, {name: 'q', op: 'MatMul', input: ['p', 'W']},
          {name: 'y', op: 'Relu', input: ['q']}],
        weights: {W: await fitting(64, 64)}, x: [2, 64],
      }, ['p', 'q']);
      expect(ops).to.not.have.any.keys('W', 'i', 'c');
    });

    it('products in library functions', async () => {
      const branch = (name: string, node: Node) => ({
        signature: {name, inputArg: [{name: 'a', type: 'DT_FLOAT'}], outputArg: [{name: 'r', type: 'DT_FLOAT'}]},
        nodeDef: [...(node.op === 'MatMul' ? [constant('fW')] : []), node], ret: {r: 'p:output:0'},
      });
      const library = {function: [
        branch('f', {name: 'p', op: 'MatMul', input: ['a', 'fW']}), branch('g', {name: 'p', op: 'Neg', input: ['a']}),
      ]};
      await convert({
        nodes: [constant('c'), {name: 'y', op: 'StatelessIf', input: ['c', 'x'], attr: {
          then_branch: {func: {name: 'f'}}, else_branch: {func: {name: 'g'}},
        }}],
        weights: {fW: await fitting(64, 48), c: tf.scalar(true, 'bool')}, x: [2, 64], library,
      }, ['f/p']);
    });
  });

  describe('leaves', () => {
    /** Converts a model, of which nothing should be converted. @returns the reasons by node. */
    async function reasons(nodes: Node[], weights: Record<string, tf.Tensor>, x: number[],
        options: PruneGraphModelOptions = {pattern: PATTERN, include: '*'}): Promise<Record<string, string>> {
      const model = await graphModel({nodes: [input('x', x), ...nodes], weights, outputs: ['y']});
      const before = JSON.stringify((await topologyOf(model)).node);
      const {model: same, report} = await pruneGraphModel(model, options);
      expect(JSON.stringify((await topologyOf(same)).node)).to.equal(before);
      expect(report.bytesAfter).to.equal(report.bytesBefore);
      expect(report.layers.some(({converted}) => converted)).to.equal(false);
      model.dispose();
      same.dispose();
      return Object.fromEntries(report.layers.map(({name, reason}) => [name, reason ?? '']));
    }

    it('what is no product by a constant', async () => {
      const nodes = [constant('W'), {name: 'y', op: 'MatMul', input: ['W', 'x']}];
      expect(await reasons(nodes, {W: draw(64, 64)}, [64, 64])).to.deep.equal(
        {y: 'MatMul: this weight is not its right operand'});
      const transposed = [constant('W'), product('MatMul', {transpose_a: attr.flag(true)})];
      expect((await reasons(transposed, {W: draw(64, 64)}, [64, 3])).y).to.include('left operand is transposed');
      const sum = [constant('W'), {name: 'y', op: 'AddV2', input: ['x', 'W']}];
      expect((await reasons(sum, {W: draw(64, 64)}, [64, 64])).y).to.include('only matrix products');
      const outer = [constant('W'), product('Einsum', {equation: attr.text('ab,cd->abcd')})];
      expect((await reasons(outer, {W: draw(64, 64)}, [2, 3])).y).to.include('not a matrix product');
    });

    it('weights that another node reads too', async () => {
      const nodes = [constant('W'), {...product('MatMul'), name: 'p'}, {name: 'y', op: 'AddV2', input: ['p', 'W']}];
      expect((await reasons(nodes, {W: draw(64, 64)}, [64, 64])).p).to.equal(
        "MatMul: its weights are also read by AddV2 'y'");
    });

    it('small weights, images, and a small last product, unless they are named', async () => {
      const ones = attr.counts(1, 1, 1, 1);
      const strides = {strides: ones, dilations: ones, padding: attr.text('SAME')};
      const byDefault = {pattern: PATTERN};
      const image = [constant('W'), product('Conv2D', strides)];
      expect((await reasons(image, {W: draw(7, 7, 3, 64)}, [1, 8, 8, 3], byDefault)).y).to.include('reads an image');
      const small = [constant('W'), product('MatMul')];
      expect((await reasons(small, {W: draw(40, 40)}, [2, 40], byDefault)).y).to.include('only 1600 weights');
      // model.json would grow by more than the weights shrink.
      expect((await reasons(small, {W: draw(8, 8)}, [2, 8])).y).to.match(/would take \d+ bytes, dense takes 256/);
    });
  });

  it('fuses no constant that changes the rank, and no field of every object', async () => {
    const added = await convert({
      nodes: [constant('W'), constant('b'), {...product('MatMul'), name: 'p'},
        {name: 'y', op: 'AddV2', input: ['p', 'b']}],
      weights: {W: await fitting(64, 48), b: draw(1, 1, 1, 48)}, x: [2, 64],
    }, ['p']);
    expect(added).to.include({p: 'NmSparseMatMul', y: 'AddV2'});
    const wide = await convert({
      nodes: [constant('W'), constant('b'), {name: 'p', op: 'Conv2D', input: ['x', 'W'], attr: {
        strides: attr.counts(1, 1, 1, 1), dilations: attr.counts(1, 1, 1, 1), padding: attr.text('SAME'),
      }}, {name: 'y', op: 'AddV2', input: ['p', 'b']}],
      weights: {W: await fitting(64, 48, [1, 1, 64, 48]), b: draw(1, 1, 1, 48)}, x: [1, 3, 3, 64],
    }, ['p']);
    expect(wide).to.include({y: 'NmSparseConv2D'});
  });

  it('leaves what tfjs would not run, or runs differently', async () => {
    const conv = (more: Node['attr']) => [constant('W'), constant('b'), product('_FusedConv2D', {
      strides: attr.counts(1, 1, 1, 1), dilations: attr.counts(1, 1, 1, 1), padding: attr.text('SAME'),
      num_args: attr.count(1), ...more,
    }, 'b')];
    for (const [more, why] of [
      [{padding: attr.text('EXPLICIT'), explicit_paddings: attr.counts(1, 1)}, 'padding is explicit, with 2 numbers'],
      [{padding: attr.text('FULL')}, "padding is 'full'"],
      [{fused_ops: attr.texts('toString')}, 'it fuses toString'],
      [{fused_ops: attr.texts('FusedBatchNorm', 'Relu')}, 'it fuses FusedBatchNorm, Relu'],
      [{data_format: attr.text('NCHW'), fused_ops: attr.texts('Prelu')}, 'NCHW, with slopes by channel'],
      [{data_format: attr.text('NCHW'), strides: attr.counts(1, 1, 2, 2)}, 'NCHW with strides'],
    ] as Array<[Node['attr'], string]>) {
      const model = await graphModel({
        nodes: [input('x', [1, 8, 8, 64]), ...conv(more)], outputs: ['y'],
        weights: {W: draw(1, 1, 64, 48), b: draw(48)},
      });
      const {model: same, report} = await pruneGraphModel(model, {pattern: PATTERN, include: '*'});
      expect(report.layers[0].reason).to.include(why);
      model.dispose();
      same.dispose();
    }
  });

  it('converts a model whose weights were streamed', async () => {
    const {weightData, ...rest} = await graphArtifactsOf({
      nodes: [input('x', [2, 64]), constant('W'), product('MatMul')], weights: {W: await fitting(64, 48)},
      outputs: ['y'],
    });
    const getWeightStream = () => new Blob([weightData]).stream() as unknown as ReadableStream<ArrayBuffer>;
    const model = await loadGraphModel({load: () => Promise.resolve({...rest, getWeightStream})});
    const {model: sparse} = await pruneGraphModel(model, {pattern: PATTERN, include: '*'});
    const x = draw(2, 64);
    const [[wanted], [got]] = [await outputsOf(model, x, false), await outputsOf(sparse, x, false)];
    got.forEach((value, i) => expect(value).to.be.closeTo(wanted[i], 1e-4));
    expect((await topologyOf(sparse)).node.map(({op}) => op)).to.include('NmSparseMatMul');
    x.dispose();
    model.dispose();
    sparse.dispose();
  });

  it('keeps metadata, signatures and quantized weights as they are', async () => {
    const nodes = [input('x', [2, 64]), constant('W'), constant('b'), product('_FusedMatMul', {
      fused_ops: attr.texts('BiasAdd'), num_args: attr.count(1),
    }, 'b')];
    const artifacts = await graphArtifactsOf({nodes, weights: {b: draw(64), W: await fitting(64, 64)}, outputs: ['y']});
    // b as uint8, and W as float16.
    const values = new Uint16Array(64 * 64).map((_, i) => (i % 4 < 2 ? 0x3c00 + i % 512 : 0));
    const bytes = new Uint8Array(64 + values.byteLength);
    bytes.set(Uint8Array.from({length: 64}, (_, i) => i * 3));
    bytes.set(new Uint8Array(values.buffer), 64);
    const quantized = {...artifacts, weightData: bytes.buffer, weightSpecs: [
      {name: 'b', shape: [64], dtype: 'float32' as const, quantization: {dtype: 'uint8' as const, scale: 0.1, min: -4}},
      {name: 'W', shape: [64, 64], dtype: 'float32' as const, quantization: {dtype: 'float16' as const}},
    ]};
    const model = await loadGraphModel(tf.io.fromMemory(quantized));
    const {model: sparse} = await pruneGraphModel(model, {pattern: '1:4v64', include: '*'});
    const saved = await graphArtifacts(sparse);
    expect(saved.signature).to.deep.equal(quantized.signature);
    expect(saved.userDefinedMetadata).to.deep.equal(quantized.userDefinedMetadata);
    expect(saved.weightSpecs!.map(({name, quantization}) => [name, quantization?.dtype])).to.deep.equal(
      [['b', 'uint8'], ['W/nm_values', 'float16'], ['W/nm_indices', undefined]]);
    const data = new Uint8Array(tf.io.CompositeArrayBuffer.join(saved.weightData));
    expect([...data.subarray(0, 64)]).to.deep.equal([...bytes.subarray(0, 64)]);
    expect(data.length).to.be.below(bytes.length / 2);
    model.dispose();
    sparse.dispose();
  });

  it('refuses what is no graph model, and options that are wrong', async () => {
    const refusal = (model: unknown, options: unknown) => pruneGraphModel(
      model as GraphModel, options as PruneGraphModelOptions).then(() => 'none', (error: Error) => error.message);
    expect(await refusal(undefined, {pattern: '2:4'})).to.equal(
      'pruneGraphModel: model is undefined; give a tf.GraphModel, as tf.loadGraphModel loads one.');
    expect(await refusal({toJSON: () => ''}, {pattern: '2:4'})).to.equal(
      'pruneGraphModel: model is a tf.LayersModel; call pruneLayersModel.');
    const model = await graphModel(
      {nodes: [input('x', [2, 8]), constant('W'), product('MatMul')], weights: {W: draw(8, 8)}, outputs: ['y']});
    expect(await refusal(model, {patern: '2:4'})).to.include("there is no option 'patern'");
    expect(await refusal(model, {})).to.include('pattern is missing');
    expect(await refusal(model, {pattern: '2:4', include: 'z*'})).to.include("'z*', which matches no layer");
    model.dispose();
  });
});
