/** Compressing: what is kept, that it is kept exactly, and that nothing else chooses better. */
import {add, tensor2d, type Tensor2D} from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import fc from 'fast-check';
import {compress, compressValues, decompressValues} from '../../src/format/compress.js';
import {keptRowIndices, packHalves, packIndices, unpackHalves} from '../../src/format/pack.js';
import {groupCount, keptRowCount, parsePattern, type NMPattern} from '../../src/format/pattern.js';
import {checkIndices} from '../../src/format/validate.js';
import {mulberry32, seed} from '../support/random.js';
import {anyFloat, bitsOf, cases, denseValues, matrix, nonZero, smallInteger, withTensor, type Case} from './cases.js';

/** Every window of every group. */
function* windows([k, n]: [number, number], {m, vectorLength}: NMPattern) {
  for (let topRow = 0; topRow < k; topRow += m) {
    for (let firstCol = 0; firstCol < n; firstCol += vectorLength) {
      yield {topRow, rows: Math.min(m, k - topRow), firstCol, endCol: Math.min(firstCol + vectorLength, n)};
    }
  }
}

/** A mask that fits the pattern; it keeps `min(N, rows)` rows of a window, or fewer where `sparser`. */
function randomMask(shape: [number, number], pattern: NMPattern, random: () => number, sparser = false): Uint8Array {
  const mask = new Uint8Array(shape[0] * shape[1]);
  for (const {topRow, rows, firstCol, endCol} of windows(shape, pattern)) {
    const order = Array.from({length: rows}, (_, r) => ({r, at: random()})).sort((a, b) => a.at - b.at);
    const keep = Math.min(pattern.n, rows);
    for (const {r} of order.slice(0, sparser ? Math.floor(random() * (keep + 1)) : keep)) {
      mask.fill(1, (topRow + r) * shape[1] + firstCol, (topRow + r) * shape[1] + endCol);
    }
  }
  return mask;
}

/** The rows of W that the offsets keep, by group, checked on the way. */
function rowsKept(offsets: Uint8Array, shape: [number, number], pattern: NMPattern): Int32Array {
  const words = packIndices(offsets, groupCount(shape[1], pattern), keptRowCount(shape[0], pattern), pattern);
  checkIndices(words, shape, pattern);
  return keptRowIndices(words, shape, pattern);
}

function roundTrip({w, shape, pattern}: Case, mask?: Uint8Array): Float32Array {
  const {values, offsets} = compressValues(w, shape, pattern, mask);
  return decompressValues(values, rowsKept(offsets, shape, pattern), shape, pattern);
}

function energyOf(w: Float32Array, n: number, row: number, firstCol: number, endCol: number): number {
  return w.subarray(row * n + firstCol, row * n + endCol).reduce((sum, value) => sum + value * value, 0);
}

