/**
 * nmSparseMatMul against float64: every program the choice can fall on, every activation, storage and vector length,
 * drawn anew in each run. A draw is repeated until the plan is the wanted one, so no program drops out of the sweep
 * unnoticed when the choice changes; cpu and webgl run the same draws, though they have but one way to multiply.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {ACTIVATIONS, type FusedActivation} from '../../kernels/contract.js';
import type {GemmStrategy} from '../../kernels/webgpu/gemm_config.js';
import {choosePlan, type MatMulProblem, type Plan, type ProgramLimits} from '../../kernels/webgpu/select.js';
import type {StorageDtype} from '../../src/format/nm_sparse_matrix.js';
import {formatPattern, parsePattern, VECTOR_LENGTHS, type PatternLike} from '../../src/format/pattern.js';
import {nmSparseMatMul} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {
  activeLimits, between, DEFAULT_LIMITS, drawMatrix, expectNear, pick, poisonBuffers, randomValues, referenceSums,
  toSparseMatrix, type Random,
} from '../support/reference.js';

interface Case {
  rows: number;
  shape: [number, number];
  pattern: PatternLike;
  dtype: StorageDtype;
  activation: FusedActivation;
  hasBias: boolean;
}

/** A kind of case that each run draws from. */
interface Stratum {
  name: string;
  aligned: boolean;
  draw(random: Random): Pick<Case, 'rows' | 'shape' | 'pattern'>;
  /** Whether a plan is the kind this stratum is there for. */
  accept(plan: Plan): boolean;
}

/** A draw has to fall on the same program on every device. */
const LIMITS: ProgramLimits[] = [
  DEFAULT_LIMITS,
  {maxComputeWorkgroupStorageSize: 32768, maxComputeInvocationsPerWorkgroup: 1024},
  {maxComputeWorkgroupStorageSize: 49152, maxComputeInvocationsPerWorkgroup: 1024},
];

function problem({rows, shape, pattern, dtype, activation, hasBias}: Case): MatMulProblem {
  const prelu = activation === 'prelu' ? 'column' : 'none';
  return {rows, shape, pattern: parsePattern(pattern), dtype, epilogue: {activation, hasBias, prelu}};
}

function drawCols(random: Random, aligned: boolean, most: number): number {
  return aligned ? 4 * between(random, 1, most / 4) : 4 * between(random, 0, most / 4 - 1) + between(random, 1, 3);
}

/** Small tiles: up to 70 rows. `maxM` and `minM` bound the window. */
function gemm(
    strategy: GemmStrategy, vectorLengths: readonly number[], aligned: boolean, split: boolean,
    {minM = 1, maxM = 32} = {}): Stratum {
  const windows = minM > 32 ? ', windows of more than 32 rows' : '';
  return {
    name: `${strategy} tiles, L=${vectorLengths.join(' or ')}${windows}, ${columns(aligned)}${splitWords(split)}`,
    aligned,
    draw: random => {
      const m = between(random, minM, maxM);
      const n = strategy === 'dense' ? m : between(random, 1, m);
      return {
        rows: between(random, 17, 70),
        shape: [between(random, 1, split ? 700 : 200), drawCols(random, aligned, 72)],
        pattern: {n, m, vectorLength: pick(random, vectorLengths)},
      };
    },
    accept: plan => plan.kind === 'gemm' && plan.config.strategy === strategy && plan.splits > 1 === split,
  };
}

/** About as many rows and columns as it takes for tiles of `area` elements to be chosen, or larger ones. */
function largeGemm(strategy: GemmStrategy, area: number, aligned: boolean): Stratum {
  const size = 23 * Math.sqrt(area);
  return {
    name: `${strategy} tiles of ${area} elements or more, ${columns(aligned)}`,
    aligned,
    draw: random => {
      const m = between(random, 1, 32);
      return {
        rows: between(random, size - 20, size),
        shape: [between(random, 20, 40), size - (aligned ? 4 : 3)],
        pattern: {n: between(random, 1, m), m, vectorLength: pick(random, VECTOR_LENGTHS)},
      };
    },
    accept: plan => plan.kind === 'gemm' && plan.config.strategy === strategy && plan.splits === 1 &&
        plan.config.tileRows * plan.config.tileCols >= area,
  };
}

