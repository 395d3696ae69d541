/**
 * The benchmark's harness must not flatter: its data are what it says they are, a wrong product is noticed, and what is
 * replayed under the clock is the whole product. Then the suite `smoke` runs as people run suites.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {largestError, referenceOf} from '../../examples/benchmark/harness/check.js';
import {drawMatrix, drawX, visitColumn, xAt, type MatrixSpec} from '../../examples/benchmark/harness/data.js';
import {LEAST_EFFORT, Stopwatch} from '../../examples/benchmark/harness/measure.js';
import {multiplyAsUsersDo, multiplyWith, problemOf} from '../../examples/benchmark/harness/product.js';
import {ownProducts} from '../../examples/benchmark/harness/arguments.js';
import {runBenchmark, type Options} from '../../examples/benchmark/harness/run.js';
import {checkIndices} from '../../src/format/validate.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {decompress, nmSparseMatMul, parsePattern} from '../../src/index.js';

const webgpu = () => tf.backend() as WebGPUBackend;

const spec = (k: number, n: number, pattern: string, dtype: MatrixSpec['dtype'] = 'float32'): MatrixSpec =>
  ({shape: [k, n], pattern: parsePattern(pattern), dtype});

/** All that the CPU knows of a matrix, dense. */
function denseOf(matrix: MatrixSpec): number[] {
  const [k, n] = matrix.shape;
  const dense = new Array<number>(k * n).fill(0);
  for (let col = 0; col < n; ++col) {
    visitColumn(matrix, col, (row, value) => {
      dense[row * n + col] = value;
    });
  }
  return dense;
}

describe('the data of the benchmark', () => {
  const matrices: Array<[what: string, matrix: MatrixSpec]> = [
    ['a matrix without remainders', spec(64, 64, '8:32v32')],
    ['short windows and groups', spec(75, 37, '8:32v16')],
    ['a last window that keeps all', spec(35, 8, '8:32v4')],
    ['offsets that share words across windows', spec(45, 9, '1:4')],
    ['windows longer than a word', spec(301, 6, '200:256v2')],
    ['float16 with an odd row', spec(33, 21, '2:4', 'float16')],
    ['a dense matrix', spec(40, 24, '32:32v32')],
  ];
  for (const [what, matrix] of matrices) {
    it(`is the same on GPU and CPU: ${what}`, async () => {
      const drawn = drawMatrix(webgpu(), matrix);
      const dense = decompress(drawn);
      const values = await dense.data();
      checkIndices(await drawn.indices.data() as Int32Array, matrix.shape, matrix.pattern);
      dense.dispose();
      drawn.dispose();
      expect(Array.from(values)).to.deep.equal(denseOf(matrix));
    });
  }

  it('is the same on GPU and CPU: x', async () => {
    const x = drawX(webgpu(), 5, 77);
    const values = await x.data();
    x.dispose();
    expect(Array.from(values)).to.deep.equal(Array.from({length: 5 * 77}, (_, place) => xAt(place)));
  });

  it('keeps every row of a window as often as the others', () => {
    const kept = new Array<number>(8).fill(0);
    for (let col = 0; col < 400; ++col) {
      visitColumn(spec(80, 400, '2:8'), col, row => ++kept[row % 8]);
    }
    kept.forEach(count => expect(count).to.be.closeTo(400 * 10 * 2 / 8, 120));
  });
});

describe('the check of the benchmark', () => {
  const matrix = spec(96, 70, '8:32v8');
  const rows = 9;

  /** What the check says of a product after `change`. */
  async function errorAfter(change: (y: tf.Tensor2D) => tf.Tensor): Promise<number> {
    const [x, w] = [drawX(webgpu(), rows, 96), drawMatrix(webgpu(), matrix)];
    const y = tf.tidy(() => change(nmSparseMatMul(x, w) as tf.Tensor2D));
    const error = await largestError(webgpu(), y, referenceOf(rows, matrix));
    tf.dispose([x, y]);
    w.dispose();
    return error;
  }

  it('finds nothing but rounding in a right product', async () => {
    expect(await errorAfter(y => y)).to.be.below(3e-7);
  });

  const faults: Array<[string, (y: tf.Tensor2D) => tf.Tensor]> = [
    ['an output off by a ten-thousandth', y => tf.mul(y, 1.0001)],
    ['a last column not written', y => tf.pad(tf.slice(y, [0, 0], [rows, 69]), [[0, 0], [0, 1]])],
    ['a last row not written', y => tf.pad(tf.slice(y, [0, 0], [rows - 1, 70]), [[0, 1], [0, 0]])],
    ['columns exchanged', y => tf.reverse(y, 1)],
    ['outputs that are no numbers', y => tf.div(y, 0 as number)],
    ['nothing at all', y => tf.zerosLike(y)],
  ];
  for (const [fault, change] of faults) {
    it(`finds ${fault}`, async () => {
      expect(await errorAfter(change)).to.be.above(1e-5);
    });
  }
});

describe('a plan of one\'s own', () => {
  it('gives the product that users get', async () => {
    const matrix = spec(70, 40, '8:32v8');
    const [x, w] = [drawX(webgpu(), 20, 70), drawMatrix(webgpu(), matrix)];
    const {plan} = chooserOf(webgpu()).ranked(problemOf(20, matrix)).at(-1)!;
    const [planned, usual] = [multiplyWith(webgpu(), plan)(x, w), multiplyAsUsersDo(x, w)];
    const difference = tf.tidy(() => tf.max(tf.abs(tf.sub(planned, usual))));
    expect((await difference.data())[0]).to.be.below(1e-5);
    tf.dispose([x, planned, usual, difference]);
    w.dispose();
  });
});

