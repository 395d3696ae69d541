/** Offsets from outside: good ones pass, every kind of damage is found. */
import {expect} from 'chai';
import fc from 'fast-check';
import {compressValues} from '../../src/format/compress.js';
import {indexBits, indexWordsPerGroup, packIndices, unpackIndices} from '../../src/format/pack.js';
import {groupCount, keptRowCount, type NMPattern} from '../../src/format/pattern.js';
import {checkIndices} from '../../src/format/validate.js';
import {seed} from '../support/random.js';
import {cases} from './cases.js';

/** Whether these words are what docs/format.md allows, decided offset by offset. */
function allowed(words: Int32Array, [k, n]: [number, number], pattern: NMPattern): boolean {
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const offsets = unpackIndices(words, groups, keptRows, pattern);
  const noPadding = packIndices(offsets, groups, keptRows, pattern).every((word, i) => word === words[i]);
  return noPadding && offsets.every((offset, i) => {
    const j = i % keptRows;
    const window = Math.floor(j / pattern.n);
    return offset < Math.min(pattern.m, k - window * pattern.m) && (j % pattern.n === 0 || offset > offsets[i - 1]);
  });
}

function refused(words: Int32Array, shape: [number, number], pattern: NMPattern): boolean {
  try {
    checkIndices(words, shape, pattern);
    return false;
  } catch {
    return true;
  }
}

describe('checkIndices', () => {
  it('passes what compress makes', () => {
    fc.assert(fc.property(cases(256, 300, 20), ({w, shape, pattern}) => {
      const {offsets} = compressValues(w, shape, pattern);
      const words = packIndices(offsets, groupCount(shape[1], pattern), keptRowCount(shape[0], pattern), pattern);
      checkIndices(words, shape, pattern);
    }), {seed, numRuns: 40});
  });

  it('refuses a flipped bit exactly where the result breaks a rule', () => {
    fc.assert(fc.property(cases(40, 80, 10), fc.nat(), ({w, shape, pattern}, at) => {
      const {offsets} = compressValues(w, shape, pattern);
      const words = packIndices(offsets, groupCount(shape[1], pattern), keptRowCount(shape[0], pattern), pattern);
      const bit = at % (words.length * 32);
      words[bit >> 5] ^= 1 << (bit & 31);
      expect(refused(words, shape, pattern)).to.equal(!allowed(words, shape, pattern));
    }), {seed, numRuns: 300});
  });

  it('refuses every padding bit', () => {
    fc.assert(fc.property(cases(40, 80, 10), ({w, shape, pattern}) => {
      const keptRows = keptRowCount(shape[0], pattern);
      const {offsets} = compressValues(w, shape, pattern);
      const words = packIndices(offsets, groupCount(shape[1], pattern), keptRows, pattern);
      const wordsPerGroup = indexWordsPerGroup(keptRows, pattern);
      for (let bit = keptRows * indexBits(pattern); bit < wordsPerGroup * 32; ++bit) {
        const damaged = words.slice();
        damaged[words.length - wordsPerGroup + (bit >> 5)] |= 1 << (bit & 31);
        expect(refused(damaged, shape, pattern)).to.be.true;
      }
    }), {seed, numRuns: 40});
  });
});
