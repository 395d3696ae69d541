/**
 * Gradients of nmSparseMatMul and decompress against float64. With z = x·W + b and y = f(z), for a given dy:
 *
 *     dz = dy·f'(z)     dx = dz·Wᵀ     dvalues = the kept entries of xᵀ·dz     db = dz summed over rows
 *
 * where f' is a central difference of the float64 activation, so no formula of the code under test is used. dy is 0
 * where an activation has its kink, for there both one-sided slopes are right.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {ACTIVATIONS, NM_SPARSE_MAT_MUL, toAttrs, type FusedActivation} from '../../kernels/contract.js';
import {keptRowIndices} from '../../src/format/pack.js';
import {keptRowCount} from '../../src/format/pattern.js';
import {decompress, nmSparseMatMul, type NMSparseMatrix} from '../../src/index.js';
import {allowLeak, backendName} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {
  drawMatrix, randomValues, referenceActivation, referenceSums, toSparseMatrix, type DrawnMatrix,
} from '../support/reference.js';

const ROWS = 18; // in a tile: that shader compiles sooner than a GEMV for some rows
const [K, N] = [12, 8];

/** One problem for all tests here: its shaders are compiled once. */
const random = mulberry32(seed);
const drawn = drawMatrix([K, N], '2:4v4', 'float32', random);
const X = randomValues(ROWS * K, random);
const BIAS = randomValues(N, random, 2);
const SLOPES = randomValues(ROWS * N, random, 2);

/** [rows, inner] × [inner, cols], either of them transposed; float64. */
function multiply(
    a: ArrayLike<number>, b: ArrayLike<number>, [rows, inner, cols]: [number, number, number],
    {transposeA = false, transposeB = false} = {}): Float64Array {
  const product = new Float64Array(rows * cols);
  for (let row = 0; row < rows; ++row) {
    for (let col = 0; col < cols; ++col) {
      for (let i = 0; i < inner; ++i) {
        product[row * cols + col] +=
            a[transposeA ? i * rows + row : row * inner + i] * b[transposeB ? col * inner + i : i * cols + col];
      }
    }
  }
  return product;
}

/** Of a dense [K, N] the entries a matrix keeps, [w, N]. */
function keptEntries(dense: ArrayLike<number>, {pattern, indices}: DrawnMatrix): number[] {
  const keptRows = keptRowCount(K, pattern);
  const rowIds = keptRowIndices(indices, [K, N], pattern);
  return Array.from({length: keptRows * N}, (_, at) => {
    const [j, col] = [Math.floor(at / N), at % N];
    return dense[rowIds[Math.floor(col / pattern.vectorLength) * keptRows + j] * N + col];
  });
}

/** dL/dz for L = sum(y·dy), and dL/dslope at each element. */
function outerGradients(activation: FusedActivation, z: Float64Array, dy: ArrayLike<number>, slopes: number[]) {
  const step = 1e-5;
  const at = (i: number, dz: number, dSlope: number) =>
    referenceActivation(activation, z[i] + dz, slopes[i] + dSlope);
  return {
    dz: z.map((_, i) => dy[i] * (at(i, step, 0) - at(i, -step, 0)) / (2 * step)),
    dSlope: z.map((_, i) => dy[i] * (at(i, 0, step) - at(i, 0, -step)) / (2 * step)),
  };
}

/** Largest difference, relative to the largest gradient. TensorFlow's tanh is an approximation. */
const TOLERANCE = backendName === 'tensorflow' ? 5e-5 : 1e-5;

/** dy, with 0 where z is at a kink. */
function drawOuter(z: Float64Array): Float32Array {
  const atKink = (i: number) => [0, 6].some(kink => Math.abs(z[i] - kink) < 1e-3);
  return randomValues(z.length, random).map((value, i) => atKink(i) ? 0 : value);
}

function expectGradient(got: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  expect(got.length, what).to.equal(expected.length);
  const size = Math.max(1, ...Array.from(expected, Math.abs));
  for (let i = 0; i < expected.length; ++i) {
    expect(got[i], `${what}, element ${i}`).to.be.closeTo(expected[i], TOLERANCE * size);
  }
}

