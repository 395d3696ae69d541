/** A criterion decides which rows a conversion keeps and which values they get. */
import {tensor2d} from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {pruneKernel} from '../../src/convert/prune_kernels.js';
import {keepBestRows} from '../../src/format/compress.js';
import {parsePattern} from '../../src/format/pattern.js';
import {decompress} from '../../src/ops/nm_sparse_mat_mul.js';
import type {Criterion} from '../../src/pruning/criteria/criterion.js';
import {CRITERIA} from '../../src/pruning/options.js';

/** [6, 2]; the last window of three is whole. */
const W = [
  1, -2,
  -3, 0.5,
  2, 4,
  -1, 1,
  7, -6,
  0, 3,
];

async function pruned(criterion: Criterion, mask?: number[]): Promise<number[]> {
  const kernel = tensor2d(W, [6, 2]);
  const maskTensor = mask && tensor2d(mask, [6, 2], 'int32');
  const outcome = await pruneKernel(kernel, {
    pattern: parsePattern('1:3v2'), criterion, mask: maskTensor, replaced: false, bytesNow: 1000,
    bytesOf: async ({bytes}) => bytes, onProgress: () => undefined,
  });
  kernel.dispose();
  maskTensor?.dispose();
  if ('reason' in outcome) {
    throw new Error(outcome.reason);
  }
  const dense = decompress(outcome.matrix);
  const values = [...await dense.data()];
  dense.dispose();
  outcome.matrix.dispose();
  return values;
}

describe('a pruning criterion', () => {
  it('keeps the rows of largest L2 norm, if it is magnitude', async () => {
    expect(await pruned(CRITERIA.magnitude)).to.deep.equal([0, 0, 0, 0, 2, 4, 0, 0, 7, -6, 0, 0]);
  });

  /** Keeps the smallest rows and doubles their values. */
  const smallestDoubled: Criterion = {
    * prune(w, shape, pattern) {
      const {values, offsets} = yield* keepBestRows(w, shape, pattern, ({topRow, rows, scores}) => {
        for (let row = 0; row < rows; ++row) {
          scores[row] = -Math.hypot(w[2 * (topRow + row)], w[2 * (topRow + row) + 1]);
        }
      });
      return {values: values.map(value => 2 * value), offsets};
    },
  };

  it('decides rows and values of a converted kernel', async () => {
    expect(await pruned(smallestDoubled)).to.deep.equal([2, -4, 0, 0, 0, 0, -2, 2, 0, 0, 0, 0]);
  });

  it('is not asked where a mask decides', async () => {
    expect(await pruned(smallestDoubled, [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1]))
      .to.deep.equal([0, 0, -3, 0.5, 0, 0, 0, 0, 0, 0, 0, 3]);
  });
});
