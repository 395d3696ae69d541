/** The zeros of a matrix tell its pattern; what compress made, detectPattern finds. */
import {expect} from 'chai';
import fc from 'fast-check';
import {compress} from '../../src/format/compress.js';
import {checkPattern, detectPattern, type DetectOptions} from '../../src/format/detect.js';
import {formatPattern, keptRowCount, parsePattern, VECTOR_LENGTHS, type NMPattern} from '../../src/format/pattern.js';
import {seed} from '../support/random.js';
import {cases, denseValues, matrix, nonZero, shapes, withTensor} from './cases.js';

async function pruned(shape: [number, number], pattern: NMPattern, matrixSeed: number): Promise<Float32Array> {
  const result = await withTensor(matrix(shape, matrixSeed, nonZero), shape, W => compress(W, {pattern}));
  const dense = await denseValues(result);
  result.dispose();
  return dense;
}

const detected = (w: Float32Array, shape: [number, number], options?: DetectOptions) =>
  withTensor(w, shape, W => detectPattern(W, options)).then(pattern => pattern && formatPattern(pattern));

const holds = (w: Float32Array, shape: [number, number], pattern: NMPattern | string) =>
  withTensor(w, shape, W => checkPattern(W, pattern));

/** Counted the plain way: the most rows with a non-zero in any window and group. */
function mostRows(w: Float32Array, [k, n]: [number, number], m: number, vectorLength: number): number {
  let most = 0;
  for (let topRow = 0; topRow < k; topRow += m) {
    for (let firstCol = 0; firstCol < n; firstCol += vectorLength) {
      let rows = 0;
      for (let row = topRow; row < Math.min(topRow + m, k); ++row) {
        rows += w.subarray(row * n + firstCol, row * n + Math.min(firstCol + vectorLength, n))
            .some(value => value !== 0) ? 1 : 0;
      }
      most = Math.max(most, rows);
    }
  }
  return most;
}

describe('detectPattern', () => {
  it('finds the pattern that compress made', async () => {
    for (const [pattern, shape] of [
      ['2:4', [64, 32]], ['1:2', [65, 31]], ['4:8v2', [100, 40]], ['2:4v4', [64, 33]], ['8:32v32', [256, 96]],
      ['16:32v32', [70, 130]], ['64:256v8', [600, 40]], ['4:16v128', [96, 300]], ['1:256v64', [1024, 130]],
    ] as Array<[string, [number, number]]>) {
      const w = await pruned(shape, parsePattern(pattern), seed);
      expect(await detected(w, shape), `${pattern} of [${shape}]`).to.equal(pattern);
    }
  });

  it('finds the pattern that keeps the fewest rows, as counted the plain way', async () => {
    const sparse = (random: () => number) => random() < 0.2 ? 1 : 0;
    const someWindows = fc.constantFrom([2, 4, 8, 16, 32, 64], [3, 5, 12], [7]);
    const someLengths = fc.shuffledSubarray([...VECTOR_LENGTHS], {minLength: 1});
    await fc.assert(fc.asyncProperty(shapes(40, 40), fc.integer(), someWindows, someLengths, async (
        shape, drawSeed, windows, vectorLengths) => {
      const w = matrix(shape, drawSeed, sparse);
      let best: NMPattern | undefined;
      const kept = (pattern?: NMPattern) => pattern ? keptRowCount(shape[0], pattern) : shape[0];
      for (const vectorLength of [...vectorLengths].sort((a, b) => b - a)) {
        for (const m of windows) {
          const pattern = parsePattern({n: Math.max(1, mostRows(w, shape, m, vectorLength)), m, vectorLength});
          if (kept(pattern) < kept(best)) {
            best = pattern;
          }
        }
      }
      expect(await detected(w, shape, {windows, vectorLengths})).to.equal(best ? formatPattern(best) : null);
    }), {seed, numRuns: 100});
  });

  it('finds none in a dense matrix, however long the windows', async () => {
    expect(await detected(matrix([8, 5], seed, nonZero), [8, 5])).to.be.null;
    expect(await detected(Float32Array.of(0), [1, 1])).to.be.null;
  });

  it('prefers the longest vector, then the shortest window', async () => {
    // Rows 0 and 4 of 8: 1:2, 1:4, … all keep more or as many; 1:4 keeps 2 rows, so do 2:8 and 2:16.
    const w = new Float32Array(8 * 6).fill(1, 0, 6).fill(1, 24, 30);
    expect(await detected(w, [8, 6])).to.equal('1:4v128');
    expect(await detected(w, [8, 6], {windows: [16, 8], vectorLengths: [2, 4]})).to.equal('2:8v4');
  });

  it('keeps at least one row of a matrix of zeros', async () => {
    expect(await detected(new Float32Array(8), [8, 1])).to.equal('1:8v128');
  });

  it('takes -0 for a zero and NaN for none', async () => {
    expect(await detected(Float32Array.of(-0, 1, 2, -0), [4, 1], {vectorLengths: [1]})).to.equal('1:2');
    expect(await detected(Float32Array.of(NaN, 1), [2, 1])).to.be.null;
  });
});

describe('checkPattern', () => {
  it('holds for what compress made', async () => {
    await fc.assert(fc.asyncProperty(cases(64, 100, 20, nonZero), fc.integer(), async ({shape, pattern}, drawSeed) => {
      expect(await holds(await pruned(shape, pattern, drawSeed), shape, pattern)).to.be.true;
    }), {seed, numRuns: 40});
  });

  it('holds exactly where no window has more than N rows with a non-zero', async () => {
    const sparse = (random: () => number) => random() < 0.3 ? 1 : 0;
    await fc.assert(fc.asyncProperty(cases(16, 40, 20, sparse), async ({w, shape, pattern}) => {
      const most = mostRows(w, shape, pattern.m, pattern.vectorLength);
      expect(await holds(w, shape, pattern)).to.equal(most <= pattern.n);
    }), {seed, numRuns: 80});
  });

  it('holds for a dense short window of at most N rows', async () => {
    expect(await holds(Float32Array.of(0, 1, 0, 1, 1, 1), [6, 1], '2:4')).to.be.true;
    expect(await holds(Float32Array.of(0, 1, 0, 1, 1, 1), [6, 1], '1:4')).to.be.false;
  });

  it('takes NaN for a value and -0 for none', async () => {
    expect(await holds(Float32Array.of(NaN, 1), [2, 1], '1:2')).to.be.false;
    expect(await holds(Float32Array.of(-0, 1), [2, 1], '1:2')).to.be.true;
  });
});
