/** The bits: offsets at 2, 4 and 8 bits, float16 against a reference that rounds by comparing neighbours. */
import {expect} from 'chai';
import fc from 'fast-check';
import {
  halfWordsPerRow, indexBits, indexWordsPerGroup, keptRowIndices, MAX_HALF, packHalves, packIndices, unpackHalves,
  unpackIndices,
} from '../../src/format/pack.js';
import {groupCount, keptRowCount, parsePattern} from '../../src/format/pattern.js';
import {seed} from '../support/random.js';
import {patterns, shapes} from './cases.js';

/** The magnitudes of all halves from 0 up, built by adding steps; 0x7c00, infinity, stands where 65536 would. */
const MAGNITUDES = (() => {
  const magnitudes = [0];
  for (let half = 1; half <= 0x7c00; ++half) {
    const exponent = Math.max(1, (half - 1) >> 10);
    magnitudes.push(magnitudes[half - 1] + 2 ** (exponent - 25));
  }
  return magnitudes;
})();

/** The half nearest to a float, found among its two neighbours; of two equally near the even one. */
function nearestHalf(value: number): number {
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0;
  const magnitude = Math.min(Math.abs(value), 65536);
  let below = 0;
  for (let step = 0x4000; step >= 1; step /= 2) {
    if (below + step <= 0x7c00 && MAGNITUDES[below + step] <= magnitude) {
      below += step;
    }
  }
  if (below === 0x7c00) {
    return sign | below;
  }
  const toBelow = magnitude - MAGNITUDES[below];
  const toAbove = MAGNITUDES[below + 1] - magnitude;
  return sign | (toBelow < toAbove || (toBelow === toAbove && below % 2 === 0) ? below : below + 1);
}

/** The half that packHalves makes of one value. */
function packed(value: number): number {
  return packHalves(Float32Array.of(value), 1, 1)[0];
}

/** The float32 whose bits are these. */
function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0];
}

describe('packed offsets', () => {
  it('take 2, 4 or 8 bits, the least power of two that holds M-1', () => {
    const bits = (m: number) => indexBits(parsePattern({n: 1, m}));
    expect([1, 4, 5, 16, 17, 256].map(bits)).to.deep.equal([2, 2, 4, 4, 8, 8]);
  });

  it('start every group on a word of its own', () => {
    expect(indexWordsPerGroup(16, parsePattern('2:4'))).to.equal(1);
    expect(indexWordsPerGroup(17, parsePattern('2:4'))).to.equal(2);
    expect(indexWordsPerGroup(9, parsePattern('2:16'))).to.equal(2);
    expect(indexWordsPerGroup(5, parsePattern('2:32'))).to.equal(2);
  });

  it('put the first offset in the lowest bits and leave the rest of the last word 0', () => {
    const pattern = parsePattern('2:4v8');
    const words = packIndices(Uint8Array.of(0, 3, 1, 2, 1, 3, 0, 1), 2, 4, pattern);
    expect([...words]).to.deep.equal([0b10_01_11_00, 0b01_00_11_01]);
  });

  it('use the sign bit like any other', () => {
    const offsets = new Uint8Array(4).fill(255);
    const words = packIndices(offsets, 1, 4, parsePattern('1:256'));
    expect([...words]).to.deep.equal([-1]);
    expect(unpackIndices(words, 1, 4, parsePattern('1:256'))).to.deep.equal(offsets);
  });

  it('come back as they went in, at every width', () => {
    const widths = fc.constantFrom(2, 3, 4, 5, 15, 16, 17, 100, 255, 256);
    fc.assert(fc.property(widths, fc.integer({min: 1, max: 5}), fc.integer({min: 1, max: 70}), fc.infiniteStream(
        fc.nat()), (m, groups, keptRows, numbers) => {
      const pattern = parsePattern({n: 1, m});
      const offsets = Uint8Array.from({length: groups * keptRows}, () => numbers.next().value % m);
      const words = packIndices(offsets, groups, keptRows, pattern);
      expect(words.length).to.equal(groups * indexWordsPerGroup(keptRows, pattern));
      expect(unpackIndices(words, groups, keptRows, pattern)).to.deep.equal(offsets);
    }), {seed, numRuns: 200});
  });

  it('stand for rows of W: window times M plus offset', () => {
    fc.assert(fc.property(patterns(40), shapes(150, 9), (pattern, [k, n]) => {
      const keptRows = keptRowCount(k, pattern);
      const groups = groupCount(n, pattern);
      const offsets: number[] = [];
      const rows: number[] = [];
      for (let group = 0; group < groups; ++group) {
        for (let top = 0; top < k; top += pattern.m) {
          const windowRows = Math.min(pattern.m, k - top);
          const keep = Math.min(pattern.n, windowRows);
          for (let j = 0; j < keep; ++j) {
            offsets.push(windowRows - keep + j);
            rows.push(top + windowRows - keep + j);
          }
        }
      }
      const words = packIndices(Uint8Array.from(offsets), groups, keptRows, pattern);
      expect([...keptRowIndices(words, [k, n], pattern)]).to.deep.equal(rows);
    }), {seed, numRuns: 100});
  });
});

