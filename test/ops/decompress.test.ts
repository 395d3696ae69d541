/**
 * decompress copies: on every backend the result is the dense matrix to the last bit, whatever lay in the buffer
 * before.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {decompressValues} from '../../src/format/compress.js';
import {keptRowIndices, unpackHalves} from '../../src/format/pack.js';
import {formatPattern, keptRowCount, parsePattern, VECTOR_LENGTHS, type PatternLike} from '../../src/format/pattern.js';
import {decompress, type StorageDtype} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {between, drawMatrix, pick, poisonBuffers, toSparseMatrix, type Random} from '../support/reference.js';

/** On webgl a new shape means new shaders, half a dozen for each. */
const DRAWS = {cpu: 100, wasm: 100, tensorflow: 20, webgpu: 4, webgl: 1};

async function check(
    shape: [number, number], patternLike: PatternLike, dtype: StorageDtype, random: Random): Promise<void> {
  const drawn = drawMatrix(shape, patternLike, dtype, random);
  const {pattern, values, indices} = drawn;
  await poisonBuffers(shape);
  const matrix = toSparseMatrix(drawn);
  const dense = decompress(matrix);
  const got = await dense.data();
  const [gotShape, gotDtype] = [dense.shape, dense.dtype];
  dense.dispose();
  matrix.dispose();
  const what = `${shape} ${formatPattern(pattern)} ${dtype}`;
  expect([gotShape, gotDtype], what).to.deep.equal([shape, 'float32']);
  const bits = (floats: ArrayLike<number>) => new Uint32Array(Float32Array.from(floats).buffer);
  expect(bits(got), what).to.deep.equal(bits(drawn.dense));
  const stored = dtype === 'float16' ? unpackHalves(values as Int32Array, keptRowCount(shape[0], pattern), shape[1]) :
    values as Float32Array;
  expect(bits(got), what).to.deep.equal(bits(decompressValues(
    stored, keptRowIndices(indices, shape, pattern), shape, pattern)));
}

describe('decompress', () => {
  for (const dtype of ['float32', 'float16'] as const) {
    for (const aligned of [true, false]) {
      it(`gives the dense matrix, ${dtype}, ${aligned ? 'whole' : 'cut'} vec4s of columns`, async () => {
        const random = mulberry32(seed + (aligned ? 1 : 0));
        for (let i = 0; i < DRAWS[backendName]; ++i) {
          const m = between(random, 1, pick(random, [4, 16, 256]));
          const n = 4 * between(random, 1, 40) - (aligned ? 0 : between(random, 1, 3));
          await check([between(random, 1, 400), n],
            {n: between(random, 1, m), m, vectorLength: pick(random, VECTOR_LENGTHS)}, dtype, random);
        }
      });
    }
  }

  it('knows every vector length', async () => {
    for (const vectorLength of backendName === 'webgl' ? [1, 128] : VECTOR_LENGTHS) {
      await check([21, 133], {n: 3, m: 8, vectorLength}, 'float16', mulberry32(seed));
    }
  });

  it('takes a matrix of one weight', () => check([1, 1], '1:4', 'float32', mulberry32(seed)));

  it('takes a matrix whose windows are longer than it is', () => check([5, 9], '2:256v4', 'float16', mulberry32(seed)));

  it('takes values whose buffer holds int32, as tfjs casts leave it', async () => {
    const drawn = drawMatrix([8, 8], '2:4v2', 'float32', mulberry32(seed));
    const whole = drawn.values.map(value => Math.round(value * 10) || 0); // no -0: int32 has none
    const dense = tf.tidy(() => decompress({
      ...toSparseMatrix(drawn),
      values: tf.cast(tf.tensor(whole, [4, 8], 'int32'), 'float32') as tf.Tensor2D,
    }));
    const got = await dense.data();
    dense.dispose();
    const rowIds = keptRowIndices(drawn.indices, drawn.shape, parsePattern('2:4v2'));
    expect([...got]).to.deep.equal(
      [...decompressValues(Float32Array.from(whole), rowIds, drawn.shape, drawn.pattern)]);
  });
});