function gemv(
    rows: [number, number], vectorLengths: readonly number[], aligned: boolean, split: boolean): Stratum {
  return {
    name: `${rows[0] === rows[1] ? rows[0] : rows.join(' to ')} rows by GEMV, L=${vectorLengths.join(' or ')}, ` +
        columns(aligned) + splitWords(split),
    aligned,
    draw: random => {
      const m = between(random, 1, 64);
      return {
        rows: between(random, ...rows),
        shape: [between(random, 1, split ? 5000 : 300), drawCols(random, aligned, 100)],
        pattern: {n: between(random, 1, m), m, vectorLength: pick(random, vectorLengths)},
      };
    },
    accept: plan => plan.kind === 'gemv' && plan.config.rows >= rows[0] && plan.splits > 1 === split,
  };
}

function columns(aligned: boolean): string {
  return aligned ? 'n a multiple of 4' : 'n no multiple of 4';
}

function splitWords(split: boolean): string {
  return split ? ', k split' : '';
}

const WHOLE_VECS = VECTOR_LENGTHS.filter(length => length >= 4);

const STRATA: Stratum[] = [
  gemm('packed', [4], true, false),
  gemm('packed', [8, 16], false, true),
  gemm('packed', [32], true, true),
  gemm('packed', [64, 128], false, false),
  gemm('window', [4], false, true),
  gemm('window', [8], true, true),
  gemm('window', [16], true, false, {maxM: 100}),
  gemm('decompress', [1], true, false, {maxM: 4}),
  gemm('decompress', [2], false, true),
  gemm('decompress', [1, 2], true, false, {minM: 33, maxM: 256}),
  gemm('decompress', [1, 2], false, true, {minM: 33, maxM: 256}),
  gemm('dense', VECTOR_LENGTHS, true, true),
  gemm('dense', VECTOR_LENGTHS, false, false, {maxM: 256}),
  largeGemm('packed', 4096, true),
  largeGemm('window', 4096, true),
  largeGemm('decompress', 1024, false),
  gemv([1, 1], [1], true, false),
  gemv([1, 1], WHOLE_VECS, false, true),
  gemv([2, 2], [2], false, false),
  gemv([3, 4], [1], false, true),
  gemv([5, 8], WHOLE_VECS, true, true),
  gemv([9, 16], [2], true, false),
  gemv([9, 16], WHOLE_VECS, false, false),
];

/** Every activation, and the like, once with whole vec4s of columns and once without: dealt, not drawn. */
function deal<T>(from: readonly T[], at: number, salt: number): T {
  const random = mulberry32(seed + salt);
  const deck = [...from];
  for (let i = deck.length - 1; i > 0; --i) {
    const other = between(random, 0, i);
    [deck[i], deck[other]] = [deck[other], deck[i]];
  }
  return deck[at % deck.length];
}

const STORAGES: Array<{dtype: StorageDtype; hasBias: boolean}> = [
  {dtype: 'float32', hasBias: true}, {dtype: 'float16', hasBias: true},
  {dtype: 'float32', hasBias: false}, {dtype: 'float16', hasBias: false},
];

function drawCase(stratum: Stratum, draw: number): Case {
  const place = STRATA.indexOf(stratum);
  const random = mulberry32(seed + 7919 * place + draw);
  const ofItsKind = STRATA.filter(({aligned}) => aligned === stratum.aligned).indexOf(stratum) + draw;
  const salt = stratum.aligned ? 1 : 2;
  for (let attempt = 0; attempt < 10_000; ++attempt) {
    const drawn = {
      ...stratum.draw(random), ...deal(STORAGES, ofItsKind, salt), activation: deal(ACTIVATIONS, ofItsKind, 2 + salt),
    };
    if (LIMITS.every(limits => stratum.accept(choosePlan(problem(drawn), limits)))) {
      return drawn;
    }
  }
  throw new Error(`no draw is of the kind: ${stratum.name}`);
}

