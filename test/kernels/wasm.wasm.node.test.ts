/**
 * The wasm kernel: random products against float64, the heap it borrows, and what runs where it cannot. The tests of
 * the op run on wasm as on every backend; these are about the kernel alone.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {ACTIVATIONS, NM_SPARSE_MAT_MUL, toAttrs} from '../../kernels/contract.js';
import {wasmKernel} from '../../kernels/wasm/kernel.js';
import {VECTOR_LENGTHS} from '../../src/format/pattern.js';
import {nmSparseMatMul} from '../../src/index.js';
import {mulberry32, seed} from '../support/random.js';
import {
  between, drawMatrix, expectNear, pick, randomValues, referenceSums, toSparseMatrix, type Random,
} from '../support/reference.js';

interface WasmBackend {
  wasm: {asm: {memory?: WebAssembly.Memory}; _malloc(bytes: number): number; _free(address: number): void};
}

const wasm = () => (tf.backend() as unknown as WasmBackend).wasm;

/** Random products per run: 1500, or the number that the environment variable gives. */
const CASES = Number(process.env.NM_SPARSE_CASES ?? 1500);

/** One random product: pattern, sizes with remainders of every kind, storage, bias and activation. */
async function checkRandom(random: Random): Promise<void> {
  const m = between(random, 1, pick(random, [4, 16, 64, 256]));
  const pattern = `${between(random, 1, m)}:${m}v${pick(random, VECTOR_LENGTHS)}`;
  const [rows, k, n] = [between(random, 1, pick(random, [4, 20, 80])), between(random, 1, 90), between(random, 1, 70)];
  const drawn = drawMatrix([k, n], pattern, pick(random, ['float32', 'float16'] as const), random);
  const xs = randomValues(rows * k, random);
  const biases = random() < 0.5 ? randomValues(n, random) : undefined;
  const activation = pick(random, ACTIVATIONS);
  const slopes = activation !== 'prelu' ? undefined : randomValues(random() < 0.5 ? 1 : n, random);
  const matrix = toSparseMatrix(drawn);
  const y = tf.tidy(() => nmSparseMatMul(tf.tensor2d(xs, [rows, k]), matrix, {
    activation, ...(biases && {bias: tf.tensor1d(biases)}),
    ...(slopes && {preluActivationWeights: tf.tensor1d(slopes)}),
  }));
  const slopeAt = (i: number) => slopes ? slopes[i % n % slopes.length] : 0.2;
  expectNear(await y.data(), {...referenceSums(xs, drawn, biases), activation, slopeAt},
    `${rows}×${n}×${k} ${pattern} ${activation}`);
  y.dispose();
  matrix.dispose();
}

describe('the wasm kernel', () => {
  it(`is right in ${CASES} random products, and leaves the heap as large as it was`, async function() {
    this.timeout(600_000);
    const random = mulberry32(seed);
    for (let i = 0; i < 100; ++i) {
      await checkRandom(random);
    }
    const bytes = wasm().asm.memory!.buffer.byteLength;
    for (let i = 100; i < CASES; ++i) {
      await checkRandom(random);
    }
    expect(wasm().asm.memory!.buffer.byteLength).to.equal(bytes);
  });

  /** Addresses that are allocated while `run` runs and not freed. */
  async function leftBy(run: () => Promise<void>): Promise<number> {
    const module = wasm();
    const {_malloc: malloc, _free: free} = module;
    const alive = new Set<number>();
    module._malloc = bytes => {
      const address = malloc(bytes);
      alive.add(address);
      return address;
    };
    module._free = address => {
      alive.delete(address);
      free(address);
    };
    try {
      await run();
    } finally {
      Object.assign(module, {_malloc: malloc, _free: free});
    }
    return alive.size;
  }

  it('frees what it lays out with the matrix, also where the matrix moves to another backend', async () => {
    expect(await leftBy(async () => {
      for (const pattern of ['2:4', '8:32v32']) {
        const drawn = drawMatrix([64, 64], pattern, 'float32', mulberry32(seed));
        const xs = randomValues(8 * 64, mulberry32(seed + 1));
        const matrix = toSparseMatrix(drawn);
        for (const backend of ['wasm', 'cpu', 'wasm']) {
          await tf.setBackend(backend);
          const y = tf.tidy(() => nmSparseMatMul(tf.tensor2d(xs, [8, 64]), matrix));
          expectNear(await y.data(), referenceSums(xs, drawn));
          y.dispose();
        }
        matrix.dispose();
      }
    })).to.equal(0);
  });

  it('multiplies other numbers of rows by the same matrix', async () => {
    const random = mulberry32(seed);
    const drawn = drawMatrix([30, 17], '2:4', 'float32', random);
    const matrix = toSparseMatrix(drawn);
    for (const rows of [5, 40, 1, 33, 5]) {
      const xs = randomValues(rows * 30, random);
      const y = tf.tidy(() => nmSparseMatMul(tf.tensor2d(xs, [rows, 30]), matrix));
      expectNear(await y.data(), referenceSums(xs, drawn));
      y.dispose();
    }
    matrix.dispose();
  });
});

describe('a product on wasm', () => {
  const random = mulberry32(seed);
  const drawn = drawMatrix([32, 20], '2:4', 'float32', random);
  const xs = randomValues(32, random);

  it('is right where tfjs keeps its memory elsewhere, and the kernel cannot run', async () => {
    const hidden = new Proxy(tf.backend(), {
      get: (backend, name) => name === 'wasm' ? {...wasm(), asm: {}} : Reflect.get(backend, name) as unknown,
    });
    expect(wasmKernel(hidden)).to.equal(undefined);
    const matrix = toSparseMatrix(drawn);
    const x = tf.tensor2d(xs, [1, 32]);
    const {kernelFunc} = tf.getKernel(NM_SPARSE_MAT_MUL, 'wasm')!;
    const y = tf.tidy(() => kernelFunc({ // the dense kernel's, which is a tensor
      inputs: {x, values: matrix.values, indices: matrix.indices}, backend: hidden,
      attrs: toAttrs({...matrix, activation: 'linear', leakyreluAlpha: 0}),
    }) as tf.Tensor);
    expectNear(await y.data(), referenceSums(xs, drawn));
    tf.dispose([x, y]);
    matrix.dispose();
  });

  it('of one row runs the sparse kernel where the bound allows no dense W, and keeps no tensor', async () => {
    const flag = 'NM_SPARSE_MAX_EXPANDED_BYTES';
    const usual = tf.env().get(flag);
    const matrix = toSparseMatrix(drawn);
    const x = tf.tensor2d(xs, [1, 32]);
    const {numTensors} = tf.memory();
    try {
      tf.env().set(flag, 4 * 32 * 20 - 1);
      const y = nmSparseMatMul(x, matrix);
      expectNear(await y.data(), referenceSums(xs, drawn));
      y.dispose();
      expect(tf.memory().numTensors).to.equal(numTensors);
      for (const wrong of ['much', NaN, -1]) {
        tf.env().set(flag, wrong as number);
        expect(() => nmSparseMatMul(x, matrix)).to.throw(`nmSparseMatMul: the flag ${flag} is `);
      }
    } finally {
      tf.env().set(flag, usual);
    }
    x.dispose();
    matrix.dispose();
  });
});