async function dataOf<T extends tf.Tensor>(tensors: T[]): Promise<tf.TypedArray[]> {
  const data = await Promise.all(tensors.map(tensor => tensor.data()));
  tf.dispose(tensors);
  return data;
}

/** Runs `use` with a matrix that is disposed afterwards. */
async function withMatrix(use: (matrix: NMSparseMatrix) => Promise<void>, from = drawn): Promise<void> {
  const matrix = toSparseMatrix(from);
  try {
    await use(matrix);
  } finally {
    matrix.dispose();
  }
}

/** Sums a gradient over all but the axes along which slopes of this shape vary. */
function sumTo(shape: number[], dSlope: Float64Array): Float64Array {
  const size = shape.reduce((a, b) => a * b, 1);
  const perRow = shape.length === 2 && shape[0] === ROWS;
  const sums = new Float64Array(size);
  dSlope.forEach((value, i) => {
    sums[size === 1 ? 0 : perRow ? (shape[1] === 1 ? Math.floor(i / N) : i) : i % N] += value;
  });
  return sums;
}

/** Compares all gradients of one call. */
async function check(activation: FusedActivation, leading = [ROWS], slopeShape = [N]): Promise<void> {
  const slopeSize = slopeShape.reduce((a, b) => a * b, 1);
  const slopeIndex = (i: number) => slopeSize === 1 ? 0 : slopeShape[slopeShape.length - 1] === 1 ? Math.floor(i / N) :
    i % slopeSize;
  const slopes = Array.from({length: ROWS * N}, (_, i) => activation === 'leakyrelu' ? 0.2 : SLOPES[slopeIndex(i)]);
  const {sums} = referenceSums(X, drawn, BIAS);
  const dy = drawOuter(sums);
  const {dz, dSlope} = outerGradients(activation, sums, dy, slopes);

  await withMatrix(async matrix => {
    const prelu = activation === 'prelu';
    const f = (x: tf.Tensor, values: tf.Tensor, bias: tf.Tensor, preluActivationWeights?: tf.Tensor) =>
      nmSparseMatMul(x, {...matrix, values: values as tf.Tensor2D}, {
        bias: bias as tf.Tensor1D, activation, ...(preluActivationWeights && {preluActivationWeights}),
      });
    const gradients = tf.tidy(() => {
      const inputs = [
        tf.tensor(X, [...leading, K]), matrix.values, tf.tensor1d(BIAS),
        ...(prelu ? [tf.tensor(SLOPES.slice(0, slopeSize), slopeShape)] : []),
      ];
      return tf.grads(f as (...args: tf.Tensor[]) => tf.Tensor)(inputs, tf.tensor(dy, [...leading, N]));
    });
    expect(gradients.map(({shape}) => shape)).to.deep.equal(
      [[...leading, K], matrix.values.shape, [N], ...(prelu ? [slopeShape] : [])]);
    const [dx, dValues, dBias, dSlopes] = await dataOf(gradients);
    expectGradient(dx, multiply(dz, drawn.dense, [ROWS, N, K], {transposeB: true}), 'dx');
    expectGradient(dValues, keptEntries(multiply(X, dz, [K, ROWS, N], {transposeA: true}), drawn), 'dvalues');
    expectGradient(dBias, sumTo([N], dz), 'dbias');
    if (prelu) {
      expectGradient(dSlopes, sumTo(slopeShape, dSlope), 'dslopes');
    }
  });
}

/**
 * Compares the gradients of a gradient: g = dL/dx or dL/dvalues for L = sum(dy·f(z)), and the gradient of sum(g·v) in
 * x or in values again. The dz of g along v is dy·f''(z)·(v·W or x·V).
 */