function describeCase({rows, shape: [k, n], pattern, dtype, activation, hasBias}: Case): string {
  return `${rows}×${k} by ${k}×${n} ${formatPattern(parsePattern(pattern))} ${dtype}, ${activation}` +
      (hasBias ? ' with bias' : '');
}

/** The sizes of all that a product writes on WebGPU. */
function writtenShapes(of: Case): number[][] {
  const {rows, shape: [k, n]} = of;
  const plan = choosePlan(problem(of), activeLimits());
  const stride = plan.kind === 'gemm' ? Math.ceil(rows / plan.config.tileRows) * plan.config.tileRows : 0;
  return [[rows, n], ...(plan.splits > 1 ? [[plan.splits, rows, n]] : []), ...(stride ? [[k, stride]] : [])];
}

/** Multiplies random numbers and compares with float64. */
async function checkCase(of: Case, salt: number): Promise<void> {
  const {rows, shape, pattern, dtype, activation, hasBias} = of;
  const [k, n] = shape;
  const random = mulberry32(seed ^ (salt * 0x9e3779b9));
  const drawn = drawMatrix(shape, pattern, dtype, random);
  const x = randomValues(rows * k, random);
  const bias = hasBias ? randomValues(n, random, 2) : undefined;
  const slopeShape = pick(random, [[], [1], [1, 1], [n], [1, n]]);
  const slopes = randomValues(slopeShape.reduce((a, b) => a * b, 1), random, 2);
  const leakyreluAlpha = random() < 0.5 ? 0.3 : undefined;

  await poisonBuffers(...writtenShapes(of));
  const matrix = toSparseMatrix(drawn);
  const inputs = {
    x: tf.tensor2d(x, [rows, k]),
    bias: bias && tf.tensor1d(bias),
    slopes: activation === 'prelu' ? tf.tensor(slopes, slopeShape) : undefined,
  };
  const y = nmSparseMatMul(inputs.x, matrix, {
    activation,
    ...(inputs.bias && {bias: inputs.bias}),
    ...(inputs.slopes && {preluActivationWeights: inputs.slopes}),
    ...(leakyreluAlpha !== undefined && {leakyreluAlpha}),
  });
  const got = await y.data();
  const [shapeOfY, dtypeOfY] = [y.shape, y.dtype];
  tf.dispose([y, inputs.x, ...[inputs.bias, inputs.slopes].filter(tensor => tensor !== undefined)]);
  matrix.dispose();
  expect(shapeOfY).to.deep.equal([rows, n]);
  expect(dtypeOfY).to.equal('float32');
  const slopeAt = (index: number) =>
    activation === 'leakyrelu' ? leakyreluAlpha ?? 0.2 : slopes[slopes.length === n ? index % n : 0];
  expectNear(got, {...referenceSums(x, drawn, bias), activation, slopeAt}, describeCase(of));
}

describe('nmSparseMatMul, a random case of each kind', () => {
  for (const stratum of STRATA) {
    const large = stratum.name.includes('elements');
    it(`multiplies in ${stratum.name}`, async () => {
      const draws = backendName === 'cpu' && !large ? 20 : 1;
      for (let draw = 0; draw < draws; ++draw) {
        const drawn = drawCase(stratum, draw);
        expect(stratum.accept(choosePlan(problem(drawn), activeLimits())), describeCase(drawn)).to.be.true;
        await checkCase(drawn, 31 * STRATA.indexOf(stratum) + draw);
      }
    });
  }

  it('has dealt every activation to both kinds of columns', () => {
    for (const aligned of [true, false]) {
      const activations = STRATA.filter(stratum => stratum.aligned === aligned)
        .map(stratum => drawCase(stratum, 0).activation);
      expect(activations).to.include.members([...ACTIVATIONS]);
    }
  });
});