describe('float16', () => {
  it('gives back every one of the 65536 halves', () => {
    const words = Int32Array.from({length: 32768}, (_, i) => (2 * i) | ((2 * i + 1) << 16));
    const values = unpackHalves(words, 1, 65536);
    const again = new Uint16Array(packHalves(values, 1, 65536).buffer);
    for (let half = 0; half < 65536; ++half) {
      const magnitude = half & 0x7fff;
      if (magnitude > 0x7c00) {
        expect(values[half], `half ${half}`).to.be.NaN;
        expect(again[half] & 0x7fff, `half ${half}`).to.be.above(0x7c00);
      } else {
        if (again[half] !== half) {  // chai is too slow to be asked 65536 times
          expect.fail(`half ${half} comes back as ${again[half]}`);
        }
        const expected = (half & 0x8000 ? -1 : 1) * (magnitude === 0x7c00 ? Infinity : MAGNITUDES[magnitude]);
        if (!Object.is(values[half], expected)) {
          expect.fail(`half ${half} reads as ${values[half]}, not ${expected}`);
        }
      }
    }
  });

  it('rounds to nearest, ties to even: at, just below and just above the middle of every two neighbours', () => {
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    for (let half = 0; half < 0x7c00; ++half) {
      float[0] = (MAGNITUDES[half] + MAGNITUDES[half + 1]) / 2;
      const middle = bits[0];
      for (const near of [middle - 1, middle, middle + 1]) {
        bits[0] = near;
        if (packed(float[0]) !== nearestHalf(float[0])) {
          expect.fail(`${float[0]} becomes half ${packed(float[0])}, not ${nearestHalf(float[0])}`);
        }
      }
    }
  });

  it('rounds any float as the reference does', () => {
    fc.assert(fc.property(fc.nat({max: 0xffffffff}), bits => {
      const value = floatOf(bits);
      fc.pre(!Number.isNaN(value));
      expect(packed(value)).to.equal(nearestHalf(value));
    }), {seed, numRuns: 2000});
  });

  it('keeps the signs of zeros, the subnormals, the infinities and NaN', () => {
    expect(packed(0)).to.equal(0);
    expect(packed(-0)).to.equal(0x8000);
    expect(packed(2 ** -24)).to.equal(1);
    expect(packed(2 ** -25)).to.equal(0);
    expect(packed(-1023 * 2 ** -24)).to.equal(0x83ff);
    expect(packed(2 ** -149)).to.equal(0);
    expect(packed(Infinity)).to.equal(0x7c00);
    expect(packed(-Infinity)).to.equal(0xfc00);
    expect(packed(NaN) & 0x7fff).to.be.above(0x7c00);
  });

  it('is finite up to, but not at, 65520', () => {
    expect(packed(MAX_HALF)).to.equal(0x7bff);
    expect(packed(floatOf(0x477fefff))).to.equal(0x7bff);  // the largest float32 below 65520
    expect(packed(65520)).to.equal(0x7c00);
  });

  it('puts the even column in the low half and starts every row on a word of its own', () => {
    const words = packHalves(Float32Array.of(1, -2, 0.5, 4, 0.25, -1.5), 2, 3);
    expect(halfWordsPerRow(3)).to.equal(2);
    expect([...new Uint32Array(words.buffer)]).to.deep.equal([0xc0003c00, 0x3800, 0x34004400, 0xbe00]);
    expect([...unpackHalves(words, 2, 3)]).to.deep.equal([1, -2, 0.5, 4, 0.25, -1.5]);
  });

  it('reads values that start in the middle of a buffer', () => {
    const values = Float32Array.of(9, 9, 1, 2);
    expect([...packHalves(values.subarray(2), 1, 2)]).to.deep.equal([0x40003c00]);
  });
});