async function checkSecond(activation: FusedActivation): Promise<void> {
  const {sums} = referenceSums(X, drawn);
  const dy = drawOuter(sums);
  const slope = activation === 'leakyrelu' ? 0.2 : SLOPES[0];
  const step = 1e-4;
  const f = (z: number) => referenceActivation(activation, z, slope);
  const second = sums.map((z, i) => dy[i] * (f(z + step) - 2 * f(z) + f(z - step)) / step ** 2);
  await withMatrix(async matrix => {
    const v = randomValues(ROWS * K, random);
    const direction = drawMatrix([K, N], '2:4v4', 'float32', random);
    const V = {...direction, indices: drawn.indices}; // only its values matter: they go where matrix has its own
    const gradients = tf.tidy(() => {
      const outer = tf.tensor2d(dy, [ROWS, N]);
      const product = (x: tf.Tensor, values: tf.Tensor) =>
        nmSparseMatMul(x, {...matrix, values: values as tf.Tensor2D}, {
          activation, ...(activation === 'prelu' ? {preluActivationWeights: tf.scalar(slope)} : {}),
        });
      const x = tf.tensor2d(X, [ROWS, K]);
      const inX = tf.grad(a => tf.sum(tf.mul(
        tf.grad(b => product(b, matrix.values))(a, outer), tf.tensor2d(v, [ROWS, K]))))(x);
      const inValues = tf.grad(a => tf.sum(tf.mul(
        tf.grad(b => product(x, b))(a, outer), tf.tensor(V.values, matrix.values.shape))))(matrix.values);
      return [inX, inValues];
    });
    const [inX, inValues] = await dataOf(gradients);
    const alongX = multiply(v, drawn.dense, [ROWS, K, N]).map((value, i) => value * second[i]);
    expectGradient(inX, multiply(alongX, drawn.dense, [ROWS, N, K], {transposeB: true}), 'in x');
    const dense = new Float64Array(K * N);
    const places = keptEntries(Array.from(dense.keys()), drawn);
    places.forEach((place, at) => dense[place] = V.values[at]);
    const alongValues = multiply(X, dense, [ROWS, K, N]).map((value, i) => value * second[i]);
    expectGradient(inValues,
      keptEntries(multiply(X, alongValues, [K, ROWS, N], {transposeA: true}), drawn), 'in values');
  });
}

describe('the gradient of nmSparseMatMul', () => {
  for (const activation of ACTIVATIONS) {
    it(`is right in x, values and bias with activation ${activation}`, () => check(activation));
  }
  for (const activation of ['linear', 'relu', 'prelu'] as const) {
    it(`is right for an x of rank 3 with activation ${activation}`, () => check(activation, [2, 9]));
  }
  for (const shape of [[], [1], [ROWS, 1], [ROWS, N]]) {
    it(`is right in prelu slopes of shape [${shape}]`, () => check('prelu', [ROWS], shape));
  }

  it('reaches variables', () => withMatrix(async matrix => {
    const values = tf.variable(matrix.values as tf.Tensor);
    const bias = tf.tidy(() => tf.variable(tf.tensor1d(BIAS)));
    const {sums} = referenceSums(X, drawn, BIAS);
    const {dz} = outerGradients('tanh', sums, new Float32Array(ROWS * N).fill(1), []);
    const {value, grads} = tf.tidy(() => tf.variableGrads(() => tf.sum(nmSparseMatMul(
      tf.tensor2d(X, [ROWS, K]), {...matrix, values: values as unknown as tf.Tensor2D},
      {bias: bias as unknown as tf.Tensor1D, activation: 'tanh'})) as tf.Scalar, [values, bias]));
    const [dValues, dBias] = await dataOf([grads[values.name], grads[bias.name]]);
    tf.dispose([value, values, bias]);
    expectGradient(dValues, keptEntries(multiply(X, dz, [K, ROWS, N], {transposeA: true}), drawn), 'dvalues');
    expectGradient(dBias, sumTo([N], dz), 'dbias');
  }));

  it('is that of the stored halves for an x and float16 values, which have none themselves', async () => {
    allowLeak('when a gradient throws, tfjs forgets the tensors it has kept for the tape');
    const halves = drawMatrix([K, N], '2:4v4', 'float16', mulberry32(seed));
    const {sums} = referenceSums(X, halves);
    const dy = drawOuter(sums);
    await withMatrix(async matrix => {
      const gradient = tf.tidy(() => tf.grad(x => nmSparseMatMul(x, matrix))(
        tf.tensor2d(X, [ROWS, K]), tf.tensor2d(dy, [ROWS, N])));
      const [dx] = await dataOf([gradient]);
      expectGradient(dx, multiply(dy, halves.dense, [ROWS, N, K], {transposeB: true}), 'dx');
      const inValues = (apply: (like: NMSparseMatrix) => tf.Tensor) => () => tf.tidy(() => tf.grad(
        values => apply({...matrix, values} as unknown as NMSparseMatrix))(matrix.values));
      expect(inValues(like => nmSparseMatMul(tf.tensor2d(X, [ROWS, K]), like))).to.throw(
        "nmSparseMatMul: no gradient with respect to values stored as 'float16'. " +
        "Train with dtype 'float32' and store as 'float16' afterwards.");
      expect(inValues(decompress)).to.throw("no gradient with respect to values stored as 'float16'");
    }, halves);
  });

  for (const activation of ACTIVATIONS.filter(name => name !== 'linear')) {
    it(`has the right gradient itself, in x and values, with activation ${activation}`, () => checkSecond(activation));
  }

  it('is refused by the kernel itself where an activation is fused', () => withMatrix(async matrix => {
    allowLeak('when a gradient throws, tfjs forgets the tensors it has kept for the tape');
    const {values, indices} = matrix;
    const attrs = toAttrs({pattern: matrix.pattern, shape: matrix.shape, dtype: matrix.dtype, activation: 'relu',
      leakyreluAlpha: 0.2} as Parameters<typeof toAttrs>[0]);
    expect(() => tf.tidy(() => tf.grad(x => tf.engine().runKernel(
      NM_SPARSE_MAT_MUL, {x, values, indices}, attrs) as tf.Tensor)(tf.ones([ROWS, K])))).to.throw(
      "nmSparseMatMul: the kernel has no gradient with activation 'relu' fused");
  }));
});

