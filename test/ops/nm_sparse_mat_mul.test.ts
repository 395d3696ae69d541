/**
 * nmSparseMatMul against float64: every way to multiply, every activation, storage and vector length, drawn anew in
 * each run. On WebGPU a draw comes with one of the plans on offer for it, of the kind wanted: so no program drops out
 * of the sweep unnoticed when the choice changes. cpu and webgl run the same draws, with the one way that they have.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {ACTIVATIONS} from '../../kernels/contract.js';
import {gemvGeometry} from '../../kernels/webgpu/gemv/config.js';
import {candidatePlans} from '../../kernels/webgpu/candidates.js';
import type {Plan} from '../../kernels/webgpu/plan.js';
import type {StorageDtype} from '../../src/format/storage.js';
import {VECTOR_LENGTHS} from '../../src/format/pattern.js';
import {nmSparseMatMul} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {
  byPlan, checkProduct, kindOf, plainProduct, problemOf, writtenShapes, type PlanKind, type Product,
} from '../support/products.js';
import {mulberry32, seed} from '../support/random.js';
import {
  between, DEFAULT_LIMITS, drawMatrix, expectNear, pick, poisonBuffers, randomValues, referenceSums, toSparseMatrix,
  type Random,
} from '../support/reference.js';

/** A kind of case that each run draws from. */
interface Stratum {
  name: string;
  aligned: boolean;
  draw(random: Random): Pick<Product, 'rows' | 'shape' | 'pattern'>;
  /** Whether a plan is the kind this stratum is there for. */
  accept(plan: Plan): boolean;
}

function drawCols(random: Random, aligned: boolean, most: number): number {
  return aligned ? 4 * between(random, 1, most / 4) : 4 * between(random, 0, most / 4 - 1) + between(random, 1, 3);
}

/** Small tiles. `maxM` and `minM` bound the window. */
function gemm(
    kind: PlanKind, vectorLengths: readonly number[], aligned: boolean, split: boolean,
    {minM = 2, maxM = 32, rows = [17, 70] as [number, number]} = {}): Stratum {
  const windows = minM > 32 ? ', windows of more than 32 rows' : '';
  return {
    name: `${rows.join(' to ')} rows in ${kind} tiles, L=${vectorLengths.join(' or ')}${windows}, ` +
        columns(aligned) + splitWords(split),
    aligned,
    draw: random => {
      const m = between(random, minM, maxM);
      const n = kind === 'dense' ? m : between(random, 1, m - 1);
      return {
        rows: between(random, ...rows),
        shape: [between(random, 1, split ? 700 : 200), drawCols(random, aligned, 72)],
        pattern: {n, m, vectorLength: pick(random, vectorLengths)},
      };
    },
    accept: plan => kindOf(plan) === kind && plan.splits > 1 === split,
  };
}

/** More rows and columns than one tile has, whose area is at least that. */
function largeGemm(kind: PlanKind, area: number, aligned: boolean, buffers: 1 | 2 = 1): Stratum {
  return {
    name: `in ${kind} tiles of ${area} elements or more${buffers > 1 ? ', in two buffers' : ''}, ${columns(aligned)}`,
    aligned,
    draw: random => {
      const m = between(random, 2, 32);
      return {
        rows: between(random, 130, 300),
        shape: [between(random, 20, 40), 130 + drawCols(random, aligned, 200) + (aligned ? 2 : 0)],
        pattern: {
          n: kind === 'dense' ? m : between(random, 1, m - 1), m,
          vectorLength: pick(random, kind === 'packed' || kind === 'window' ? WHOLE_VECS : VECTOR_LENGTHS),
        },
      };
    },
    accept: plan => plan.kind === 'gemm' && kindOf(plan) === kind && plan.splits === 1 &&
        plan.config.tileRows * plan.config.tileCols >= area && plan.config.buffers === buffers,
  };
}

