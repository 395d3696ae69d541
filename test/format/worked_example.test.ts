/** The worked example and the sizes of docs/format.md, byte for byte. Change both together. */
import {io} from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {compress} from '../../src/format/compress.js';
import {partShapes} from '../../src/format/nm_sparse_matrix.js';
import type {StorageDtype} from '../../src/format/storage.js';
import {parsePattern} from '../../src/format/pattern.js';
import {denseValues, withTensor} from './cases.js';

const W = Float32Array.of(
    1, -2, 0.5,
    0, 0, 3,
    4, 0.25, 0,
    0, 1, -1.5,
    -8, 2, 0.1);

/** The bytes that tfjs writes for these tensors, one after the other. */
async function bytes(dtype: StorageDtype): Promise<{values: string; indices: string}> {
  const matrix = await withTensor(W, [5, 3], w => compress(w, {pattern: '2:4v2', dtype}));
  const {data, specs} = await io.encodeWeights({values: matrix.values, indices: matrix.indices});
  matrix.dispose();
  expect(specs.map(spec => spec.name)).to.deep.equal(['values', 'indices']);
  const hex = Array.from(new Uint8Array(data), byte => byte.toString(16).padStart(2, '0'));
  const split = 4 * specs[0].shape[0] * specs[0].shape[1];
  return {values: hex.slice(0, split).join(' '), indices: hex.slice(split).join(' ')};
}

describe('the worked example of docs/format.md', () => {
  it('has these bytes in float16', async () => {
    expect(await bytes('float16')).to.deep.equal({
      values: '00 3c 00 c0 00 42 00 00 ' +
              '00 44 00 34 00 be 00 00 ' +
              '00 c8 00 40 66 2e 00 00',
      indices: '08 00 00 00 0d 00 00 00',
    });
  });

  it('has these bytes in float32', async () => {
    expect(await bytes('float32')).to.deep.equal({
      values: '00 00 80 3f 00 00 00 c0 00 00 40 40 ' +
              '00 00 80 40 00 00 80 3e 00 00 c0 bf ' +
              '00 00 00 c1 00 00 00 40 cd cc cc 3d',
      indices: '08 00 00 00 0d 00 00 00',
    });
  });

  it('stands for this matrix', async () => {
    const matrix = await withTensor(W, [5, 3], w => compress(w, {pattern: '2:4v2', dtype: 'float16'}));
    expect([...await denseValues(matrix)]).to.deep.equal([
      1, -2, 0,
      0, 0, 3,
      4, 0.25, 0,
      0, 0, -1.5,
      -8, 2, 0.0999755859375,
    ]);
    matrix.dispose();
  });
});

describe('the sizes in docs/format.md', () => {
  it('are those of the parts', () => {
    const size = (pattern: string, dtype: StorageDtype) => {
      const {values, indices} = partShapes([1024, 1024], parsePattern(pattern), dtype);
      return [4 * values[0] * values[1], 4 * indices[0] * indices[1]];
    };
    expect(size('8:32v32', 'float16')).to.deep.equal([524288, 8192]);
    expect(size('2:4', 'float32')).to.deep.equal([2097152, 131072]);
  });
});