describe('nmSparseMatMul, corner cases', () => {
  const LINEAR = {activation: 'linear', hasBias: false} as const;
  const CORNERS: Array<[string, Case]> = [
    ['a product of two numbers', {rows: 1, shape: [1, 1], pattern: '1:1', dtype: 'float32', ...LINEAR}],
    ['k=1, shorter than the window', {rows: 1, shape: [1, 5], pattern: '1:2', dtype: 'float16', ...LINEAR}],
    ['k=1 and n=1 in a tile', {rows: 17, shape: [1, 1], pattern: '1:4v4', dtype: 'float32', ...LINEAR}],
    ['one short group and a half too many', {rows: 33, shape: [9, 3], pattern: '2:4v128', dtype: 'float16', ...LINEAR}],
    ['16 rows and a last window of one row',
      {rows: 16, shape: [257, 6], pattern: '128:256', dtype: 'float32', activation: 'relu', hasBias: true}],
    ['three rows kept of 256', {rows: 130, shape: [300, 33], pattern: '3:256', dtype: 'float32', ...LINEAR}],
    ['a dense window of 256 rows and one more', {rows: 17, shape: [257, 8], pattern: '256:256v64', dtype: 'float16',
      activation: 'relu6', hasBias: true}],
    ['a long k for two rows', {rows: 2, shape: [5000, 4], pattern: '1:2v4', dtype: 'float32', ...LINEAR}],
    ['windows of three rows, whose offsets leave a code unused',
      {rows: 18, shape: [40, 12], pattern: '2:3v4', dtype: 'float32', ...LINEAR}],
  ];
  CORNERS.forEach(([name, of], i) => it(`multiplies ${name}`, () => checkCase(of, 1000 + i)));

  it('gives an empty output for an empty x', async () => {
    const matrix = toSparseMatrix(drawMatrix([8, 6], '2:4', 'float32', mulberry32(seed)));
    const [x, x3d] = [tf.zeros([0, 8]), tf.zeros([3, 0, 8])];
    const [y, y3d] = [nmSparseMatMul(x, matrix), nmSparseMatMul(x3d, matrix, {activation: 'relu'})];
    expect(y.shape).to.deep.equal([0, 6]);
    expect(y3d.shape).to.deep.equal([3, 0, 6]);
    expect(await y.data()).to.have.length(0);
    tf.dispose([x, x3d, y, y3d]);
    matrix.dispose();
  });
});

describe('nmSparseMatMul, the forms of x', () => {
  const drawn = drawMatrix([12, 8], '2:4v4', 'float32', mulberry32(seed));
  const ROWS = 18; // in a tile: that shader compiles sooner than a GEMV for some rows
  const values = Float32Array.from({length: ROWS * 12}, (_, i) => (i * 7) % 5 - 2);

  /** Multiplies what `make` gives, which holds `values` in this order, and compares. */
  async function check(make: () => tf.Tensor, held: ArrayLike<number> = values): Promise<void> {
    const matrix = toSparseMatrix(drawn);
    const x = tf.tidy(make);
    const y = nmSparseMatMul(x, matrix);
    const got = await y.data();
    expect(y.shape).to.deep.equal([...x.shape.slice(0, -1), 8]);
    expect(x.isDisposed).to.be.false;
    tf.dispose([x, y]);
    matrix.dispose();
    expectNear(got, referenceSums(held, drawn));
  }

  for (const leading of [[ROWS], [3, 6], [3, 1, 6], [1, 3, 2, 3]]) {
    it(`keeps the leading dims [${leading}]`, () => check(() => tf.tensor(values, [...leading, 12])));
  }

  it('casts int32', () => check(() => tf.tensor(values, [ROWS, 12], 'int32')));

  it('casts bool', () => {
    const bits = values.map(value => value > 0 ? 1 : 0);
    return check(() => tf.tensor([...bits], [ROWS, 12], 'bool'), bits);
  });

  it('takes a slice', () => check(() => tf.slice(
    tf.pad(tf.tensor2d(values, [ROWS, 12]), [[3, 2], [5, 1]], 99), [3, 5], [ROWS, 12])));

  it('takes a transposed tensor', () => check(() => tf.transpose(tf.tensor2d(
    values.map((_, i) => values[(i % ROWS) * 12 + Math.floor(i / ROWS)]), [12, ROWS]))));

  it('takes what tfjs cast before', () =>
    check(() => tf.cast(tf.tensor(values, [ROWS, 12], 'int32'), 'float32')));

  it('takes a reshaped tensor that shares its data', () =>
    check(() => tf.reshape(tf.tensor1d(values), [3, ROWS / 3, 12])));
});