describe('compressValues', () => {
  it('keeps of each window the rows of largest norm, of equal rows the lowest', () => {
    fc.assert(fc.property(cases(256, 300, 12, smallInteger), ({w, shape, pattern}) => {
      const [k, n] = shape;
      const {offsets} = compressValues(w, shape, pattern);
      const kept = rowsKept(offsets, shape, pattern);
      const w0 = keptRowCount(k, pattern);
      for (const {topRow, rows, firstCol, endCol} of windows(shape, pattern)) {
        const byEnergy = Array.from({length: rows}, (_, r) => topRow + r).sort((a, b) =>
            energyOf(w, n, b, firstCol, endCol) - energyOf(w, n, a, firstCol, endCol) || a - b);
        const expected = byEnergy.slice(0, pattern.n).sort((a, b) => a - b);
        const first = (firstCol / pattern.vectorLength) * w0 + (topRow / pattern.m) * pattern.n;
        expect([...kept.subarray(first, first + expected.length)]).to.deep.equal(expected);
      }
    }), {seed, numRuns: 60});
  });

  it('keeps no less energy than any other choice of rows', () => {
    fc.assert(fc.property(cases(7, 16, 9), ({w, shape, pattern}) => {
      const n = shape[1];
      const dense = roundTrip({w, shape, pattern});
      for (const {topRow, rows, firstCol, endCol} of windows(shape, pattern)) {
        const energies = (of: Float32Array) =>
            Array.from({length: rows}, (_, r) => energyOf(of, n, topRow + r, firstCol, endCol));
        const all = energies(w);
        const kept = energies(dense).reduce((sum, energy) => sum + energy, 0);
        for (let choice = 0; choice < 1 << rows; ++choice) {
          const chosen = all.filter((_, r) => choice >> r & 1);
          if (chosen.length <= pattern.n) {
            expect(chosen.reduce((sum, energy) => sum + energy, 0)).to.be.at.most(kept * (1 + 1e-12));
          }
        }
      }
    }), {seed, numRuns: 60});
  });

  it('gives back kept values exactly and 0 elsewhere', () => {
    fc.assert(fc.property(cases(256, 300, 20), ({w, shape, pattern}) => {
      const {values, offsets} = compressValues(w, shape, pattern);
      const kept = rowsKept(offsets, shape, pattern);
      const w0 = keptRowCount(shape[0], pattern);
      const expected = new Float32Array(w.length);
      kept.forEach((row, i) => {
        const group = Math.floor(i / w0);
        const endCol = Math.min((group + 1) * pattern.vectorLength, shape[1]);
        for (let col = group * pattern.vectorLength; col < endCol; ++col) {
          expected[row * shape[1] + col] = w[row * shape[1] + col];
        }
      });
      expect(bitsOf(decompressValues(values, kept, shape, pattern))).to.deep.equal(bitsOf(expected));
    }), {seed, numRuns: 60});
  });

  it('compresses what it decompressed to the same values and offsets', () => {
    fc.assert(fc.property(cases(64, 150, 12), ({w, shape, pattern}) => {
      const first = compressValues(w, shape, pattern);
      const again = compressValues(roundTrip({w, shape, pattern}), shape, pattern);
      expect(again.offsets).to.deep.equal(first.offsets);
      expect(bitsOf(again.values)).to.deep.equal(bitsOf(first.values));
    }), {seed, numRuns: 60});
  });

  it('keeps every value where N = M, however the windows and groups fall', () => {
    fc.assert(fc.property(cases(40, 100, 20), ({w, shape, pattern}) => {
      const dense = parsePattern({...pattern, n: pattern.m});
      expect(bitsOf(roundTrip({w, shape, pattern: dense}))).to.deep.equal(bitsOf(w));
    }), {seed, numRuns: 30});
  });

  it('keeps what a mask keeps, exactly, and drops the rest', () => {
    fc.assert(fc.property(cases(64, 150, 20), fc.integer(), fc.boolean(), (one, maskSeed, sparser) => {
      const mask = randomMask(one.shape, one.pattern, mulberry32(maskSeed), sparser);
      const expected = one.w.map((value, i) => mask[i] ? value : 0);
      expect(bitsOf(roundTrip(one, mask))).to.deep.equal(bitsOf(expected));
    }), {seed, numRuns: 60});
  });

  it('finds the mask that W was pruned by, in a matrix of many blocks', () => {
    const shape: [number, number] = [300, 150];
    for (const notation of ['64:256', '16:32', '1:2', '128:256v4', '8:32v32']) {
      const pattern = parsePattern(notation);
      const mask = randomMask(shape, pattern, mulberry32(seed));
      const w = matrix(shape, seed, nonZero).map((value, i) => mask[i] ? value : 0);
      expect(bitsOf(roundTrip({w, shape, pattern})), notation).to.deep.equal(bitsOf(w));
      expect(bitsOf(roundTrip({w, shape, pattern}, mask)), notation).to.deep.equal(bitsOf(w));
    }
  });

  it('fills a mask that keeps too few rows up with the lowest others, stored as 0', () => {
    const mask = Uint8Array.of(0, 0, 0, 1, 0, 0);
    const {values, offsets} = compressValues(Float32Array.of(9, 8, 7, 6, 5, 4), [6, 1], parsePattern('3:6'), mask);
    expect([...offsets]).to.deep.equal([0, 1, 3]);
    expect([...values]).to.deep.equal([0, 0, 6]);
  });

  it('takes any non-zero of a mask for keep', () => {
    const mask = Uint8Array.of(0, 255, 0, 0);
    const {offsets} = compressValues(Float32Array.of(1, 2, 3, 4), [4, 1], parsePattern('1:4'), mask);
    expect([...offsets]).to.deep.equal([1]);
  });

  it('keeps min(N, rows left) of a short last window', () => {
    const {values, offsets} = compressValues(Float32Array.of(1, 2, 3, 4, 0.5), [5, 1], parsePattern('2:4'));
    expect([...offsets]).to.deep.equal([2, 3, 0]);
    expect([...values]).to.deep.equal([3, 4, 0.5]);
  });

  it('weighs squares that neither float32 nor its squares could hold', () => {
    const huge = 3.4028234663852886e38;
    expect([...compressValues(Float32Array.of(1e38, huge), [2, 1], parsePattern('1:2')).offsets]).to.deep.equal([1]);
    expect([...compressValues(Float32Array.of(0, 2 ** -149), [2, 1], parsePattern('1:2')).offsets]).to.deep.equal([1]);
  });
});

