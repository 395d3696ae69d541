/**
 * How shaders read a compressed matrix: WGSL functions over the bindings `values` and `indices`. Every program that
 * touches one includes these, so the layout (docs/format.md) is decoded in one place.
 */
import {indexBits} from '../../../src/format/pack.js';
import type {NMPattern} from '../../../src/format/pattern.js';
import {STORAGE, type StorageDtype} from '../../../src/format/storage.js';
import {range} from '../program_util.js';

/** The properties of a matrix that determine the shader text. */
export interface CompressedConfig {
  pattern: NMPattern;
  dtype: StorageDtype;
  /** n is a multiple of 4, so that a row of values is whole vec4s. */
  alignedCols: boolean;
}

/** Whether every row is kept: then nothing is picked, and no indices are read. */
export function isDense({pattern: {n, m}}: Pick<CompressedConfig, 'pattern'>): boolean {
  return n === m;
}

/** How many components `values` is bound with. */
export function valuesComponents({dtype, alignedCols}: CompressedConfig): number {
  return alignedCols ? STORAGE[dtype].wgsl.components : 1;
}

/**
 * `value4(j, c4)`: the values of kept row j in columns 4·c4 … 4·c4+3. Past the last column it returns what lies there:
 * such columns are never stored. `stored4(j, c4)`: the same as stored, in as few registers, for `unpack4` when they are
 * needed. Needs `uniforms.cols`.
 */
export function valuesSnippet({dtype, alignedCols}: CompressedConfig): string {
  const {stored, load, unpack} = STORAGE[dtype].wgsl;
  return `
    fn stored4(j: u32, c4: u32) -> ${stored} {
      ${alignedCols ? load.aligned : load.unaligned}
    }
    fn unpack4(stored: ${stored}) -> vec4<f32> {
      return ${unpack};
    }
    fn value4(j: u32, c4: u32) -> vec4<f32> {
      return unpack4(stored4(j, c4));
    }`;
}

/**
 * - `windowOffset(group, j)`: the offset of kept row j of a group within its window.
 * - `offsetWord(group, j)`: the word that holds this offset, shifted so that the offset is in its lowest bits. The next
 *   offsets follow upwards: four or more if j is a multiple of 4, eight if j is one of 8 and offsets are below a byte.
 * - `rowOf(j, offset)`: the row of W.
 *
 * Needs `uniforms.wordsPerGroup`.
 */
export function indicesSnippet({pattern}: CompressedConfig): string {
  const bits = indexBits(pattern);
  const perWord = 32 / bits;
  return `
    const OFFSET_BITS = ${bits}u;
    const OFFSET_MASK = ${(1 << bits) - 1}u;
    fn offsetWord(group: u32, j: u32) -> u32 {
      let word = bitcast<u32>(indices[group * u32(uniforms.wordsPerGroup) + j / ${perWord}u]);
      return word >> ((j % ${perWord}u) * OFFSET_BITS);
    }
    fn windowOffset(group: u32, j: u32) -> u32 {
      return offsetWord(group, j) & OFFSET_MASK;
    }
    fn rowOf(j: u32, offset: u32) -> u32 {
      return (j / ${pattern.n}u) * ${pattern.m}u + offset;
    }`;
}

/**
 * WGSL: the weights of four columns in one row of a zero-filled window; 0 in columns that do not keep the row. The kept
 * rows are `weight0` … with offsets `offset0` …. Offsets ascend, so only some kept rows can have this offset.
 * @param row counted from the first of several consecutive windows, as the numbers of the kept rows are.
 */
export function spreadWeight(row: number, {n, m}: NMPattern): string {
  const window = Math.floor(row / m);
  const offset = row % m;
  return range(n).filter(u => u <= offset && offset - u <= m - n).map(u => window * n + u).reduce((rest, u) =>
    `select(${rest}, weight${u}, offset${u} == vec4<u32>(${offset}u))`, 'vec4<f32>(0.0)');
}