describe('nmSparseMatMul, the buffers behind its inputs', () => {
  // tfjs's cast to float32 leaves int32 in the buffer, which a shader has to know.
  for (const [rows, n] of [[2, 8], [2, 7], [17, 8], [17, 7]]) {
    it(`may hold int32, for ${rows} rows and ${n} columns`, async () => {
      const random = mulberry32(seed);
      const small = (length: number) => Float32Array.from({length}, () => between(random, -9, 9));
      const [x, bias, slopes, values] = [small(rows * 12), small(n), small(n), small(12 * n)];
      const drawn = {...drawMatrix([12, n], '12:12v4', 'float32', random), dense: values};
      const cast = (array: Float32Array, shape: number[]) => tf.cast(tf.tensor(array, shape, 'int32'), 'float32');
      const y = tf.tidy(() => nmSparseMatMul(
        cast(x, [rows, 12]), {...toSparseMatrix(drawn), values: cast(values, [12, n]) as tf.Tensor2D}, {
          bias: cast(bias, [n]) as tf.Tensor1D, activation: 'prelu', preluActivationWeights: cast(slopes, [n]),
        }));
      const got = await y.data();
      y.dispose();
      expectNear(got, {...referenceSums(x, drawn, bias), activation: 'prelu', slopeAt: i => slopes[i % n]});
    });
  }
});

describe('nmSparseMatMul, slopes below zero', () => {
  const random = mulberry32(seed);
  const [rows, n] = [18, 8];
  const drawn = drawMatrix([12, n], '2:4v4', 'float32', random);
  const x = randomValues(rows * 12, random);
  const slopes = randomValues(rows * n, random, 2);

  async function check(options: (slopes?: tf.Tensor) => Parameters<typeof nmSparseMatMul>[2],
    slopeAt: (index: number) => number, slopeShape?: number[], leading = [rows]): Promise<void> {
    const matrix = toSparseMatrix(drawn);
    const [xTensor, slopeTensor] = [
      tf.tensor(x, [...leading, 12]),
      slopeShape && tf.tensor(slopes.slice(0, slopeShape.reduce((a, b) => a * b, 1)), slopeShape),
    ];
    const y = nmSparseMatMul(xTensor, matrix, options(slopeTensor));
    const got = await y.data();
    expect(y.shape).to.deep.equal([...leading, n]);
    tf.dispose([y, xTensor, ...(slopeTensor ? [slopeTensor] : [])]);
    matrix.dispose();
    expectNear(got, {...referenceSums(x, drawn), activation: 'prelu', slopeAt});
  }

  const prelu = (preluActivationWeights?: tf.Tensor) => ({activation: 'prelu' as const, preluActivationWeights});

  it('leakyrelu has 0.2 by default', () => check(() => ({activation: 'leakyrelu'}), () => 0.2));
  it('leakyrelu takes another', () =>
    check(() => ({activation: 'leakyrelu', leakyreluAlpha: -1.5}), () => -1.5));
  for (const shape of [[], [1], [1, 1, 1]]) {
    it(`prelu has one for all, of shape [${shape}]`, () => check(prelu, () => slopes[0], shape, [2, 9]));
  }
  for (const shape of [[n], [1, n], [1, 1, n]]) {
    it(`prelu has one a column, of shape [${shape}]`, () => check(prelu, i => slopes[i % n], shape, [2, 9]));
  }
  it('prelu has one a row', () => check(prelu, i => slopes[Math.floor(i / n)], [rows, 1]));
  it('prelu has one an element', () => check(prelu, i => slopes[i], [rows, n]));
  it('prelu has one an element of the last two dims', () => check(prelu, i => slopes[i % (9 * n)], [9, n], [2, 9]));
  it('prelu has one a place of the first', () => check(prelu, i => slopes[Math.floor(i / (9 * n))], [2, 1, 1], [2, 9]));
});