/** `spread`: short windows of narrow groups, their weights spread to whole windows. */
function gemv(
    rows: [number, number], vectorLengths: readonly number[], aligned: boolean, split: boolean,
    spread = false): Stratum {
  return {
    name: `${rows[0] === rows[1] ? rows[0] : rows.join(' to ')} rows by GEMV${spread ? ', spread' : ''}, ` +
        `L=${vectorLengths.join(' or ')}, ${columns(aligned)}${splitWords(split)}`,
    aligned,
    draw: random => {
      const m = between(random, 1, spread ? 8 : 64);
      return {
        rows: between(random, ...rows),
        shape: [between(random, 1, split ? 5000 : 300), drawCols(random, aligned, 100)],
        pattern: {n: between(random, 1, m), m, vectorLength: pick(random, vectorLengths)},
      };
    },
    accept: plan => plan.kind === 'gemv' && plan.splits > 1 === split &&
        (!spread || gemvGeometry(plan.config).spread),
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
  gemm('window', [32, 64, 128], false, false),
  gemm('spread', [1], true, false, {maxM: 16}),
  gemm('spread', [1, 2], false, true, {maxM: 16}),
  gemm('expand', [1], true, false, {maxM: 4}),
  gemm('expand', [2], false, true),
  gemm('expand', [1, 2], true, false, {minM: 33, maxM: 256}),
  gemm('expand', WHOLE_VECS, false, true, {minM: 33, maxM: 256}),
  gemm('dense', VECTOR_LENGTHS, true, true),
  gemm('dense', VECTOR_LENGTHS, false, false, {maxM: 256}),
  gemm('packed', WHOLE_VECS, false, true, {rows: [9, 16]}),
  gemm('spread', [1, 2], true, true, {rows: [9, 16], maxM: 16}),
  largeGemm('packed', 4096, true),
  largeGemm('window', 4096, true),
  largeGemm('spread', 8192, true),
  largeGemm('expand', 8192, false),
  largeGemm('dense', 16384, false, 2),
  gemv([1, 1], [1], true, false),
  gemv([1, 1], WHOLE_VECS, false, true),
  gemv([2, 2], [2], false, false),
  gemv([3, 4], [1], false, true),
  gemv([5, 8], WHOLE_VECS, true, true),
  gemv([9, 16], [2], true, false),
  gemv([3, 4], [2], true, true, true),
  gemv([5, 16], [1, 2], false, false, true),
  gemv([9, 16], WHOLE_VECS, false, false),
  gemv([17, 64], [1, 4], true, false),
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

/** A product, and one of the plans of its kind that any device would run it by. */
function drawCase(stratum: Stratum, draw: number): {product: Product; plan: Plan} {
  const place = STRATA.indexOf(stratum);
  const random = mulberry32(seed + 7919 * place + draw);
  const ofItsKind = STRATA.filter(({aligned}) => aligned === stratum.aligned).indexOf(stratum) + draw;
  const salt = stratum.aligned ? 1 : 2;
  for (let attempt = 0; attempt < 1000; ++attempt) {
    const product: Product = {
      ...stratum.draw(random), ...deal(STORAGES, ofItsKind, salt), activation: deal(ACTIVATIONS, ofItsKind, 2 + salt),
      slopes: pick(random, ['scalar', 'column']),
    };
    const plans = candidatePlans(problemOf(product), DEFAULT_LIMITS).filter(plan => stratum.accept(plan));
    if (plans.length > 0) {
      return {product, plan: pick(random, plans)};
    }
  }
  throw new Error(`no draw is of the kind: ${stratum.name}`);
}

describe('nmSparseMatMul, a random case of each kind', () => {
  for (const stratum of STRATA) {
    const large = stratum.name.includes('elements');
    it(`multiplies ${stratum.name}`, async () => {
      const draws = backendName === 'cpu' && !large ? 20 : 1;
      for (let draw = 0; draw < draws; ++draw) {
        const {product, plan} = drawCase(stratum, draw);
        const random = mulberry32(seed ^ ((31 * STRATA.indexOf(stratum) + draw) * 0x9e3779b9));
        await checkProduct(product, {random, plan});
      }
    });
  }

  it('covers every activation with aligned and unaligned columns', () => {
    for (const aligned of [true, false]) {
      const activations = STRATA.filter(stratum => stratum.aligned === aligned)
        .map(stratum => drawCase(stratum, 0).product.activation);
      expect(activations).to.include.members([...ACTIVATIONS]);
    }
  });
});

describe('nmSparseMatMul, by the plan that is chosen', () => {
  const ROWS: Array<[number, number]> = [[1, 1], [2, 4], [5, 16], [17, 40], [41, 100], [101, 200]];
  for (const [i, [from, to]] of ROWS.entries()) {
    it(`multiplies ${from === to ? 'a row' : `${from} to ${to} rows`} of any pattern`, async () => {
      const random = mulberry32(seed + 104_729 * i);
      const m = between(random, 1, 64);
      await checkProduct({
        rows: between(random, from, to),
        shape: [between(random, 1, 700), drawCols(random, random() < 0.5, 200)],
        pattern: {n: between(random, 1, m), m, vectorLength: pick(random, VECTOR_LENGTHS)},
        ...pick(random, STORAGES), activation: pick(random, ACTIVATIONS), slopes: pick(random, ['scalar', 'column']),
      }, {random});
    });
  }
});

describe('nmSparseMatMul, corner cases', () => {
  const CORNERS: Array<[string, Product]> = [
    ['a product of two numbers', plainProduct({rows: 1, shape: [1, 1], pattern: '1:1'})],
    ['k=1, shorter than the window', plainProduct({rows: 1, shape: [1, 5], pattern: '1:2', dtype: 'float16'})],
    ['k=1 and n=1 in a tile', plainProduct({rows: 17, shape: [1, 1], pattern: '1:4v4'})],
    ['one short group and a half too many',
      plainProduct({rows: 33, shape: [9, 3], pattern: '2:4v128', dtype: 'float16'})],
    ['16 rows and a last window of one row',
      plainProduct({rows: 16, shape: [257, 6], pattern: '128:256', activation: 'relu', hasBias: true})],
    ['three rows kept of 256', plainProduct({rows: 130, shape: [300, 33], pattern: '3:256'})],
    ['a dense window of 256 rows and one more', plainProduct({
      rows: 17, shape: [257, 8], pattern: '256:256v64', dtype: 'float16', activation: 'relu6', hasBias: true,
    })],
    ['a long k for two rows', plainProduct({rows: 2, shape: [5000, 4], pattern: '1:2v4'})],
    ['windows of three rows, whose offsets leave a code unused',
      plainProduct({rows: 18, shape: [40, 12], pattern: '2:3v4'})],
    ['slopes of one column', plainProduct({rows: 3, shape: [6, 1], pattern: '2:3v4', activation: 'prelu'})],
  ];
  CORNERS.forEach(([name, of], i) => it(`multiplies ${name}`, () => checkProduct(of, {random: mulberry32(seed + i)})));

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
  const WAYS: Array<[PlanKind, number, string]> = [
    ['gemv', 2, '2:4v4'], ['gemv', 6, '2:4v4'], ['gemv', 2, '4:4v4'], ['packed', 17, '2:4v4'], ['window', 17, '2:4v4'],
    ['spread', 17, '2:4v2'], ['gemv', 6, '2:4'], ['expand', 17, '2:4v4'], ['dense', 17, '4:4v4'],
  ];
  for (const [kind, rows, pattern] of WAYS) {
    for (const cols of [8, 7]) {
      it(`may hold int32, for ${rows} rows and ${cols} columns of ${pattern} (${kind})`, async () => {
        const random = mulberry32(seed);
        const small = (length: number) => Float32Array.from({length}, () => between(random, -9, 9));
        const [x, bias, slopes] = [small(rows * 12), small(cols), small(cols)];
        const fractions = drawMatrix([12, cols], pattern, 'float32', random);
        const drawn = {...fractions, dense: fractions.dense.map(value => Math.round(3 * value))};
        const values = fractions.values.map((value: number) => Math.round(3 * value));
        const cast = (array: Float32Array | Int32Array, shape: number[]) =>
          tf.cast(tf.tensor(array, shape, 'int32'), 'float32');
        const of = plainProduct({rows, shape: [12, cols], pattern, activation: 'prelu', hasBias: true});
        const plan = pick(random,
          candidatePlans(problemOf(of), DEFAULT_LIMITS).filter(each => kindOf(each) === kind));
        const y = tf.tidy(() => {
          const matrix = toSparseMatrix(fractions);
          const [xTensor, held] = [cast(x, [rows, 12]), cast(values, matrix.values.shape) as tf.Tensor2D];
          return byPlan(plan, () => nmSparseMatMul(xTensor, {...matrix, values: held}, {
            bias: cast(bias, [cols]) as tf.Tensor1D, activation: 'prelu', preluActivationWeights: cast(slopes, [cols]),
          }));
        });
        const got = await y.data();
        y.dispose();
        expectNear(got, {...referenceSums(x, drawn, bias), activation: 'prelu', slopeAt: i => slopes[i % cols]});
      });
    }
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
  const finished = {activation: 'tanh', hasBias: true} as const;
  const SPLIT: Array<[PlanKind, Product]> = [
    ['packed', plainProduct({rows: 18, shape: [600, 40], pattern: '4:16v32', dtype: 'float16', ...finished})],
    ['window', plainProduct({rows: 18, shape: [600, 40], pattern: '5:8v8', ...finished})],
    ['spread', plainProduct({rows: 18, shape: [600, 40], pattern: '2:4', ...finished})],
    ['expand', plainProduct({rows: 18, shape: [600, 40], pattern: '2:4', ...finished})],
    ['dense', plainProduct({rows: 18, shape: [602, 40], pattern: '4:4v4', ...finished})],
    ['gemv', plainProduct({rows: 3, shape: [4100, 40], pattern: '2:4v4', ...finished})],
  ];
  for (const [kind, of] of SPLIT) {
    it(`is the same to the last bit with k split (${kind}), and a NaN stays in its row`, async () => {
      const plans = candidatePlans(problemOf(of), DEFAULT_LIMITS)
        .filter(plan => kindOf(plan) === kind && plan.splits > 1);
      const plan = pick(mulberry32(seed), plans);
      const {rows, shape: [k, n]} = of;
      const random = mulberry32(seed);
      const matrix = toSparseMatrix(drawMatrix(of.shape, of.pattern, of.dtype, random));
      const bias = tf.tensor1d(randomValues(n, random));
      const xs = randomValues(rows * k, random);
      const multiply = async () => {
        await poisonBuffers(...writtenShapes(plan, of));
        const x = tf.tensor2d(xs, [rows, k]);
        const y = byPlan(plan, () => nmSparseMatMul(x, matrix, {bias, activation: of.activation}));
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