describe('the gradient of decompress', () => {
  it('is the kept entries of dy, exactly', () => withMatrix(async matrix => {
    const dy = randomValues(K * N, random);
    const gradient = tf.tidy(() => tf.grad(values => decompress({...matrix, values: values as tf.Tensor2D}))(
      matrix.values, tf.tensor2d(dy, [K, N])));
    const [dValues] = await dataOf([gradient]);
    expect([...dValues]).to.deep.equal(keptEntries(dy, drawn));
  }));
});

describe('training through nmSparseMatMul', () => {
  it('takes an empty batch for what it is', () => withMatrix(async matrix => {
    const [k] = matrix.shape;
    const dx = tf.tidy(() => tf.grad(x => nmSparseMatMul(x, matrix, {activation: 'gelu'}))(tf.zeros([0, k])));
    expect(dx.shape).to.deep.equal([0, k]);
    dx.dispose();
  }));

  it('lowers the loss and keeps every dropped weight 0', () => withMatrix(async matrix => {
    const values = tf.variable(matrix.values as tf.Tensor);
    const like = {...matrix, values: values as unknown as tf.Tensor2D};
    const [x, target] = [tf.tensor2d(X, [ROWS, K]), tf.tensor2d(randomValues(ROWS * N, random), [ROWS, N])];
    const optimizer = tf.train.sgd(0.1);
    const losses: number[] = [];
    for (let step = 0; step < 4; ++step) {
      const loss = optimizer.minimize(() => tf.tidy(() => tf.mean(tf.square(tf.sub(
        nmSparseMatMul(x, like, {activation: 'tanh'}), target))) as tf.Scalar), true, [values])!;
      losses.push((await loss.data())[0]);
      loss.dispose();
    }
    const [trained] = await dataOf([decompress(like)]);
    tf.dispose([values, x, target]);
    optimizer.dispose();
    losses.slice(1).forEach((loss, i) => expect(loss).to.be.below(losses[i]));
    trained.forEach((weight, i) => expect(weight !== 0).to.equal(drawn.dense[i] !== 0));
    expect(trained.some((weight, i) => weight !== drawn.dense[i])).to.be.true;
  }));
});