describe('nmSparseMatMul, activations at their ends', () => {
  // x = 1 and k = 1, so that W itself is what the activation gets; the second row of x makes it NaN.
  const points = Float32Array.of(0, -1e-30, 1e-4, -1e-4, 0.5, -0.5, 6, 7, -30, 100, -100, 1e13, -1e13, -6, 3, -3);

  for (const activation of ACTIVATIONS) {
    it(`${activation} neither overflows nor loses a NaN`, async () => {
      const ones = drawMatrix([1, points.length], '1:1', 'float32', mulberry32(seed));
      const drawn = {...ones, values: points, dense: points};
      const matrix = toSparseMatrix(drawn);
      const x = tf.tensor2d([1, NaN], [2, 1]);
      const preluActivationWeights = tf.scalar(0.25);
      const y = nmSparseMatMul(x, matrix, {
        activation, ...(activation === 'prelu' && {preluActivationWeights}), leakyreluAlpha: 0.25,
      });
      const got = await y.data();
      tf.dispose([x, y, preluActivationWeights]);
      matrix.dispose();
      expectNear(got.slice(0, points.length),
        {...referenceSums([1], drawn), activation, slopeAt: () => 0.25}, activation);
      if (backendName !== 'webgl') { // there it is tf.elu's own doing that elu(NaN) is Infinity
        expect([...got.slice(points.length)].every(Number.isNaN), `${activation}(NaN) is ${got.slice(points.length)}`)
          .to.be.true;
      }
    });
  }
});

describe('nmSparseMatMul, one product twice', () => {
  const SPLIT: Array<[string, Case]> = [
    ['packed', {rows: 18, shape: [600, 40], pattern: '4:16v32', dtype: 'float16', activation: 'tanh', hasBias: true}],
    ['window', {rows: 18, shape: [600, 40], pattern: '5:8v8', dtype: 'float32', activation: 'tanh', hasBias: true}],
    ['decompress', {rows: 18, shape: [600, 40], pattern: '2:4', dtype: 'float32', activation: 'tanh', hasBias: true}],
    ['dense', {rows: 18, shape: [602, 40], pattern: '4:4v4', dtype: 'float32', activation: 'tanh', hasBias: true}],
    ['gemv', {rows: 3, shape: [4100, 40], pattern: '2:4v4', dtype: 'float32', activation: 'tanh', hasBias: true}],
  ];
  for (const [kind, of] of SPLIT) {
    it(`is the same to the last bit with k split (${kind}), and a NaN stays in its row`, async () => {
      const plan = choosePlan(problem(of), activeLimits());
      expect(plan.kind === 'gemm' ? plan.config.strategy : plan.kind).to.equal(kind);
      expect(plan.splits).to.be.above(1);
      const {rows, shape: [k, n]} = of;
      const random = mulberry32(seed);
      const matrix = toSparseMatrix(drawMatrix(of.shape, of.pattern, of.dtype, random));
      const bias = tf.tensor1d(randomValues(n, random));
      const xs = randomValues(rows * k, random);
      const multiply = async () => {
        await poisonBuffers(...writtenShapes(of));
        const x = tf.tensor2d(xs, [rows, k]);
        const y = nmSparseMatMul(x, matrix, {bias, activation: of.activation});
        const bits = new Uint32Array((await y.data()).slice().buffer);
        tf.dispose([x, y]);
        return bits;
      };
      const first = await multiply();
      expect(await multiply()).to.deep.equal(first);

      const sick = rows - 2;
      xs.fill(NaN, sick * k, (sick + 1) * k);
      const withNaN = await multiply();
      bias.dispose();
      matrix.dispose();
      const floats = new Float32Array(withNaN.buffer);
      for (let row = 0; row < rows; ++row) {
        if (row === sick) {
          expect([...floats.slice(row * n, (row + 1) * n)].every(Number.isNaN), 'the row with NaN').to.be.true;
        } else {
          expect(withNaN.slice(row * n, (row + 1) * n), `row ${row}`)
            .to.deep.equal(first.slice(row * n, (row + 1) * n));
        }
      }
    });
  }
});
