/** The notation of patterns, and the sizes that follow from them. */
import {expect} from 'chai';
import fc from 'fast-check';
import {formatPattern, groupCount, keptRowCount, parsePattern} from '../../src/format/pattern.js';
import {seed} from '../support/random.js';
import {patterns} from './cases.js';

describe('parsePattern', () => {
  it('reads the notation and the object alike', () => {
    const pattern = {n: 8, m: 32, vectorLength: 32};
    expect(parsePattern('8:32v32')).to.deep.equal(pattern);
    expect(parsePattern(' 8:32v32 ')).to.deep.equal(pattern);
    expect(parsePattern(pattern)).to.deep.equal(pattern);
  });

  it('takes the vector length for 1 where none is given', () => {
    expect(parsePattern('2:4').vectorLength).to.equal(1);
    expect(parsePattern({n: 2, m: 4}).vectorLength).to.equal(1);
  });

  it('gives a pattern that nobody can change', () => {
    expect(parsePattern('2:4')).to.be.frozen;
  });

  it('reads what formatPattern writes', () => {
    fc.assert(fc.property(patterns(), pattern => {
      expect(parsePattern(formatPattern(pattern))).to.deep.equal(pattern);
    }), {seed, numRuns: 200});
  });
});

describe('formatPattern', () => {
  it('leaves a vector length of 1 out', () => {
    expect(formatPattern(parsePattern('2:4v1'))).to.equal('2:4');
    expect(formatPattern(parsePattern('2:4v2'))).to.equal('2:4v2');
  });
});

describe('keptRowCount and groupCount', () => {
  it('count what a walk over windows and groups counts', () => {
    fc.assert(fc.property(patterns(), fc.integer({min: 1, max: 600}), (pattern, size) => {
      let kept = 0;
      for (let top = 0; top < size; top += pattern.m) {
        kept += Math.min(pattern.n, size - top);
      }
      let groups = 0;
      for (let col = 0; col < size; col += pattern.vectorLength) {
        ++groups;
      }
      expect(keptRowCount(size, pattern)).to.equal(kept);
      expect(groupCount(size, pattern)).to.equal(groups);
    }), {seed, numRuns: 200});
  });
});
