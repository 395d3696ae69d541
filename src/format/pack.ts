/**
 * How the parts of an N:M matrix lie in 32-bit words: offsets inside a window at 2, 4 or 8 bits each, float16 values
 * two to a word. Plain int32 words because tfjs can save, load, upload and dispose int32 tensors exactly, and because
 * WGSL's `unpack2x16float` reads such halves on every WebGPU device without an optional feature.
 *
 * docs/format.md is the specification; this file is its only implementation.
 */
import {groupCount, keptRowCount, type NMPattern} from './pattern.js';

/** Bits of one stored offset: 2 for M ≤ 4, 4 for M ≤ 16, 8 for M ≤ 256. */
export function indexBits({m}: NMPattern): 2 | 4 | 8 {
  return m <= 4 ? 2 : m <= 16 ? 4 : 8;
}

/** Words that the offsets of one group take; every group starts on a word of its own. */
export function indexWordsPerGroup(keptRows: number, pattern: NMPattern): number {
  return Math.ceil((keptRows * indexBits(pattern)) / 32);
}

/** Words that one row of n float16 values takes; every row starts on a word of its own. */
export function halfWordsPerRow(n: number): number {
  return Math.ceil(n / 2);
}

/**
 * Packs offsets into words, the first offset in the lowest bits; bits left over at a group's end are 0.
 * @param offsets [groups, keptRows] row-major, each 0 … M-1.
 * @returns [groups, indexWordsPerGroup] row-major.
 */
export function packIndices(offsets: Uint8Array, groups: number, keptRows: number, pattern: NMPattern): Int32Array {
  const bits = indexBits(pattern);
  const perWord = 32 / bits;
  const wordsPerGroup = indexWordsPerGroup(keptRows, pattern);
  const words = new Int32Array(groups * wordsPerGroup);
  for (let group = 0; group < groups; ++group) {
    for (let j = 0; j < keptRows; ++j) {
      words[group * wordsPerGroup + Math.floor(j / perWord)] |= offsets[group * keptRows + j] << ((j % perWord) * bits);
    }
  }
  return words;
}

/** The inverse of {@link packIndices}. */
export function unpackIndices(words: Int32Array, groups: number, keptRows: number, pattern: NMPattern): Uint8Array {
  const bits = indexBits(pattern);
  const perWord = 32 / bits;
  const mask = (1 << bits) - 1;
  const wordsPerGroup = indexWordsPerGroup(keptRows, pattern);
  const offsets = new Uint8Array(groups * keptRows);
  for (let group = 0; group < groups; ++group) {
    for (let j = 0; j < keptRows; ++j) {
      offsets[group * keptRows + j] =
          (words[group * wordsPerGroup + Math.floor(j / perWord)] >>> ((j % perWord) * bits)) & mask;
    }
  }
  return offsets;
}

/**
 * For each group and kept row, the row of W it stands for.
 * @param words packed offsets of a matrix of shape [k, n].
 * @returns [groups, keptRows] row-major, each 0 … k-1, ascending within a group.
 */
export function keptRowIndices(words: Int32Array, [k, n]: [number, number], pattern: NMPattern): Int32Array {
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const offsets = unpackIndices(words, groups, keptRows, pattern);
  const rows = new Int32Array(offsets.length);
  for (let i = 0; i < rows.length; ++i) {
    rows[i] = Math.floor((i % keptRows) / pattern.n) * pattern.m + offsets[i];
  }
  return rows;
}

/**
 * Packs float32 values as float16 (round to nearest, ties to even), two to a word, the even column in the low half.
 * @param values [rows, n] row-major. A magnitude of 65520 or more becomes infinite: callers refuse such values first.
 * @returns [rows, halfWordsPerRow(n)] row-major.
 */
export function packHalves(values: Float32Array, rows: number, n: number): Int32Array {
  const wordsPerRow = halfWordsPerRow(n);
  const halves = new Uint16Array(rows * wordsPerRow * 2);
  const bitsOf = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let row = 0; row < rows; ++row) {
    const to = row * wordsPerRow * 2;
    for (let col = 0; col < n; ++col) {
      halves[to + col] = halfFromFloatBits(bitsOf[row * n + col]);
    }
  }
  return wordsFromHalves(halves);
}

/** The inverse of {@link packHalves}, exact. */
export function unpackHalves(words: Int32Array, rows: number, n: number): Float32Array {
  const table = halfTable();
  const wordsPerRow = halfWordsPerRow(n);
  const values = new Float32Array(rows * n);
  for (let row = 0; row < rows; ++row) {
    for (let col = 0; col < n; ++col) {
      const word = words[row * wordsPerRow + (col >> 1)];
      values[row * n + col] = table[col & 1 ? word >>> 16 : word & 0xffff];
    }
  }
  return values;
}

/** The largest finite float16. */
export const MAX_HALF = 65504;

/** Words are little-endian in files and on GPUs; built by arithmetic, so right on any host. */
function wordsFromHalves(halves: Uint16Array): Int32Array {
  const words = new Int32Array(halves.length / 2);
  for (let i = 0; i < words.length; ++i) {
    words[i] = halves[2 * i] | (halves[2 * i + 1] << 16);
  }
  return words;
}

/** float32 bits → float16 bits, IEEE 754 round to nearest even, subnormals and NaN included. */
function halfFromFloatBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x47800000) {  // 65536 and above, infinity, NaN
    return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  }
  if (magnitude >= 0x38800000) {  // a normal half: rebias the exponent, round off 13 bits (may carry into it, rightly)
    const rebased = magnitude - 0x38000000;
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
  }
  if (magnitude < 0x33000000) {  // below half of the smallest subnormal
    return sign;
  }
  const shift = 126 - (magnitude >>> 23);  // 14 … 24
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const floor = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (floor + (rest > half || (rest === half && (floor & 1)) ? 1 : 0));
}

let table: Float32Array | undefined;

/** All 65,536 halves as floats: made once, on first use. */
function halfTable(): Float32Array {
  if (!table) {
    table = new Float32Array(65536);
    for (let half = 0; half < 65536; ++half) {
      const sign = half & 0x8000 ? -1 : 1;
      const exponent = (half >>> 10) & 31;
      const mantissa = half & 1023;
      table[half] = exponent === 31 ? (mantissa ? NaN : sign * Infinity) :
          exponent ? sign * 2 ** (exponent - 15) * (1 + mantissa / 1024) : sign * 2 ** -24 * mantissa;
    }
  }
  return table;
}