describe('compress', () => {
  it('gives a matrix that stands for what compressValues keeps', async () => {
    await fc.assert(fc.asyncProperty(cases(256, 300, 20), async ({w, shape, pattern}) => {
      const result = await withTensor(w, shape, W => compress(W, {pattern}));
      const dense = await denseValues(result);
      result.dispose();
      expect(bitsOf(dense)).to.deep.equal(bitsOf(roundTrip({w, shape, pattern})));
    }), {seed, numRuns: 30});
  });

  it('says what the matrix is', async () => {
    const result = await withTensor(new Float32Array(15), [5, 3], W =>
      compress(W, {pattern: '2:4v2', dtype: 'float16'}));
    expect(result.shape).to.deep.equal([5, 3]);
    expect(result.pattern).to.deep.equal({n: 2, m: 4, vectorLength: 2});
    expect(result.dtype).to.equal('float16');
    expect(result.keptRows).to.equal(3);
    expect(result.values.shape).to.deep.equal([3, 2]);
    expect(result.indices.shape).to.deep.equal([2, 1]);
    expect(result.bytes).to.equal(4 * (6 + 2));
    result.dispose();
  });

  it('stores float32 unless told otherwise', async () => {
    const result = await withTensor(Float32Array.of(1, 2), [2, 1], W => compress(W, {pattern: '1:2'}));
    expect(result.dtype).to.equal('float32');
    expect(result.values.dtype).to.equal('float32');
    result.dispose();
  });

  it('rounds kept values to float16, and only once', async () => {
    await fc.assert(fc.asyncProperty(cases(40, 100, 13, random => random() * 4 - 2), async ({w, shape, pattern}) => {
      const result = await withTensor(w, shape, W => compress(W, {pattern, dtype: 'float16'}));
      const dense = await denseValues(result);
      result.dispose();
      const [k, n] = shape;
      const rounded = unpackHalves(packHalves(roundTrip({w, shape, pattern}), k, n), k, n);
      expect(bitsOf(dense)).to.deep.equal(bitsOf(rounded));

      const again = await withTensor(dense, shape, W => compress(W, {pattern, dtype: 'float16'}));
      expect(bitsOf(await denseValues(again))).to.deep.equal(bitsOf(dense));
      again.dispose();
    }), {seed, numRuns: 30});
  });

  it('rounds and packs a matrix of many values', async () => {
    const shape: [number, number] = [500, 301];
    const w = matrix(shape, seed, nonZero);
    const result = await withTensor(w, shape, W => compress(W, {pattern: '1:2', dtype: 'float16'}));
    const rounded = unpackHalves(packHalves(roundTrip({w, shape, pattern: result.pattern}), ...shape), ...shape);
    expect(bitsOf(await denseValues(result))).to.deep.equal(bitsOf(rounded));
    result.dispose();
  });

  it('stores in float16 all that does not become infinite, and looks at kept values alone', async () => {
    const justBelow = 65519.99609375;
    const w = Float32Array.of(justBelow, -justBelow, 1e30, 1);
    const mask = tensor2d([1, 1, 0, 0], [4, 1]);
    const result = await withTensor(w, [4, 1], W => compress(W, {pattern: '2:4', mask, dtype: 'float16'}));
    mask.dispose();
    expect([...await denseValues(result)]).to.deep.equal([65504, -65504, 0, 0]);
    result.dispose();
  });

  it('takes a mask of any of the three dtypes, and any non-zero in it for keep', async () => {
    const w = Float32Array.of(4, 3, 2, 1);
    for (const [dtype, keep] of [['bool', 1], ['int32', 256], ['float32', 0.25], ['float32', -1]] as const) {
      const mask = tensor2d([0, 0, keep, keep], [4, 1], dtype);
      const result = await withTensor(w, [4, 1], W => compress(W, {pattern: '2:4', mask}));
      expect([...await denseValues(result)], `${dtype} ${keep}`).to.deep.equal([0, 0, 2, 1]);
      mask.dispose();
      result.dispose();
    }
  });

  it('leaves W and the mask as they were', async () => {
    const values = matrix([20, 7], seed, anyFloat);
    const W = tensor2d(values.slice(), [20, 7]);
    const mask = tensor2d(randomMask([20, 7], parsePattern('2:4v2'), mulberry32(seed)), [20, 7], 'bool');
    const result = await compress(W, {pattern: '2:4v2', mask});
    expect(bitsOf(await W.data() as Float32Array)).to.deep.equal(bitsOf(values));
    [W, mask].forEach(tensor => tensor.dispose());
    result.dispose();
  });

  it('reads a W that an op made', async () => {
    const W = tensor2d([1, 2, 3, 4], [4, 1]);
    const doubled = add<Tensor2D>(W, W);
    const result = await compress(doubled, {pattern: '1:2'});
    expect([...await denseValues(result)]).to.deep.equal([0, 4, 0, 8]);
    [W, doubled].forEach(tensor => tensor.dispose());
    result.dispose();
  });

  it('reports progress that never falls and ends with 1', async () => {
    const fractions: number[] = [];
    const result = await withTensor(matrix([64, 300], seed, anyFloat), [64, 300], W =>
      compress(W, {pattern: '2:4', onProgress: fraction => fractions.push(fraction)}));
    result.dispose();
    expect(fractions).to.deep.equal([...fractions].sort((a, b) => a - b));
    expect(fractions.at(-1)).to.equal(1);
  });
});
