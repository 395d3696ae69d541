/**
 * A `GemvConfig` fully determines the text of a GEMV shader, so its JSON is the shader's cache key. What it does not
 * hold (rows, columns, k) are uniforms. This file also derives the sizes that follow from a configuration, for the
 * program, the candidates, the cost model and the tests.
 */
import type {XLayout} from '../gemm/config.js';
import type {CompressedConfig} from '../wgsl/compressed.js';
import type {EpilogueConfig} from '../wgsl/epilogue.js';

export interface GemvConfig extends CompressedConfig {
  /** Rows of y per workgroup. Rows past the last are computed from the last row of x and not stored. */
  rows: 1 | 2 | 4 | 8 | 16;
  /** Up to two rows, only row-major. */
  xLayout: XLayout;
  /** vec4 columns per workgroup: the length of the contiguous segments that it reads from rows of W. */
  vecCols: 4 | 8 | 16 | 32;
  /** Kept rows each slice processes per loop iteration. */
  turn: 4 | 8;
  threads: 256 | 512 | 1024;
  /** One loop, with checks: half of the code, as in the GEMM. */
  compact: boolean;
  /** Whether it writes partial sums [splits, rows, n], without the epilogue, for a second dispatch. */
  partial: boolean;
  epilogue: EpilogueConfig;
}

/** Splits start at multiples of this many kept rows: the offsets of an iteration then lie in whole words, or in one. */
const SPLIT_ROWS = 8;
/** Most accumulators (vec4s) in workgroup memory at once: the default limit of 16 KB. */
const MAX_SUMS = 1024;

/** Most accumulators that the storing thread adds up itself: another stage of the tree would cost a barrier. */
const MAX_LAST_SUMS = 8;

/** Largest M/N at which multiplying by the zeros is cheaper than gathering four values of x. */
const MAX_SPREAD = 4;

/** What a configuration implies. */
export function gemvGeometry({vecCols, turn, rows, xLayout, threads, pattern: {n, m, vectorLength}}: GemvConfig) {
  const slices = threads / vecCols;
  const levels: number[] = [];
  let left = slices;
  while (left > MAX_LAST_SUMS) {
    left /= 4;
    levels.push(left);
  }
  return {
    slices,
    /** Slices left after each stage of the tree, which adds four, and those that the storing thread adds. */
    levels,
    lastSlices: left,
    /** Columns of y per workgroup. */
    tileCols: 4 * vecCols,
    /** Kept rows that all slices of a workgroup process per iteration. */
    turnRows: slices * turn,
    /** Whether x arrives transposed, [k][rows padded to a multiple of `rows`]. */
    kMajor: xLayout === 'k-major',
    /** Whether weights are scattered into windows of zeros, so that whole windows of x are read in order. */
    spread: rows >= 4 && n !== m && vectorLength < 4 && turn % n === 0 && m <= MAX_SPREAD * n,
    /** Rows whose accumulators are reduced in workgroup memory at once. */
    rowsAtOnce: Math.min(rows, MAX_SUMS / threads),
  };
}

/** Kept rows of each split: a multiple of 8, so that the offsets of an iteration do not straddle words. */
export function keptPerSplit(keptRows: number, splits: number): number {
  return SPLIT_ROWS * Math.ceil(keptRows / splits / SPLIT_ROWS);
}