describe('the figures of a device', () => {
  it('have a time for each short copy that fits its buffers', async () => {
    const stopwatch = await Stopwatch.create(webgpu(), {...LEAST_EFFORT, deviceBytes: 16.5e6});
    const {copies} = await stopwatch.measureDevice();
    expect(copies.map(({megabytes}) => megabytes)).to.deep.equal([8, 16]);
    for (const {microseconds} of copies) {
      expect(microseconds).to.be.finite.and.above(0);
    }
  });
});

describe('the suite smoke', () => {
  it('measures everything, and finds it right', async () => {
    const heard: string[] = [];
    const report = await runBenchmark(webgpu(), {suites: ['smoke'], rivals: 1}, {
      started({device: {copies, ...figures}}) {
        expect(copies).to.be.empty; // The least effort has no buffers so large.
        heard.push(...Object.values(figures).map(figure => figure > 0 ? 'figure' : 'nothing'));
      },
      measured: ({kernel}) => heard.push(kernel),
      failed: ({why}) => heard.push(why),
    });
    const kernels = ['tf.matMul', 'dense', '8:32v32', '2:4'];
    expect(heard).to.deep.equal([...new Array<string>(5).fill('figure'), ...kernels, ...kernels]);
    expect(report.rows).to.have.length(report.total);
    for (const {kernel, ms, msMin, msMax, overMatMul, error, choiceOverBest, bestPlan} of report.rows) {
      if (kernel === 'tf.matMul') {
        expect(choiceOverBest).to.equal(null);
      } else {
        expect(choiceOverBest).to.be.at.least(1);
        expect(JSON.parse(bestPlan!)).to.have.property('config');
      }
      expect(msMin).to.be.above(0).and.at.most(ms);
      expect(msMax).to.be.at.least(ms);
      expect(overMatMul).to.be.above(0);
      expect(error).to.be.below(1e-6);
    }
    expect(report.means.map(({kernel, points}) => [kernel, points])).to.deep.equal(kernels.map(kernel => [kernel, 2]));
  });

  it('keeps to the points and variants asked for, and to its shard', async () => {
    const names: string[] = [];
    await runBenchmark(webgpu(), {suites: ['smoke'], only: ['1x64x128', '2:4'], shard: {index: 0, count: 2}}, {
      started: ({total}) => names.push(String(total)),
      measured: ({rows, kernel}) => names.push(`${rows} ${kernel}`),
      failed: ({why}) => names.push(why),
    });
    expect(names).to.deep.equal(['3', '1 tf.matMul', '1 dense', '1 2:4']);
  });

  it('gives way to products of one\'s own', async () => {
    const names: string[] = [];
    const own = {...ownProducts('3x40x64', '8:32v32')!, isTrial: true};
    await runBenchmark(webgpu(), {suites: [], own}, {
      started: ({total}) => names.push(String(total)),
      measured: ({suite, rows, n, k, kernel}) => names.push(`${suite} ${rows}×${n}×${k} ${kernel}`),
      failed: ({why}) => names.push(why),
    });
    expect(names).to.deep.equal(['3', 'own 3×40×64 tf.matMul', 'own 3×40×64 dense', 'own 3×40×64 8:32v32']);
  });

  it('is refused together with products of one\'s own', async () => {
    const own = ownProducts('3x40x64', undefined);
    const hear = () => undefined;
    const error = await runBenchmark(webgpu(), {suites: ['smoke'], own}, {started: hear, measured: hear, failed: hear})
      .catch((thrown: Error) => thrown);
    expect(error).to.be.an('error').with.property('message').that.includes('give one of both');
  });

  const REFUSED: Array<[string, Options, string]> = [
    ['a variant that no suite has', {suites: ['smoke'], only: ['8:32v33']}, "'8:32v33' is no point and no variant"],
    ['a point that no suite has', {suites: ['smoke'], only: ['2x64x128']}, "'2x64x128' is no point and no variant"],
    ['a suite that there is not', {suites: ['toString']}, "there is no suite 'toString'"],
    ['a limit that is no number', {suites: ['smoke'], limitSeconds: NaN}, 'limitSeconds is NaN'],
    ['a part of a rival', {suites: ['smoke'], rivals: 1.5}, 'rivals is 1.5'],
  ];
  for (const [what, options, message] of REFUSED) {
    it(`refuses ${what}, before it measures anything`, async () => {
      const heard: string[] = [];
      const hear = () => heard.push('something');
      const error = await runBenchmark(webgpu(), options, {started: hear, measured: hear, failed: hear})
        .catch((thrown: Error) => thrown);
      expect(error).to.be.an('error').with.property('message').that.includes(message);
      expect(heard).to.deep.equal([]);
    });
  }
});

describe('products of one\'s own', () => {
  it('have three patterns unless others are named', () => {
    const labels = (patterns?: string) => ownProducts('1x64x64', patterns)!.variants.map(({label}) => label);
    expect(labels()).to.deep.equal(['8:32v32', '4:32v32', '2:4']);
    expect(labels('2:4,2:4v4')).to.deep.equal(['2:4', '2:4v4']);
  });

  it('are none where no option names them, and need points', () => {
    expect(ownProducts(undefined, undefined)).to.equal(undefined);
    expect(() => ownProducts(undefined, '2:4')).to.throw(/^bench: patterns is '2:4'; expected together with points/);
  });
});
